//! Which blocks are in use: one bit per cluster, kept for groups with any in use.

use std::ops::Range;

use crate::bitmap;
use crate::format::geometry::Geometry;
use crate::format::numbers::{BlockNumber, GroupNumber, to_usize};

/// The bitmaps as they ought to be.
pub(super) struct Usage {
    geometry: Geometry,
    /// By group; `None` if nothing is in use.
    groups: Vec<Option<Vec<u8>>>,
}

impl Usage {
    /// Bitmaps with nothing in use.
    pub(super) fn new(geometry: &Geometry) -> Self {
        Self {
            geometry: geometry.clone(),
            groups: vec![None; to_usize(geometry.group_count)],
        }
    }

    /// Marks a range of blocks, which begins inside the filesystem, as in use. Gives the first one
    /// that was already, if any.
    pub(super) fn claim(&mut self, blocks: Range<u64>) -> Option<BlockNumber> {
        let mut taken = None;
        let cluster = u64::from(self.geometry.cluster_blocks);
        let all = blocks.end.min(self.geometry.blocks_count);
        let mut at = blocks.start;
        while at < all {
            let group = self.geometry.group_of_block(BlockNumber(at));
            let first = self.geometry.group_first_block(group).0;
            let end = all.min(first + u64::from(self.geometry.blocks_in_group(group)));
            let len = self.geometry.block_size.len();
            let bits = self.groups[to_usize(group.0)].get_or_insert_with(|| vec![0; len]);
            let index = |block: u64| {
                u32::try_from((block - first) / cluster).expect("a group's blocks fit 32 bits")
            };
            let (from, to) = (index(at), index(end - 1) + 1);
            if taken.is_none()
                && let Some(bit) = bitmap::first_set(bits, from, to)
            {
                let block = first + u64::from(bit) * cluster;
                taken = Some(BlockNumber(block.max(at)));
            }
            bitmap::set_range(bits, from, to);
            at = end;
        }
        taken
    }

    /// The bitmap of a group as it ought to be, with what lies past the group's end in use.
    pub(super) fn bitmap(&self, group: GroupNumber) -> Vec<u8> {
        let mut bits = self.groups[to_usize(group.0)]
            .clone()
            .unwrap_or_else(|| vec![0; self.geometry.block_size.len()]);
        let all = self.geometry.block_size.bytes() * 8;
        bitmap::set_range(&mut bits, self.geometry.clusters_in_group(group), all);
        bits
    }
}
