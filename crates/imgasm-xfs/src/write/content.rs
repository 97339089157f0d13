//! Contents of regular files. Bytes go to the device at once, to blocks that are free or belong to
//! the file alone; where the blocks lie is kept in memory until the flush.

use std::io::Read;

use imgasm_block::BlockDevice;
use imgasm_fs::holes::{data_runs, read_content};
use imgasm_fs::{FileType, Result};

use crate::alloc::Purpose;
use crate::extent_map::ExtentMap;
use crate::format::bytes::as_usize;
use crate::format::extent::Extent;
use crate::format::inode::{Time, flags, flags2};
use crate::format::numbers::{FileBlock, InodeNumber};
use crate::inode::{Fork, Inode, MAX_SIZE};
use crate::problem::unstorable;
use crate::volume::Volume;
use crate::write::{Want, Writer};

/// How much of new content is held in memory.
const BUFFER: u64 = 1 << 20;

const CONTENT_TIMES: [Time; 2] = [Time::Modified, Time::Changed];

/// Blocks of a file that are to be written whole.
struct Blocks {
    /// The first of them.
    at: FileBlock,
    /// How many.
    len: u64,
    /// The extent that the file has there, and whether it shares it with other files.
    owned: Option<(Extent, bool)>,
}

fn check_size(size: Option<u64>) -> Result<u64> {
    size.filter(|size| *size <= MAX_SIZE)
        .ok_or_else(|| unstorable("content", format!("files have at most {MAX_SIZE} bytes")))
}

pub(super) fn map_mut(inode: &mut Inode) -> Result<&mut ExtentMap> {
    inode.data_map()?;
    match &mut inode.data {
        Fork::Extents(map) => Ok(map),
        Fork::Device(_) | Fork::Local(_) => unreachable!("`data_map` has looked"),
    }
}

impl Writer {
    /// A regular file that is to be changed.
    pub(super) fn regular(&mut self, volume: &Volume, number: InodeNumber) -> Result<&mut Inode> {
        let staged = self.stage(volume, number)?;
        staged.inode.expect_regular()?;
        Ok(staged.inode_mut())
    }

    /// The extents of a regular file, to be put back by [`Self::put_map`].
    fn take_map(&mut self, volume: &Volume, number: InodeNumber) -> Result<ExtentMap> {
        Ok(std::mem::take(map_mut(self.regular(volume, number)?)?))
    }

    fn put_map(&mut self, volume: &Volume, number: InodeNumber, map: ExtentMap) -> Result<()> {
        *map_mut(self.regular(volume, number)?)? = map;
        Ok(())
    }

    /// Replaces all of a file's content.
    pub(crate) fn write_content(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        check_size(Some(size))?;
        self.regular(volume, number)?;
        let mut map = ExtentMap::default();
        self.write_new(volume, number, &mut map, size, content)?;
        let mut old = self.take_map(volume, number)?;
        // The blocks of the old tree are used for the new one, or freed when that is laid out.
        map.tree_blocks = std::mem::take(&mut old.tree_blocks);
        self.put_map(volume, number, map)?;
        let core = &mut self.regular(volume, number)?.core;
        core.di_size = size.into();
        core.di_flags = (core.di_flags.get() & !flags::PREALLOCATED).into();
        core.di_flags2 = (core.di_flags2.get() & !flags2::REFLINK).into();
        self.stamp(volume, number, &CONTENT_TIMES)?;
        self.free_fork(volume, &Fork::Extents(old), FileType::Regular)
    }

    fn write_new(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        map: &mut ExtentMap,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let block_size = u64::from(volume.geometry.block_size);
        let mut buffer = vec![0; as_usize(BUFFER.min(size.next_multiple_of(block_size)))];
        let mut at = 0;
        while at < size {
            let len = as_usize(BUFFER.min(size - at));
            read_content(content, &mut buffer[..len])?;
            let padded = len.next_multiple_of(as_usize(block_size));
            buffer[len..padded].fill(0);
            for run in data_runs(&buffer[..padded]) {
                let offset = at + run.start as u64;
                let room = volume.geometry.blocks_for(size - offset);
                let first = volume.geometry.file_block(offset);
                self.write_run(volume, number, map, first, &buffer[run], room)?;
            }
            at += len as u64;
        }
        Ok(())
    }

    /// Writes whole blocks, at a place where the file has none, to new blocks.
    fn write_run(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        map: &mut ExtentMap,
        first: FileBlock,
        bytes: &[u8],
        room: u64,
    ) -> Result<()> {
        let block_len = volume.geometry.block_len();
        let blocks = (bytes.len() / block_len) as u64;
        let end = first.plus(blocks);
        if self.allocator.check_room(blocks).is_err() {
            // The error says how much room is missing for the whole content.
            self.allocator.check_room(room.max(blocks))?;
        }
        let mut at = first;
        while at < end {
            let room = room.max(blocks) - at.since(first);
            let want = Want {
                file_block: at,
                blocks: end.since(at),
                room,
                purpose: Purpose::Content,
            };
            let extent = self.allocate_for(volume, number, map, &want)?;
            map.insert(extent);
            let from = as_usize(at.since(first)) * block_len;
            let len = as_usize(extent.blocks) * block_len;
            let offset = volume.byte_offset(extent.start)?;
            volume.device.write_at(offset, &bytes[from..from + len])?;
            at = extent.end();
        }
        Ok(())
    }

    /// Makes a file `size` bytes long.
    pub(crate) fn set_size(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        size: u64,
    ) -> Result<()> {
        check_size(Some(size))?;
        let inode = self.regular(volume, number)?;
        let old = inode.core.di_size.get();
        inode.core.di_size = size.into();
        self.cut_off(volume, number, size.min(old))?;
        self.stamp(volume, number, &CONTENT_TIMES)
    }

    /// Frees the blocks behind byte `end`, and makes what is left of its own block zeros.
    fn cut_off(&mut self, volume: &Volume, number: InodeNumber, end: u64) -> Result<()> {
        let block_size = u64::from(volume.geometry.block_size);
        let mut map = self.take_map(volume, number)?;
        let removed = map.remove(volume.geometry.file_end(end), Extent::MAX_FILE_BLOCK);
        self.put_map(volume, number, map)?;
        for extent in removed {
            self.allocator
                .free_content(volume, extent.start, extent.blocks)?;
        }
        let rest = end.next_multiple_of(block_size) - end;
        if rest == 0 {
            return Ok(());
        }
        let inode = self.regular(volume, number)?;
        let last = inode.data_map()?.find(volume.geometry.file_block(end));
        if last.is_some_and(|extent| !extent.unwritten) {
            self.overwrite(volume, number, end, &vec![0; as_usize(rest)])?;
        }
        Ok(())
    }

    /// Writes into a file, growing it if it must.
    pub(crate) fn write_at(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        let end = check_size(offset.checked_add(data.len() as u64))?;
        let old = self.regular(volume, number)?.core.di_size.get();
        if data.is_empty() {
            return Ok(());
        }
        self.check_overwrite_room(volume, number, offset, end)?;
        if end > old {
            self.cut_off(volume, number, old)?;
        }
        self.overwrite(volume, number, offset, data)?;
        let core = &mut self.regular(volume, number)?.core;
        core.di_size = old.max(end).into();
        self.stamp(volume, number, &CONTENT_TIMES)
    }

    /// Checks that there is room for what [`Self::overwrite`] will allocate at most.
    fn check_overwrite_room(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        offset: u64,
        end: u64,
    ) -> Result<()> {
        let geometry = &volume.geometry;
        let (first, last) = (geometry.file_block(offset), geometry.file_end(end));
        let blocks = last.since(first);
        let reflink = geometry.features.reflink;
        let map = self.regular(volume, number)?.data_map()?;
        let kept: u64 = map.range(first, last).map(|extent| extent.blocks).sum();
        let needed = if reflink { blocks } else { blocks - kept };
        if needed == 0 || self.allocator.check_room(needed).is_ok() {
            return Ok(());
        }
        let extents: Vec<_> = map_of(self.regular(volume, number)?)
            .range(first, last)
            .collect();
        let mut own = 0;
        for extent in extents {
            let mut at = 0;
            while at < extent.blocks {
                let start = extent.start.plus(at);
                let (len, shared) = self
                    .allocator
                    .shared_run(volume, start, extent.blocks - at)?;
                own += if shared { 0 } else { len };
                at += len;
            }
        }
        self.allocator.check_room(blocks - own)
    }

    /// Writes `data` at `offset`: into the file's own blocks if it has them to itself, else
    /// into new ones.
    fn overwrite(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        let geometry = &volume.geometry;
        let end = offset + data.len() as u64;
        let last = geometry.file_end(end);
        let mut at = geometry.file_block(offset);
        while at < last {
            let limit = last.min(at.plus(BUFFER / u64::from(geometry.block_size)));
            let map = map_of(self.regular(volume, number)?);
            let here = map.range(at, limit).next();
            let (len, owned) = match here {
                Some(extent) if extent.file_block == at => {
                    let (len, shared) =
                        self.allocator
                            .shared_run(volume, extent.start, extent.blocks)?;
                    let part = extent.clip(at, at.plus(len));
                    (len, part.map(|part| (part, shared)))
                }
                Some(extent) => (extent.file_block.since(at), None),
                None => (limit.since(at), None),
            };
            let first = geometry.file_offset(at);
            let from = first.max(offset);
            let to = geometry.file_offset(at.plus(len)).min(end);
            let part = &data[as_usize(from - offset)..as_usize(to - offset)];
            match owned {
                Some((extent, false)) if !extent.unwritten => {
                    let device_offset = volume.byte_offset(extent.start)? + (from - first);
                    volume.device.write_at(device_offset, part)?;
                }
                _ => {
                    let blocks = Blocks { at, len, owned };
                    self.write_blocks(volume, number, &blocks, from, part)?;
                }
            }
            at = at.plus(len);
        }
        Ok(())
    }

    /// Writes all of some blocks: `part` at byte `from` of the file, around it what was there.
    fn write_blocks(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        blocks: &Blocks,
        from: u64,
        part: &[u8],
    ) -> Result<()> {
        let &Blocks {
            at,
            len,
            owned: before,
        } = blocks;
        let block_size = u64::from(volume.geometry.block_size);
        let mut bytes = vec![0; as_usize(len * block_size)];
        if let Some((extent, _)) = before.filter(|(extent, _)| !extent.unwritten) {
            let offset = volume.byte_offset(extent.start)?;
            volume.device.read_at(offset, &mut bytes)?;
        }
        let start = as_usize(from - volume.geometry.file_offset(at));
        bytes[start..start + part.len()].copy_from_slice(part);
        let mut map = self.take_map(volume, number)?;
        map.remove(at, at.plus(len));
        match before {
            Some((extent, false)) => {
                map.insert(Extent {
                    unwritten: false,
                    ..extent
                });
                self.allocator.touch(volume, extent.start)?;
                let offset = volume.byte_offset(extent.start)?;
                volume.device.write_at(offset, &bytes)?;
            }
            before => {
                self.write_run(volume, number, &mut map, at, &bytes, len)?;
                if let Some((extent, _)) = before {
                    self.allocator
                        .free_content(volume, extent.start, extent.blocks)?;
                }
            }
        }
        self.put_map(volume, number, map)
    }
}

/// The extents of a file that is known to be regular.
fn map_of(inode: &Inode) -> &ExtentMap {
    inode.data_map().expect("regular files have extents")
}
