//! Chunks of inodes on the disk: new ones are written, and those in which no inode is in use any
//! more are given back.

use imgasm_fs::Result;

use crate::alloc::Allocator;
use crate::alloc::group::Group;
use crate::format::btree::records::CHUNK_INODES;
use crate::format::inode::{Core, NO_INODE, encode};
use crate::volume::Volume;
use crate::writes::Writes;

impl Allocator {
    /// Gives back the blocks of chunks in which no inode is in use any more.
    pub(crate) fn drop_empty_chunks(&mut self, volume: &Volume) -> Result<()> {
        for group in self.groups.values_mut() {
            let dropped = drop_empty_chunks(volume, group)?;
            self.free += dropped.blocks;
            self.inodes -= dropped.inodes;
        }
        Ok(())
    }
}

/// Writes the inodes of a new chunk as free ones.
pub(super) fn write_new_chunk(
    volume: &Volume,
    group: u32,
    start: u32,
    seed: [u8; 16],
    writes: &mut Writes,
) {
    let geometry = &volume.geometry;
    for in_group in start..start + CHUNK_INODES {
        let number = geometry.inode_number(group, in_group);
        let mut core = Core::empty(geometry, number);
        core.di_gen = first_generation(seed, number).into();
        let block = geometry.inode_block(in_group);
        let index = in_group - geometry.first_inode(block);
        let offset =
            geometry.byte_offset(group, block) + u64::from(index) * u64::from(geometry.inode_size);
        writes.put_under(offset, encode(geometry, &core, &[], &[]));
    }
}

/// The generation of an inode that never was in use: differs by filesystem and inode, as the
/// kernel's random one does.
pub(crate) fn first_generation(seed: [u8; 16], number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&seed), &number.to_be_bytes())
}

/// How much was given back.
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
        // A block has several chunks; such blocks stay, as they do in the kernel.
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
        if inodes.agi.agi_newino.get() == start {
            inodes.agi.agi_newino = NO_INODE.into();
        }
        let step = geometry.inodes_per_block() as usize;
        for index in (0..CHUNK_INODES)
            .step_by(step)
            .filter(|index| chunk.has(*index))
        {
            freed.push(geometry.inode_block(start + index));
        }
    }
    for block in freed {
        group.give(block, 1)?;
        dropped.blocks += 1;
    }
    Ok(dropped)
}
