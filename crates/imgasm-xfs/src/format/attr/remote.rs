//! Values in blocks of their own (`xfs_attr3_rmt_hdr`): in version 5 each block has a header.

use crate::format::bytes::{as_u32, put_u32, u32_at};
use crate::format::geometry::Geometry;
use crate::format::numbers::{DiskAddress, InodeNumber};
use crate::format::stamp::REMOTE;

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

/// The part of a value of `len` bytes that the block at `daddr` holds, from byte `from` on.
pub(crate) fn decode<'a>(
    bytes: &'a [u8],
    geometry: &Geometry,
    daddr: DiskAddress,
    owner: InodeNumber,
    from: usize,
    len: usize,
) -> Result<&'a [u8], String> {
    let part = payload(geometry).min(len - from);
    if !geometry.features.crc {
        return Ok(&bytes[..part]);
    }
    if u32_at(bytes, 0) != MAGIC {
        return Err(format!("magic number {:#010x}", u32_at(bytes, 0)));
    }
    REMOTE.verify(bytes, geometry, daddr, owner.0)?;
    if u32_at(bytes, 4) as usize != from || u32_at(bytes, 8) as usize != part {
        return Err(format!(
            "{} bytes from byte {} of a value",
            u32_at(bytes, 8),
            u32_at(bytes, 4)
        ));
    }
    Ok(&bytes[HEADER_LEN..HEADER_LEN + part])
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
