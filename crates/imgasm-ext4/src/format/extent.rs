//! Nodes of extent trees: a header of 12 bytes, then entries of 12 bytes each, then, in a node
//! that fills a block, a checksum. Kernel documentation, ext4, "Extent Tree".

use super::checksum::InodeSeed;
use super::numbers::{BlockNumber, BlockSize, FileBlock, to_u32};
use super::{put_u16, put_u32, read_u16, read_u32};
use crate::problem::{Decoded, Problem};

/// What `eh_magic` holds.
const MAGIC: u16 = 0xf30a;
/// Bytes of a header and of an entry.
const ENTRY_LEN: usize = 12;
/// Entries in the root, which lies in `i_block`.
pub const ROOT_ENTRIES: u16 = 4;
/// Levels below the root: enough for 2^32 blocks in blocks of 1 KiB.
pub const MAX_DEPTH: u16 = 5;
/// Blocks of the longest extent that holds data.
pub const MAX_LEN: u32 = 1 << 15;
/// Blocks of the longest extent that is allocated but reads as zeros.
pub const MAX_UNWRITTEN_LEN: u32 = MAX_LEN - 1;

/// A run of a file's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First block in the file.
    pub first: FileBlock,
    /// Blocks in it, at least one.
    pub len: u32,
    /// First block on the disk.
    pub start: BlockNumber,
    /// Allocated, but reads as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// The block of the file behind the last one; up to 2^32.
    pub fn end(&self) -> u64 {
        u64::from(self.first.0) + u64::from(self.len)
    }
}

/// A node one level further down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// First block of the file that lies below it.
    pub first: FileBlock,
    /// Where the node lies.
    pub block: BlockNumber,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Extents, at depth 0.
    Leaf(Vec<Extent>),
    /// Child nodes.
    Index {
        /// Levels below this node: at least 1.
        depth: u16,
        /// The nodes below.
        children: Vec<Child>,
    },
}

impl Node {
    /// Decodes a node: sorted entries that do not overlap, as many as the header says, and at most
    /// as many as there is room for.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let magic = read_u16(bytes, 0);
        if magic != MAGIC {
            return Err(Problem::new(format!(
                "eh_magic is {magic:#06x}, expected {MAGIC:#06x}"
            )));
        }
        let (count, max, depth) = (read_u16(bytes, 2), read_u16(bytes, 4), read_u16(bytes, 6));
        let room = bytes.len() / ENTRY_LEN - 1;
        // A checksum may take the place of an entry or two.
        if usize::from(max) > room
            || usize::from(max) + 2 < room
            || count > max
            || depth > MAX_DEPTH
        {
            return Err(Problem::new(format!(
                "extent header has {count} of {max} entries at depth {depth}, with room for \
                 {room} and at most {MAX_DEPTH} levels"
            )));
        }
        let entries = bytes[ENTRY_LEN..]
            .chunks_exact(ENTRY_LEN)
            .take(usize::from(count));
        if depth == 0 {
            let extents: Vec<Extent> = entries.map(decode_extent).collect();
            check_order(extents.iter().map(|e| (e.first, e.end())))?;
            Ok(Self::Leaf(extents))
        } else {
            let children: Vec<Child> = entries.map(decode_child).collect();
            check_order(children.iter().map(|c| (c.first, u64::from(c.first.0) + 1)))?;
            Ok(Self::Index { depth, children })
        }
    }

    /// Writes the node into `bytes`, which is the root's place or a block, without a checksum.
    /// Callers have made sure that the entries fit.
    pub fn encode_into(&self, bytes: &mut [u8]) {
        let max = to_u32(bytes.len() / ENTRY_LEN - 1);
        let (count, depth) = match self {
            Self::Leaf(extents) => (extents.len(), 0),
            Self::Index { depth, children } => (children.len(), *depth),
        };
        put_u16(bytes, 0, MAGIC);
        put_u16(bytes, 2, u16_of(to_u32(count)));
        put_u16(bytes, 4, u16_of(max));
        put_u16(bytes, 6, depth);
        put_u32(bytes, 8, 0);
        let mut places = bytes[ENTRY_LEN..].chunks_exact_mut(ENTRY_LEN);
        match self {
            Self::Leaf(extents) => {
                for (extent, place) in extents.iter().zip(&mut places) {
                    encode_extent(extent, place);
                }
            }
            Self::Index { children, .. } => {
                for (child, place) in children.iter().zip(&mut places) {
                    let (low, high) = halves(child.block);
                    put_u32(place, 0, child.first.0);
                    put_u32(place, 4, low);
                    put_u16(place, 8, high);
                    put_u16(place, 10, 0);
                }
            }
        }
        for place in places {
            place.fill(0);
        }
    }
}

/// Entries that a block has room for.
pub fn block_entries(block_size: BlockSize) -> usize {
    block_size.len() / ENTRY_LEN - 1
}

/// Where a block's checksum lies: right behind the room for entries, which is the end of the block
/// only for some block sizes. `None` if the header is not sound.
fn checksum_at(block: &[u8]) -> Option<usize> {
    let at = ENTRY_LEN * (usize::from(read_u16(block, 4)) + 1);
    (at + 4 <= block.len()).then_some(at)
}

/// Stores the checksum of a block of an extent tree.
pub fn set_checksum(block: &mut [u8], seed: InodeSeed) {
    if let Some(at) = checksum_at(block) {
        let crc = seed.over(&[&block[..at]]);
        put_u32(block, at, crc);
    }
}

/// Checks the checksum of a block of an extent tree.
pub fn verify_checksum(block: &[u8], seed: InodeSeed) -> Decoded<()> {
    let Some(at) = checksum_at(block) else {
        return Err(Problem::new(format!(
            "eh_max is {}, which leaves no room for a checksum",
            read_u16(block, 4)
        )));
    };
    let (seen, expected) = (read_u32(block, at), seed.over(&[&block[..at]]));
    if seen == expected {
        Ok(())
    } else {
        Err(Problem::new(format!(
            "extent block checksum is {seen:#010x}, computed {expected:#010x}"
        )))
    }
}

fn decode_extent(bytes: &[u8]) -> Extent {
    let len = u32::from(read_u16(bytes, 4));
    let (unwritten, len) = if len > MAX_LEN {
        (true, len - MAX_LEN)
    } else {
        (false, len)
    };
    Extent {
        first: FileBlock(read_u32(bytes, 0)),
        len,
        start: join(read_u32(bytes, 8), read_u16(bytes, 6)),
        unwritten,
    }
}

fn encode_extent(extent: &Extent, place: &mut [u8]) {
    let (low, high) = halves(extent.start);
    let len = if extent.unwritten {
        extent.len + MAX_LEN
    } else {
        extent.len
    };
    put_u32(place, 0, extent.first.0);
    put_u16(place, 4, u16_of(len));
    put_u16(place, 6, high);
    put_u32(place, 8, low);
}

fn decode_child(bytes: &[u8]) -> Child {
    Child {
        first: FileBlock(read_u32(bytes, 0)),
        block: join(read_u32(bytes, 4), read_u16(bytes, 8)),
    }
}

fn join(low: u32, high: u16) -> BlockNumber {
    BlockNumber(u64::from(low) | u64::from(high) << 32)
}

fn halves(block: BlockNumber) -> (u32, u16) {
    let (low, high) = super::numbers::halves(block.0);
    (low, super::checksum::low_half(high))
}

/// A number that is at most a block's entries or an extent's blocks.
fn u16_of(n: u32) -> u16 {
    u16::try_from(n).expect("at most 65535 by the limits of the format")
}

fn check_order(ranges: impl Iterator<Item = (FileBlock, u64)>) -> Decoded<()> {
    let mut previous_end = 0;
    for (first, end) in ranges {
        if u64::from(first.0) < previous_end || end > 1 << 32 || end <= u64::from(first.0) {
            return Err(Problem::new(format!(
                "extent entry for file blocks {} to {end} follows one that ends at {previous_end}",
                first.0
            )));
        }
        previous_end = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_round_trip() {
        let leaf = Node::Leaf(vec![
            Extent {
                first: FileBlock(0),
                len: MAX_LEN,
                start: BlockNumber(0x1234_5678_9abc),
                unwritten: false,
            },
            Extent {
                first: FileBlock(u32::MAX - MAX_UNWRITTEN_LEN + 1),
                len: MAX_UNWRITTEN_LEN,
                start: BlockNumber(7),
                unwritten: true,
            },
        ]);
        let index = Node::Index {
            depth: 2,
            children: vec![Child {
                first: FileBlock(9),
                block: BlockNumber(0xffff_0000_0001),
            }],
        };
        for node in [leaf, index] {
            let mut bytes = [0xaa; 60];
            node.encode_into(&mut bytes);
            assert_eq!(Node::decode(&bytes), Ok(node));
        }
    }

    #[test]
    fn disorder_is_seen() {
        let extent = |first, len| Extent {
            first: FileBlock(first),
            len,
            start: BlockNumber(1),
            unwritten: false,
        };
        for pair in [[extent(0, 2), extent(1, 1)], [extent(5, 1), extent(0, 1)]] {
            let mut bytes = [0; 60];
            Node::Leaf(pair.to_vec()).encode_into(&mut bytes);
            assert!(Node::decode(&bytes).is_err());
        }
    }
}
