//! New inodes: the log only says that they were made.

use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Result};

use crate::format::bytes::as_u64;
use crate::format::geometry::Geometry;
use crate::format::inode::{Core, encode};
use crate::log::items::ChunkItem;

/// The most inodes that are made at once: more than fill a block of any size.
const MAX_INODES: u32 = 256;

/// The bytes of new inodes on the device.
pub(super) fn range(
    device: &dyn BlockDevice,
    geometry: &Geometry,
    item: &ChunkItem,
    bad: &dyn Fn(String) -> Error,
) -> Result<std::ops::Range<u64>> {
    let &ChunkItem {
        group,
        block,
        count,
        inode_size,
        blocks,
        ..
    } = item;
    let fits = inode_size == geometry.inode_size
        && (1..=MAX_INODES).contains(&count)
        && Some(count) == blocks.checked_mul(geometry.inodes_per_block())
        && u64::from(block.0) + u64::from(blocks) <= u64::from(geometry.group_blocks);
    let start = geometry.byte_offset(group, block);
    let end = start + u64::from(blocks) * u64::from(geometry.block_size);
    if fits && end <= device.len() {
        Ok(start..end)
    } else {
        Err(bad(format!(
            "{count} new inodes of {inode_size} bytes in {blocks} blocks from block {block} of group {group}"
        )))
    }
}

/// Writes new inodes, all of them free, where `range` begins.
pub(super) fn apply(
    device: &dyn BlockDevice,
    geometry: &Geometry,
    item: &ChunkItem,
    range: &std::ops::Range<u64>,
) -> Result<()> {
    let mut bytes = Vec::new();
    let first = geometry.first_inode(item.block);
    for index in 0..item.count {
        let number = geometry.inode_number(item.group, first.plus(index));
        let mut core = Core::empty(geometry, number);
        core.di_gen = item.generation.into();
        bytes.extend(encode(geometry, &core, &[], &[]));
    }
    debug_assert_eq!(as_u64(bytes.len()), range.end - range.start);
    Ok(device.write_at(range.start, &bytes)?)
}
