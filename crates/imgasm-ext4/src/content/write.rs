//! Writing into a part of a file.

use std::ops::Range;

use super::block_limit;
use crate::format::extent::Extent;
use crate::format::inode::{Inode, TimeField};
use crate::format::numbers::{FileBlock, InodeNumber, to_u64};
use crate::mapping::{Mapping, part};
use crate::volume::Ext4;
use imgasm_fs::error::Result;

impl Ext4 {
    /// Writes into a file at byte `offset`.
    pub(crate) fn write_part(
        &mut self,
        number: InodeNumber,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        let mut inode = self.regular_file(number)?;
        if data.is_empty() {
            return Ok(());
        }
        let old_size = inode.size();
        let end = offset.saturating_add(to_u64(data.len()));
        self.check_size(number, &inode, end)?;
        self.move_out_of_inode(number, &mut inode)?;
        let block_size = self.geometry.block_size;
        let blocks = offset / block_size.bytes64()..block_size.blocks_for(end);
        let before = self.mapping_to_change(number, &inode, blocks.clone())?;
        let mut after = before.clone();
        let fresh = self.fill_holes(number, &inode, &mut after, blocks)?;
        if after != before {
            self.store_mapping(number, &mut inode, &before, &mut after)?;
        }
        self.set_size_field(&mut inode, old_size.max(end));
        self.touch(&mut inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, &mut inode)?;

        if offset > old_size {
            let tail = self.mapping_at(number, &inode, old_size)?;
            self.zero_to_block_end(&tail, old_size, Some(offset))?;
        }
        let fresh_at = |at: u64| {
            fresh
                .iter()
                .any(|r| r.contains(&(at / block_size.bytes64())))
        };
        let first_byte = offset - offset % block_size.bytes64();
        if first_byte < offset && fresh_at(offset) {
            self.put_bytes(&after, first_byte, &vec![0; self.within_block(offset)])?;
        }
        self.put_bytes(&after, offset, data)?;
        if fresh_at(end) {
            self.zero_to_block_end(&after, end, None)?;
        }
        Ok(())
    }

    /// The mapping around a byte of a file.
    fn mapping_at(&self, number: InodeNumber, inode: &Inode, offset: u64) -> Result<Mapping> {
        let block = offset / self.geometry.block_size.bytes64();
        self.mapping_of_range(number, inode, block..block + 1)
    }

    /// Allocates blocks for the holes in a range, and marks unwritten ones as written; gives the
    /// ranges that hold nothing yet.
    fn fill_holes(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        mapping: &mut Mapping,
        range: Range<u64>,
    ) -> Result<Vec<Range<u64>>> {
        let longest = Self::longest_extent(inode);
        let mut fresh = Vec::new();
        for extent in mapping.overlapping(range.clone()).to_vec() {
            let Some(unwritten) = part(&extent, range.clone()).filter(|e| e.unwritten) else {
                continue;
            };
            let blocks = u64::from(unwritten.first.0)..unwritten.end();
            mapping.cut(blocks.clone());
            let written = Extent {
                unwritten: false,
                ..unwritten
            };
            mapping.insert(written, longest);
            fresh.push(blocks);
        }
        let mut at = range.start;
        while at < range.end {
            let next = mapping.overlapping(at..range.end).first().copied();
            if let Some(extent) = next.filter(|extent| u64::from(extent.first.0) <= at) {
                at = extent.end();
                continue;
            }
            let hole_end = next.map_or(range.end, |extent| u64::from(extent.first.0));
            let wanted = u32::try_from(hole_end - at)
                .unwrap_or(u32::MAX)
                .min(longest(false));
            let goal = mapping
                .overlapping(0..at)
                .last()
                .map_or(self.goal_of(number), |e| e.start.plus(u64::from(e.len)));
            let (start, len) = self.allocate_run(goal, wanted, block_limit(inode))?;
            let extent = Extent {
                first: Self::file_block_number(number, at)?,
                len,
                start,
                unwritten: false,
            };
            mapping.insert(extent, longest);
            fresh.push(at..extent.end());
            at = extent.end();
        }
        Ok(fresh)
    }

    /// Writes bytes of a file into the blocks that hold them.
    fn put_bytes(&self, mapping: &Mapping, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset + to_u64(data.len());
        let block_size = self.geometry.block_size;
        let blocks = offset / block_size.bytes64()..block_size.blocks_for(end);
        for extent in mapping.overlapping(blocks) {
            let (bytes, device_offset) = self.bytes_of(extent, offset..end);
            let at = |n: u64| usize::try_from(n - offset).expect("inside the data");
            self.device
                .write_at(device_offset, &data[at(bytes.start)..at(bytes.end)])?;
        }
        Ok(())
    }

    /// Zeros the bytes from `offset` to the end of its block, or to `until` if that comes first,
    /// unless the block is a hole or reads as zeros.
    pub(crate) fn zero_to_block_end(
        &self,
        mapping: &Mapping,
        offset: u64,
        until: Option<u64>,
    ) -> Result<()> {
        let block_size = self.geometry.block_size.bytes64();
        let block_end = offset.next_multiple_of(block_size);
        let end = until.unwrap_or(block_end).min(block_end);
        let Ok(block) = u32::try_from(offset / block_size) else {
            return Ok(());
        };
        let holds_data = mapping.find(FileBlock(block)).is_some_and(|e| !e.unwritten);
        if holds_data && offset < end {
            let zeros = usize::try_from(end - offset).expect("at most a block");
            self.put_bytes(mapping, offset, &vec![0; zeros])?;
        }
        Ok(())
    }
}
