//! The trees by hash that lead to names and attributes (`xfs_da_blkinfo`, `xfs_da_intnode`).

use super::bytes::{u16_at, u32_at};
use super::geometry::Geometry;
use super::stamp::HASH_TREE;
use super::{Result, corrupt};
use crate::fs::Location;

/// Magic numbers of nodes before version 5 and from it on.
const NODE_MAGIC: (u16, u16) = (0xfebe, 0x3ebe);
/// More levels than a tree can have (`XFS_DA_NODE_MAXDEPTH`).
pub(crate) const MAX_LEVELS: u16 = 5;
/// Bytes of a child in a node.
const CHILD_LEN: usize = 8;

/// What all blocks of such a tree begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    /// The next block of the same level, 0 where this is the last.
    pub(crate) forward: u32,
    /// The one before.
    pub(crate) backward: u32,
    pub(crate) magic: u16,
}

/// Bytes of the header that all blocks have.
pub(crate) fn header_len(geometry: &Geometry) -> usize {
    if geometry.features.crc { 56 } else { 12 }
}

/// Bytes of a node's or a name leaf's header, with counts and padding.
pub(crate) fn counted_header_len(geometry: &Geometry) -> usize {
    if geometry.features.crc { 64 } else { 16 }
}

/// Checks the identity of a block of the tree and decodes its header.
pub(crate) fn check_identity(
    bytes: &[u8],
    geometry: &Geometry,
    daddr: u64,
    owner: u64,
) -> Result<Header, String> {
    if geometry.features.crc {
        HASH_TREE.verify(bytes, geometry, daddr, owner)?;
    }
    Ok(Header {
        forward: u32_at(bytes, 0),
        backward: u32_at(bytes, 4),
        magic: u16_at(bytes, 8),
    })
}

/// A node: for each child the highest hash below it, and its block in the fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// 1 where the children are leaves.
    pub(crate) level: u16,
    pub(crate) children: Vec<(u32, u32)>,
}

impl Node {
    /// Decodes a node whose identity has been checked.
    pub(crate) fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Self, String> {
        let magic = u16_at(bytes, 8);
        if magic
            != if geometry.features.crc {
                NODE_MAGIC.1
            } else {
                NODE_MAGIC.0
            }
        {
            return Err(format!("magic number {magic:#06x}"));
        }
        let counts = header_len(geometry);
        let count = usize::from(u16_at(bytes, counts));
        let level = u16_at(bytes, counts + 2);
        let start = counted_header_len(geometry);
        let children = bytes
            .get(start..start + count * CHILD_LEN)
            .filter(|children| !children.is_empty() && (1..=MAX_LEVELS).contains(&level))
            .ok_or_else(|| format!("a node at level {level} with {count} children"))?
            .chunks_exact(CHILD_LEN)
            .map(|child| (u32_at(child, 0), u32_at(child, 4)))
            .collect();
        Ok(Self { level, children })
    }
}

/// Goes down from `root` by the first children to the first leaf. `read` gives the node at a block
/// of the fork, or `None` for a leaf.
pub(crate) fn first_leaf(
    root: u64,
    mut read: impl FnMut(u64) -> Result<Option<Node>>,
) -> Result<u64> {
    let mut block = root;
    let mut above = MAX_LEVELS + 1;
    while let Some(node) = read(block)? {
        if node.level >= above {
            return Err(corrupt(
                Location::Block(block),
                format!("a node at level {} below one at {above}", node.level),
            ));
        }
        above = node.level;
        block = u64::from(node.children[0].1);
    }
    Ok(block)
}
