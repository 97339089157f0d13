//! The extents of a fork in memory.

use crate::format::extent::Extent;
use crate::format::numbers::{FileBlock, FsBlock};

/// A fork's extents in file order, none overlapping another, and the blocks of the tree that they
/// were read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExtentMap {
    extents: Vec<Extent>,
    /// Blocks of the tree as it lies on the disk, from the top down.
    pub(crate) tree_blocks: Vec<FsBlock>,
}

impl ExtentMap {
    /// Checks the extents against each other, and their number of blocks against the most that a
    /// fork could have.
    pub(crate) fn new(
        extents: Vec<Extent>,
        tree_blocks: Vec<FsBlock>,
        most_blocks: u64,
    ) -> Result<Self, String> {
        let mut end = FileBlock::FIRST;
        let mut blocks = 0u64;
        for extent in &extents {
            if extent.file_block < end || extent.end() > Extent::MAX_FILE_BLOCK {
                return Err(format!(
                    "extent at block {} of the file after one that ends at {end}",
                    extent.file_block
                ));
            }
            end = extent.end();
            blocks += extent.blocks;
            if blocks > most_blocks {
                return Err("the extents have more blocks than the filesystem".to_owned());
            }
        }
        Ok(Self {
            extents,
            tree_blocks,
        })
    }

    /// The extents in file order.
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Number of blocks that the extents have.
    pub(crate) fn data_blocks(&self) -> u64 {
        self.extents.iter().map(|extent| extent.blocks).sum()
    }

    /// The first extent that ends after `file_block`.
    fn position(&self, file_block: FileBlock) -> usize {
        self.extents
            .partition_point(|extent| extent.end() <= file_block)
    }

    /// The extent that holds `file_block`.
    pub(crate) fn find(&self, file_block: FileBlock) -> Option<&Extent> {
        self.extents
            .get(self.position(file_block))
            .filter(|extent| extent.file_block <= file_block)
    }

    /// The parts of extents that lie between two blocks of the fork.
    pub(crate) fn range(
        &self,
        from: FileBlock,
        to: FileBlock,
    ) -> impl Iterator<Item = Extent> + '_ {
        self.extents[self.position(from)..]
            .iter()
            .take_while(move |extent| extent.file_block < to)
            .filter_map(move |extent| extent.clip(from, to))
    }

    /// Removes what lies between two blocks of the fork, and gives what was there.
    pub(crate) fn remove(&mut self, from: FileBlock, to: FileBlock) -> Vec<Extent> {
        let first = self.position(from);
        let after = self
            .extents
            .partition_point(|extent| extent.file_block < to);
        if first >= after {
            return Vec::new();
        }
        let touched = &self.extents[first..after];
        let removed = touched
            .iter()
            .filter_map(|extent| extent.clip(from, to))
            .collect();
        let kept: Vec<_> = touched
            .first()
            .and_then(|extent| extent.clip(FileBlock::FIRST, from))
            .into_iter()
            .chain(
                touched
                    .last()
                    .and_then(|extent| extent.clip(to, Extent::MAX_FILE_BLOCK)),
            )
            .collect();
        self.extents.splice(first..after, kept);
        removed
    }

    /// Puts an extent where there is none, joining it to its neighbours if they continue it.
    pub(crate) fn insert(&mut self, extent: Extent) {
        let mut at = self.position(extent.file_block);
        debug_assert!(
            self.extents
                .get(at)
                .is_none_or(|next| extent.end() <= next.file_block),
            "the range was empty"
        );
        self.extents.insert(at, extent);
        if at > 0 && self.join(at - 1) {
            at -= 1;
        }
        self.join(at);
    }

    /// Joins the extent at `at` with the next one if they are one run.
    fn join(&mut self, at: usize) -> bool {
        let Some(next) = self.extents.get(at + 1).copied() else {
            return false;
        };
        let this = &mut self.extents[at];
        let joins = this.end() == next.file_block
            && this.start.plus(this.blocks) == next.start
            && this.unwritten == next.unwritten
            && this.blocks + next.blocks <= Extent::MAX_BLOCKS;
        if joins {
            this.blocks += next.blocks;
            self.extents.remove(at + 1);
        }
        joins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(file_block: u64, start: u64, blocks: u64) -> Extent {
        Extent {
            file_block: FileBlock(file_block),
            start: FsBlock(start),
            blocks,
            unwritten: false,
        }
    }

    #[test]
    fn what_is_taken_out_of_the_middle_leaves_both_ends() {
        let mut map = ExtentMap::new(vec![extent(0, 100, 10)], Vec::new(), 100).unwrap();
        assert_eq!(map.remove(FileBlock(3), FileBlock(5)), [extent(3, 103, 2)]);
        assert_eq!(map.extents(), [extent(0, 100, 3), extent(5, 105, 5)]);
        map.insert(extent(3, 103, 2));
        assert_eq!(map.extents(), [extent(0, 100, 10)]);
    }

    #[test]
    fn a_range_over_several_extents() {
        let all = vec![extent(0, 100, 2), extent(4, 200, 2), extent(8, 300, 2)];
        let mut map = ExtentMap::new(all, Vec::new(), 100).unwrap();
        assert_eq!(map.range(FileBlock(1), FileBlock(9)).count(), 3);
        assert_eq!(
            map.remove(FileBlock(1), FileBlock(9)),
            [extent(1, 101, 1), extent(4, 200, 2), extent(8, 300, 1)]
        );
        assert_eq!(map.extents(), [extent(0, 100, 1), extent(9, 301, 1)]);
        assert_eq!(map.remove(FileBlock(2), FileBlock(9)), []);
    }
}
