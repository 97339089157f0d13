//! Reading the targets of symbolic links.

use imgasm_fs::{FileType, Location, Result};

use crate::format::bytes::as_usize;
use crate::format::numbers::DiskAddress;
use crate::format::symlink::{HEADER_LEN, MAX_TARGET, decode};
use crate::inode::{Fork, Inode};
use crate::problem::corrupt;
use crate::volume::Volume;

/// Reads the target of a symbolic link.
pub(crate) fn read(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    inode.expect_type(FileType::Symlink, "a symbolic link")?;
    let bad = |problem: String| corrupt(Location::Inode(inode.number.0), problem);
    let size = inode.core.di_size.get();
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
        // No buffer has more blocks than a whole target needs with its header.
        let blocks = extent
            .blocks
            .min(geometry.blocks_for((MAX_TARGET + HEADER_LEN) as u64));
        let offset = volume.byte_offset(extent.start)?;
        let mut bytes = vec![0; as_usize(blocks) * geometry.block_len()];
        volume.device.read_at(offset, &mut bytes)?;
        let part = decode(
            &bytes,
            geometry,
            DiskAddress::of_byte(offset),
            inode.number,
            target.len(),
            missing,
        );
        target.extend_from_slice(part.map_err(bad)?);
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
