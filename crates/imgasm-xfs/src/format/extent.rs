//! A run of a fork's blocks, as stored in the inode's list and in the trees below it. (Kernel
//! documentation of XFS, "Data Extents"; `xfs_bmbt_rec`, `xfs_bmdr_block`.)

use crate::format::btree::Record;
use crate::format::bytes::{put_u64, u64_at};
use crate::format::geometry::Geometry;
use crate::format::numbers::{FileBlock, FsBlock};

/// A run of a fork's blocks that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First block in the fork.
    pub(crate) file_block: FileBlock,
    /// First block in the filesystem.
    pub(crate) start: FsBlock,
    /// Number of blocks, at most [`Extent::MAX_BLOCKS`].
    pub(crate) blocks: u64,
    /// Allocated, but read as zeros.
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
    pub(crate) const MAX_FILE_BLOCK: FileBlock = FileBlock(mask(FILE_BLOCK_BITS));

    /// The block after the last one, in the fork.
    pub(crate) fn end(&self) -> FileBlock {
        self.file_block.plus(self.blocks)
    }

    /// The block of the filesystem that holds a block of the fork, which must be of this extent.
    pub(crate) fn at(&self, file_block: FileBlock) -> FsBlock {
        self.start.plus(file_block.since(self.file_block))
    }

    /// The part of the extent that lies in a range of the fork's blocks, if any does.
    pub(crate) fn clip(&self, from: FileBlock, to: FileBlock) -> Option<Self> {
        let start = self.file_block.max(from);
        let end = self.end().min(to);
        (start < end).then(|| Self {
            file_block: start,
            start: self.at(start),
            blocks: end.since(start),
            unwritten: self.unwritten,
        })
    }
}

impl Record for Extent {
    type Key = FileBlock;
    const LEN: usize = 16;
    const KEY_LEN: usize = 8;
    const OVERLAPPING: bool = false;

    fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Self, String> {
        let high = u64_at(bytes, 0);
        let low = u64_at(bytes, 8);
        let extent = Self {
            file_block: FileBlock(high >> 9 & mask(FILE_BLOCK_BITS)),
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
        let high = u64::from(self.unwritten) << 63 | self.file_block.0 << 9 | self.start.0 >> 43;
        let low = (self.start.0 & mask(43)) << BLOCKS_BITS | self.blocks;
        put_u64(bytes, 0, high);
        put_u64(bytes, 8, low);
    }
    fn low(&self) -> FileBlock {
        self.file_block
    }
    fn encode_key(file_block: FileBlock, bytes: &mut [u8]) {
        put_u64(bytes, 0, file_block.0);
    }
}

/// Bytes of the root in the inode before its keys.
pub(crate) const ROOT_HEADER_LEN: usize = 4;

/// How many children the root in a fork of `len` bytes can have.
pub(crate) fn root_capacity(len: usize) -> usize {
    len.saturating_sub(ROOT_HEADER_LEN) / 16
}
