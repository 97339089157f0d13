//! Reading content, and where it lies.

use std::ops::Range;

use crate::format::extent::Extent;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{InodeNumber, to_u64};
use crate::inline;
use crate::inode_table::refuse_encrypted;
use crate::mapping::part;
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::types::FileExtent;

impl Ext4 {
    /// Reads content at byte `offset`; gives the number of bytes, fewer than asked for only at the
    /// end of the file.
    pub(crate) fn read_content(
        &self,
        number: InodeNumber,
        inode: &Inode,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        refuse_encrypted(number, inode)?;
        let rest = inode.size().saturating_sub(offset);
        let len = usize::try_from(rest).map_or(buf.len(), |rest| rest.min(buf.len()));
        if len == 0 {
            return Ok(0);
        }
        let buf = &mut buf[..len];
        if inode.has_flag(flags::INLINE_DATA) {
            let content = inline::content(number, inode)?;
            let from = usize::try_from(offset).expect("below the size, which is in memory");
            buf.copy_from_slice(&content[from..from + len]);
            return Ok(len);
        }
        let block_size = self.geometry.block_size;
        let end = offset + to_u64(len);
        let blocks = offset / block_size.bytes64()..block_size.blocks_for(end);
        let mapping = self.mapping_of_range(number, inode, blocks.clone())?;
        buf.fill(0);
        for extent in mapping.overlapping(blocks) {
            if extent.unwritten {
                continue;
            }
            let (bytes, device_offset) = self.bytes_of(extent, offset..end);
            let at = |n: u64| usize::try_from(n - offset).expect("inside the buffer");
            self.device
                .read_at(device_offset, &mut buf[at(bytes.start)..at(bytes.end)])?;
        }
        Ok(len)
    }

    /// The bytes of a file, inside a range, that an extent holds, and where they lie.
    pub(super) fn bytes_of(&self, extent: &Extent, within: Range<u64>) -> (Range<u64>, u64) {
        let block_size = self.geometry.block_size;
        let first = u64::from(extent.first.0) * block_size.bytes64();
        let from = first.max(within.start);
        let to = (extent.end() * block_size.bytes64()).min(within.end);
        (
            from..to,
            block_size.offset_of(extent.start) + (from - first),
        )
    }

    /// Where content lies; what reads as zeros is left out.
    pub(crate) fn content_extents(
        &self,
        number: InodeNumber,
        inode: &Inode,
    ) -> Result<Vec<FileExtent>> {
        if inode.has_flag(flags::INLINE_DATA) {
            return self.inline_extents(number, inode);
        }
        let blocks = self.size_in_blocks(inode);
        let block_size = self.geometry.block_size;
        let mapping = self.mapping(number, inode)?;
        Ok(mapping
            .extents
            .iter()
            .filter(|extent| !extent.unwritten)
            .filter_map(|extent| part(extent, 0..blocks))
            .map(|extent| FileExtent {
                file_offset: u64::from(extent.first.0) * block_size.bytes64(),
                device_offset: block_size.offset_of(extent.start),
                len: u64::from(extent.len) * block_size.bytes64(),
            })
            .collect())
    }
}
