//! Where bitmaps and inode tables lie.
//!
//! The structures of sixteen groups are packed together at the start of the first of them
//! (`flex_bg`): the block bitmaps, the inode bitmaps, the inode tables. The search for room is that
//! of mke2fs, so that the layout is the same.

use std::ops::Range;

use crate::format::geometry::Geometry;
use crate::format::numbers::{BlockNumber, GroupNumber};
use crate::space::Space;
use imgasm_fs::{Error, Result};

/// What a group gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupTables {
    pub(super) block_bitmap: BlockNumber,
    pub(super) inode_bitmap: BlockNumber,
    pub(super) inode_table: BlockNumber,
}

/// The groups as they are being laid out.
pub(super) struct Layout<'a> {
    pub(super) geometry: &'a Geometry,
    pub(super) space: Space,
    pub(super) tables: Vec<GroupTables>,
    /// Whether anything but a superblock and descriptors lies in the group.
    pub(super) initialised: Vec<bool>,
}

/// Groups that are packed together.
const FLEX_GROUPS: u32 = 16;

impl<'a> Layout<'a> {
    /// Lays superblocks, descriptors, bitmaps and inode tables out.
    pub(super) fn new(geometry: &'a Geometry) -> Result<Self> {
        let mut layout = Self {
            geometry,
            space: Space::new(u64::from(geometry.first_data_block)..geometry.blocks_count),
            tables: Vec::new(),
            initialised: Vec::new(),
        };
        for group in (0..geometry.group_count).map(GroupNumber) {
            let start = geometry.group_first_block(group).0;
            let len = u64::from(geometry.base_metadata_blocks(group));
            layout.space.claim(start..start + len);
            layout.initialised.push(false);
        }
        for group in 0..geometry.group_count {
            let tables = layout.place_tables(group)?;
            layout.tables.push(tables);
        }
        Ok(layout)
    }

    /// Marks `run`, which is free, as in use.
    pub(super) fn claim(&mut self, run: Range<u64>) {
        let first = self.geometry.group_of_block(BlockNumber(run.start));
        let last = self.geometry.group_of_block(BlockNumber(run.end - 1));
        for group in first.0..=last.0 {
            self.initialised[index(group)] = true;
        }
        self.space.claim(run);
    }

    /// Allocates the first free block at or after `goal`, or else the first one at all.
    pub(super) fn claim_block(&mut self, goal: u64) -> Result<u64> {
        let block = self
            .space
            .first_free_around(goal)
            .ok_or_else(|| self.no_space(1))?;
        self.claim(block..block + 1);
        Ok(block)
    }

    /// There is no room for `needed` more blocks.
    pub(super) fn no_space(&self, needed: u64) -> Error {
        let all = u64::from(self.geometry.first_data_block)..self.geometry.blocks_count;
        let free = (all.end - all.start) - self.space.used_count(all);
        Error::NoSpace {
            unit: "blocks",
            needed,
            free,
        }
    }

    /// Blocks of a group.
    pub(super) fn group_blocks(&self, group: u32) -> Range<u64> {
        let group = GroupNumber(group);
        let start = self.geometry.group_first_block(group).0;
        start..start + u64::from(self.geometry.blocks_in_group(group))
    }

    /// Places the bitmaps and the inode table of the next group.
    fn place_tables(&mut self, group: u32) -> Result<GroupTables> {
        let table_len = u64::from(self.geometry.inode_table_blocks);
        let flex_first = group / FLEX_GROUPS * FLEX_GROUPS;
        let flex_last = (flex_first + FLEX_GROUPS - 1).min(self.geometry.group_count - 1);
        // The first group of a flexible group leaves room for the bitmaps of the others.
        let bitmaps = match flex_last - flex_first {
            0 => FLEX_GROUPS,
            others => others + 1,
        };
        let previous = if group == flex_first {
            None
        } else {
            self.tables.last().copied()
        };

        let block_bitmap = self.place(
            group,
            flex_last,
            previous.map(|tables| tables.block_bitmap.0 + 1),
            1,
        )?;
        let inode_bitmap = self.place(
            group,
            flex_last,
            Some(
                previous.map_or(block_bitmap + u64::from(bitmaps), |tables| {
                    tables.inode_bitmap.0 + 1
                }),
            ),
            1,
        )?;
        let inode_table = self.place(
            group,
            flex_last,
            Some(
                previous.map_or(inode_bitmap + u64::from(bitmaps), |tables| {
                    tables.inode_table.0 + table_len
                }),
            ),
            table_len,
        )?;
        Ok(GroupTables {
            block_bitmap: BlockNumber(block_bitmap),
            inode_bitmap: BlockNumber(inode_bitmap),
            inode_table: BlockNumber(inode_table),
        })
    }

    /// Allocates `len` blocks for a structure of a group, near the end of the same structure of the
    /// group before it.
    fn place(&mut self, group: u32, flex_last: u32, after: Option<u64>, len: u64) -> Result<u64> {
        let flex_start = self.group_blocks(group / FLEX_GROUPS * FLEX_GROUPS).start;
        let last_block = self.group_blocks(flex_last).end - 1;
        let rest = u64::from(flex_last - group + 1) * len;
        let reach = rest.min(u64::from(self.geometry.blocks_per_group) / 4);
        let space = &self.space;
        let near = after
            .filter(|&after| after < self.geometry.blocks_count)
            .and_then(|after| space.find(after..after + reach, len));
        let start = near
            .or_else(|| space.find(flex_start..last_block, reach))
            .or_else(|| space.find(flex_start..last_block, len))
            .or_else(|| space.find(0..last_block, len))
            .ok_or_else(|| self.no_space(len))?;
        self.claim(start..start + len);
        Ok(start)
    }
}

/// A group's number as an index.
pub(super) fn index(group: u32) -> usize {
    usize::try_from(group).expect("pointers have at least 32 bits")
}
