//! A group's shared blocks in memory.

use std::collections::BTreeMap;

use crate::format::btree::records::RefcountRecord;
use crate::format::numbers::GroupBlock;

/// Runs of blocks that several files share, and how many do.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedRuns {
    /// Length and count by the first block.
    runs: BTreeMap<GroupBlock, (u32, u32)>,
    /// Blocks staged for copy on write, which are kept as they are.
    staged: Vec<RefcountRecord>,
    changed: bool,
}

impl SharedRuns {
    /// The runs in the records of a group.
    pub(crate) fn new(records: &[RefcountRecord]) -> Self {
        let (staged, shared): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.staged);
        Self {
            runs: shared
                .into_iter()
                .map(|record: RefcountRecord| (record.start, (record.len, record.count)))
                .collect(),
            staged,
            changed: false,
        }
    }

    /// Runs from records that replace those of a group.
    pub(crate) fn changed(records: &[RefcountRecord]) -> Self {
        Self {
            changed: true,
            ..Self::new(records)
        }
    }

    /// Whether anything has changed.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The runs that overlap some blocks, in order.
    fn overlapping(&self, start: GroupBlock, end: GroupBlock) -> Vec<(GroupBlock, u32, u32)> {
        let first = self
            .runs
            .range(..start)
            .next_back()
            .filter(|(run, (len, _))| run.plus(*len) > start);
        first
            .into_iter()
            .chain(self.runs.range(start..end))
            .map(|(&run, &(len, count))| (run, len, count))
            .collect()
    }

    /// How many of the blocks from `start` on are alike: all shared or all not.
    pub(crate) fn run_from(&self, start: GroupBlock, len: u32) -> (u32, bool) {
        match self.overlapping(start, start.plus(len)).first() {
            Some(&(run, run_len, _)) if run <= start => {
                (run.plus(run_len).since(start).min(len), true)
            }
            Some(&(run, _, _)) => (run.since(start), false),
            None => (len, false),
        }
    }

    /// Removes one owner from some blocks; gives the runs that have none left.
    pub(crate) fn release(&mut self, start: GroupBlock, len: u32) -> Vec<(GroupBlock, u32)> {
        let end = start.plus(len);
        let mut free = Vec::new();
        let mut at = start;
        for (run, run_len, count) in self.overlapping(start, end) {
            let run_end = run.plus(run_len);
            let (from, to) = (run.max(start), run_end.min(end));
            if at < from {
                free.push((at, from.since(at)));
            }
            at = to;
            self.changed = true;
            self.runs.remove(&run);
            if run < from {
                self.runs.insert(run, (from.since(run), count));
            }
            if count > 2 {
                self.runs.insert(from, (to.since(from), count - 1));
            }
            if to < run_end {
                self.runs.insert(to, (run_end.since(to), count));
            }
        }
        if at < end {
            free.push((at, end.since(at)));
        }
        free
    }

    /// The records, with neighbours that have the same count joined.
    pub(crate) fn records(&self) -> Vec<RefcountRecord> {
        let mut records: Vec<RefcountRecord> = Vec::with_capacity(self.runs.len());
        for (&start, &(len, count)) in &self.runs {
            match records.last_mut() {
                Some(last) if last.count == count && last.start.plus(last.len) == start => {
                    last.len += len;
                }
                _ => records.push(RefcountRecord {
                    staged: false,
                    start,
                    len,
                    count,
                }),
            }
        }
        records.extend(&self.staged);
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_less() {
        let record = |start, len, count| RefcountRecord {
            staged: false,
            start: GroupBlock(start),
            len,
            count,
        };
        let mut shared = SharedRuns::new(&[record(10, 10, 2), record(20, 5, 3)]);
        assert_eq!(shared.run_from(GroupBlock(5), 20), (5, false));
        assert_eq!(shared.run_from(GroupBlock(12), 20), (8, true));
        assert_eq!(shared.release(GroupBlock(5), 17), [(GroupBlock(5), 5)]);
        assert_eq!(shared.records(), [record(20, 2, 2), record(22, 3, 3)]);
        assert_eq!(shared.release(GroupBlock(22), 3), []);
        assert_eq!(shared.records(), [record(20, 5, 2)]);
        assert_eq!(shared.release(GroupBlock(20), 6), [(GroupBlock(25), 1)]);
        assert_eq!(shared.records(), []);
    }
}
