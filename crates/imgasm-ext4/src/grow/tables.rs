//! Where the bitmaps and inode tables of new groups lie: those of a flexible group are packed
//! together, as mke2fs and the kernel do it; without `flex_bg` each lies in its own group.

use std::ops::Range;

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32};

use crate::bitmap;
use crate::format::features::Incompat;
use crate::format::geometry::Geometry;
use crate::format::group::{BLOCK_UNINIT, GroupDescriptor, INODE_UNINIT, INODE_ZEROED};
use crate::format::numbers::{GroupNumber, halves, to_u64, to_usize};
use crate::space::Space;
use imgasm_fs::Result;
use imgasm_fs::error::Error;

/// The groups that a filesystem gains.
pub(super) struct NewGroups {
    /// Their descriptors, still without the checksums of bitmaps.
    pub(super) descriptors: Vec<GroupDescriptor>,
    space: Space,
}

/// Where the structures of groups lie: a block for each group, in their order.
struct Places {
    block_bitmaps: Vec<u64>,
    inode_bitmaps: Vec<u64>,
    inode_tables: Vec<u64>,
}

impl NewGroups {
    /// Lays out all groups of a filesystem from `first` on. `log_flex` is `s_log_groups_per_flex`.
    pub(super) fn lay_out(geometry: &Geometry, first: u32, log_flex: u8) -> Result<Self> {
        let mut new = Self {
            descriptors: Vec::new(),
            space: Space::new(
                geometry.group_first_block(GroupNumber(first)).0..geometry.blocks_count,
            ),
        };
        for group in (first..geometry.group_count).map(GroupNumber) {
            let start = geometry.group_first_block(group).0;
            let len = u64::from(geometry.base_metadata_blocks(group));
            new.space
                .claim(start..start + whole_clusters(geometry, len));
        }
        let is_flex = geometry.features().incompat.contains(Incompat::FLEX_BG);
        let width = if is_flex && log_flex < 31 {
            1 << log_flex
        } else {
            1
        };
        let mut hosts = Vec::new();
        let mut at = first;
        while at < geometry.group_count {
            let end = (at / width + 1)
                .saturating_mul(width)
                .min(geometry.group_count);
            let places = new.place(geometry, at..end)?;
            for index in 0..to_usize(end - at) {
                hosts.extend(foreign_hosts(geometry, &places, index, at));
                new.descriptors.push(descriptor(&places, index));
            }
            at = end;
        }
        new.set_counts(geometry, first, &hosts);
        Ok(new)
    }

    /// Allocates room for the structures of some groups, in these groups.
    fn place(&mut self, geometry: &Geometry, groups: Range<u32>) -> Result<Places> {
        let start = geometry.group_first_block(GroupNumber(groups.start)).0;
        let last = GroupNumber(groups.end - 1);
        let end = geometry.group_first_block(last).0 + u64::from(geometry.blocks_in_group(last));
        let count = groups.end - groups.start;
        let table = u64::from(geometry.inode_table_blocks);
        Ok(Places {
            block_bitmaps: self.take(geometry, start..end, count, 1)?,
            inode_bitmaps: self.take(geometry, start..end, count, 1)?,
            inode_tables: self.take(geometry, start..end, count, table)?,
        })
    }

    /// Allocates `count` runs of `len` blocks, side by side if there is room for that.
    fn take(
        &mut self,
        geometry: &Geometry,
        window: Range<u64>,
        count: u32,
        len: u64,
    ) -> Result<Vec<u64>> {
        let step = whole_clusters(geometry, len);
        let together = u64::from(count) * step;
        let mut find = |len: u64| {
            let start = self.space.find(window.clone(), len)?;
            if start + len > window.end {
                return None;
            }
            self.space.claim(start..start + len);
            Some(start)
        };
        if let Some(start) = find(together) {
            return Ok((0..u64::from(count)).map(|n| start + n * step).collect());
        }
        (0..count)
            .map(|_| {
                find(step).ok_or(Error::NoSpace {
                    unit: "blocks in a row for the structures of new block groups",
                    needed: step,
                    free: 0,
                })
            })
            .collect()
    }

    /// Counts what is free in each group, and says which bitmaps need not be read. `hosts` are the
    /// groups in which structures of others lie.
    fn set_counts(&mut self, geometry: &Geometry, first: u32, hosts: &[u32]) {
        let has_checksums = geometry.features().group_checksums();
        let mut is_host = vec![false; self.descriptors.len()];
        for &group in hosts {
            if let Some(host) = group.checked_sub(first) {
                is_host[to_usize(host)] = true;
            }
        }
        for (index, is_host) in is_host.into_iter().enumerate() {
            let number = first + u32::try_from(index).expect("groups have 32-bit numbers");
            let group = GroupNumber(number);
            let bits = self.block_bitmap(geometry, group);
            let free = bitmap::count_clear(&bits, geometry.clusters_in_group(group));
            let descriptor = &mut self.descriptors[index];
            descriptor.set_free_blocks_count(free);
            descriptor.set_free_inodes_count(geometry.inodes_per_group);
            if !has_checksums {
                continue;
            }
            descriptor.set_itable_unused(geometry.inodes_per_group);
            let mut flags = INODE_UNINIT | INODE_ZEROED;
            // The last group always has a bitmap, because it has padding.
            if !is_host && number + 1 < geometry.group_count {
                flags |= BLOCK_UNINIT;
            }
            descriptor.bg_flags = U16::new(flags);
        }
    }

    /// The bitmap of a new group's blocks.
    pub(super) fn block_bitmap(&self, geometry: &Geometry, group: GroupNumber) -> Vec<u8> {
        let cluster = u64::from(geometry.cluster_blocks);
        let first = geometry.group_first_block(group).0;
        let end = first + u64::from(geometry.blocks_in_group(group));
        let index = |block: u64| u32::try_from(block / cluster).expect("within a group");
        let mut bits = vec![0; geometry.block_size.len()];
        for run in self.space.used_in(first..end) {
            let after = index((run.end - first).next_multiple_of(cluster));
            bitmap::set_range(&mut bits, index(run.start - first), after);
        }
        let all = geometry.block_size.bytes() * 8;
        bitmap::set_range(&mut bits, geometry.clusters_in_group(group), all);
        bits
    }
}

/// Rounds a number of blocks up to whole clusters: structures do not share one.
fn whole_clusters(geometry: &Geometry, blocks: u64) -> u64 {
    blocks.next_multiple_of(u64::from(geometry.cluster_blocks))
}

/// The other groups that hold structures of a group: the one at `index`, counted from `first`.
fn foreign_hosts(geometry: &Geometry, places: &Places, index: usize, first: u32) -> Vec<u32> {
    let own = u64::from(first) + to_u64(index);
    let table = places.inode_tables[index];
    let ends = [
        places.block_bitmaps[index],
        places.inode_bitmaps[index],
        table,
        table + u64::from(geometry.inode_table_blocks) - 1,
    ];
    let [bitmap, inodes, from, to] = ends.map(|block| {
        geometry
            .group_of_block(crate::format::numbers::BlockNumber(block))
            .0
    });
    (from..=to)
        .chain([bitmap, inodes])
        .filter(|&group| u64::from(group) != own)
        .collect()
}

/// A descriptor that says where a group's structures lie.
fn descriptor(places: &Places, index: usize) -> GroupDescriptor {
    let split = |block: u64| {
        let (low, high) = halves(block);
        (U32::new(low), U32::new(high))
    };
    let mut new = GroupDescriptor::new_zeroed();
    (new.bg_block_bitmap_lo, new.bg_block_bitmap_hi) = split(places.block_bitmaps[index]);
    (new.bg_inode_bitmap_lo, new.bg_inode_bitmap_hi) = split(places.inode_bitmaps[index]);
    (new.bg_inode_table_lo, new.bg_inode_table_hi) = split(places.inode_tables[index]);
    new
}
