//! Targets of symbolic links that do not fit the inode (`xfs_dsymlink_hdr`): each extent of the
//! fork is one buffer, in version 5 with a header.

use crate::format::bytes::{as_u32, as_usize, put_u32, u32_at};
use crate::format::geometry::Geometry;
use crate::format::numbers::{DiskAddress, InodeNumber};
use crate::format::stamp::REMOTE;

/// `XSLM`.
const MAGIC: u32 = 0x5853_4c4d;
/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 56;
/// A target is shorter than this, in bytes (`XFS_SYMLINK_MAXLEN`).
pub(crate) const MAX_TARGET: usize = 1024;

/// The part of a target that the buffer at `daddr` holds: from byte `from` of the target on, of which
/// `missing` bytes are still missing.
pub(crate) fn decode<'a>(
    bytes: &'a [u8],
    geometry: &Geometry,
    daddr: DiskAddress,
    owner: InodeNumber,
    from: usize,
    missing: usize,
) -> Result<&'a [u8], String> {
    if !geometry.features.crc {
        return Ok(&bytes[..missing.min(bytes.len())]);
    }
    let part = missing.min(bytes.len() - HEADER_LEN);
    if u32_at(bytes, 0) != MAGIC
        || u32_at(bytes, 4) as usize != from
        || u32_at(bytes, 8) as usize != part
    {
        return Err(format!(
            "{} bytes from byte {} of a link's target",
            u32_at(bytes, 8),
            u32_at(bytes, 4)
        ));
    }
    REMOTE.verify(bytes, geometry, daddr, owner.0)?;
    Ok(&bytes[HEADER_LEN..HEADER_LEN + part])
}

/// How many blocks would hold `len` bytes of a target with one header.
pub(crate) fn block_count(geometry: &Geometry, len: usize) -> u64 {
    geometry.blocks_for((len + HEADER_LEN) as u64)
}

/// Encodes as much of a target from byte `from` on as `blocks` blocks hold; gives the buffer, whose
/// identity is still to be sealed, and the number of bytes in it.
pub(crate) fn encode(
    geometry: &Geometry,
    target: &[u8],
    from: usize,
    blocks: u64,
) -> (Vec<u8>, usize) {
    let mut bytes = vec![0; as_usize(blocks) * geometry.block_len()];
    let len = (target.len() - from).min(bytes.len() - HEADER_LEN);
    put_u32(&mut bytes, 0, MAGIC);
    put_u32(&mut bytes, 4, as_u32(from));
    put_u32(&mut bytes, 8, as_u32(len));
    bytes[HEADER_LEN..HEADER_LEN + len].copy_from_slice(&target[from..from + len]);
    (bytes, len)
}
