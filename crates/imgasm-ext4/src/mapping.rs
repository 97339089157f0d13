//! Which blocks belong to a file, in whatever form the inode stores that: a list of extents, in the
//! order of the file.

use std::ops::Range;

use super::format::extent::Extent;
use super::format::inode::{Inode, flags};
use super::format::numbers::{BlockNumber, FileBlock, InodeNumber, to_u64};
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};

/// The blocks of a file, or of a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Those that hold the content, in the order of the file and as long as possible.
    pub extents: Vec<Extent>,
    /// Those that hold the mapping itself.
    pub nodes: Vec<BlockNumber>,
    /// The blocks of the file that this mapping covers, if not all: those below one leaf of an
    /// extent tree, which is then the only node here.
    pub window: Option<Range<u64>>,
}

impl Mapping {
    /// Blocks that hold content.
    pub fn data_blocks(&self) -> u64 {
        self.extents
            .iter()
            .map(|extent| u64::from(extent.len))
            .sum()
    }

    /// All blocks.
    pub fn blocks(&self) -> u64 {
        self.data_blocks() + to_u64(self.nodes.len())
    }

    /// The extents that have blocks in a range of the file.
    pub fn overlapping(&self, range: Range<u64>) -> &[Extent] {
        let from = self.extents.partition_point(|e| e.end() <= range.start);
        let to = self
            .extents
            .partition_point(|e| u64::from(e.first.0) < range.end);
        &self.extents[from..to.max(from)]
    }

    /// The extent that a block of the file lies in.
    pub fn find(&self, block: FileBlock) -> Option<&Extent> {
        let at = u64::from(block.0);
        self.overlapping(at..at + 1).first()
    }

    /// The block of the file behind the last one that is mapped.
    pub fn end(&self) -> u64 {
        self.extents.last().map_or(0, Extent::end)
    }

    /// Removes a range; gives what was mapped there.
    pub fn cut(&mut self, range: Range<u64>) -> Vec<Extent> {
        let from = self.extents.partition_point(|e| e.end() <= range.start);
        let to = self
            .extents
            .partition_point(|e| u64::from(e.first.0) < range.end)
            .max(from);
        let mut kept = Vec::new();
        let mut taken = Vec::new();
        for extent in &self.extents[from..to] {
            kept.extend(part(extent, 0..range.start));
            taken.extend(part(extent, range.clone()));
            kept.extend(part(extent, range.end..u64::MAX));
        }
        self.extents.splice(from..to, kept);
        taken
    }

    /// Puts an extent in where nothing is mapped, joined with its neighbours if that gives an
    /// extent that `longest` allows.
    pub fn insert(&mut self, extent: Extent, longest: fn(bool) -> u32) {
        let at = self.extents.partition_point(|e| e.first < extent.first);
        self.extents.insert(at, extent);
        if at + 1 < self.extents.len() {
            self.join(at, longest);
        }
        if at > 0 {
            self.join(at - 1, longest);
        }
    }

    /// Joins the extent at `at` with the next one if they are one run.
    fn join(&mut self, at: usize, longest: fn(bool) -> u32) {
        let (a, b) = (self.extents[at], self.extents[at + 1]);
        let continues = a.end() == u64::from(b.first.0)
            && a.start.plus(u64::from(a.len)) == b.start
            && a.unwritten == b.unwritten;
        if continues && a.len.saturating_add(b.len) <= longest(a.unwritten) {
            self.extents[at].len += b.len;
            self.extents.remove(at + 1);
        }
    }
}

/// The part of an extent that lies in a range of the file.
pub fn part(extent: &Extent, range: Range<u64>) -> Option<Extent> {
    let first = u64::from(extent.first.0);
    let (from, to) = (first.max(range.start), extent.end().min(range.end));
    let narrow = |n: u64| u32::try_from(n).expect("within an extent of 32-bit block numbers");
    (from < to).then(|| Extent {
        first: FileBlock(narrow(from)),
        len: narrow(to - from),
        start: extent.start.plus(from - first),
        unwritten: extent.unwritten,
    })
}

impl Ext4 {
    /// All blocks of a file.
    pub(super) fn mapping(&self, number: InodeNumber, inode: &Inode) -> Result<Mapping> {
        self.mapping_of_range(number, inode, 0..1 << 32)
    }

    /// The blocks of a file that lie in a range of it, and perhaps some around it, to be read.
    pub(super) fn mapping_of_range(
        &self,
        number: InodeNumber,
        inode: &Inode,
        range: Range<u64>,
    ) -> Result<Mapping> {
        if inode.has_flag(flags::INLINE_DATA) {
            return Err(corrupt(
                at_inode(number),
                "its content lies in the inode, where block numbers are expected",
            ));
        }
        if inode.has_flag(flags::EXTENTS) {
            self.read_extent_tree(number, inode, range)
        } else {
            self.read_block_map(number, inode, range)
        }
    }

    /// The blocks of a file that is to be changed in a range: those of one leaf of its extent tree
    /// if that covers the range, so that a small change of a large file stays small; else those of
    /// the whole file.
    pub(super) fn mapping_to_change(
        &self,
        number: InodeNumber,
        inode: &Inode,
        range: Range<u64>,
    ) -> Result<Mapping> {
        if inode.has_flag(flags::EXTENTS)
            && let Some(leaf) = self.read_extent_leaf(number, inode, range)?
        {
            return Ok(leaf);
        }
        self.mapping(number, inode)
    }

    /// The block that holds one block of a file, unless it is a hole or reads as zeros.
    pub(super) fn file_block(
        &self,
        number: InodeNumber,
        inode: &Inode,
        block: FileBlock,
    ) -> Result<Option<BlockNumber>> {
        let at = u64::from(block.0);
        let mapping = self.mapping_of_range(number, inode, at..at + 1)?;
        Ok(mapping
            .find(block)
            .filter(|extent| !extent.unwritten)
            .map(|extent| extent.start.plus(u64::from(block.0 - extent.first.0))))
    }

    /// Stores a changed mapping in a file's inode, in the form that the inode has, and accounts for
    /// the blocks. `before` is what was stored: its nodes are used again, missing ones are
    /// allocated, and surplus ones are freed.
    pub(super) fn store_mapping(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        before: &Mapping,
        after: &mut Mapping,
    ) -> Result<()> {
        if let Some(window) = &before.window {
            if self.write_extent_leaf(number, inode, before, after)? {
                return self.add_mapped(number, inode, before, after);
            }
            let whole = self.mapping(number, inode)?;
            let mut changed = whole.clone();
            changed.cut(window.clone());
            let at = changed.extents.partition_point(|e| e.end() <= window.start);
            changed
                .extents
                .splice(at..at, after.extents.iter().copied());
            return self.store_mapping(number, inode, &whole, &mut changed);
        }
        let mut pool = NodePool {
            old: before.nodes.iter().copied().collect(),
            used: Vec::new(),
            goal: self.goal_of(number),
        };
        if inode.has_flag(flags::EXTENTS) {
            self.write_extent_tree(number, inode, &after.extents, &mut pool)?;
        } else {
            self.write_block_map(number, inode, &after.extents, &mut pool)?;
        }
        after.nodes = pool.used;
        for node in pool.old {
            self.free_blocks(node, 1)?;
        }
        self.add_mapped(number, inode, before, after)
    }

    /// Accounts for what a mapping has gained or lost.
    fn add_mapped(
        &self,
        number: InodeNumber,
        inode: &mut Inode,
        before: &Mapping,
        after: &Mapping,
    ) -> Result<()> {
        let signed = |n: u64| i64::try_from(n).expect("block counts are below 2^48");
        let change = signed(after.blocks()) - signed(before.blocks());
        self.add_blocks(number, inode, change)
    }

    /// The longest extent that a file's form can hold, as a function of whether it is unwritten.
    pub(super) fn longest_extent(inode: &Inode) -> fn(bool) -> u32 {
        use super::format::extent::{MAX_LEN, MAX_UNWRITTEN_LEN};
        if inode.has_flag(flags::EXTENTS) {
            |unwritten| {
                if unwritten {
                    MAX_UNWRITTEN_LEN
                } else {
                    MAX_LEN
                }
            }
        } else {
            |_| u32::MAX
        }
    }

    /// The size that a file of this form can have, in bytes.
    pub(super) fn largest_size(&self, inode: &Inode) -> u64 {
        let block_size = self.geometry.block_size.bytes64();
        let blocks = if inode.has_flag(flags::EXTENTS) {
            u64::from(u32::MAX)
        } else {
            let per_node = block_size / 4;
            let all = 12 + per_node + per_node.pow(2) + per_node.pow(3);
            all.min(u64::from(u32::MAX))
        };
        blocks * block_size
    }

    /// Checks that blocks can belong to a file.
    pub(super) fn check_file_blocks(
        &self,
        number: InodeNumber,
        start: BlockNumber,
        len: u64,
    ) -> Result<()> {
        let problem = if !self.geometry.contains(start, len) {
            format!(
                "outside the filesystem of {} blocks",
                self.geometry.blocks_count
            )
        } else if number != InodeNumber::RESIZE && self.zone.overlaps(start, len) {
            "among the filesystem's own structures".to_owned()
        } else {
            return Ok(());
        };
        Err(corrupt(
            at_inode(number),
            format!("it claims {len} blocks from {start} on, {problem}"),
        ))
    }

    /// Checks the number of blocks seen so far in a mapping that is being read: one with more
    /// blocks than there are is forged.
    pub(super) fn count_mapped(&self, number: InodeNumber, so_far: u64) -> Result<()> {
        if so_far > self.geometry.blocks_count {
            return Err(corrupt(
                at_inode(number),
                format!(
                    "it claims more blocks than the {} that exist",
                    self.geometry.blocks_count
                ),
            ));
        }
        Ok(())
    }
}

/// Blocks for the nodes of a mapping that is being stored.
pub struct NodePool {
    /// Nodes of the old mapping that have not been used again yet.
    old: std::collections::VecDeque<BlockNumber>,
    /// Nodes that are used.
    used: Vec<BlockNumber>,
    goal: BlockNumber,
}

impl NodePool {
    /// The next block for a node, and whether it was one before.
    pub fn take(&mut self, fs: &mut Ext4, below: u64) -> Result<(BlockNumber, bool)> {
        let (block, was_node) = match self.old.pop_front() {
            Some(block) => (block, true),
            None => (fs.allocate_block(self.goal, below)?, false),
        };
        self.used.push(block);
        Ok((block, was_node))
    }
}

/// A file cannot have an unwritten extent in this form.
pub fn no_unwritten(number: InodeNumber) -> Error {
    Error::Unstorable {
        what: number.to_string(),
        problem: "a file without extents cannot have unwritten blocks".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(first: u32, len: u32, start: u64) -> Extent {
        Extent {
            first: FileBlock(first),
            len,
            start: BlockNumber(start),
            unwritten: false,
        }
    }

    #[test]
    fn cut_and_insert_are_inverse() {
        let whole = vec![extent(0, 10, 100), extent(20, 5, 300)];
        let mut mapping = Mapping {
            extents: whole.clone(),
            ..Mapping::default()
        };
        let taken = mapping.cut(4..22);
        assert_eq!(taken, [extent(4, 6, 104), extent(20, 2, 300)]);
        assert_eq!(mapping.extents, [extent(0, 4, 100), extent(22, 3, 302)]);
        for extent in taken {
            mapping.insert(extent, |_| 1 << 15);
        }
        assert_eq!(mapping.extents, whole);
        assert_eq!(mapping.find(FileBlock(9)), Some(&whole[0]));
        assert_eq!(mapping.find(FileBlock(10)), None);
    }
}
