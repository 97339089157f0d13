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
    // The filesystem may have grown by then, so that the group is known to the log only.
    let group_len = u64::from(geometry.group_blocks) * u64::from(geometry.block_size);
    let fits = u64::from(group.0) <= device.len() / group_len
        && inode_size == geometry.inode_size
        && (1..=MAX_INODES).contains(&count)
        && Some(count) == blocks.checked_mul(geometry.inodes_per_block())
        && u64::from(block.0) + u64::from(blocks) <= u64::from(geometry.group_blocks);
    let range = fits.then(|| {
        let start = geometry.byte_offset(group, block);
        start..start + u64::from(blocks) * u64::from(geometry.block_size)
    });
    range.filter(|range| range.end <= device.len()).ok_or_else(|| {
        bad(format!(
            "{count} new inodes of {inode_size} bytes in {blocks} blocks from block {block} of group {group}"
        ))
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imgasm_block::{Delta, Hole};
    use imgasm_fs::Timestamp;

    use super::*;
    use crate::format::numbers::{GroupBlock, GroupNumber};
    use crate::problem::bad_log;
    use crate::{FormatOptions, Xfs};

    #[test]
    fn a_group_so_far_away_that_its_place_overflows_is_refused() {
        let now = Timestamp {
            seconds: 0,
            nanoseconds: 0,
        };
        let device = Arc::new(Delta::new(Arc::new(Hole::new(32 << 30))));
        crate::format(&*device, &FormatOptions::new([1; 16], now)).unwrap();
        let geometry = Xfs::open(device.clone()).unwrap().volume.geometry;
        assert_eq!(geometry.group_blocks, 1 << 21, "groups of 8 GiB");
        let mut item = ChunkItem {
            group: GroupNumber(1),
            block: GroupBlock(64),
            count: 64,
            inode_size: 512,
            blocks: 8,
            generation: 0,
        };
        let range = |item: &_| range(&*device, &geometry, item, &|problem| bad_log(0, problem));
        assert_eq!(range(&item).unwrap().start, (8 << 30) + 64 * 4096);
        item.group = GroupNumber(1 << 31);
        assert!(range(&item).is_err(), "2^31 groups of 2^33 bytes");
    }
}
