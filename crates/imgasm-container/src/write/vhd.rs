//! Writing VHD, fixed and dynamic ("Virtual Hard Disk Image Format Specification", 2006).

use std::io::Write;

use super::Sink;
use super::pieces::read_piece;
use crate::vhd::{
    BLOCK_ABSENT, FOOTER_BYTES, FOOTER_CHECKSUM, FOOTER_LEN, HEADER_CHECKSUM, SECTOR_BYTES,
    TYPE_DYNAMIC, TYPE_FIXED, bitmap_bytes, checksum,
};
use crate::{Error, Progress, Result};
use imgasm_block::pool::in_order;
use imgasm_block::{BlockDevice, CHUNK_BYTES, ChunkMap, Digest};

const FORMAT: &str = "vhd";

const BLOCK_LEN: usize = 2 << 20;
const BLOCK_BYTES: u64 = 2 << 20;
const HEADER_LEN: usize = 1024;
const HEADER_BYTES: u64 = 1024;

/// The largest dynamic disk: 32 bits for the sector of a block allow no more.
const DISK_LIMIT_BYTES: u64 = 2040 << 30;

/// There is no next structure.
const NOTHING_FOLLOWS: u64 = u64::MAX;

/// The creator. Readers take the size of the disk from its field if they know the creator, and else
/// from the rounded geometry; all of them know this one.
const CREATOR: &[u8; 4] = b"win ";
const CREATOR_HOST: &[u8; 4] = b"Wi2k";

/// The footer of a fixed disk, which follows its bytes.
pub(super) fn fixed_footer(disk_len: u64, digest: Digest) -> Result<[u8; FOOTER_LEN]> {
    check_len(disk_len)?;
    Ok(footer(disk_len, TYPE_FIXED, NOTHING_FOLLOWS, digest))
}

/// Writes a dynamic disk, whose chunks are known: blocks in which all chunks are zeros are left
/// out. The same disk gives the same bytes.
pub(super) fn write_dynamic(
    device: &dyn BlockDevice,
    chunk_map: &ChunkMap,
    out: &mut dyn Write,
    progress: &Progress<'_>,
) -> Result<()> {
    let disk_len = device.len();
    check_len(disk_len)?;
    let mut out = Sink::new(out, FORMAT);
    let footer = footer(disk_len, TYPE_DYNAMIC, FOOTER_BYTES, chunk_map.digest());
    out.write(&footer)?;

    let mut blocks: Vec<u64> = chunk_map
        .chunks()
        .iter()
        .map(|chunk| chunk.index / (BLOCK_BYTES / CHUNK_BYTES))
        .collect();
    blocks.dedup();
    let entries = disk_len.div_ceil(BLOCK_BYTES);
    out.write(&header(entries))?;

    let table_bytes = (entries * 4).next_multiple_of(SECTOR_BYTES);
    let first = FOOTER_BYTES + HEADER_BYTES + table_bytes;
    let stored_bytes = bitmap_bytes(BLOCK_BYTES) + BLOCK_BYTES;
    let mut next = 0;
    for entry in 0..entries {
        let sector = if blocks.get(next) == Some(&entry) {
            let before = u64::try_from(next).expect("a length fits 64 bits");
            next += 1;
            u32::try_from((first + before * stored_bytes) / SECTOR_BYTES)
                .expect("a disk of the limit with its bitmaps stays below 2 TiB")
        } else {
            BLOCK_ABSENT
        };
        out.write(&sector.to_be_bytes())?;
    }
    while out.written() < first {
        out.write(&BLOCK_ABSENT.to_be_bytes())?;
    }

    // All sectors of a stored block are in use.
    let bitmap = vec![0xff; usize::try_from(bitmap_bytes(BLOCK_BYTES)).expect("512")];
    in_order(
        blocks
            .iter()
            .map(|block| Ok::<_, Error>(block * BLOCK_BYTES)),
        |offset| Ok((offset, read_piece(device, offset, BLOCK_LEN)?)),
        |(offset, block)| {
            out.write(&bitmap)?;
            out.write(&block)?;
            progress(offset, disk_len);
            Ok(())
        },
    )?;
    out.write(&footer)?;
    progress(disk_len, disk_len);
    Ok(())
}

fn check_len(disk_len: u64) -> Result<()> {
    let problem = if disk_len > DISK_LIMIT_BYTES {
        "the format holds up to 2040 GiB"
    } else if !disk_len.is_multiple_of(SECTOR_BYTES) {
        "the format holds whole sectors of 512 bytes"
    } else {
        return Ok(());
    };
    Err(Error::Unwritable {
        format: FORMAT,
        len: disk_len,
        problem,
    })
}

/// The footer; `next` is where the header of a dynamic disk lies.
fn footer(disk_len: u64, disk_type: u32, next: u64, digest: Digest) -> [u8; FOOTER_LEN] {
    let mut out = Vec::with_capacity(FOOTER_LEN);
    out.extend(b"conectix");
    // A bit that is always set, and version 1.0.
    out.extend(2_u32.to_be_bytes());
    out.extend(0x0001_0000_u32.to_be_bytes());
    out.extend(next.to_be_bytes());
    // No time, so that the same disk gives the same file.
    out.extend(0_u32.to_be_bytes());
    out.extend(CREATOR);
    out.extend(0x0006_0001_u32.to_be_bytes());
    out.extend(CREATOR_HOST);
    out.extend(disk_len.to_be_bytes());
    out.extend(disk_len.to_be_bytes());
    out.extend(geometry(disk_len / SECTOR_BYTES));
    out.extend(disk_type.to_be_bytes());
    out.extend([0; 4]);
    let uuid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, digest.as_bytes());
    out.extend(uuid.as_bytes());
    out.resize(FOOTER_LEN, 0);
    let sum = checksum(&out, FOOTER_CHECKSUM);
    out[FOOTER_CHECKSUM..FOOTER_CHECKSUM + 4].copy_from_slice(&sum.to_be_bytes());
    *out.first_chunk().expect("just made this long")
}

/// The header of a dynamic disk with so many blocks.
fn header(entries: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend(b"cxsparse");
    out.extend(NOTHING_FOLLOWS.to_be_bytes());
    out.extend((FOOTER_BYTES + HEADER_BYTES).to_be_bytes());
    out.extend(0x0001_0000_u32.to_be_bytes());
    let entries = u32::try_from(entries).expect("about a million in the largest disk");
    out.extend(entries.to_be_bytes());
    out.extend(u32::try_from(BLOCK_LEN).expect("2 MiB").to_be_bytes());
    out.resize(HEADER_LEN, 0);
    let sum = checksum(&out, HEADER_CHECKSUM);
    out[HEADER_CHECKSUM..HEADER_CHECKSUM + 4].copy_from_slice(&sum.to_be_bytes());
    out
}

/// Cylinders, heads and sectors for a disk of so many sectors, by the specification's appendix
/// "CHS Calculation": the smallest of a few usual shapes that holds most of the disk.
fn geometry(sectors: u64) -> [u8; 4] {
    let sectors = sectors.min(65535 * 16 * 255);
    let (per_track, heads) = if sectors >= 65535 * 16 * 63 {
        (255, 16)
    } else {
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if tracks < heads * 1024 && heads <= 16 {
            (17, heads)
        } else if sectors / 31 < 16 * 1024 {
            (31, 16)
        } else {
            (63, 16)
        }
    };
    let cylinders = u16::try_from(sectors / per_track / heads).expect("limited above");
    let [high, low] = cylinders.to_be_bytes();
    let byte = |number: u64| u8::try_from(number).expect("at most 255");
    [high, low, byte(heads), byte(per_track)]
}
