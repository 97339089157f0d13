//! Reading a whole tree into its sorted records.

use std::collections::BTreeSet;

use imgasm_fs::{Location, Result};

use crate::format::btree::{Kind, MAX_LEVELS, Record, node_key_len};
use crate::format::bytes::{u16_at, u32_at, u64_at};
use crate::format::numbers::{FsBlock, GroupBlock, GroupNumber, InodeNumber};
use crate::problem::corrupt;
use crate::volume::Volume;

/// Whose tree it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Home {
    /// An allocation group's: pointers are block numbers in the group.
    Group(GroupNumber),
    /// An inode's: pointers are block numbers in the filesystem.
    Inode(InodeNumber),
}

impl Home {
    fn owner(self) -> u64 {
        match self {
            Self::Group(group) => u64::from(group.0),
            Self::Inode(inode) => inode.0,
        }
    }

    fn location(self) -> Location {
        match self {
            Self::Group(group) => Location::Group(group.0),
            Self::Inode(inode) => Location::Inode(inode.0),
        }
    }

    /// The block that a pointer names.
    pub(crate) fn block(self, volume: &Volume, pointer: u64) -> Option<FsBlock> {
        match self {
            Self::Inode(_) => {
                let block = FsBlock(pointer);
                volume.geometry.split(block).map(|_| block)
            }
            Self::Group(group) => {
                let block = GroupBlock(u32::try_from(pointer).ok()?);
                volume
                    .geometry
                    .has_block(group, block)
                    .then(|| volume.geometry.fs_block(group, block))
            }
        }
    }
}

/// A tree that has been read.
#[derive(Debug)]
pub(crate) struct Tree<R> {
    /// All records, in the order of the leaves.
    pub(crate) records: Vec<R>,
    /// All blocks from the root down, each level from left to right.
    pub(crate) blocks: Vec<FsBlock>,
}

/// Reads the subtrees under `roots`, whose blocks are at `level` (leaves are at 0), checking each
/// block and the order of the records.
pub(crate) fn read<R: Record>(
    volume: &Volume,
    kind: Kind,
    home: Home,
    roots: Vec<u64>,
    level: u16,
) -> Result<Tree<R>> {
    let bad = |problem: String| corrupt(home.location(), format!("{}: {problem}", kind.name));
    if level >= MAX_LEVELS {
        return Err(bad(format!("{level} levels")));
    }
    let mut tree = Tree {
        records: Vec::new(),
        blocks: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let mut pointers = roots;
    for level in (0..=level).rev() {
        let mut children = Vec::new();
        for (index, &pointer) in pointers.iter().enumerate() {
            let block = home
                .block(volume, pointer)
                .ok_or_else(|| bad(format!("pointer to block {pointer}, which does not exist")))?;
            if !seen.insert(pointer) {
                return Err(bad(format!("block {pointer} is reached twice")));
            }
            let bytes = volume.read_block(block)?;
            let siblings = [
                index.checked_sub(1).and_then(|left| pointers.get(left)),
                pointers.get(index + 1),
            ];
            check_header(volume, kind, home, block, &bytes, level)
                .and_then(|()| kind.check_siblings(&bytes, siblings))
                .map_err(|problem| bad(format!("block {pointer}: {problem}")))?;
            tree.blocks.push(block);
            if level == 0 {
                read_leaf(volume, kind, &bytes, &mut tree.records)
                    .map_err(|problem| bad(format!("block {pointer}: {problem}")))?;
            } else {
                read_node::<R>(volume, kind, &bytes, &mut children)
                    .map_err(|problem| bad(format!("block {pointer}: {problem}")))?;
            }
        }
        pointers = children;
    }
    Ok(tree)
}

fn check_header(
    volume: &Volume,
    kind: Kind,
    home: Home,
    block: FsBlock,
    bytes: &[u8],
    level: u16,
) -> Result<(), String> {
    let geometry = &volume.geometry;
    let magic = u32_at(bytes, 0);
    if magic != kind.magic(geometry) {
        return Err(format!("magic number {magic:#010x}"));
    }
    if geometry.features.crc {
        let daddr = volume.daddr(block).map_err(|error| error.to_string())?;
        kind.stamp().verify(bytes, geometry, daddr, home.owner())?;
    }
    let seen = u16_at(bytes, 4);
    if seen != level {
        return Err(format!("level {seen}, expected {level}"));
    }
    Ok(())
}

fn read_leaf<R: Record>(
    volume: &Volume,
    kind: Kind,
    bytes: &[u8],
    records: &mut Vec<R>,
) -> Result<(), String> {
    let geometry = &volume.geometry;
    let count = usize::from(u16_at(bytes, 6));
    if count > kind.leaf_capacity::<R>(geometry) {
        return Err(format!("{count} records"));
    }
    let start = kind.header_len(geometry);
    for bytes in bytes[start..start + count * R::LEN].chunks_exact(R::LEN) {
        let record = R::decode(bytes, geometry)?;
        if let Some(last) = records.last()
            && last.low() > record.low()
        {
            return Err(format!(
                "record {:?} stands after {:?}",
                record.low(),
                last.low()
            ));
        }
        records.push(record);
    }
    Ok(())
}

fn read_node<R: Record>(
    volume: &Volume,
    kind: Kind,
    bytes: &[u8],
    children: &mut Vec<u64>,
) -> Result<(), String> {
    let geometry = &volume.geometry;
    let count = usize::from(u16_at(bytes, 6));
    let capacity = kind.node_capacity::<R>(geometry);
    if count == 0 || count > capacity {
        return Err(format!("{count} children"));
    }
    let start = kind.header_len(geometry) + capacity * node_key_len::<R>();
    for child in 0..count {
        let at = start + child * kind.pointer_len();
        children.push(if kind.long {
            u64_at(bytes, at)
        } else {
            u64::from(u32_at(bytes, at))
        });
    }
    Ok(())
}
