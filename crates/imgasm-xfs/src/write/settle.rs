//! The forks of a changed inode, laid out for the disk: which of them are in the inode, and where
//! the attribute fork starts.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgasm_fs::{FileType, Result};

use crate::alloc::Purpose;
use crate::dir::layout::Layout;
use crate::extent_map::ExtentMap;
use crate::format::attr::shortform;
use crate::format::btree::Record;
use crate::format::bytes::as_usize;
use crate::format::extent::{Extent, ROOT_HEADER_LEN};
use crate::format::inode::{encode, format, literal_len};
use crate::format::numbers::{DiskAddress, FileBlock, InodeNumber};
use crate::format::stamp::{REMOTE, Stamp};
use crate::format::symlink as format_symlink;
use crate::inode::{Fork, Inode};
use crate::problem::unstorable;
use crate::volume::Volume;
use crate::write::extents::EncodedFork;
use crate::write::{Staged, Want, Writer};
use crate::writes::Writes;
use crate::{attr, dir, inode};

/// The least room for the root of a tree: three children in the data fork, two in the attribute
/// fork.
const DATA_ROOT: usize = (ROOT_HEADER_LEN + 3 * 16usize).next_multiple_of(8);
const ATTRIBUTE_ROOT: usize = (ROOT_HEADER_LEN + 2 * 16usize).next_multiple_of(8);
/// Bytes that the number of a device fills.
const DEVICE: usize = 8;

impl Writer {
    /// Lays out an inode with its forks and their blocks.
    pub(super) fn settle(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        writes: &mut Writes,
    ) -> Result<()> {
        let mut staged = self.staged.remove(&number).expect("it is staged");
        let settled = self.settle_forks(volume, &mut staged, writes);
        self.staged.insert(number, staged);
        settled
    }

    fn settle_forks(
        &mut self,
        volume: &Volume,
        staged: &mut Staged,
        writes: &mut Writes,
    ) -> Result<()> {
        let geometry = &volume.geometry;
        let literal = literal_len(geometry);
        if staged.attributes.is_some() {
            self.settle_attributes(volume, staged, writes)?;
        }
        let offset = usize::from(staged.inode.core.di_forkoff) * 8;
        let room = if offset == 0 { literal } else { offset };
        self.settle_data(volume, staged, room, writes)?;

        let inode = staged.inode_mut();
        let number = inode.number;
        let data = self.encode_fork(volume, number, &mut inode.data, room, writes)?;
        let attributes = match &mut inode.attributes {
            None => EncodedFork {
                format: format::EXTENTS,
                bytes: Vec::new(),
            },
            Some(fork) => self.encode_fork(volume, number, fork, literal - offset, writes)?,
        };
        let count = |fork: Option<&Fork>| {
            let map = fork.and_then(Fork::map);
            map.map_or((0, 0), |map| {
                let blocks = map.data_blocks() + map.tree_blocks.len() as u64;
                (map.extents().len() as u64, blocks)
            })
        };
        let (data_extents, data_blocks) = count(Some(&inode.data));
        let (attribute_extents, attribute_blocks) = count(inode.attributes.as_ref());
        let core = &mut inode.core;
        core.di_format = data.format;
        core.di_aformat = attributes.format;
        core.di_nblocks = (data_blocks + attribute_blocks).into();
        if !core.set_extent_counts(data_extents, attribute_extents) {
            return Err(unstorable(
                format!("inode {number}"),
                format!("{data_extents} and {attribute_extents} extents are too many"),
            ));
        }
        let bytes = encode(geometry, core, &data.bytes, &attributes.bytes);
        writes.put(inode::byte_offset(volume, number)?, bytes);
        Ok(())
    }

    fn encode_fork(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        fork: &mut Fork,
        room: usize,
        writes: &mut Writes,
    ) -> Result<EncodedFork> {
        let (format, bytes) = match fork {
            Fork::Device(raw) => (format::DEVICE, raw.to_be_bytes().to_vec()),
            Fork::Local(bytes) => (format::LOCAL, bytes.clone()),
            Fork::Extents(map) => return self.encode_extents(volume, number, map, room, writes),
        };
        Ok(EncodedFork { format, bytes })
    }

    /// Chooses the form of changed attributes, and where their fork starts.
    fn settle_attributes(
        &mut self,
        volume: &Volume,
        staged: &mut Staged,
        writes: &mut Writes,
    ) -> Result<()> {
        let geometry = &volume.geometry;
        let literal = literal_len(geometry);
        let data = data_need(volume, staged);
        let is_device = matches!(staged.inode.data, Fork::Device(_));
        let attributes = staged.attributes.as_ref().expect("they have changed");
        let inline = shortform::encoded_len(attributes).filter(|len| {
            let both = data.next_multiple_of(8) + len.next_multiple_of(8);
            both <= literal || (!is_device && *len <= (literal / 2).min(literal - DATA_ROOT))
        });
        let attributes = attributes.clone();
        let inode = staged.inode_mut();
        let old = inode.attributes.take();
        let (fork, need) = if attributes.is_empty() {
            self.free_attributes(volume, old)?;
            (None, 0)
        } else if let Some(len) = inline {
            self.free_attributes(volume, old)?;
            let bytes = shortform::encode(&attributes);
            (Some(Fork::Local(bytes)), len)
        } else {
            let mut map = match old {
                Some(Fork::Extents(map)) => map,
                _ => ExtentMap::default(),
            };
            let blocks = attr::layout::layout(geometry, &attributes);
            let filled = self.fill_attributes(volume, inode, &mut map, blocks, writes);
            let list = map.extents().len() * Extent::LEN;
            inode.attributes = Some(Fork::Extents(map));
            filled?;
            let need = if list <= literal / 4 { list } else { 0 };
            (inode.attributes.take(), need.max(ATTRIBUTE_ROOT))
        };
        inode.core.di_forkoff = if fork.is_none() {
            0
        } else if is_device {
            1
        } else {
            let now = usize::from(inode.core.di_forkoff) * 8;
            let fits = now != 0 && data <= now && need <= literal - now;
            let offset = if fits {
                now
            } else {
                literal - need.next_multiple_of(8)
            };
            u8::try_from(offset / 8).expect("inodes have 2 KiB at most")
        };
        inode.attributes = fork;
        Ok(())
    }

    fn free_attributes(&mut self, volume: &Volume, fork: Option<Fork>) -> Result<()> {
        match fork {
            Some(fork) => self.free_fork(volume, &fork, FileType::Directory),
            None => Ok(()),
        }
    }

    fn fill_attributes(
        &mut self,
        volume: &Volume,
        inode: &Inode,
        map: &mut ExtentMap,
        blocks: Vec<(Stamp, Vec<u8>)>,
        writes: &mut Writes,
    ) -> Result<()> {
        let count = blocks.len() as u64;
        let end = FileBlock(count);
        self.free_range(volume, map, end, Extent::MAX_FILE_BLOCK)?;
        self.fill_range(volume, inode.number, map, FileBlock::FIRST, end, count)?;
        for (file_block, (stamp, bytes)) in (0..).map(FileBlock).zip(blocks) {
            put_blocks(volume, inode.number, map, file_block, stamp, bytes, writes)?;
        }
        Ok(())
    }

    /// Chooses the form of the data fork of a directory or link, with `room` bytes in the inode.
    fn settle_data(
        &mut self,
        volume: &Volume,
        staged: &mut Staged,
        room: usize,
        writes: &mut Writes,
    ) -> Result<()> {
        let too_long = matches!(&staged.inode.data, Fork::Local(bytes) if bytes.len() > room);
        match staged.inode.file_type {
            FileType::Directory if staged.directory.is_some() || too_long => {
                if staged.directory.is_none() {
                    let directory = dir::load::load(volume, &staged.inode)?;
                    staged.directory = Some(Arc::new(directory));
                }
                self.settle_directory(volume, staged, room, writes)
            }
            FileType::Symlink if too_long => self.settle_target(volume, staged, writes),
            _ => Ok(()),
        }
    }

    fn settle_directory(
        &mut self,
        volume: &Volume,
        staged: &mut Staged,
        room: usize,
        writes: &mut Writes,
    ) -> Result<()> {
        let geometry = &volume.geometry;
        let number = staged.inode.number;
        let directory = Arc::make_mut(staged.directory.as_mut().expect("it has been read"));
        let layout = directory.layout(geometry, number, room);
        let inode = staged.inode_mut();
        let (blocks, size) = match layout {
            Layout::Inode(bytes) => {
                let old = std::mem::replace(&mut inode.data, Fork::Local(bytes.clone()));
                inode.core.di_size = (bytes.len() as u64).into();
                return self.free_fork(volume, &old, FileType::Directory);
            }
            Layout::Blocks { blocks, size } => (blocks, size),
        };
        let mut map = match std::mem::replace(&mut inode.data, Fork::Local(Vec::new())) {
            Fork::Extents(map) => map,
            Fork::Local(_) | Fork::Device(_) => ExtentMap::default(),
        };
        inode.core.di_size = size.into();
        let filled = self.fill_directory(volume, number, &mut map, blocks, writes);
        inode.data = Fork::Extents(map);
        filled
    }

    fn fill_directory(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        map: &mut ExtentMap,
        blocks: Vec<dir::layout::LaidBlock>,
        writes: &mut Writes,
    ) -> Result<()> {
        let step = u64::from(volume.geometry.directory_block_blocks);
        let wanted: BTreeSet<FileBlock> = blocks.iter().map(|block| block.file_block).collect();
        for extent in map.extents().to_vec() {
            for part in extent.file_block.0 / step..extent.end().0.div_ceil(step) {
                let from = FileBlock(part * step);
                if !wanted.contains(&from) {
                    self.free_range(volume, map, from, from.plus(step))?;
                }
            }
        }
        let mut left = blocks.len() as u64;
        for block in blocks {
            let (from, to) = (block.file_block, block.file_block.plus(step));
            self.fill_range(volume, number, map, from, to, left * step)?;
            left -= 1;
            if let Some((stamp, bytes)) = block.content {
                put_blocks(volume, number, map, from, stamp, bytes, writes)?;
            }
        }
        Ok(())
    }

    /// Moves a link's target out of the inode.
    fn settle_target(
        &mut self,
        volume: &Volume,
        staged: &mut Staged,
        writes: &mut Writes,
    ) -> Result<()> {
        let geometry = &volume.geometry;
        let inode = staged.inode_mut();
        let Fork::Local(target) = inode.data.clone() else {
            return Ok(());
        };
        let mut map = ExtentMap::default();
        let mut stored = 0;
        while stored < target.len() {
            let at = map.extents().last().map_or(FileBlock::FIRST, Extent::end);
            let blocks = format_symlink::block_count(geometry, target.len() - stored);
            let want = Want {
                file_block: at,
                blocks,
                room: blocks,
                purpose: Purpose::Metadata,
            };
            let extent = self.allocate_for(volume, inode.number, &map, &want)?;
            let (mut bytes, len) = format_symlink::encode(geometry, &target, stored, extent.blocks);
            let offset = volume.byte_offset(extent.start)?;
            REMOTE.seal(
                &mut bytes,
                geometry,
                DiskAddress::of_byte(offset),
                inode.number.0,
            );
            writes.put(offset, bytes);
            map.insert(extent);
            stored += len;
        }
        inode.data = Fork::Extents(map);
        Ok(())
    }
}

/// Bytes that the data fork would fill in the inode if there were room.
fn data_need(volume: &Volume, staged: &Staged) -> usize {
    if let Some(directory) = &staged.directory {
        // In blocks it has one extent at first.
        return directory.inode_len(&volume.geometry).unwrap_or(Extent::LEN);
    }
    match &staged.inode.data {
        Fork::Device(_) => DEVICE,
        Fork::Local(bytes) => bytes.len(),
        Fork::Extents(map) => map.extents().len() * Extent::LEN,
    }
}

/// Seals a block of a fork's metadata and adds its pieces to what is to be written.
fn put_blocks(
    volume: &Volume,
    number: InodeNumber,
    map: &ExtentMap,
    file_block: FileBlock,
    stamp: Stamp,
    mut bytes: Vec<u8>,
    writes: &mut Writes,
) -> Result<()> {
    let block_len = volume.geometry.block_len();
    let count = (bytes.len() / block_len) as u64;
    let pieces: Vec<_> = map.range(file_block, file_block.plus(count)).collect();
    let first = pieces.first().expect("the range has been filled");
    stamp.seal(
        &mut bytes,
        &volume.geometry,
        volume.daddr(first.start)?,
        number.0,
    );
    for piece in pieces {
        let from = as_usize(piece.file_block.since(file_block)) * block_len;
        let len = as_usize(piece.blocks) * block_len;
        let offset = volume.byte_offset(piece.start)?;
        writes.put(offset, bytes[from..from + len].to_vec());
    }
    Ok(())
}
