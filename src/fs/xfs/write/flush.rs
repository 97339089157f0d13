//! From memory to the device: everything is laid out first, then written.

use super::Writer;
use crate::fs::xfs::alloc::Allocator;
use crate::fs::xfs::alloc::commit::{CounterChanges, OwnerChanges};
use crate::fs::xfs::bmap::ExtentMap;
use crate::fs::xfs::btree::records::{OwnerRecord, owner_offset};
use crate::fs::xfs::bytes::as_u32;
use crate::fs::xfs::corrupt;
use crate::fs::xfs::inode::{self, Fork};
use crate::fs::xfs::superblock::{Superblock, version};
use crate::fs::xfs::volume::Volume;
use crate::fs::xfs::writes::Writes;
use crate::fs::{Location, Result};

impl Writer {
    /// Writes all that has changed.
    pub(crate) fn flush(&mut self, volume: &Volume, superblock: &mut Superblock) -> Result<()> {
        if self.staged.is_empty() && self.freed.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::default();
        self.allocator.drop_empty_chunks(volume)?;
        let numbers: Vec<u64> = self.staged.keys().copied().collect();
        for number in numbers {
            self.settle(volume, number, &mut writes)?;
        }
        for (number, core) in &self.freed {
            if self.allocator.has_inode(volume, *number)? {
                let bytes = inode::encode(&volume.geometry, core, &[], &[]);
                writes.put(inode::byte_offset(volume, *number)?, bytes);
            }
        }
        let owners = self.owner_changes(volume)?;
        let counters = self
            .allocator
            .commit(volume, &owners, self.options.seed, &mut writes)?;
        let has_attributes = self
            .staged
            .values()
            .any(|staged| staged.inode.attributes.is_some());
        let mut next = superblock.clone();
        count(&mut next, &counters)?;
        if has_attributes {
            let bits = next.raw.versionnum.get() | version::ATTRIBUTES;
            next.raw.versionnum = bits.into();
        }
        let mut sector = volume.read_sector(0, 0)?;
        next.encode_into(&mut sector);
        writes.put(0, sector);
        writes.write(&volume.device)?;
        *superblock = next;
        self.allocator = Allocator::new(volume, superblock)?;
        self.staged.clear();
        self.freed.clear();
        Ok(())
    }

    /// Who has the blocks of the changed inodes, for filesystems that keep that.
    fn owner_changes(&self, volume: &Volume) -> Result<OwnerChanges> {
        let mut changes = OwnerChanges::default();
        if !volume.geometry.features.rmapbt {
            return Ok(changes);
        }
        changes.inodes.extend(self.freed.keys());
        for (&number, staged) in &self.staged {
            changes.inodes.insert(number);
            let forks = [
                (Some(&staged.inode.data), 0),
                (staged.inode.attributes.as_ref(), owner_offset::ATTRIBUTES),
            ];
            for (fork, flags) in forks {
                if let Some(map) = fork.and_then(Fork::map) {
                    add_owner(volume, number, map, flags, &mut changes)?;
                }
            }
        }
        Ok(changes)
    }
}

/// Adds the records of a fork, extents that continue each other joined.
fn add_owner(
    volume: &Volume,
    owner: u64,
    map: &ExtentMap,
    flags: u64,
    changes: &mut OwnerChanges,
) -> Result<()> {
    let mut last: Option<(u32, OwnerRecord)> = None;
    for extent in map.extents() {
        let (group, start) = locate(volume, extent.start)?;
        let unwritten = if extent.unwritten {
            owner_offset::UNWRITTEN
        } else {
            0
        };
        let record = OwnerRecord {
            start,
            owner,
            offset: extent.file_block | flags | unwritten,
            len: u32::try_from(extent.blocks).expect("extents have 21 bits of length"),
        };
        match &mut last {
            Some((home, before))
                if *home == group
                    && before.start + before.len == start
                    && before.offset + u64::from(before.len) == record.offset =>
            {
                before.len += record.len;
            }
            _ => {
                if let Some((group, record)) = last.replace((group, record)) {
                    changes.records.entry(group).or_default().push(record);
                }
            }
        }
    }
    if let Some((group, record)) = last {
        changes.records.entry(group).or_default().push(record);
    }
    let mut blocks = map.tree_blocks.clone();
    blocks.sort_unstable();
    for run in blocks.chunk_by(|one, next| one.0 + 1 == next.0) {
        let (group, start) = locate(volume, run[0])?;
        changes.records.entry(group).or_default().push(OwnerRecord {
            start,
            owner,
            offset: flags | owner_offset::TREE,
            len: as_u32(run.len()),
        });
    }
    Ok(())
}

fn locate(volume: &Volume, block: crate::fs::xfs::geometry::FsBlock) -> Result<(u32, u32)> {
    volume
        .geometry
        .split(block)
        .ok_or_else(|| corrupt(Location::Block(block.0), "there is no such block"))
}

/// Changes the superblock's counters.
fn count(superblock: &mut Superblock, changes: &CounterChanges) -> Result<()> {
    let raw = &mut superblock.raw;
    for (counter, change) in [
        (&mut raw.fdblocks, changes.free_blocks),
        (&mut raw.icount, changes.inodes),
        (&mut raw.ifree, changes.free_inodes),
    ] {
        let value = counter.get().checked_add_signed(change).ok_or_else(|| {
            corrupt(
                Location::Superblock,
                format!("a counter of {counter} changes by {change}"),
            )
        })?;
        *counter = value.into();
    }
    Ok(())
}
