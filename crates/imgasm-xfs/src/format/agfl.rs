//! The list of free blocks that a group keeps for its own trees: a ring in a sector. (Kernel
//! documentation of XFS, "AG Free List"; `xfs_agfl`.)

use crate::format::agf::Agf;
use crate::format::bytes::{put_u32, u32_at};
use crate::format::checksum::{seal_checksum, verify_checksum};
use crate::format::geometry::Geometry;
use crate::format::numbers::{GroupBlock, GroupNumber};

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

/// Decodes the blocks on the list, in its order.
pub(crate) fn decode(
    bytes: &[u8],
    geometry: &Geometry,
    group: GroupNumber,
    agf: &Agf,
) -> Result<Vec<GroupBlock>, String> {
    if geometry.features.crc {
        if u32_at(bytes, 0) != MAGIC {
            return Err(format!("magic number {:#010x}", u32_at(bytes, 0)));
        }
        verify_checksum(bytes, CRC_OFFSET)?;
        if bytes[8..24] != geometry.metadata_uuid || u32_at(bytes, 4) != group.0 {
            return Err("it belongs elsewhere".to_owned());
        }
    }
    let size = capacity(geometry);
    let first = agf.agf_flfirst.get() as usize;
    let count = agf.agf_flcount.get() as usize;
    if first >= size
        || count > size
        || (count > 0 && (first + count - 1) % size != agf.agf_fllast.get() as usize)
    {
        return Err(format!(
            "{count} blocks from slot {first} to {} of {size}",
            agf.agf_fllast
        ));
    }
    (0..count)
        .map(|index| {
            let at = ring_start(geometry) + (first + index) % size * 4;
            let block = GroupBlock(u32_at(bytes, at));
            if geometry.has_block(group, block) {
                Ok(block)
            } else {
                Err(format!("block {block} does not exist"))
            }
        })
        .collect()
}

/// Puts a list, starting at the first slot, into its sector and seals it.
pub(crate) fn encode_into(sector: &mut [u8], geometry: &Geometry, blocks: &[GroupBlock]) {
    encode_from(0, sector, geometry, blocks);
}

/// The slot at which the list of a new group starts.
pub(crate) const FIRST_SLOT: usize = 1;

/// The sector of a new group, with a list that starts at [`FIRST_SLOT`].
pub(crate) fn new_sector(
    geometry: &Geometry,
    group: GroupNumber,
    blocks: &[GroupBlock],
) -> Vec<u8> {
    let mut sector = vec![0xff; geometry.sector_size as usize];
    sector[..HEADER_LEN].fill(0);
    put_u32(&mut sector, 0, MAGIC);
    put_u32(&mut sector, 4, group.0);
    sector[8..24].copy_from_slice(&geometry.metadata_uuid);
    encode_from(FIRST_SLOT, &mut sector, geometry, blocks);
    sector
}

fn encode_from(first: usize, sector: &mut [u8], geometry: &Geometry, blocks: &[GroupBlock]) {
    let start = ring_start(geometry);
    for slot in 0..capacity(geometry) {
        let block = slot.checked_sub(first).and_then(|index| blocks.get(index));
        let block = block.copied().unwrap_or(GroupBlock::NONE);
        put_u32(sector, start + slot * 4, block.0);
    }
    seal_checksum(sector, CRC_OFFSET);
}
