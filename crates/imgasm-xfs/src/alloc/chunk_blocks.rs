//! Chunks of inodes on the disk: inodes are allocated from them, new chunks are made and written, and
//! chunks without an inode in use are freed.

use std::ops::Range;

use imgasm_fs::{Error, Result};

use crate::alloc::group::Group;
use crate::alloc::{Allocator, Purpose};
use crate::format::btree::records::InodeRecord;
use crate::format::geometry::{CHUNK_INODES, Geometry};
use crate::format::inode::{Core, encode};
use crate::format::numbers::{GroupBlock, GroupInode, GroupNumber, InodeNumber};
use crate::volume::Volume;
use crate::writes::Writes;

impl Allocator {
    /// Allocates an inode near another: a free one of its group, else one of a new chunk there,
    /// else one of another group.
    pub(crate) fn allocate_inode(
        &mut self,
        volume: &Volume,
        near: InodeNumber,
    ) -> Result<InodeNumber> {
        let geometry = &volume.geometry;
        let (home, near) = geometry.split_inode(near).unwrap_or_default();
        for number in geometry.group_numbers_from(home) {
            let near = if number == home {
                near
            } else {
                GroupInode::FIRST
            };
            if let Some(inode) = self.take_inode(volume, number, near)? {
                return Ok(geometry.inode_number(number, inode));
            }
            let near_block = geometry.inode_block(near);
            if (self.make_chunk(volume, number, near_block)?
                || self.make_part_of_chunk(volume, number, near_block)?)
                && let Some(inode) = self.take_inode(volume, number, near)?
            {
                return Ok(geometry.inode_number(number, inode));
            }
        }
        Err(Error::NoSpace {
            unit: "inodes",
            needed: 1,
            free: 0,
        })
    }

    fn take_inode(
        &mut self,
        volume: &Volume,
        number: GroupNumber,
        near: GroupInode,
    ) -> Result<Option<GroupInode>> {
        let inodes = self.group(volume, number)?.inodes(volume)?;
        let taken = inodes.chunks.take(near);
        inodes.changed |= taken.is_some();
        Ok(taken)
    }

    /// Makes a full chunk of inodes, or as many chunks as fill a block; false if there is no room.
    fn make_chunk(
        &mut self,
        volume: &Volume,
        number: GroupNumber,
        near: GroupBlock,
    ) -> Result<bool> {
        let geometry = &volume.geometry;
        let inodes = CHUNK_INODES.max(geometry.inodes_per_block());
        let blocks = inodes / geometry.inodes_per_block();
        if self.inodes + u64::from(inodes) > self.max_inodes
            || self.check_room(u64::from(blocks)).is_err()
        {
            return Ok(false);
        }
        let free = &self.group(volume, number)?.free;
        let place = free.find(near, blocks, geometry.inode_alignment);
        let Some(start) = place.filter(|_| self.usable(number, Purpose::Content) >= blocks) else {
            return Ok(false);
        };
        self.take(volume, number, start, blocks);
        let group = self.group(volume, number)?.inodes(volume)?;
        let first = geometry.first_inode(start);
        let mut made = Vec::new();
        for start in (0..inodes).step_by(CHUNK_INODES as usize) {
            let start = first.plus(start);
            group.chunks.put(InodeRecord::free(start));
            made.push(((number, start), CHUNK_INODES));
        }
        group.changed = true;
        self.new_chunks.extend(made);
        self.inodes += u64::from(inodes);
        Ok(true)
    }

    /// Makes a part of a chunk of inodes if there is no room for a whole one, if the filesystem has
    /// sparse chunks; false if there is no room for that either.
    fn make_part_of_chunk(
        &mut self,
        volume: &Volume,
        number: GroupNumber,
        near: GroupBlock,
    ) -> Result<bool> {
        let geometry = &volume.geometry;
        let Some(blocks) = geometry.sparse_chunk_blocks else {
            return Ok(false);
        };
        let inodes = blocks * geometry.inodes_per_block();
        if self.inodes + u64::from(inodes) > self.max_inodes
            || self.check_room(u64::from(blocks)).is_err()
            || self.usable(number, Purpose::Content) < blocks
        {
            return Ok(false);
        }
        // The whole chunk must lie in the group, including the parts without blocks.
        let align = geometry.inode_alignment;
        let chunk_of = |block: GroupBlock| GroupBlock(block.0 - block.0 % align);
        let fits = |block: &GroupBlock| {
            let end = geometry.run_end(number, chunk_of(*block), align);
            block.0 >= align && end.is_some()
        };
        let free = &self.group(volume, number)?.free;
        let place = [near, GroupBlock(align)]
            .into_iter()
            .filter_map(|near| free.find(near, blocks, blocks))
            .find(fits);
        let Some(block) = place else {
            return Ok(false);
        };
        let start = geometry.first_inode(chunk_of(block));
        let first = geometry.first_inode(block);
        let group = self.group(volume, number)?.inodes(volume)?;
        let mut record = group.chunks.get(start).copied().unwrap_or(InodeRecord {
            start,
            holes: u16::MAX,
            count: 0,
            free_count: 0,
            free: u64::MAX,
        });
        if !record.fill(first.since(start), inodes) {
            return Ok(false);
        }
        group.chunks.put(record);
        group.changed = true;
        self.take(volume, number, block, blocks);
        self.new_chunks.insert((number, first), inodes);
        self.inodes += u64::from(inodes);
        Ok(true)
    }

    /// Frees the blocks of chunks in which no inode is in use any more.
    pub(crate) fn drop_empty_chunks(&mut self, volume: &Volume) -> Result<()> {
        for group in self.groups.values_mut() {
            let dropped = drop_empty_chunks(volume, group)?;
            self.free += dropped.blocks;
            self.inodes -= dropped.inodes;
        }
        Ok(())
    }
}

/// Writes new inodes of a group as free ones.
pub(crate) fn write_new_inodes(
    geometry: &Geometry,
    group: GroupNumber,
    inodes: Range<GroupInode>,
    seed: [u8; 16],
    writes: &mut Writes,
) {
    for inode in (inodes.start.0..inodes.end.0).map(GroupInode) {
        writes.put_under(geometry.inode_offset(group, inode), || {
            let number = geometry.inode_number(group, inode);
            let mut core = Core::empty(geometry, number);
            core.di_gen = first_generation(seed, number).into();
            encode(geometry, &core, &[], &[])
        });
    }
}

/// The generation of an inode that was never in use: it differs per filesystem and inode, as the
/// kernel's random one does.
pub(crate) fn first_generation(seed: [u8; 16], number: InodeNumber) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&seed), &number.0.to_be_bytes())
}

/// How much was freed.
#[derive(Default)]
struct Dropped {
    blocks: u64,
    inodes: u64,
}

fn drop_empty_chunks(volume: &Volume, group: &mut Group) -> Result<Dropped> {
    let geometry = &volume.geometry;
    let mut dropped = Dropped::default();
    let Some(inodes) = group.inodes.as_mut() else {
        return Ok(dropped);
    };
    let given_back = std::mem::take(&mut inodes.chunks.given_back);
    if geometry.inodes_per_block() > CHUNK_INODES {
        // A block holds several chunks; such blocks stay, as in the kernel.
        return Ok(dropped);
    }
    let mut freed = Vec::new();
    for start in given_back {
        let Some(chunk) = inodes.chunks.get(start).copied() else {
            continue;
        };
        if chunk.free_count < chunk.count {
            continue;
        }
        inodes.chunks.remove(start);
        dropped.inodes += u64::from(chunk.count);
        if inodes.agi.agi_newino.get() == start.0 {
            inodes.agi.agi_newino = GroupInode::NONE.0.into();
        }
        let step = geometry.inodes_per_block() as usize;
        for index in (0..CHUNK_INODES)
            .step_by(step)
            .filter(|index| chunk.has(*index))
        {
            freed.push(geometry.inode_block(start.plus(index)));
        }
    }
    for block in freed {
        group.give(block, 1)?;
        dropped.blocks += 1;
    }
    Ok(dropped)
}
