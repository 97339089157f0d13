//! Reading the content of regular files.

use imgasm_fs::{FileExtent, Result};

use crate::format::bytes::as_usize;
use crate::format::extent::Extent;
use crate::format::numbers::FileBlock;
use crate::inode::Inode;
use crate::volume::Volume;

/// Reads from a regular file at byte `offset`, up to its end.
pub(crate) fn read_at(
    volume: &Volume,
    inode: &Inode,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize> {
    inode.expect_regular()?;
    let size = inode.core.di_size.get();
    let len = size.saturating_sub(offset).min(buf.len() as u64);
    if len == 0 {
        return Ok(0);
    }
    let buf = &mut buf[..as_usize(len)];
    let end = offset + len;
    let geometry = &volume.geometry;
    let mut filled = 0;
    let blocks = inode
        .data_map()?
        .range(geometry.file_block(offset), geometry.file_end(end));
    for extent in blocks.filter(|extent| !extent.unwritten) {
        let first = geometry.file_offset(extent.file_block);
        let from = first.max(offset);
        let to = geometry.file_offset(extent.end()).min(end);
        let (start, stop) = (as_usize(from - offset), as_usize(to - offset));
        buf[filled..start].fill(0);
        let device_offset = volume.byte_offset(extent.start)? + (from - first);
        volume
            .device
            .read_at(device_offset, &mut buf[start..stop])?;
        filled = stop;
    }
    buf[filled..].fill(0);
    Ok(buf.len())
}

/// Where a regular file's data lies, up to its end.
pub(crate) fn extents(volume: &Volume, inode: &Inode) -> Result<Vec<FileExtent>> {
    inode.expect_regular()?;
    let geometry = &volume.geometry;
    let end = geometry.file_end(inode.core.di_size.get());
    let mut extents: Vec<FileExtent> = Vec::new();
    let written = |extent: &Extent| !extent.unwritten;
    for extent in inode
        .data_map()?
        .range(FileBlock::FIRST, end)
        .filter(written)
    {
        let next = FileExtent {
            file_offset: geometry.file_offset(extent.file_block),
            device_offset: volume.byte_offset(extent.start)?,
            len: extent.blocks * u64::from(geometry.block_size),
        };
        match extents.last_mut() {
            Some(last)
                if last.file_offset + last.len == next.file_offset
                    && last.device_offset + last.len == next.device_offset =>
            {
                last.len += next.len;
            }
            _ => extents.push(next),
        }
    }
    Ok(extents)
}
