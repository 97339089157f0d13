//! The blocks that hold the filesystem's own structures, which no file may claim.

use std::ops::Range;

use super::format::geometry::Geometry;
use super::format::group::GroupDescriptor;
use super::format::numbers::{BlockNumber, GroupNumber};

/// Sorted and merged ranges of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemZone {
    ranges: Vec<Range<u64>>,
}

impl SystemZone {
    /// Superblocks, descriptor tables, bitmaps and inode tables.
    pub fn new<'a>(
        geometry: &Geometry,
        descriptors: impl Iterator<Item = &'a GroupDescriptor>,
    ) -> Self {
        let mut ranges = Vec::new();
        for (number, descriptor) in (0..).zip(descriptors) {
            let group = GroupNumber(number);
            let first = geometry.group_first_block(group).0;
            let base = u64::from(geometry.base_metadata_blocks(group));
            let table = descriptor.inode_table().0;
            let (blocks, inodes) = (descriptor.block_bitmap().0, descriptor.inode_bitmap().0);
            ranges.extend([
                first..first + base,
                blocks..blocks + 1,
                inodes..inodes + 1,
                table..table + u64::from(geometry.inode_table_blocks),
            ]);
        }
        Self {
            ranges: merge(ranges),
        }
    }

    /// Whether any of `len` blocks from `start` on lies in the zone.
    pub fn overlaps(&self, start: BlockNumber, len: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.end <= start.0);
        self.ranges
            .get(after)
            .is_some_and(|range| range.start < start.0.saturating_add(len))
    }
}

/// Sorts ranges and joins those that touch or overlap; empty ones are dropped.
pub fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_seen_at_the_edges() {
        let zone = SystemZone {
            ranges: merge(vec![20..30, 5..10, 8..12, 12..13]),
        };
        assert_eq!(zone.ranges, [5..13, 20..30]);
        for (start, len, expected) in [(0, 5, false), (0, 6, true), (13, 7, false), (29, 1, true)] {
            assert_eq!(zone.overlaps(BlockNumber(start), len), expected);
        }
    }
}
