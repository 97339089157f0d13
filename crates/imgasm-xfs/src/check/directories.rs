//! The index of a directory against its names.

use imgasm_fs::{Location, Result};

use crate::check::hash_trees::{Block, Content, walk};
use crate::check::report::{Report, finding};
use crate::dir::Directory;
use crate::extent_map::ExtentMap;
use crate::fork::read_blocks;
use crate::format::bytes::{u16_at, u32_at};
use crate::format::dir::data::{BlockKind, INDEX_ENTRY_LEN, TAIL_LEN};
use crate::format::dir::index::{IndexEntry, NO_BLOCK, Part, index_start, space};
use crate::format::dir::{data, index};
use crate::format::extent::Extent;
use crate::format::geometry::Geometry;
use crate::format::numbers::{FileBlock, HashTreeBlock, InodeNumber};
use crate::inode::{Fork, Inode};
use crate::problem::{corrupt, in_file};
use crate::volume::Volume;

/// What the index of a directory says.
#[derive(Default)]
struct Index {
    entries: Vec<IndexEntry>,
    /// The room left in each data block.
    room: Vec<u16>,
}

/// Checks that every name can be found by its hash, and that the room left in each data block is
/// known.
pub(super) fn check(
    volume: &Volume,
    inode: &Inode,
    directory: &Directory,
    report: Report<'_>,
) -> Result<()> {
    let Fork::Extents(map) = &inode.data else {
        return Ok(());
    };
    let geometry = &volume.geometry;
    let number = inode.number;
    check_room(volume, number, map, directory, report)?;
    let first = read_blocks(
        volume,
        number,
        map,
        FileBlock::FIRST,
        geometry.directory_block_blocks,
    )?;
    let kind = data::check_identity(&first.bytes, geometry, first.daddr, number);
    let mut entries = if kind == Ok(BlockKind::Whole) {
        let tail = first.bytes.len() - TAIL_LEN;
        let entries = read_entries(&first.bytes[data::whole_end(&first.bytes) as usize..tail]);
        if !entries.is_sorted_by_key(|(hash, _)| *hash) {
            finding(
                report,
                Location::Inode(number.0),
                "the hashes of its index are out of order",
            );
        }
        entries
    } else {
        let Some(index) = read_index(volume, number, map, report)? else {
            return Ok(());
        };
        if index.room != directory.rooms(geometry) {
            finding(
                report,
                Location::Inode(number.0),
                "the index has another room for names than the blocks have",
            );
        }
        index.entries
    };
    entries.retain(|(_, address)| *address != 0);
    entries.sort_unstable();
    if entries != directory.index_entries(geometry) {
        finding(
            report,
            Location::Inode(number.0),
            "the index does not lead to the names that the directory has",
        );
    }
    Ok(())
}

/// Checks what the data blocks say about their own unused bytes.
fn check_room(
    volume: &Volume,
    inode: InodeNumber,
    map: &ExtentMap,
    directory: &Directory,
    report: Report<'_>,
) -> Result<()> {
    let geometry = &volume.geometry;
    let per_block = geometry.directory_block_blocks;
    for (&number, names) in &directory.blocks {
        let block = geometry.directory_file_block(number);
        let blocks = read_blocks(volume, inode, map, block, per_block)?;
        let end = match data::check_identity(&blocks.bytes, geometry, blocks.daddr, inode) {
            Ok(BlockKind::Whole) => data::whole_end(&blocks.bytes),
            _ => geometry.directory_block_size,
        };
        let first = Directory::first_in(geometry, number);
        let runs = data::unused_runs(&names.entries, geometry, first, end);
        if let Err(problem) = data::check_unused(&blocks.bytes, geometry, &runs) {
            finding(report, in_file(inode, block), problem);
        }
    }
    Ok(())
}

/// Walks the index from its root, and then reads what no node leads to: the blocks of rooms. `None` if
/// the index could not be walked to its end.
fn read_index(
    volume: &Volume,
    inode: InodeNumber,
    map: &ExtentMap,
    report: Report<'_>,
) -> Result<Option<Index>> {
    let geometry = &volume.geometry;
    let per_block = geometry.directory_block_blocks;
    let root = index_start(geometry);
    let mut index = Index::default();
    let read = |block: HashTreeBlock| {
        let blocks = read_blocks(volume, inode, map, block.into(), per_block)?;
        index::decode(&blocks.bytes, geometry, blocks.daddr, inode)
            .and_then(|part| index.add(part))
            .map_err(|problem| corrupt(in_file(inode, block), problem))
    };
    let Some(reached) = walk(inode, root, read, report)? else {
        return Ok(None);
    };
    let step = u64::from(per_block);
    let mut at = FileBlock::from(root);
    while let Some(extent) = map.range(at, Extent::MAX_FILE_BLOCK).next() {
        let block = FileBlock(extent.file_block.0 / step * step);
        at = block.plus(step);
        if u32::try_from(block.0).is_ok_and(|block| reached.contains(&HashTreeBlock(block))) {
            continue;
        }
        let blocks = read_blocks(volume, inode, map, block, per_block)?;
        let added = index::decode(&blocks.bytes, geometry, blocks.daddr, inode)
            .and_then(|part| index.add_rooms(geometry, &part));
        if let Err(problem) = added {
            finding(report, in_file(inode, block), problem);
        }
    }
    while index.room.last() == Some(&NO_BLOCK) {
        index.room.pop();
    }
    Ok(Some(index))
}

impl Index {
    /// Adds what a block of the tree holds.
    fn add(&mut self, part: Part<'_>) -> Result<Block, String> {
        let (siblings, content) = match part {
            Part::Node { siblings, node } => (siblings, Content::Node(node)),
            Part::Leaf {
                siblings,
                bytes,
                rooms,
            } => {
                let leaf = read_entries(bytes);
                let hashes = leaf.iter().map(|(hash, _)| *hash).collect();
                self.entries.extend(leaf);
                self.room.extend(read_rooms(rooms));
                (siblings, Content::Leaf(hashes))
            }
            Part::Free { .. } => return Err("a block of rooms in the index".to_owned()),
        };
        Ok(Block {
            backward: siblings.backward,
            forward: siblings.forward,
            content,
        })
    }

    /// Adds a block of rooms.
    fn add_rooms(&mut self, geometry: &Geometry, part: &Part<'_>) -> Result<(), String> {
        let Part::Free { first, rooms, used } = *part else {
            return Err("nothing leads to the block".to_owned());
        };
        if u64::from(first.0) * u64::from(geometry.directory_block_size) > space::INDEX {
            return Err(format!("rooms from data block {first} on"));
        }
        let rooms = read_rooms(rooms);
        let expected = rooms.iter().filter(|room| **room != NO_BLOCK).count();
        self.room.resize(first.0 as usize, NO_BLOCK);
        self.room.extend(rooms);
        if used as usize == expected {
            Ok(())
        } else {
            Err(format!(
                "{used} data blocks are counted, expected {expected}"
            ))
        }
    }
}

/// The numbers in a list of rooms.
fn read_rooms(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|room| u16_at(room, 0)).collect()
}

/// The entries of a leaf.
fn read_entries(bytes: &[u8]) -> Vec<IndexEntry> {
    bytes
        .chunks_exact(INDEX_ENTRY_LEN)
        .map(|entry| (u32_at(entry, 0), u32_at(entry, 4)))
        .collect()
}
