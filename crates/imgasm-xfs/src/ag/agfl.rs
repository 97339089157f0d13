//! The list of free blocks that a group keeps for its own trees: a ring in a sector. (Kernel
//! documentation of XFS, "AG Free List"; `xfs_agfl`.)

use super::agf::Agf;
use super::sector;
use crate::bytes::{put_u32, u32_at};
use crate::corrupt;
use crate::geometry::Geometry;
use crate::stamp::{seal_checksum, verify_checksum};
use crate::volume::Volume;
use imgasm_fs::{Location, Result};

/// `XAFL`.
const MAGIC: u32 = 0x5841_464c;
const CRC_OFFSET: usize = 32;
/// Bytes of the version 5 header.
const HEADER_LEN: usize = 36;

/// Where the ring starts in its sector.
fn ring_start(geometry: &Geometry) -> usize {
    if geometry.features.crc { HEADER_LEN } else { 0 }
}

/// How many blocks the list can hold.
pub(crate) fn capacity(geometry: &Geometry) -> usize {
    (geometry.sector_size as usize - ring_start(geometry)) / 4
}

/// Reads the blocks on the list, in its order.
pub(crate) fn read(volume: &Volume, group: u32, agf: &Agf) -> Result<Vec<u32>> {
    let geometry = &volume.geometry;
    let bad = |problem: String| corrupt(Location::Group(group), format!("AGFL: {problem}"));
    let bytes = volume.read_sector(group, sector::AGFL)?;
    if geometry.features.crc {
        if u32_at(&bytes, 0) != MAGIC {
            return Err(bad(format!("magic number {:#010x}", u32_at(&bytes, 0))));
        }
        verify_checksum(&bytes, CRC_OFFSET).map_err(bad)?;
        if bytes[8..24] != geometry.metadata_uuid || u32_at(&bytes, 4) != group {
            return Err(bad("it belongs elsewhere".to_owned()));
        }
    }
    let size = capacity(geometry);
    let first = agf.list_first.get() as usize;
    let count = agf.list_count.get() as usize;
    if first >= size
        || count > size
        || (count > 0 && (first + count - 1) % size != agf.list_last.get() as usize)
    {
        return Err(bad(format!(
            "{count} blocks from slot {first} to {} of {size}",
            agf.list_last
        )));
    }
    (0..count)
        .map(|index| {
            let block = u32_at(&bytes, ring_start(geometry) + (first + index) % size * 4);
            if block < geometry.group_len(group) {
                Ok(block)
            } else {
                Err(bad(format!("block {block} does not exist")))
            }
        })
        .collect()
}

/// Puts a list, starting at the first slot, into its sector and seals it.
pub(crate) fn encode_into(sector: &mut [u8], geometry: &Geometry, blocks: &[u32]) {
    let start = ring_start(geometry);
    for (index, slot) in (0..capacity(geometry)).enumerate() {
        let block = blocks.get(index).copied().unwrap_or(super::NO_BLOCK);
        put_u32(sector, start + slot * 4, block);
    }
    seal_checksum(sector, CRC_OFFSET);
}
