//! A group's inodes in memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::btree::records::InodeRecord;
use crate::format::geometry::CHUNK_INODES;
use crate::format::numbers::GroupInode;

/// The chunks of a group, by their first inode.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunks {
    all: BTreeMap<GroupInode, InodeRecord>,
    with_free: BTreeSet<GroupInode>,
    /// Chunks in which inodes were freed, which may be empty now.
    pub(crate) given_back: BTreeSet<GroupInode>,
}

impl Chunks {
    /// The chunks in the records of a group.
    pub(crate) fn new(records: &[InodeRecord]) -> Self {
        let mut chunks = Self::default();
        for record in records {
            chunks.put(*record);
        }
        chunks
    }

    /// Adds a chunk or replaces it.
    pub(crate) fn put(&mut self, record: InodeRecord) {
        if record.free_count > 0 {
            self.with_free.insert(record.start);
        } else {
            self.with_free.remove(&record.start);
        }
        self.all.insert(record.start, record);
    }

    /// Removes a whole chunk.
    pub(crate) fn remove(&mut self, start: GroupInode) {
        self.all.remove(&start);
        self.with_free.remove(&start);
    }

    /// All chunks in order.
    pub(crate) fn records(&self) -> Vec<InodeRecord> {
        self.all.values().copied().collect()
    }

    /// The chunks with free inodes, in order.
    pub(crate) fn records_with_free(&self) -> Vec<InodeRecord> {
        self.with_free.iter().map(|start| self.all[start]).collect()
    }

    /// A chunk by its first inode.
    pub(crate) fn get(&self, start: GroupInode) -> Option<&InodeRecord> {
        self.all.get(&start)
    }

    /// The number of inodes, and of free ones.
    pub(crate) fn counts(&self) -> (u32, u32) {
        self.all.values().fold((0, 0), |(count, free), record| {
            (
                count + u32::from(record.count),
                free + u32::from(record.free_count),
            )
        })
    }

    /// Whether an inode is in use.
    pub(crate) fn is_in_use(&self, inode: GroupInode) -> bool {
        self.containing(inode).is_some_and(|record| {
            let index = inode.since(record.start);
            record.has(index) && !record.is_free(index)
        })
    }

    /// Whether there is such an inode, in use or not.
    pub(crate) fn has(&self, inode: GroupInode) -> bool {
        self.containing(inode)
            .is_some_and(|record| record.has(inode.since(record.start)))
    }

    fn containing(&self, inode: GroupInode) -> Option<InodeRecord> {
        let (_, record) = self.all.range(..=inode).next_back()?;
        (inode.since(record.start) < CHUNK_INODES).then_some(*record)
    }

    /// Allocates a free inode of the chunk nearest to `near`.
    pub(crate) fn take(&mut self, near: GroupInode) -> Option<GroupInode> {
        let behind = self.with_free.range(near..).next();
        let before = self.with_free.range(..near).next_back();
        let start = match (before, behind) {
            (Some(&before), Some(&behind)) => {
                if near.since(before) <= behind.since(near) {
                    before
                } else {
                    behind
                }
            }
            (before, behind) => *before.or(behind)?,
        };
        let mut record = self.all[&start];
        let index = (0..CHUNK_INODES).find(|index| record.is_free(*index))?;
        record.free &= !(1 << index);
        record.free_count -= 1;
        self.put(record);
        Some(start.plus(index))
    }

    /// Frees an inode; false if it is not in use.
    #[must_use]
    pub(crate) fn give(&mut self, inode: GroupInode) -> bool {
        if !self.is_in_use(inode) {
            return false;
        }
        let Some(mut record) = self.containing(inode) else {
            return false;
        };
        record.free |= 1 << inode.since(record.start);
        record.free_count += 1;
        self.put(record);
        self.given_back.insert(record.start);
        true
    }
}
