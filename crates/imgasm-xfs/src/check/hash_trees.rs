//! The trees by hash above names and attributes: every leaf is reached once, by the hashes that the
//! nodes above it give.

use std::collections::BTreeSet;

use imgasm_fs::{Error, Result};

use crate::check::report::{Report, finding};
use crate::format::hash_tree::{MAX_LEVELS, Node};
use crate::format::numbers::{HashTreeBlock, InodeNumber};
use crate::problem::in_file;

/// A block of a tree as the walk sees it.
pub(super) struct Block {
    /// The blocks of the same level before and after it; 0 if there are none.
    pub(super) backward: HashTreeBlock,
    pub(super) forward: HashTreeBlock,
    pub(super) content: Content,
}

/// What a block of a tree holds.
pub(super) enum Content {
    Node(Node),
    /// The hashes of a leaf's entries, in their order.
    Leaf(Vec<u32>),
}

impl Content {
    /// The level: leaves are at 0.
    fn level(&self) -> u16 {
        match self {
            Self::Node(node) => node.level,
            Self::Leaf(_) => 0,
        }
    }

    fn hashes(&self) -> Vec<u32> {
        match self {
            Self::Node(node) => node.children.iter().map(|(hash, _)| *hash).collect(),
            Self::Leaf(hashes) => hashes.clone(),
        }
    }
}

/// Walks the tree of `inode` whose root is at `root` level by level, and reports what would keep the
/// kernel from finding a name. `read` gives the block at a place of the fork. Gives the blocks that
/// the tree has, or `None` if it could not be walked to its end.
pub(super) fn walk(
    inode: InodeNumber,
    root: HashTreeBlock,
    mut read: impl FnMut(HashTreeBlock) -> Result<Block>,
    report: Report<'_>,
) -> Result<Option<BTreeSet<HashTreeBlock>>> {
    let mut seen = BTreeSet::from([root]);
    // The blocks of a level from left to right, each with the highest hash below it that its parent
    // gives.
    let mut level = vec![(root, None)];
    let mut expected_level = None;
    while !level.is_empty() {
        let mut below = Vec::new();
        let mut before: Option<(HashTreeBlock, HashTreeBlock)> = None;
        let mut highest = 0;
        for (place, promised) in level {
            let at = in_file(inode, place);
            let block = match read(place) {
                Ok(block) => block,
                Err(Error::Corrupt { at, problem, .. }) => {
                    finding(report, at, problem);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let height = block.content.level();
            if height > MAX_LEVELS || expected_level.is_some_and(|expected| expected != height) {
                finding(
                    report,
                    at,
                    format!("a block of level {height} in its place"),
                );
                return Ok(None);
            }
            expected_level = Some(height);
            if block.backward != before.map_or(HashTreeBlock::NONE, |(place, _)| place) {
                finding(
                    report,
                    at.clone(),
                    format!("the block before it is said to be {}", block.backward),
                );
            }
            if let Some((last, forward)) = before
                && forward != place
            {
                finding(
                    report,
                    in_file(inode, last),
                    format!("the block after it is said to be {forward}, not {place}"),
                );
            }
            before = Some((place, block.forward));
            let hashes = block.content.hashes();
            let ordered = hashes.is_sorted() && hashes.first().is_none_or(|hash| *hash >= highest);
            if !ordered {
                finding(report, at.clone(), "its hashes are out of order");
            }
            highest = hashes.last().copied().unwrap_or(highest);
            if promised.is_some_and(|promised| Some(&promised) != hashes.last()) {
                finding(
                    report,
                    at.clone(),
                    "the node above gives another hash as its highest",
                );
            }
            if let Content::Node(node) = block.content {
                if place == root && node.children.len() == 1 {
                    finding(report, at.clone(), "a root with a single child");
                }
                for (hash, child) in node.children {
                    if !seen.insert(child) {
                        finding(report, at, format!("block {child} is reached twice"));
                        return Ok(None);
                    }
                    below.push((child, Some(hash)));
                }
            }
        }
        if let Some((last, forward)) = before
            && forward != HashTreeBlock::NONE
        {
            finding(
                report,
                in_file(inode, last),
                format!("the last block of its level, but block {forward} is said to follow"),
            );
        }
        level = below;
        expected_level = expected_level.and_then(|height| height.checked_sub(1));
    }
    Ok(Some(seen))
}
