//! New content in place of all that was there.

use std::io::Read;

use super::block_limit;
use crate::format::extent::Extent;
use crate::format::inode::{Inode, TimeField};
use crate::format::numbers::{BlockNumber, InodeNumber, to_u32, to_u64, to_usize};
use crate::mapping::Mapping;
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::holes::{data_runs, read_content};

/// Bytes of content that are in memory at a time.
const CHUNK: usize = 1 << 20;
/// Content up to this size is held in memory, to be written over the old content if there is no
/// room for both.
const HELD: u64 = 32 << 20;

/// Data on its way to the disk.
struct Output {
    /// Blocks that are allocated and not used yet.
    next: BlockNumber,
    left: u32,
    /// Blocks that may still be needed.
    expected: u64,
    below: u64,
    /// Data to be written when all metadata is staged; `None` if it is written at once.
    held: Option<Vec<(BlockNumber, Vec<u8>)>>,
    mapping: Mapping,
    longest: fn(bool) -> u32,
}

impl Ext4 {
    /// Replaces all content of a file.
    pub(crate) fn write_whole(
        &mut self,
        number: InodeNumber,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let mut inode = self.regular_file(number)?;
        self.check_size(number, &inode, size)?;
        self.empty_inline(number, &mut inode)?;
        self.replace_content(number, &mut inode, size, content)?;
        self.touch(&mut inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, &mut inode)
    }

    /// Replaces what an inode's blocks hold by `size` bytes.
    pub(crate) fn replace_content(
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
            read_content(content, &mut bytes)?;
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

    /// Writes `size` bytes to blocks, a chunk at a time.
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
            read_content(content, &mut chunk[..len])?;
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
            let count = to_u32(here);
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

    fn free_blocks_if_any(&mut self, start: BlockNumber, len: u32) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.free_blocks(start, u64::from(len))
    }
}
