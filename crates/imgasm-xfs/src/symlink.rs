//! Targets of symbolic links that do not fit the inode (`xfs_dsymlink_hdr`): each extent of the
//! fork is one buffer, in version 5 with a header.

use super::bytes::{as_u32, as_usize, put_u32, u32_at};
use super::corrupt;
use super::geometry::Geometry;
use super::inode::{Fork, Inode};
use super::stamp::REMOTE;
use super::volume::Volume;
use imgasm_fs::{FileType, Location, Result};

/// `XSLM`.
const MAGIC: u32 = 0x5853_4c4d;
/// Bytes of the header.
const HEADER_LEN: usize = 56;
/// No target is as long as this, in bytes (`XFS_SYMLINK_MAXLEN`).
pub(crate) const MAX_TARGET: usize = 1024;

/// Reads the target of a symbolic link.
pub(crate) fn read(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    inode.expect_type(FileType::Symlink, "a symbolic link")?;
    let bad = |problem: String| corrupt(Location::Inode(inode.number), problem);
    let size = inode.core.size.get();
    if size == 0 || size > MAX_TARGET as u64 {
        return Err(bad(format!("a link's target of {size} bytes")));
    }
    let map = match &inode.data {
        Fork::Local(target) => return Ok(target.clone()),
        Fork::Extents(map) => map,
        Fork::Device(_) => return Err(bad("a link with a device number".to_owned())),
    };
    let geometry = &volume.geometry;
    let size = as_usize(size);
    let mut target = Vec::with_capacity(size);
    for extent in map.extents() {
        let missing = size - target.len();
        if missing == 0 || extent.unwritten {
            break;
        }
        // No buffer needs more blocks than a whole target and its header.
        let blocks = extent
            .blocks
            .min(geometry.blocks_for((MAX_TARGET + HEADER_LEN) as u64));
        let offset = volume.byte_offset(extent.start)?;
        let mut bytes = vec![0; as_usize(blocks) * geometry.block_len()];
        volume.device.read_at(offset, &mut bytes)?;
        if geometry.features.crc {
            let part = missing.min(bytes.len() - HEADER_LEN);
            if u32_at(&bytes, 0) != MAGIC
                || u32_at(&bytes, 4) as usize != target.len()
                || u32_at(&bytes, 8) as usize != part
            {
                return Err(bad(format!(
                    "{} bytes from byte {} of a link's target",
                    u32_at(&bytes, 8),
                    u32_at(&bytes, 4)
                )));
            }
            REMOTE
                .verify(&bytes, geometry, offset / 512, inode.number)
                .map_err(bad)?;
            target.extend_from_slice(&bytes[HEADER_LEN..HEADER_LEN + part]);
        } else {
            target.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        }
    }
    if target.len() == size {
        Ok(target)
    } else {
        Err(bad(format!(
            "{} bytes of a link's target of {size}",
            target.len()
        )))
    }
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
