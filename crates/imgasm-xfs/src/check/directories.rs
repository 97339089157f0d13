//! The index of a directory against its names.

use imgasm_fs::{Location, Result};

use crate::check::hash_trees::{Block, Content, walk};
use crate::check::report::{Report, finding};
use crate::dir::Directory;
use crate::fork::read_blocks;
use crate::format::bytes::{u16_at, u32_at};
use crate::format::dir::data::{BlockKind, INDEX_ENTRY_LEN, TAIL_LEN};
use crate::format::dir::index::{IndexEntry, NO_BLOCK, Part, index_start, space};
use crate::format::dir::{data, index};
use crate::inode::{Fork, Inode};
use crate::problem::corrupt;
use crate::volume::Volume;

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
    let per_block = geometry.directory_block_blocks;
    let number = inode.number;
    let size = u64::from(geometry.directory_block_size);
    let mut entries = Vec::new();
    let mut room = Vec::new();
    for (&data_block, block) in &directory.blocks {
        let file_block = u64::from(data_block) * u64::from(per_block);
        let blocks = read_blocks(volume, number, map, file_block, per_block)?;
        let kind = data::check_identity(&blocks.bytes, geometry, blocks.daddr, number);
        let end = match kind {
            Ok(BlockKind::Whole) => data::whole_end(&blocks.bytes),
            _ => geometry.directory_block_size,
        };
        let first = Directory::first_in(geometry, data_block);
        let runs = data::unused_runs(&block.entries, geometry, first, end);
        if let Err(problem) = data::check_unused(&blocks.bytes, geometry, &runs) {
            let at = Location::FileBlock {
                inode: number,
                block: file_block,
            };
            finding(report, at, problem);
        }
    }
    let first = read_blocks(volume, number, map, 0, per_block)?;
    if data::check_identity(&first.bytes, geometry, first.daddr, number) == Ok(BlockKind::Whole) {
        let tail = first.bytes.len() - TAIL_LEN;
        let count = u32_at(&first.bytes, tail) as usize;
        entries = read_entries(&first.bytes[tail - count * INDEX_ENTRY_LEN..tail]);
        if !entries.is_sorted_by_key(|(hash, _)| *hash) {
            finding(
                report,
                Location::Inode(number),
                "the hashes of its index are out of order",
            );
        }
    } else {
        let step = u64::from(per_block);
        let root = index_start(geometry);
        let root = u32::try_from(root).expect("32 GiB have fewer blocks");
        let read = |place: u32| -> Result<Block> {
            let block = u64::from(place);
            let blocks = read_blocks(volume, number, map, block, per_block)?;
            let bad = |problem: String| {
                let at = Location::FileBlock {
                    inode: number,
                    block,
                };
                corrupt(at, problem)
            };
            let part = index::decode(&blocks.bytes, geometry, blocks.daddr, number);
            let (siblings, content) = match part.map_err(bad)? {
                Part::Node { siblings, node } => (siblings, Content::Node(node)),
                Part::Leaf {
                    siblings,
                    bytes,
                    rooms,
                } => {
                    let leaf = read_entries(bytes);
                    let hashes = leaf.iter().map(|(hash, _)| *hash).collect();
                    entries.extend(leaf);
                    room.extend(rooms.chunks_exact(2).map(|room| u16_at(room, 0)));
                    (siblings, Content::Leaf(hashes))
                }
                Part::Free { .. } => return Err(bad("a block of rooms in the index".to_owned())),
            };
            Ok(Block {
                backward: siblings.backward,
                forward: siblings.forward,
                content,
            })
        };
        let Some(reached) = walk(number, root, read, report)? else {
            return Ok(());
        };
        let mut at = u64::from(root);
        while let Some(extent) = map.range(at, u64::MAX).next() {
            let block = extent.file_block / step * step;
            at = block + step;
            if u32::try_from(block).is_ok_and(|block| reached.contains(&block)) {
                continue;
            }
            let blocks = read_blocks(volume, number, map, block, per_block)?;
            let location = Location::FileBlock {
                inode: number,
                block,
            };
            match index::decode(&blocks.bytes, geometry, blocks.daddr, number) {
                Ok(Part::Free { first, .. }) if u64::from(first) * size > space::INDEX => {
                    finding(
                        report,
                        location,
                        format!("rooms from data block {first} on"),
                    );
                }
                Ok(Part::Free { first, rooms }) => {
                    room.resize(first as usize, NO_BLOCK);
                    room.extend(rooms.chunks_exact(2).map(|room| u16_at(room, 0)));
                }
                Ok(Part::Node { .. } | Part::Leaf { .. }) => {
                    finding(report, location, "nothing leads to the block");
                }
                Err(problem) => finding(report, location, problem),
            }
        }
        while room.last() == Some(&NO_BLOCK) {
            room.pop();
        }
        if room != directory.rooms(geometry) {
            finding(
                report,
                Location::Inode(number),
                "the index has another room for names than the blocks have",
            );
        }
    }
    entries.retain(|(_, address)| *address != 0);
    entries.sort_unstable();
    if entries != directory.index_entries(geometry) {
        finding(
            report,
            Location::Inode(number),
            "the index does not lead to the names that the directory has",
        );
    }
    Ok(())
}

/// The entries of a leaf.
fn read_entries(bytes: &[u8]) -> Vec<IndexEntry> {
    bytes
        .chunks_exact(INDEX_ENTRY_LEN)
        .map(|entry| (u32_at(entry, 0), u32_at(entry, 4)))
        .collect()
}
