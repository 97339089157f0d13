//! The trees by hash that lead to names and attributes (`xfs_da_blkinfo`, `xfs_da_intnode`).

use imgasm_fs::Result;

use crate::format::bytes::{as_u16, as_u32, put_u16, put_u32, u16_at, u32_at};
use crate::format::geometry::Geometry;
use crate::format::numbers::{DiskAddress, HashTreeBlock, InodeNumber};
use crate::format::stamp::HASH_TREE;
use crate::problem::{corrupt, in_file};

/// Magic numbers of nodes before version 5 and from it on.
const NODE_MAGIC: (u16, u16) = (0xfebe, 0x3ebe);
/// More levels than a tree can have (`XFS_DA_NODE_MAXDEPTH`).
pub(crate) const MAX_LEVELS: u16 = 5;
/// Bytes of a child in a node.
const CHILD_LEN: usize = 8;

/// What all blocks of such a tree begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    /// The next block of the same level, 0 if this is the last.
    pub(crate) forward: HashTreeBlock,
    /// The one before.
    pub(crate) backward: HashTreeBlock,
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
    daddr: DiskAddress,
    owner: InodeNumber,
) -> Result<Header, String> {
    if geometry.features.crc {
        HASH_TREE.verify(bytes, geometry, daddr, owner.0)?;
    }
    Ok(Header {
        forward: HashTreeBlock(u32_at(bytes, 0)),
        backward: HashTreeBlock(u32_at(bytes, 4)),
        magic: u16_at(bytes, 8),
    })
}

/// A node: for each child the highest hash below it, and its block in the fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// 1 if the children are leaves.
    pub(crate) level: u16,
    pub(crate) children: Vec<Child>,
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
            .map(|child| (u32_at(child, 0), HashTreeBlock(u32_at(child, 4))))
            .collect();
        Ok(Self { level, children })
    }
}

/// Goes down from `root` in the fork of `inode` by the first children to the first leaf. `read` gives
/// the node at a block of the fork, or `None` for a leaf.
pub(crate) fn first_leaf(
    inode: InodeNumber,
    root: HashTreeBlock,
    mut read: impl FnMut(HashTreeBlock) -> Result<Option<Node>>,
) -> Result<HashTreeBlock> {
    let mut block = root;
    let mut above = MAX_LEVELS + 1;
    while let Some(node) = read(block)? {
        if node.level >= above {
            return Err(corrupt(
                in_file(inode, block),
                format!("a node at level {} below one at {above}", node.level),
            ));
        }
        above = node.level;
        block = node.children[0].1;
    }
    Ok(block)
}

/// Writes what all blocks of the tree begin with.
pub(crate) fn put_header(block: &mut [u8], header: Header) {
    put_u32(block, 0, header.forward.0);
    put_u32(block, 4, header.backward.0);
    put_u16(block, 8, header.magic);
}

/// The blocks before and behind one of `count` blocks of a level, whose numbers `number` gives.
pub(crate) fn neighbours(
    index: usize,
    count: usize,
    number: impl Fn(usize) -> HashTreeBlock,
) -> (HashTreeBlock, HashTreeBlock) {
    let behind = Some(index + 1).filter(|behind| *behind < count);
    let [backward, forward] = [index.checked_sub(1), behind];
    (
        backward.map_or(HashTreeBlock::NONE, &number),
        forward.map_or(HashTreeBlock::NONE, &number),
    )
}

/// A block as its parent sees it: the highest hash below it, and its number in the fork.
pub(crate) type Child = (u32, HashTreeBlock);

/// The nodes above some leaves: blocks by their numbers in the fork, whose identity is still to be
/// sealed.
pub(crate) struct Nodes {
    pub(crate) blocks: Vec<(HashTreeBlock, Vec<u8>)>,
}

/// Builds the nodes above `leaves`, of blocks of `block_len` bytes. The root gets the number
/// `root`, the nodes between it and the leaves get `next`, `next + step` and so on.
pub(crate) fn build_nodes(
    geometry: &Geometry,
    block_len: usize,
    leaves: &[Child],
    root: HashTreeBlock,
    next: HashTreeBlock,
    step: u32,
) -> Nodes {
    let capacity = (block_len - counted_header_len(geometry)) / CHILD_LEN;
    let mut blocks = Vec::new();
    let mut below = leaves.to_vec();
    let mut next = next;
    let mut level = 1;
    loop {
        let count = below.len().div_ceil(capacity);
        let per_node = below.len().div_ceil(count);
        let numbers: Vec<HashTreeBlock> = if count == 1 {
            vec![root]
        } else {
            (0..as_u32(count))
                .map(|index| next.plus(index * step))
                .collect()
        };
        next = next.plus(as_u32(count) * step);
        let mut above = Vec::with_capacity(count);
        for (index, children) in below.chunks(per_node).enumerate() {
            let mut block = vec![0; block_len];
            let (backward, forward) = neighbours(index, count, |index| numbers[index]);
            let header = Header {
                forward,
                backward,
                magic: NODE_MAGIC.1,
            };
            put_header(&mut block, header);
            put_u16(&mut block, header_len(geometry), as_u16(children.len()));
            put_u16(&mut block, header_len(geometry) + 2, level);
            for (slot, (hash, number)) in children.iter().enumerate() {
                let at = counted_header_len(geometry) + slot * CHILD_LEN;
                put_u32(&mut block, at, *hash);
                put_u32(&mut block, at + 4, number.0);
            }
            let highest = children.last().expect("every node has children").0;
            above.push((highest, numbers[index]));
            blocks.push((numbers[index], block));
        }
        if count == 1 {
            return Nodes { blocks };
        }
        below = above;
        level += 1;
    }
}

#[cfg(test)]
mod tests {
    use imgasm_fs::{Error, Location};

    use super::*;

    #[test]
    fn a_node_in_a_circle_is_reported_as_a_block_of_its_file() {
        let root = HashTreeBlock(7);
        let read = |block| {
            Ok(Some(Node {
                level: 1,
                children: vec![(0, block)],
            }))
        };
        let Err(Error::Corrupt { at, .. }) = first_leaf(InodeNumber(131), root, read) else {
            panic!("the node is its own child");
        };
        assert_eq!(
            at,
            Location::FileBlock {
                inode: 131,
                block: 7
            }
        );
    }
}
