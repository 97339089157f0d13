//! The end of a log whose changes are all on the disk: the record that a clean unmount writes.
//! (`xlog_write_unmount_record`.)

use std::ops::Range;

use imgasm_fs::{Location, Result};

use crate::format::bytes::put_u32;
use crate::format::geometry::Geometry;
use crate::format::numbers::{GroupBlock, GroupNumber};
use crate::log::record::{Place, encode, filler};
use crate::log::ring::{BLOCK, BLOCKS_UNDER_WAY, Records, Ring, UNMOUNT};
use crate::problem::{bad_log, corrupt};

/// The operation: its header and what it says (`xfs_unmount_log_format`).
const OPERATION_LEN: usize = 20;
const HEADER_LEN: usize = 12;
/// `Un`, in the machine's order.
const UNMOUNT_TYPE: u16 = 0x556e;
/// The client that logs it.
const CLIENT: u8 = 0xaa;
/// Any number: no transaction is open.
const NUMBER: u32 = 0xb0c0_d0d0;
/// The longest unit of a log, in bytes.
const MAX_UNIT: u32 = 256 * 1024;

/// The operation that says that all is on the disk.
fn unmount() -> [u8; OPERATION_LEN] {
    let mut operation = [0; OPERATION_LEN];
    put_u32(&mut operation, 0, NUMBER);
    put_u32(&mut operation, 4, 8);
    operation[8] = CLIENT;
    operation[9] = UNMOUNT;
    operation[HEADER_LEN..HEADER_LEN + 2].copy_from_slice(&UNMOUNT_TYPE.to_le_bytes());
    operation
}

/// The beginning of a log that never held anything.
pub(crate) struct Empty {
    /// The group that holds the log.
    pub(crate) group: GroupNumber,
    /// Its blocks.
    pub(crate) blocks: Range<GroupBlock>,
    /// Where its first record lies on the device; behind it all is zeros.
    pub(crate) offset: u64,
    /// The record.
    pub(crate) bytes: Vec<u8>,
}

/// Makes an empty log if the filesystem has it.
///
/// # Errors
/// [`imgasm_fs::Error::Corrupt`] if it has no log.
pub(crate) fn empty(geometry: &Geometry) -> Result<Empty> {
    let place = geometry.log.and_then(|(start, blocks)| {
        let (group, block) = geometry.split(start)?;
        geometry
            .holds(start, u64::from(blocks))
            .then_some((group, block..block.plus(blocks)))
    });
    let (group, blocks) =
        place.ok_or_else(|| corrupt(Location::Superblock, "there is no place for a log"))?;
    let first = Place {
        blocks: (u64::from(geometry.log_unit) / BLOCK).max(2),
        lsn: 1 << 32,
        before: u32::MAX,
    };
    Ok(Empty {
        group,
        offset: geometry.byte_offset(group, blocks.start),
        bytes: encode(&unmount(), &first, geometry, |_| 1),
        blocks,
    })
}

/// Writes the record behind the last one.
pub(super) fn close(ring: &Ring<'_>, records: &Records) -> Result<()> {
    let geometry = &ring.volume.geometry;
    let last = records
        .headers
        .last()
        .ok_or_else(|| bad_log(0, "there is no record to put the end behind"))?;
    let before = last.lsn & 0xffff_ffff;
    let start = before + last.all_blocks();
    let unit = geometry.log_unit;
    let blocks = u64::from(unit) / BLOCK;
    if unit > MAX_UNIT || u64::from(unit) % BLOCK != 0 || blocks >= ring.blocks {
        return Err(bad_log(before, format!("records of {unit} bytes")));
    }
    // A record has a header and at least one more block.
    let blocks = blocks.max(2);
    let round_of = |block: u64| {
        let rounds = u32::try_from(block / ring.blocks).expect("once round at most");
        last.round.wrapping_add(rounds)
    };
    let place = Place {
        blocks,
        lsn: (u64::from(round_of(start)) << 32) + start % ring.blocks,
        before: u32::try_from(before).expect("32 bits"),
    };
    let record = encode(&unmount(), &place, geometry, |block| {
        round_of(start + block)
    });
    let device = &ring.volume.device;
    for (block, bytes) in (start..).zip(record.chunks_exact(512)) {
        device.write_at(ring.byte_offset(block), bytes)?;
    }
    if records.torn {
        // A record that was not written to its end must not look like the log's end.
        let end = start + blocks;
        for block in end..(end + BLOCKS_UNDER_WAY).min(before + ring.blocks) {
            let older = round_of(block).wrapping_sub(1);
            if ring.round(block)? != older {
                let number = u32::try_from(block % ring.blocks).expect("32 bits");
                device.write_at(ring.byte_offset(block), &filler(older, number, geometry))?;
            }
        }
    }
    Ok(())
}
