//! Runs of blocks. The search is deterministic: at the goal, else the first run in the goal's
//! group that is long enough, else in the groups after it.

use std::ops::Range;

use crate::bitmap;
use crate::format::geometry::Geometry;
use crate::format::group::GroupDescriptor;
use crate::format::numbers::{BlockNumber, GroupNumber, InodeNumber};
use crate::problem::{corrupt, incompatible};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Location, Result};

/// Groups with free blocks that are searched for a long run before a shorter one is taken.
const GROUPS_TRIED: usize = 64;

impl Ext4 {
    /// Where the blocks of an inode should lie: in its own group.
    pub(crate) fn goal_of(&self, number: InodeNumber) -> BlockNumber {
        let group = self.geometry.locate_inode(number);
        let group = group.map_or(GroupNumber(0), |(group, _)| group);
        self.geometry.group_first_block(group)
    }

    /// All free blocks.
    pub(crate) fn free_block_count(&self) -> u64 {
        self.groups
            .iter()
            .map(GroupDescriptor::free_blocks_count)
            .map(u64::from)
            .sum()
    }

    /// Takes one block, near a goal and below a limit.
    pub(crate) fn allocate_block(&mut self, goal: BlockNumber, below: u64) -> Result<BlockNumber> {
        self.allocate_run(goal, 1, below).map(|(start, _)| start)
    }

    /// Takes a run of at least one and at most `wanted` blocks, near a goal and below a limit. A
    /// run ends with its group at the latest; the next run continues it if the blocks there are
    /// free.
    pub(crate) fn allocate_run(
        &mut self,
        goal: BlockNumber,
        wanted: u32,
        below: u64,
    ) -> Result<(BlockNumber, u32)> {
        self.refuse_clusters()?;
        let first_block = u64::from(self.geometry.first_data_block);
        let goal = if (first_block..self.geometry.blocks_count.min(below)).contains(&goal.0) {
            goal
        } else {
            BlockNumber(first_block)
        };
        // Half a group is long enough not to go on looking for a longer run.
        let wanted = wanted.min(self.geometry.blocks_per_group / 2).max(1);
        let home = self.geometry.group_of_block(goal);
        let within = index_in_group(&self.geometry, goal);
        let mut best: Option<(GroupNumber, u32, u32)> = None;
        let mut tried = 0;
        // The home group is searched twice: from the goal on, and at the end as a whole.
        for step in 0..=self.geometry.group_count {
            let number =
                (u64::from(home.0) + u64::from(step)) % u64::from(self.geometry.group_count);
            let group = GroupNumber(u32::try_from(number).expect("below the number of groups"));
            if self.groups.get(group).free_blocks_count() == 0 {
                continue;
            }
            let from = if step == 0 { within } else { 0 };
            let to = self.limit_in_group(group, below);
            if from >= to {
                continue;
            }
            let bits = self.block_bitmap(group)?;
            if step == 0 && !bitmap::is_set(&bits, within) {
                let end = to.min(within.saturating_add(wanted));
                let end = bitmap::first_set(&bits, within, end).unwrap_or(end);
                best = Some((group, within, end - within));
                break;
            }
            if let Some((start, len)) = bitmap::clear_run(&bits, from, to, wanted)
                && best.is_none_or(|(_, _, longest)| len > longest)
            {
                best = Some((group, start, len));
            }
            tried += 1;
            if best.is_some_and(|(_, _, len)| len == wanted)
                || (best.is_some() && tried >= GROUPS_TRIED)
            {
                break;
            }
        }
        let (group, start, len) = best.ok_or_else(|| Error::NoSpace {
            unit: "blocks",
            needed: u64::from(wanted),
            free: self.free_block_count(),
        })?;
        self.take(group, start, len)
    }

    /// One past the last bit of a group that stands for a block below a limit.
    fn limit_in_group(&self, group: GroupNumber, below: u64) -> u32 {
        let first = self.geometry.group_first_block(group).0;
        let len = self.geometry.blocks_in_group(group);
        u32::try_from(below.saturating_sub(first)).map_or(len, |limit| limit.min(len))
    }

    fn take(&mut self, group: GroupNumber, start: u32, len: u32) -> Result<(BlockNumber, u32)> {
        let block = self
            .geometry
            .group_first_block(group)
            .plus(u64::from(start));
        if self.zone.overlaps(block, u64::from(len)) {
            return Err(corrupt(
                Location::Group(group.0),
                format!(
                    "its bitmap says that {len} blocks from {block} on are free, which hold the filesystem's own structures"
                ),
            ));
        }
        let bits = self.change_block_bitmap(group)?;
        bitmap::set_range(bits, start, start + len);
        let descriptor = self.groups.change_descriptor(group);
        let free = descriptor.free_blocks_count();
        descriptor.set_free_blocks_count(free.saturating_sub(len));
        Ok((block, len))
    }

    /// Refuses to allocate or free blocks if the filesystem has clusters.
    fn refuse_clusters(&self) -> Result<()> {
        if self.geometry.cluster_blocks > 1 {
            return Err(incompatible(
                "allocating or freeing blocks in clusters (bigalloc)",
            ));
        }
        Ok(())
    }

    /// Frees blocks. Staged changes to them are dropped.
    pub(crate) fn free_blocks(&mut self, start: BlockNumber, len: u64) -> Result<()> {
        self.refuse_clusters()?;
        if !self.geometry.contains(start, len) || self.zone.overlaps(start, len) {
            return Err(corrupt(
                Location::Block(start.0),
                format!("{len} blocks from here on cannot be freed: they do not belong to a file"),
            ));
        }
        for piece in pieces(&self.geometry, start.0..start.0 + len) {
            let group = self.geometry.group_of_block(BlockNumber(piece.start));
            let from = index_in_group(&self.geometry, BlockNumber(piece.start));
            let count = u32::try_from(piece.end - piece.start).expect("within one group");
            let bits = self.change_block_bitmap(group)?;
            if let Some(free) = bitmap::first_clear(bits, from, from + count) {
                let block = piece.start + u64::from(free - from);
                return Err(corrupt(
                    Location::Block(block),
                    "a file uses this block, which is marked as free",
                ));
            }
            for index in from..from + count {
                bitmap::clear(bits, index);
            }
            let descriptor = self.groups.change_descriptor(group);
            let free = descriptor.free_blocks_count();
            descriptor.set_free_blocks_count(free + count);
        }
        self.stage.forget_range(start, len);
        Ok(())
    }
}

/// The bit of a block in its group's bitmap.
fn index_in_group(geometry: &Geometry, block: BlockNumber) -> u32 {
    let first = u64::from(geometry.first_data_block);
    let index = (block.0 - first) % u64::from(geometry.blocks_per_group);
    u32::try_from(index).expect("below the blocks of a group")
}

/// Splits a range of blocks at the boundaries of groups.
fn pieces(geometry: &Geometry, range: Range<u64>) -> Vec<Range<u64>> {
    let mut pieces = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let group = geometry.group_of_block(BlockNumber(at));
        let end = geometry.group_first_block(group).0 + u64::from(geometry.blocks_in_group(group));
        let end = end.min(range.end);
        pieces.push(at..end);
        at = end;
    }
    pieces
}
