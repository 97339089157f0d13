//! Reading where a fork's blocks lie: a list in the inode, or a tree below it.

use imgasm_fs::{Location, Result};

use crate::btree::{Home, read};
use crate::extent_map::ExtentMap;
use crate::format::btree::{EXTENTS, Record};
use crate::format::bytes::{u16_at, u64_at};
use crate::format::extent::{Extent, ROOT_HEADER_LEN, root_capacity};
use crate::format::numbers::InodeNumber;
use crate::problem::corrupt;
use crate::volume::Volume;

/// Reads a fork's list of `count` extents.
pub(crate) fn read_list(
    volume: &Volume,
    inode: InodeNumber,
    fork: &[u8],
    count: u64,
) -> Result<ExtentMap> {
    let bad = |problem: String| corrupt(Location::Inode(inode.0), problem);
    let len = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(Extent::LEN))
        .filter(|len| *len <= fork.len())
        .ok_or_else(|| bad(format!("{count} extents in {} bytes", fork.len())))?;
    let extents = fork[..len]
        .chunks_exact(Extent::LEN)
        .map(|bytes| Extent::decode(bytes, &volume.geometry))
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad)?;
    ExtentMap::new(extents, Vec::new(), volume.geometry.total_blocks).map_err(bad)
}

/// Reads the tree whose root is in a fork, which should hold `count` extents.
pub(crate) fn read_tree(
    volume: &Volume,
    inode: InodeNumber,
    fork: &[u8],
    count: u64,
) -> Result<ExtentMap> {
    let bad = |problem: String| corrupt(Location::Inode(inode.0), problem);
    let capacity = root_capacity(fork.len());
    if fork.len() < ROOT_HEADER_LEN {
        return Err(bad(format!("a tree's root in {} bytes", fork.len())));
    }
    let level = u16_at(fork, 0);
    let children = usize::from(u16_at(fork, 2));
    if level == 0 || children == 0 || children > capacity {
        return Err(bad(format!(
            "a tree's root at level {level} with {children} children"
        )));
    }
    let pointers = ROOT_HEADER_LEN + capacity * 8;
    let roots = (0..children)
        .map(|child| u64_at(fork, pointers + child * 8))
        .collect();
    let tree = read::<Extent>(volume, EXTENTS, Home::Inode(inode), roots, level - 1)?;
    if tree.records.len() as u64 != count {
        return Err(bad(format!(
            "{} extents in the tree, expected {count}",
            tree.records.len()
        )));
    }
    ExtentMap::new(tree.records, tree.blocks, volume.geometry.total_blocks).map_err(bad)
}
