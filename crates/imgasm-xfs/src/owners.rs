//! The owners of blocks, as the tree of owners stores them (`xfs_rmap_rec`).

use std::collections::BTreeMap;

use imgasm_fs::{Location, Result};

use crate::extent_map::ExtentMap;
use crate::format::btree::records::{OwnerRecord, owner_offset};
use crate::format::bytes::as_u32;
use crate::format::numbers::{FsBlock, GroupBlock, GroupNumber, InodeNumber};
use crate::inode::{Fork, Inode};
use crate::problem::corrupt;
use crate::volume::Volume;

/// Records by group.
pub(crate) type GroupRecords = BTreeMap<GroupNumber, Vec<OwnerRecord>>;

/// Adds the records of both forks of an inode.
pub(crate) fn add_inode(volume: &Volume, inode: &Inode, to: &mut GroupRecords) -> Result<()> {
    let forks = [
        (Some(&inode.data), 0),
        (inode.attributes.as_ref(), owner_offset::ATTRIBUTES),
    ];
    for (fork, flags) in forks {
        if let Some(map) = fork.and_then(Fork::map) {
            add_fork(volume, inode.number, map, flags, to)?;
        }
    }
    Ok(())
}

/// Adds the records of a fork, extents that continue each other joined.
fn add_fork(
    volume: &Volume,
    inode: InodeNumber,
    map: &ExtentMap,
    flags: u64,
    to: &mut GroupRecords,
) -> Result<()> {
    let mut last: Option<(GroupNumber, OwnerRecord)> = None;
    for extent in map.extents() {
        let (group, start) = locate(volume, extent.start)?;
        let unwritten = if extent.unwritten {
            owner_offset::UNWRITTEN
        } else {
            0
        };
        let record = OwnerRecord {
            start,
            owner: inode.0,
            offset: extent.file_block.0 | flags | unwritten,
            len: u32::try_from(extent.blocks).expect("extents have 21 bits of length"),
        };
        match &mut last {
            Some((home, before))
                if *home == group
                    && before.start.plus(before.len) == start
                    && before.offset + u64::from(before.len) == record.offset =>
            {
                before.len += record.len;
            }
            _ => {
                if let Some((group, record)) = last.replace((group, record)) {
                    to.entry(group).or_default().push(record);
                }
            }
        }
    }
    if let Some((group, record)) = last {
        to.entry(group).or_default().push(record);
    }
    let mut blocks = Vec::with_capacity(map.tree_blocks.len());
    for block in &map.tree_blocks {
        blocks.push(locate(volume, *block)?);
    }
    blocks.sort_unstable();
    for run in blocks.chunk_by(|one, next| one.0 == next.0 && one.1.plus(1) == next.1) {
        let (group, start) = run[0];
        to.entry(group).or_default().push(OwnerRecord {
            start,
            owner: inode.0,
            offset: flags | owner_offset::TREE,
            len: as_u32(run.len()),
        });
    }
    Ok(())
}

/// The records of blocks that belong to no file: one per run.
pub(crate) fn runs_of(owner: u64, mut blocks: Vec<GroupBlock>) -> Vec<OwnerRecord> {
    blocks.sort_unstable();
    blocks.dedup();
    blocks
        .chunk_by(|one, next| one.plus(1) == *next)
        .map(|run| OwnerRecord {
            start: run[0],
            owner,
            offset: 0,
            len: as_u32(run.len()),
        })
        .collect()
}

fn locate(volume: &Volume, block: FsBlock) -> Result<(GroupNumber, GroupBlock)> {
    volume
        .geometry
        .split(block)
        .ok_or_else(|| corrupt(Location::Block(block.0), "there is no such block"))
}
