//! Group descriptors, bitmaps and superblocks of the finished layout.

use std::ops::Range;

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32};

use super::geometry::{FIRST_INODE, split};
use super::tables::{Layout, index};
use crate::format::features::Compat;
use crate::format::group::{BLOCK_UNINIT, GroupDescriptor, INODE_UNINIT, INODE_ZEROED};
use crate::format::numbers::{BlockNumber, GroupNumber, to_usize};
use crate::format::superblock::{OFFSET_BYTES, Superblock};
use imgasm_block::BlockDevice;
use imgasm_fs::Result;

/// The root directory and `/lost+found`.
const DIRECTORIES: u32 = 2;

/// Writes all of them, and sets the counts in the superblock.
pub(super) fn write(
    device: &dyn BlockDevice,
    sb: &mut Superblock,
    layout: &Layout<'_>,
) -> Result<()> {
    let geometry = layout.geometry;
    let desc_size = usize::from(geometry.desc_size);
    let mut table = vec![0; index(geometry.group_count) * desc_size];
    let mut free_blocks = 0;
    for (group, place) in (0..geometry.group_count).zip(table.chunks_exact_mut(desc_size)) {
        let descriptor = write_group(device, sb, layout, group)?;
        free_blocks += u64::from(descriptor.free_blocks_count());
        descriptor.encode_into(
            place,
            GroupNumber(group),
            geometry.features(),
            sb.checksum_seed(),
            &sb.s_uuid,
        );
    }
    sb.set_free_blocks_count(free_blocks);
    sb.s_free_inodes_count = U32::new(geometry.inodes_count - FIRST_INODE);
    sb.s_overhead_blocks = U32::new(overhead(layout, sb));

    for group in (0..geometry.group_count).map(GroupNumber) {
        if geometry.has_superblock(group) {
            write_superblock(device, sb, layout, group, &table)?;
        }
    }
    Ok(())
}

/// Makes the descriptor of a group, and writes its bitmaps unless the descriptor says that they
/// need not be read.
fn write_group(
    device: &dyn BlockDevice,
    sb: &Superblock,
    layout: &Layout<'_>,
    group: u32,
) -> Result<GroupDescriptor> {
    let geometry = layout.geometry;
    let block_size = geometry.block_size;
    let tables = layout.tables[index(group)];
    let blocks = layout.group_blocks(group);
    let used = layout.space.used_count(blocks.clone());
    let free = u32::try_from(blocks.end - blocks.start - used).expect("at most a group's blocks");
    let used_inodes = if group == 0 { FIRST_INODE } else { 0 };
    let free_inodes = geometry.inodes_per_group - used_inodes;

    let mut descriptor = GroupDescriptor::new_zeroed();
    (descriptor.bg_block_bitmap_lo, descriptor.bg_block_bitmap_hi) = split(tables.block_bitmap.0);
    (descriptor.bg_inode_bitmap_lo, descriptor.bg_inode_bitmap_hi) = split(tables.inode_bitmap.0);
    (descriptor.bg_inode_table_lo, descriptor.bg_inode_table_hi) = split(tables.inode_table.0);
    descriptor.set_free_blocks_count(free);
    descriptor.set_free_inodes_count(free_inodes);
    descriptor.set_itable_unused(free_inodes);
    let mut flags = INODE_ZEROED;

    // The last group always has a bitmap, because it has padding.
    if layout.initialised[index(group)] || group == geometry.group_count - 1 {
        let mut bitmap = vec![0; block_size.len()];
        for run in layout.space.used_in(blocks.clone()) {
            set_bits(
                &mut bitmap,
                run.start - blocks.start..run.end - blocks.start,
            );
        }
        let all = u64::from(block_size.bytes()) * 8;
        set_bits(&mut bitmap, blocks.end - blocks.start..all);
        device.write_at(block_size.offset_of(tables.block_bitmap), &bitmap)?;
        let covered = to_usize(geometry.clusters_per_group() / 8);
        descriptor.set_block_bitmap_csum(sb.checksum_seed().bitmap(&bitmap[..covered]));
    } else {
        flags |= BLOCK_UNINIT;
    }
    if group == 0 {
        descriptor.set_used_dirs_count(DIRECTORIES);
        let mut bitmap = vec![0; block_size.len()];
        set_bits(&mut bitmap, 0..u64::from(used_inodes));
        let all = u64::from(block_size.bytes()) * 8;
        set_bits(&mut bitmap, u64::from(geometry.inodes_per_group)..all);
        device.write_at(block_size.offset_of(tables.inode_bitmap), &bitmap)?;
        let covered = to_usize(geometry.inodes_per_group / 8);
        descriptor.set_inode_bitmap_csum(sb.checksum_seed().bitmap(&bitmap[..covered]));
    } else {
        flags |= INODE_UNINIT;
    }
    descriptor.bg_flags = U16::new(flags);
    Ok(descriptor)
}

/// Writes the superblock and the descriptors of a group that holds them.
fn write_superblock(
    device: &dyn BlockDevice,
    sb: &Superblock,
    layout: &Layout<'_>,
    group: GroupNumber,
    table: &[u8],
) -> Result<()> {
    let geometry = layout.geometry;
    let first = geometry.group_first_block(group);
    let mut copy = sb.clone();
    let offset = if group.0 == 0 {
        OFFSET_BYTES
    } else {
        // A backup is not marked as clean; its group number is capped at what the field can hold.
        copy.s_state = U16::ZERO;
        copy.s_block_group_nr = U16::new(u16::try_from(group.0).unwrap_or(u16::MAX));
        geometry.block_size.offset_of(first)
    };
    device.write_at(offset, &copy.encode())?;
    let descriptors = BlockNumber(first.0 + 1);
    device.write_at(geometry.block_size.offset_of(descriptors), table)?;
    Ok(())
}

/// Blocks that no file can ever have, counted as the kernel counts them at a mount.
fn overhead(layout: &Layout<'_>, sb: &Superblock) -> u32 {
    let geometry = layout.geometry;
    let groups: u64 = (0..geometry.group_count)
        .map(|group| {
            u64::from(geometry.base_metadata_blocks(GroupNumber(group)))
                + 2
                + u64::from(geometry.inode_table_blocks)
        })
        .sum();
    let journal = if geometry.features().compat.contains(Compat::HAS_JOURNAL) {
        let size =
            u64::from(sb.s_jnl_blocks[16].get()) | u64::from(sb.s_jnl_blocks[15].get()) << 32;
        geometry.block_size.blocks_for(size)
    } else {
        0
    };
    let all = u64::from(geometry.first_data_block) + groups + journal;
    u32::try_from(all).unwrap_or(0)
}

/// Sets a range of bits.
fn set_bits(bitmap: &mut [u8], bits: Range<u64>) {
    let mut bit = bits.start;
    while bit < bits.end {
        let at = usize::try_from(bit / 8).expect("a bitmap is a block");
        if bit.is_multiple_of(8) && bits.end - bit >= 8 {
            bitmap[at] = 0xff;
            bit += 8;
        } else {
            bitmap[at] |= 1 << (bit % 8);
            bit += 1;
        }
    }
}
