//! Buffers: the log's changes to a run of blocks.
//!
//! A block whose own sequence number is later than the log's is left alone. A changed block gets
//! the log's number and a new checksum.

use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Result};

use crate::format;
use crate::format::bytes::{as_u64, put_u64, u16_at, u32_at, u64_at};
use crate::format::checksum::seal_checksum;
use crate::format::geometry::Geometry;
use crate::format::stamp::{DIRECTORY, HASH_TREE, LONG_TREE, Marks, REMOTE, SHORT_TREE};
use crate::log::items::{Blocks, BufferItem};
use crate::problem::unknown_in_log;

/// The most blocks of a buffer: 64 KiB.
pub(super) const MAX_BLOCKS: u32 = 128;
/// What a buffer holds, in the log's numbers: quotas, and inodes.
const QUOTAS: std::ops::RangeInclusive<u16> = 1..=3;
const INODES: u16 = 8;

/// The superblock.
const SUPERBLOCK: Marks = Marks {
    crc: 224,
    lsn: 240,
    uuid: 32,
};
/// The heads of a group: free space, inodes, free list.
const AGF: Marks = Marks {
    crc: 216,
    lsn: 208,
    uuid: 64,
};
const AGI: Marks = Marks {
    crc: 312,
    lsn: 320,
    uuid: 296,
};
const AGFL: Marks = Marks {
    crc: 32,
    lsn: 24,
    uuid: 8,
};

/// Where a block holds what the log needs, by its magic number.
fn marks(bytes: &[u8]) -> Option<Marks> {
    Some(match &bytes[..4] {
        b"XFSB" => SUPERBLOCK,
        b"XAGF" => AGF,
        b"XAGI" => AGI,
        b"XAFL" => AGFL,
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => SHORT_TREE.marks(),
        b"BMA3" => LONG_TREE.marks(),
        b"XSLM" => REMOTE.marks(),
        b"XDB3" | b"XDD3" | b"XDF3" => DIRECTORY.marks(),
        _ => match u16_at(bytes, 8) {
            // Leaves and nodes of directories, leaves of attributes.
            0x3df1 | 0x3dff | 0x3ebe | 0x3bee => HASH_TREE.marks(),
            _ => return None,
        },
    })
}

/// The sequence number of the last change that a block contains, if it has one.
fn written_at(bytes: &[u8], geometry: &Geometry) -> Option<u64> {
    let marks = marks(bytes)?;
    let uuid = &bytes[marks.uuid..marks.uuid + 16];
    let is_ours = uuid == geometry.metadata_uuid || uuid == geometry.uuid;
    let lsn = u64_at(bytes, marks.lsn);
    (is_ours && lsn != 0 && lsn != u64::MAX).then_some(lsn)
}

/// Reads a buffer, which must lie on the device.
pub(super) fn read(
    device: &dyn BlockDevice,
    blocks: Blocks,
    bad: &dyn Fn(String) -> Error,
) -> Result<(u64, Vec<u8>)> {
    let len = u64::from(blocks.count) * 512;
    let offset = blocks.first.0.checked_mul(512).filter(|offset| {
        let end = offset.checked_add(len);
        (1..=MAX_BLOCKS).contains(&blocks.count) && end.is_some_and(|end| end <= device.len())
    });
    let offset = offset.ok_or_else(|| {
        bad(format!(
            "a buffer of {} sectors at {:#x}",
            blocks.count, blocks.first.0
        ))
    })?;
    let mut bytes = vec![0; blocks.count as usize * 512];
    device.read_at(offset, &mut bytes)?;
    Ok((offset, bytes))
}

/// Applies the change to a buffer that was logged at `lsn`.
pub(super) fn apply(
    device: &dyn BlockDevice,
    geometry: &Geometry,
    item: &BufferItem,
    lsn: u64,
    bad: &dyn Fn(String) -> Error,
) -> Result<()> {
    let (offset, mut bytes) = read(device, item.blocks, bad)?;
    if item.of_inodes {
        change_unlinked(&mut bytes, geometry, item, bad)?;
        return Ok(device.write_at(offset, &bytes)?);
    }
    if written_at(&bytes, geometry).is_some_and(|written| written >= lsn) {
        return Ok(());
    }
    for (at, change) in &item.changes {
        bytes[*at..*at + change.len()].copy_from_slice(change);
    }
    match marks(&bytes) {
        Some(marks) => {
            put_u64(&mut bytes, marks.lsn, lsn);
            seal_checksum(&mut bytes, marks.crc);
        }
        None if QUOTAS.contains(&item.content) || item.content == INODES => {}
        None => {
            return Err(unknown_in_log(format!(
                "a buffer of kind {} that begins with {:#010x}",
                item.content,
                u32_at(&bytes, 0)
            )));
        }
    }
    Ok(device.write_at(offset, &bytes)?)
}

/// In a buffer of inodes, only the lists of unlinked inodes matter: everything else about an inode
/// is in the inode's own item.
fn change_unlinked(
    bytes: &mut [u8],
    geometry: &Geometry,
    item: &BufferItem,
    bad: &dyn Fn(String) -> Error,
) -> Result<()> {
    let size = geometry.inode_size as usize;
    for (index, inode) in bytes.chunks_exact_mut(size).enumerate() {
        let at = index * size + format::inode::NEXT_UNLINKED;
        let change = item
            .changes
            .iter()
            .find(|(start, change)| *start <= at && at + 4 <= start + change.len());
        let Some((start, change)) = change else {
            continue;
        };
        let next = &change[at - start..at - start + 4];
        if next == [0; 4] {
            return Err(bad(format!(
                "inode {index} of the buffer at {:#x} is in no list of unlinked ones and not out of them",
                item.blocks.first.0
            )));
        }
        inode[format::inode::NEXT_UNLINKED..format::inode::NEXT_UNLINKED + 4].copy_from_slice(next);
        format::inode::seal(inode);
    }
    Ok(())
}

/// Whether two runs of bytes of the device have something in common.
pub(super) fn overlap(blocks: Blocks, range: &std::ops::Range<u64>) -> bool {
    let start = blocks.first.0.saturating_mul(512);
    let end = start.saturating_add(as_u64(blocks.count as usize) * 512);
    start < range.end && range.start < end
}
