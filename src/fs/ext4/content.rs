//! The content of regular files: reading, replacing, writing into, cutting and growing.
//!
//! Data goes to the device at once, metadata to the stage. An operation that can fail does so
//! before it writes over anything that was there before: new content goes to blocks that were
//! free, and blocks that hold content are written only when all else has gone well.

use std::io::Read;
use std::ops::Range;

use zerocopy::little_endian::U32;

use super::block_map::BLOCK_LIMIT;
use super::format::extent::Extent;
use super::format::features::RoCompat;
use super::format::inode::{Inode, TimeField, flags};
use super::format::numbers::{BlockNumber, FileBlock, InodeNumber, to_u64, to_usize};
use super::inode_table::refuse_encrypted;
use super::mapping::{Mapping, part};
use super::{Ext4, at_inode, corrupt, inline};
use crate::fs::error::{Error, Result};
use crate::fs::types::{FileExtent, FileType};

/// Bytes of content that are in memory at a time.
const CHUNK: usize = 1 << 20;
/// Content that is all zeros over this many bytes, at a multiple of them, becomes a hole. Smaller
/// holes would save little and tear files into many extents.
const HOLE: usize = 64 << 10;
/// Content up to this size is held in memory to be written into the blocks that it replaces, where
/// there is no room for both.
const HELD: u64 = 32 << 20;
/// The size in bytes up to which a file does not need the feature `large_file`.
const SMALL_FILE: u64 = 0x7fff_ffff;

/// Data on its way to blocks.
struct Output {
    /// Blocks that were taken and are not used yet.
    next: BlockNumber,
    left: u32,
    /// Blocks that may still be needed.
    expected: u64,
    below: u64,
    /// Data to be written when all metadata is staged; `None` where it is written at once.
    held: Option<Vec<(BlockNumber, Vec<u8>)>>,
    mapping: Mapping,
    longest: fn(bool) -> u32,
}

impl Ext4 {
    /// Reads content at byte `offset`; gives the number of bytes, fewer than asked for only at the
    /// end of the file.
    pub(super) fn read_content(
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
    fn bytes_of(&self, extent: &Extent, within: Range<u64>) -> (Range<u64>, u64) {
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
    pub(super) fn content_extents(
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

    /// A regular file that can be written.
    pub(super) fn regular_file(&self, number: InodeNumber) -> Result<Inode> {
        let inode = self.read_inode(number)?;
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        if file_type != FileType::Regular {
            return Err(Error::WrongType {
                node: super::namespace::node(number),
                expected: "a regular file",
            });
        }
        Ok(inode)
    }

    /// Replaces all content of a file.
    pub(super) fn write_whole(
        &mut self,
        number: InodeNumber,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let mut inode = self.regular_file(number)?;
        self.replace_content(number, &mut inode, size, content)?;
        self.touch(&mut inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, &mut inode)
    }

    /// Replaces what an inode's blocks hold by `size` bytes.
    pub(super) fn replace_content(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        self.check_size(number, inode, size)?;
        let before = self.mapping(number, inode)?;
        let needed = self.geometry.block_size.blocks_for(size);
        let hold = needed > self.free_block_count() && size <= HELD;
        let mut output = Output {
            next: self.goal_of(number),
            left: 0,
            expected: needed,
            below: block_limit(inode),
            held: hold.then(Vec::new),
            mapping: Mapping::default(),
            longest: Self::longest_extent(inode),
        };
        if hold {
            let mut bytes = vec![0; usize::try_from(size).expect("checked to be small")];
            content.read_exact(&mut bytes).map_err(Error::Content)?;
            self.free_extents(&before.extents)?;
            self.put_content(number, &mut output, size, &mut bytes.as_slice())?;
        } else {
            self.put_content(number, &mut output, size, content)?;
            self.free_extents(&before.extents)?;
        }
        self.free_blocks_if_any(output.next, output.left)?;
        self.store_mapping(number, inode, &before, &mut output.mapping)?;
        self.set_size_field(inode, size);
        for (block, bytes) in output.held.into_iter().flatten() {
            self.device
                .write_at(self.geometry.block_size.offset_of(block), &bytes)?;
        }
        Ok(())
    }

    /// Carries `size` bytes over to blocks, a chunk at a time.
    fn put_content(
        &mut self,
        number: InodeNumber,
        output: &mut Output,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let block_len = self.geometry.block_size.len();
        let mut chunk = vec![0; usize::try_from(size).map_or(CHUNK, |size| size.min(CHUNK))];
        let mut done = 0;
        while done < size {
            let len = usize::try_from(size - done).map_or(CHUNK, |rest| rest.min(CHUNK));
            content
                .read_exact(&mut chunk[..len])
                .map_err(Error::Content)?;
            let padded = len.next_multiple_of(block_len);
            chunk.resize(padded.max(chunk.len()), 0);
            chunk[len..padded].fill(0);
            for run in data_runs(&chunk[..padded]) {
                let at = done + to_u64(run.start);
                self.put_run(number, output, at, &chunk[run])?;
            }
            let blocks = to_u64(padded / block_len);
            output.expected = output.expected.saturating_sub(blocks);
            done += to_u64(len);
        }
        Ok(())
    }

    /// Puts whole blocks of data at byte `at` of the file.
    fn put_run(
        &mut self,
        number: InodeNumber,
        output: &mut Output,
        at: u64,
        mut data: &[u8],
    ) -> Result<()> {
        let block_size = self.geometry.block_size;
        let mut block = at / block_size.bytes64();
        while !data.is_empty() {
            if output.left == 0 {
                let wanted = u32::try_from(output.expected).unwrap_or(u32::MAX).max(1);
                (output.next, output.left) =
                    self.allocate_run(output.next, wanted, output.below)?;
            }
            let here = to_usize(output.left)
                .min(data.len() / block_size.len())
                .min(to_usize((output.longest)(false)));
            let count = super::format::numbers::to_u32(here);
            let (now, rest) = data.split_at(here * block_size.len());
            match &mut output.held {
                Some(held) => held.push((output.next, now.to_vec())),
                None => self
                    .device
                    .write_at(block_size.offset_of(output.next), now)?,
            }
            let extent = Extent {
                first: Self::file_block_number(number, block)?,
                len: count,
                start: output.next,
                unwritten: false,
            };
            output.mapping.insert(extent, output.longest);
            output.next = output.next.plus(u64::from(count));
            output.left -= count;
            block += u64::from(count);
            data = rest;
        }
        Ok(())
    }

    /// Writes into a file at byte `offset`.
    pub(super) fn write_part(
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

    /// Gives blocks to holes in a range, and makes unwritten ones written; gives the ranges that
    /// hold nothing yet.
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

    /// Zeros the bytes from `offset` to the end of its block, or to `until` where that comes
    /// first, unless the block is a hole or reads as zeros.
    pub(super) fn zero_to_block_end(
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

    /// Cuts a file off, or grows it by a hole.
    pub(super) fn resize(&mut self, number: InodeNumber, size: u64) -> Result<()> {
        let mut inode = self.regular_file(number)?;
        let old_size = inode.size();
        self.check_size(number, &inode, size)?;
        let before = self.mapping(number, &inode)?;
        let mut after = before.clone();
        if size < old_size {
            let from = self.geometry.block_size.blocks_for(size);
            let cut = after.cut(from..1 << 32);
            self.free_extents(&cut)?;
            self.store_mapping(number, &mut inode, &before, &mut after)?;
        }
        self.set_size_field(&mut inode, size);
        self.touch(&mut inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, &mut inode)?;
        // Nothing behind the end may come to light when the file grows, now or later.
        self.zero_to_block_end(&after, size.min(old_size), None)
    }

    /// Gives all blocks of an inode back.
    pub(super) fn free_content(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        let before = self.mapping(number, inode)?;
        self.free_extents(&before.extents)?;
        self.store_mapping(number, inode, &before, &mut Mapping::default())
    }

    /// Gives runs of blocks back.
    pub(super) fn free_extents(&mut self, extents: &[Extent]) -> Result<()> {
        for extent in extents {
            self.free_blocks(extent.start, u64::from(extent.len))?;
        }
        Ok(())
    }

    fn free_blocks_if_any(&mut self, start: BlockNumber, len: u32) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.free_blocks(start, u64::from(len))
    }

    fn check_size(&self, number: InodeNumber, inode: &Inode, size: u64) -> Result<()> {
        let limit = self.largest_size(inode);
        if size > limit {
            return Err(Error::Unstorable {
                what: number.to_string(),
                problem: format!("it cannot have {size} bytes, at most {limit} are possible"),
            });
        }
        if inode.has_flag(flags::VERITY) {
            return Err(corrupt(
                at_inode(number),
                "it is sealed by fs-verity, which the filesystem's features do not name",
            ));
        }
        Ok(())
    }

    fn set_size_field(&mut self, inode: &mut Inode, size: u64) {
        inode.set_size(size);
        if size > SMALL_FILE
            && !self
                .superblock
                .features()
                .ro_compat
                .contains(RoCompat::LARGE_FILE)
        {
            let bits = self.superblock.s_feature_ro_compat.get();
            self.superblock.s_feature_ro_compat = U32::new(bits | RoCompat::LARGE_FILE.bits());
        }
    }
}

/// The first block number that an inode's form cannot hold.
pub fn block_limit(inode: &Inode) -> u64 {
    if inode.has_flag(flags::EXTENTS) {
        u64::MAX
    } else {
        BLOCK_LIMIT
    }
}

/// The parts of a chunk that are not to become holes.
fn data_runs(chunk: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for piece in chunk.chunks(HOLE) {
        let end = at + piece.len();
        if !is_zero(piece) {
            match runs.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => runs.push(at..end),
            }
        }
        at = end;
    }
    runs
}

fn is_zero(bytes: &[u8]) -> bool {
    // Whole chunks, so that the comparison is made of wide words.
    let mut chunks = bytes.chunks_exact(64);
    chunks.all(|chunk| chunk == [0; 64])
        && bytes.chunks_exact(64).remainder().iter().all(|&b| b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_aligned_zeros_become_holes() {
        let mut chunk = vec![0; 5 * HOLE + 4096];
        chunk[HOLE - 1] = 1;
        chunk[3 * HOLE] = 1;
        chunk[4 * HOLE] = 1;
        assert_eq!(data_runs(&chunk), [0..HOLE, 3 * HOLE..5 * HOLE]);
    }
}
