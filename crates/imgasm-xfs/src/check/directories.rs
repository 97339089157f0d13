//! The index of a directory against its names.

use imgasm_fs::{Location, Result};

use crate::check::report::{Report, finding};
use crate::dir::Directory;
use crate::fork::read_blocks;
use crate::format::bytes::{u16_at, u32_at};
use crate::format::dir::data::{BlockKind, INDEX_ENTRY_LEN, TAIL_LEN};
use crate::format::dir::index::{IndexEntry, NO_BLOCK, Part, index_start, space};
use crate::format::dir::{data, index};
use crate::inode::{Fork, Inode};
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
    let first = read_blocks(volume, number, map, 0, per_block)?;
    if data::check_identity(&first.bytes, geometry, first.daddr, number) == Ok(BlockKind::Whole) {
        let tail = first.bytes.len() - TAIL_LEN;
        let count = u32_at(&first.bytes, tail) as usize;
        entries = read_entries(&first.bytes[tail - count * INDEX_ENTRY_LEN..tail]);
    } else {
        let mut at = index_start(geometry);
        while let Some(extent) = map.range(at, u64::MAX).next() {
            let step = u64::from(per_block);
            let block = extent.file_block / step * step;
            let blocks = read_blocks(volume, number, map, block, per_block)?;
            let location = Location::FileBlock {
                inode: number,
                block,
            };
            match index::decode(&blocks.bytes, geometry, blocks.daddr, number) {
                Ok(Part::Node) => {}
                Ok(Part::Leaf { bytes, rooms }) => {
                    entries.extend(read_entries(bytes));
                    room.extend(rooms.chunks_exact(2).map(|room| u16_at(room, 0)));
                }
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
                Err(problem) => finding(report, location, problem),
            }
            at = block + step;
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

/// The entries of a leaf, none where they are not in order.
fn read_entries(bytes: &[u8]) -> Vec<IndexEntry> {
    let entries: Vec<IndexEntry> = bytes
        .chunks_exact(INDEX_ENTRY_LEN)
        .map(|entry| (u32_at(entry, 0), u32_at(entry, 4)))
        .collect();
    if entries.is_sorted_by_key(|(hash, _)| *hash) {
        entries
    } else {
        Vec::new()
    }
}
