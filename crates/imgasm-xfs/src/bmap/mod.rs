//! Where a fork's blocks lie: extents, kept in the inode as a list or in a tree below it.
//! (Kernel documentation of XFS, "Data Extents"; `xfs_bmbt_rec`, `xfs_bmdr_block`.)
//!
//! - [`map`]: the extents of a fork in memory, and changes to them.
//! - here: the extent, and how a fork's list or tree is read.

pub(crate) mod map;

pub(crate) use map::ExtentMap;

use super::btree::read::{Home, read};
use super::btree::{EXTENTS, Record};
use super::bytes::{put_u64, u16_at, u64_at};
use super::corrupt;
use super::geometry::{FsBlock, Geometry};
use super::volume::Volume;
use imgasm_fs::{Location, Result};

/// A run of a fork's blocks that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First block in the fork.
    pub(crate) file_block: u64,
    /// First block in the filesystem.
    pub(crate) start: FsBlock,
    /// Number of blocks, at most [`Extent::MAX_BLOCKS`].
    pub(crate) blocks: u64,
    /// Allocated, but to be read as zeros.
    pub(crate) unwritten: bool,
}

const FILE_BLOCK_BITS: u32 = 54;
const START_BITS: u32 = 52;
const BLOCKS_BITS: u32 = 21;

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl Extent {
    /// The most blocks that an extent can have.
    pub(crate) const MAX_BLOCKS: u64 = mask(BLOCKS_BITS);
    /// The highest block number that a fork can have.
    pub(crate) const MAX_FILE_BLOCK: u64 = mask(FILE_BLOCK_BITS);

    /// The block after the last one, in the fork.
    pub(crate) fn end(&self) -> u64 {
        self.file_block + self.blocks
    }

    /// The block of the filesystem that holds a block of the fork, which must be of this extent.
    pub(crate) fn at(&self, file_block: u64) -> FsBlock {
        FsBlock(self.start.0 + (file_block - self.file_block))
    }

    /// The part of the extent that lies in a range of the fork's blocks, if any does.
    pub(crate) fn clip(&self, from: u64, to: u64) -> Option<Self> {
        let start = self.file_block.max(from);
        let end = self.end().min(to);
        (start < end).then(|| Self {
            file_block: start,
            start: self.at(start),
            blocks: end - start,
            unwritten: self.unwritten,
        })
    }
}

impl Record for Extent {
    type Key = u64;
    const LEN: usize = 16;
    const KEY_LEN: usize = 8;
    const OVERLAPPING: bool = false;

    fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Self, String> {
        let high = u64_at(bytes, 0);
        let low = u64_at(bytes, 8);
        let extent = Self {
            file_block: high >> 9 & mask(FILE_BLOCK_BITS),
            start: FsBlock((high & mask(9)) << 43 | low >> BLOCKS_BITS),
            blocks: low & mask(BLOCKS_BITS),
            unwritten: high >> 63 == 1,
        };
        if extent.blocks == 0 || !geometry.holds(extent.start, extent.blocks) {
            return Err(format!(
                "extent of {} blocks at block {}",
                extent.blocks, extent.start.0
            ));
        }
        Ok(extent)
    }
    fn encode(&self, bytes: &mut [u8], _: &Geometry) {
        debug_assert!(
            self.start.0 <= mask(START_BITS),
            "block numbers have 52 bits"
        );
        let high = u64::from(self.unwritten) << 63 | self.file_block << 9 | self.start.0 >> 43;
        let low = (self.start.0 & mask(43)) << BLOCKS_BITS | self.blocks;
        put_u64(bytes, 0, high);
        put_u64(bytes, 8, low);
    }
    fn low(&self) -> u64 {
        self.file_block
    }
    fn encode_key(file_block: u64, bytes: &mut [u8]) {
        put_u64(bytes, 0, file_block);
    }
}

/// Bytes of the root in the inode before its keys.
pub(crate) const ROOT_HEADER_LEN: usize = 4;

/// How many children the root in a fork of `len` bytes can have.
pub(crate) fn root_capacity(len: usize) -> usize {
    len.saturating_sub(ROOT_HEADER_LEN) / 16
}

/// Reads a fork's list of `count` extents.
pub(crate) fn read_list(volume: &Volume, inode: u64, fork: &[u8], count: u64) -> Result<ExtentMap> {
    let bad = |problem: String| corrupt(Location::Inode(inode), problem);
    let len = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(Extent::LEN))
        .filter(|len| *len <= fork.len())
        .ok_or_else(|| bad(format!("{count} extents in {} bytes", fork.len())))?;
    let extents = fork[..len]
        .chunks_exact(Extent::LEN)
        .map(|bytes| Extent::decode(bytes, &volume.geometry))
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad)?;
    ExtentMap::new(extents, Vec::new(), volume.geometry.total_blocks).map_err(bad)
}

/// Reads the tree whose root is in a fork, which should hold `count` extents.
pub(crate) fn read_tree(volume: &Volume, inode: u64, fork: &[u8], count: u64) -> Result<ExtentMap> {
    let bad = |problem: String| corrupt(Location::Inode(inode), problem);
    let capacity = root_capacity(fork.len());
    if fork.len() < ROOT_HEADER_LEN {
        return Err(bad(format!("a tree's root in {} bytes", fork.len())));
    }
    let level = u16_at(fork, 0);
    let children = usize::from(u16_at(fork, 2));
    if level == 0 || children == 0 || children > capacity {
        return Err(bad(format!(
            "a tree's root at level {level} with {children} children"
        )));
    }
    let pointers = ROOT_HEADER_LEN + capacity * 8;
    let roots = (0..children)
        .map(|child| u64_at(fork, pointers + child * 8))
        .collect();
    let tree = read::<Extent>(volume, EXTENTS, Home::Inode(inode), roots, level - 1)?;
    if tree.records.len() as u64 != count {
        return Err(bad(format!(
            "{} extents in the tree, expected {count}",
            tree.records.len()
        )));
    }
    let blocks = tree.blocks.into_iter().map(FsBlock).collect();
    ExtentMap::new(tree.records, blocks, volume.geometry.total_blocks).map_err(bad)
}
