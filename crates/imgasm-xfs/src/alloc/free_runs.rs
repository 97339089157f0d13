//! A group's free blocks in memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::btree::records::FreeRecord;
use crate::format::numbers::GroupBlock;

/// How many runs near a wanted place are tried before any run that is long enough is taken.
const NEAR_RUNS: usize = 64;

/// Runs of free blocks, found by place and by length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FreeRuns {
    by_start: BTreeMap<GroupBlock, u32>,
    by_len: BTreeSet<(u32, GroupBlock)>,
    total: u32,
}

impl FreeRuns {
    /// The free blocks in `records`, runs that do not touch each other.
    pub(crate) fn new(records: &[FreeRecord]) -> Self {
        let mut runs = Self::default();
        for record in records {
            runs.put(record.start, record.len);
        }
        runs
    }

    fn put(&mut self, start: GroupBlock, len: u32) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
        self.total += len;
    }

    fn drop_run(&mut self, start: GroupBlock, len: u32) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
        self.total -= len;
    }

    /// Free blocks in all.
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Blocks of the longest run.
    pub(crate) fn longest(&self) -> u32 {
        self.by_len.last().map_or(0, |(len, _)| *len)
    }

    /// Number of runs.
    pub(crate) fn count(&self) -> usize {
        self.by_start.len()
    }

    /// All runs by place.
    pub(crate) fn records(&self) -> Vec<FreeRecord> {
        self.by_start
            .iter()
            .map(|(&start, &len)| FreeRecord { start, len })
            .collect()
    }

    /// The run that holds a block.
    fn containing(&self, block: GroupBlock) -> Option<(GroupBlock, u32)> {
        let (&start, &len) = self.by_start.range(..=block).next_back()?;
        (block.since(start) < len).then_some((start, len))
    }

    /// Allocates blocks that are known to be free.
    pub(crate) fn take(&mut self, start: GroupBlock, len: u32) {
        let (run, run_len) = self.containing(start).expect("the blocks are free");
        let end = start.plus(len);
        let (before, after) = (start.since(run), run.plus(run_len).since(end));
        self.drop_run(run, run_len);
        if before > 0 {
            self.put(run, before);
        }
        if after > 0 {
            self.put(end, after);
        }
    }

    /// Frees blocks; false if some of them are free already.
    #[must_use]
    pub(crate) fn give(&mut self, start: GroupBlock, len: u32) -> bool {
        let end = start.plus(len);
        let before = self.by_start.range(..end).next_back();
        let mut from = start;
        let mut to = end;
        if let Some((&run, &run_len)) = before {
            if run.plus(run_len) > start {
                return false;
            }
            if run.plus(run_len) == start {
                self.drop_run(run, run_len);
                from = run;
            }
        }
        if let Some(&run_len) = self.by_start.get(&end) {
            self.drop_run(end, run_len);
            to = end.plus(run_len);
        }
        self.put(from, to.since(from));
        true
    }

    /// Where `len` blocks can be allocated in one run: at `near` if they are free, else in a run
    /// behind or before it, else in the shortest run that is long enough.
    pub(crate) fn find(&self, near: GroupBlock, len: u32, align: u32) -> Option<GroupBlock> {
        let fits = |start: GroupBlock, run_len: u32| {
            let aligned = GroupBlock(start.0.checked_next_multiple_of(align)?);
            let needed = aligned.since(start).checked_add(len)?;
            (needed <= run_len).then_some(aligned)
        };
        if self.longest() < len {
            return None;
        }
        if let Some((start, run_len)) = self.containing(near)
            && let Some(found) = fits(near, start.plus(run_len).since(near))
        {
            return Some(found);
        }
        let behind = self.by_start.range(near..).take(NEAR_RUNS);
        let before = self.by_start.range(..near).rev().take(NEAR_RUNS);
        behind
            .chain(before)
            .find_map(|(&start, &run_len)| fits(start, run_len))
            .or_else(|| {
                self.by_len
                    .range((len, GroupBlock::FIRST)..)
                    .find_map(|&(run_len, start)| fits(start, run_len))
            })
    }

    /// How many blocks are free from `block` on.
    pub(crate) fn run_from(&self, block: GroupBlock) -> u32 {
        self.containing(block)
            .map_or(0, |(start, len)| start.plus(len).since(block))
    }

    /// The start of the longest run.
    pub(crate) fn longest_start(&self) -> Option<GroupBlock> {
        self.by_len.last().map(|(_, start)| *start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u32, len: u32) -> FreeRecord {
        let start = GroupBlock(start);
        FreeRecord { start, len }
    }

    #[test]
    fn runs_are_split_and_joined() {
        let mut runs = FreeRuns::new(&[run(10, 20)]);
        runs.take(GroupBlock(15), 5);
        assert_eq!(runs.count(), 2);
        assert_eq!((runs.total(), runs.longest()), (15, 10));
        assert!(!runs.give(GroupBlock(14), 2), "block 14 is free already");
        assert!(!runs.give(GroupBlock(18), 4), "block 20 is free already");
        assert!(runs.give(GroupBlock(15), 5));
        assert_eq!(runs.records(), [run(10, 20)]);
    }

    #[test]
    fn places_are_near_and_aligned() {
        let runs = FreeRuns::new(&[run(3, 4), run(50, 9)]);
        assert_eq!(runs.find(GroupBlock(0), 4, 1), Some(GroupBlock(3)));
        assert_eq!(runs.find(GroupBlock(52), 4, 1), Some(GroupBlock(52)));
        assert_eq!(runs.find(GroupBlock(0), 3, 8), Some(GroupBlock(56)));
        assert_eq!(runs.find(GroupBlock(0), 10, 1), None);
    }
}
