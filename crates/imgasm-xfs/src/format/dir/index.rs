//! The index of a directory: leaves with the names' hashes (`xfs_dir2_leaf`), and the room left in
//! each data block (`xfs_dir2_free`).

use crate::format::bytes::{as_u16, as_u32, put_u16, put_u32, u16_at, u32_at};
use crate::format::dir::data::INDEX_ENTRY_LEN;
use crate::format::geometry::Geometry;
use crate::format::hash_tree::{
    Child, Header, Node, build_nodes, check_identity, counted_header_len, header_len, neighbours,
    put_header,
};
use crate::format::numbers::{DirectoryBlock, DiskAddress, FileBlock, HashTreeBlock, InodeNumber};
use crate::format::stamp::{DIRECTORY, HASH_TREE, Stamp};

/// A leaf that has the room of the data blocks at its end: from version 5 on, and before.
const LONE_LEAF_MAGIC: u16 = 0x3df1;
const LONE_LEAF_MAGIC_V4: u16 = 0xd2f1;
/// A leaf of several.
const LEAF_MAGIC: u16 = 0x3dff;
const LEAF_MAGIC_V4: u16 = 0xd2ff;
/// `XDF3`, `XD2F`.
const FREE_MAGIC: u32 = 0x5844_4633;
const FREE_MAGIC_V4: u32 = 0x5844_3246;
/// Bytes of the header of a free-index block.
const FREE_HEADER_LEN: usize = 64;
/// The number that stands for a missing data block.
pub(crate) const NO_BLOCK: u16 = 0xffff;

/// Where the data blocks, the index and the free index start in a directory's fork, in bytes.
pub(crate) mod space {
    pub(crate) const INDEX: u64 = 32 << 30;
    pub(crate) const FREE: u64 = 64 << 30;
}

/// The first block of the index in a directory's fork.
pub(crate) fn index_start(geometry: &Geometry) -> HashTreeBlock {
    let block = geometry.file_block(space::INDEX).0;
    HashTreeBlock(u32::try_from(block).expect("32 GiB have fewer blocks"))
}

/// A name as the index has it: its hash, and its place in units of eight bytes.
pub(crate) type IndexEntry = (u32, u32);

/// A finished block of the index, but for its identity.
pub(crate) struct IndexBlock {
    pub(crate) file_block: FileBlock,
    pub(crate) stamp: Stamp,
    pub(crate) bytes: Vec<u8>,
}

/// Writes entries of the index one after another.
pub(crate) fn put_entries(block: &mut [u8], at: usize, entries: &[IndexEntry]) {
    for (slot, (hash, address)) in entries.iter().enumerate() {
        let at = at + slot * INDEX_ENTRY_LEN;
        put_u32(block, at, *hash);
        put_u32(block, at + 4, *address);
    }
}

fn leaf(geometry: &Geometry, header: Header, entries: &[IndexEntry]) -> Vec<u8> {
    let mut block = vec![0; geometry.directory_block_len()];
    put_header(&mut block, header);
    put_u16(&mut block, header_len(geometry), as_u16(entries.len()));
    put_entries(&mut block, counted_header_len(geometry), entries);
    block
}

/// Builds the index of sorted `entries`; `room` gives the longest unused run of each data
/// block.
pub(crate) fn build(geometry: &Geometry, entries: &[IndexEntry], room: &[u16]) -> Vec<IndexBlock> {
    let len = geometry.directory_block_len();
    let lone_len =
        counted_header_len(geometry) + entries.len() * INDEX_ENTRY_LEN + room.len() * 2 + 4;
    if lone_len > len {
        return build_tree(geometry, entries, room);
    }
    let header = Header {
        forward: HashTreeBlock::NONE,
        backward: HashTreeBlock::NONE,
        magic: LONE_LEAF_MAGIC,
    };
    let mut bytes = leaf(geometry, header, entries);
    put_u32(&mut bytes, len - 4, as_u32(room.len()));
    let rooms = len - 4 - room.len() * 2;
    for (number, room) in room.iter().enumerate() {
        put_u16(&mut bytes, rooms + number * 2, *room);
    }
    vec![IndexBlock {
        file_block: index_start(geometry).into(),
        stamp: HASH_TREE,
        bytes,
    }]
}

/// Leaves below nodes, and the room of the data blocks in blocks of their own. A node leads to at
/// least two blocks: names that fit one leaf, but not beside the rooms, are in a leaf at the root.
fn build_tree(geometry: &Geometry, entries: &[IndexEntry], room: &[u16]) -> Vec<IndexBlock> {
    let len = geometry.directory_block_len();
    let step = geometry.directory_block_blocks;
    let top = index_start(geometry);
    let capacity = (len - counted_header_len(geometry)) / INDEX_ENTRY_LEN;
    let count = entries.len().div_ceil(capacity);
    let per_leaf = entries.len().div_ceil(count);
    let below_top = usize::from(count > 1);
    let number = |index: usize| top.plus(step * as_u32(index + below_top));
    let mut blocks = Vec::new();
    let mut leaves: Vec<Child> = Vec::with_capacity(count);
    for (index, run) in entries.chunks(per_leaf).enumerate() {
        let (backward, forward) = neighbours(index, count, number);
        let header = Header {
            forward,
            backward,
            magic: LEAF_MAGIC,
        };
        let highest = run.last().expect("chunks are not empty").0;
        leaves.push((highest, number(index)));
        blocks.push((number(index), leaf(geometry, header, run)));
    }
    if leaves.len() > 1 {
        let nodes = build_nodes(geometry, len, &leaves, top, number(leaves.len()), step);
        blocks.extend(nodes.blocks);
    }
    let mut blocks: Vec<_> = blocks
        .into_iter()
        .map(|(number, bytes)| IndexBlock {
            file_block: number.into(),
            stamp: HASH_TREE,
            bytes,
        })
        .collect();
    blocks.extend(build_free(geometry, room));
    blocks
}

fn build_free(geometry: &Geometry, room: &[u16]) -> impl Iterator<Item = IndexBlock> {
    let len = geometry.directory_block_len();
    let per_block = (len - FREE_HEADER_LEN) / 2;
    let step = u64::from(geometry.directory_block_blocks);
    let free = geometry.file_block(space::FREE);
    room.chunks(per_block)
        .enumerate()
        .map(move |(index, room)| {
            let mut bytes = vec![0; len];
            put_u32(&mut bytes, 0, FREE_MAGIC);
            put_u32(&mut bytes, 48, as_u32(index * per_block));
            put_u32(&mut bytes, 52, as_u32(room.len()));
            let used = room.iter().filter(|room| **room != NO_BLOCK).count();
            put_u32(&mut bytes, 56, as_u32(used));
            for slot in 0..per_block {
                let room = room.get(slot).copied().unwrap_or(NO_BLOCK);
                put_u16(&mut bytes, FREE_HEADER_LEN + slot * 2, room);
            }
            IndexBlock {
                file_block: free.plus(index as u64 * step),
                stamp: DIRECTORY,
                bytes,
            }
        })
}

/// What a block of the index holds; `rooms` are 16-bit numbers, one per data block.
pub(crate) enum Part<'a> {
    /// The way to leaves.
    Node { siblings: Header, node: Node },
    /// Entries, with the rooms if it is the only leaf.
    Leaf {
        siblings: Header,
        bytes: &'a [u8],
        rooms: &'a [u8],
    },
    /// Rooms of the data blocks from `first` on.
    Free {
        first: DirectoryBlock,
        rooms: &'a [u8],
        /// How many of those data blocks exist, by the block's own count.
        used: u32,
    },
}

/// Decodes a block of the index of a directory, once its identity is checked.
pub(crate) fn decode<'a>(
    bytes: &'a [u8],
    geometry: &Geometry,
    daddr: DiskAddress,
    owner: InodeNumber,
) -> Result<Part<'a>, String> {
    let cut = || "the block counts more than it has room for".to_owned();
    let crc = geometry.features.crc;
    if u32_at(bytes, 0) == if crc { FREE_MAGIC } else { FREE_MAGIC_V4 } {
        if crc {
            DIRECTORY.verify(bytes, geometry, daddr, owner.0)?;
        }
        let (counts, header) = if crc { (48, FREE_HEADER_LEN) } else { (4, 16) };
        let valid = u32_at(bytes, counts + 4) as usize;
        let rooms = valid
            .checked_mul(2)
            .and_then(|len| bytes.get(header..header + len));
        return Ok(Part::Free {
            first: DirectoryBlock(u32_at(bytes, counts)),
            rooms: rooms.ok_or_else(cut)?,
            used: u32_at(bytes, counts + 8),
        });
    }
    let header = check_identity(bytes, geometry, daddr, owner)?;
    let (lone, one) = if crc {
        (LONE_LEAF_MAGIC, LEAF_MAGIC)
    } else {
        (LONE_LEAF_MAGIC_V4, LEAF_MAGIC_V4)
    };
    if header.magic != lone && header.magic != one {
        return Node::decode(bytes, geometry).map(|node| Part::Node {
            siblings: header,
            node,
        });
    }
    let count = usize::from(u16_at(bytes, header_len(geometry)));
    let start = counted_header_len(geometry);
    let end = start + count * INDEX_ENTRY_LEN;
    let rooms = if header.magic == lone {
        let tail = bytes.len() - 4;
        let rooms = u32_at(bytes, tail) as usize;
        let rooms = rooms.checked_mul(2).and_then(|len| tail.checked_sub(len));
        rooms
            .filter(|rooms| *rooms >= end)
            .map(|rooms| &bytes[rooms..tail])
            .ok_or_else(cut)?
    } else {
        &[]
    };
    Ok(Part::Leaf {
        siblings: header,
        bytes: bytes.get(start..end).ok_or_else(cut)?,
        rooms,
    })
}
