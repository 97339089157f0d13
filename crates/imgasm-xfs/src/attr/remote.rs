//! Values in blocks of their own (`xfs_attr3_rmt_hdr`): in version 5 each block has a header.

use crate::bmap::ExtentMap;
use crate::bytes::{as_u32, put_u32, u32_at};
use crate::corrupt;
use crate::fork::read_blocks;
use crate::geometry::Geometry;
use crate::stamp::REMOTE;
use crate::volume::Volume;
use imgasm_fs::{Location, Result};

/// `XARM`.
const MAGIC: u32 = 0x5841_524d;
/// Bytes of the header.
const HEADER_LEN: usize = 56;
/// The longest value, in bytes (`XATTR_SIZE_MAX`).
pub(crate) const MAX_VALUE: usize = 65536;

/// Bytes of a value that a block holds.
fn payload(geometry: &Geometry) -> usize {
    if geometry.features.crc {
        geometry.block_len() - HEADER_LEN
    } else {
        geometry.block_len()
    }
}

/// How many blocks a value of `len` bytes fills.
pub(crate) fn block_count(geometry: &Geometry, len: usize) -> usize {
    len.div_ceil(payload(geometry))
}

/// Reads a value of `len` bytes from `file_block` of the attribute fork on.
pub(crate) fn read(
    volume: &Volume,
    inode: u64,
    map: &ExtentMap,
    file_block: u32,
    len: u32,
) -> Result<Vec<u8>> {
    let geometry = &volume.geometry;
    let len = len as usize;
    if len > MAX_VALUE {
        return Err(corrupt(
            Location::Inode(inode),
            format!("an attribute's value of {len} bytes"),
        ));
    }
    let mut value = Vec::with_capacity(len);
    for index in 0..block_count(geometry, len) {
        let block = u64::from(file_block) + index as u64;
        let bad = |problem: String| corrupt(Location::FileBlock { inode, block }, problem);
        let blocks = read_blocks(volume, inode, map, block, 1)?;
        let part = payload(geometry).min(len - value.len());
        if geometry.features.crc {
            let bytes = &blocks.bytes;
            if u32_at(bytes, 0) != MAGIC {
                return Err(bad(format!("magic number {:#010x}", u32_at(bytes, 0))));
            }
            REMOTE
                .verify(bytes, geometry, blocks.daddr, inode)
                .map_err(bad)?;
            if u32_at(bytes, 4) as usize != value.len() || u32_at(bytes, 8) as usize != part {
                return Err(bad(format!(
                    "{} bytes from byte {} of a value",
                    u32_at(bytes, 8),
                    u32_at(bytes, 4)
                )));
            }
            value.extend_from_slice(&bytes[HEADER_LEN..HEADER_LEN + part]);
        } else {
            value.extend_from_slice(&blocks.bytes[..part]);
        }
    }
    Ok(value)
}

/// Encodes a value into blocks, whose identity is still to be sealed.
pub(crate) fn encode(geometry: &Geometry, value: &[u8]) -> Vec<Vec<u8>> {
    let parts = value.chunks(payload(geometry));
    parts
        .enumerate()
        .map(|(index, part)| {
            let mut block = vec![0; geometry.block_len()];
            put_u32(&mut block, 0, MAGIC);
            put_u32(&mut block, 4, as_u32(index * payload(geometry)));
            put_u32(&mut block, 8, as_u32(part.len()));
            block[HEADER_LEN..HEADER_LEN + part.len()].copy_from_slice(part);
            block
        })
        .collect()
}
