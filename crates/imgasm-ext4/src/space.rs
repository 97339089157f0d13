//! Which blocks are taken while a filesystem, or an addition to one, is being laid out.
//!
//! There are few runs of used blocks then, however large the filesystem is, so runs are kept instead
//! of bits.

use std::collections::BTreeMap;
use std::ops::Range;

/// The runs of used blocks.
#[derive(Debug)]
pub struct Space {
    /// All blocks that can be used.
    blocks: Range<u64>,
    /// End of each run of used blocks by its first block; runs do not touch.
    used: BTreeMap<u64, u64>,
}

impl Space {
    /// A map in which all of `blocks` are free.
    pub fn new(blocks: Range<u64>) -> Self {
        Self {
            blocks,
            used: BTreeMap::new(),
        }
    }

    /// Marks `run`, which is free, as used.
    pub fn claim(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let mut start = run.start;
        if let Some((&before, &end)) = self.used.range(..run.start).next_back()
            && end == run.start
        {
            start = before;
        }
        let end = self.used.remove(&run.end).unwrap_or(run.end);
        self.used.insert(start, end);
    }

    /// The first free block at or after `from`.
    pub fn first_free(&self, from: u64) -> Option<u64> {
        let from = from.max(self.blocks.start);
        let block = match self.used.range(..=from).next_back() {
            Some((_, &end)) if end > from => end,
            _ => from,
        };
        (block < self.blocks.end).then_some(block)
    }

    /// The first free block at or after `from`, else the first one at all.
    pub fn first_free_around(&self, from: u64) -> Option<u64> {
        self.first_free(from)
            .or_else(|| self.first_free(self.blocks.start))
    }

    /// The run of free blocks that begins with the free block `start`.
    pub fn free_run(&self, start: u64) -> Range<u64> {
        let end = self
            .used
            .range(start..)
            .next()
            .map_or(self.blocks.end, |(&next, _)| next);
        start..end
    }

    /// The first block from which on `len` blocks are free, no earlier than `window.start` and
    /// before `window.end`; the run may reach out of the window. `window.start` itself is tried
    /// even if the window is empty.
    pub fn find(&self, window: Range<u64>, len: u64) -> Option<u64> {
        let mut from = window.start;
        loop {
            let start = self.first_free(from)?;
            if start >= window.end && start > window.start {
                return None;
            }
            let run = self.free_run(start);
            if run.end - run.start >= len {
                return Some(start);
            }
            from = run.end;
        }
    }

    /// The runs of used blocks within `range`, in order.
    pub fn used_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self
            .used
            .range(..=range.start)
            .next_back()
            .map_or(range.start, |(&start, _)| start);
        self.used
            .range(first..range.end)
            .map(move |(&start, &end)| start.max(range.start)..end.min(range.end))
            .filter(|run| !run.is_empty())
    }

    /// Number of used blocks within `range`.
    pub fn used_count(&self, range: Range<u64>) -> u64 {
        self.used_in(range).map(|run| run.end - run.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_merge_and_are_skipped() {
        let mut space = Space::new(1..100);
        for run in [10..20, 30..40, 20..25, 25..30] {
            space.claim(run);
        }
        assert!(space.used_in(0..100).eq(std::iter::once(10..40)));
        assert_eq!(space.used_count(15..35), 20);
        assert_eq!(space.first_free(0), Some(1));
        assert_eq!(space.first_free(12), Some(40));
        assert_eq!(space.free_run(1), 1..10);
        assert_eq!(space.find(1..50, 20), Some(40));
        assert_eq!(space.find(1..40, 20), None);
        assert_eq!(space.find(1..50, 90), None);
        assert_eq!(space.first_free(100), None);
        assert_eq!(space.first_free_around(100), Some(1));
    }
}
