//! The records of the allocation groups' trees.

use crate::format::btree::Record;
use crate::format::bytes::{put_u16, put_u32, put_u64, u16_at, u32_at, u64_at};
use crate::format::geometry::{CHUNK_INODES, Geometry};
use crate::format::numbers::{GroupBlock, GroupInode};

/// A run of free blocks of a group (`xfs_alloc_rec`); in the tree by block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreeRecord {
    /// First block.
    pub(crate) start: GroupBlock,
    /// Number of blocks.
    pub(crate) len: u32,
}

impl Record for FreeRecord {
    type Key = (GroupBlock, u32);
    const LEN: usize = 8;
    const KEY_LEN: usize = 8;
    const OVERLAPPING: bool = false;

    fn decode(bytes: &[u8], _: &Geometry) -> Result<Self, String> {
        Ok(Self {
            start: GroupBlock(u32_at(bytes, 0)),
            len: u32_at(bytes, 4),
        })
    }
    fn encode(&self, bytes: &mut [u8], _: &Geometry) {
        Self::encode_key(self.low(), bytes);
    }
    fn low(&self) -> (GroupBlock, u32) {
        (self.start, self.len)
    }
    fn encode_key((start, len): (GroupBlock, u32), bytes: &mut [u8]) {
        put_u32(bytes, 0, start.0);
        put_u32(bytes, 4, len);
    }
}

/// The same run in the tree by size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizedFreeRecord(pub(crate) FreeRecord);

impl Record for SizedFreeRecord {
    type Key = (u32, GroupBlock);
    const LEN: usize = 8;
    const KEY_LEN: usize = 8;
    const OVERLAPPING: bool = false;

    fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Self, String> {
        FreeRecord::decode(bytes, geometry).map(Self)
    }
    fn encode(&self, bytes: &mut [u8], geometry: &Geometry) {
        self.0.encode(bytes, geometry);
    }
    fn low(&self) -> (u32, GroupBlock) {
        (self.0.len, self.0.start)
    }
    fn encode_key((len, start): (u32, GroupBlock), bytes: &mut [u8]) {
        FreeRecord::encode_key((start, len), bytes);
    }
}

/// A chunk of 64 inodes (`xfs_inobt_rec`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InodeRecord {
    /// First inode.
    pub(crate) start: GroupInode,
    /// Which inodes are not there; one bit per four inodes.
    pub(crate) holes: u16,
    /// How many inodes are there.
    pub(crate) count: u8,
    /// How many of those are free.
    pub(crate) free_count: u8,
    /// Which inodes are free; the bits of those that are not there are set, too.
    pub(crate) free: u64,
}

/// Inodes for which a bit of the hole mask stands.
const INODES_PER_HOLE_BIT: u32 = 4;

impl InodeRecord {
    /// A whole chunk of inodes that are not in use.
    pub(crate) fn free(start: GroupInode) -> Self {
        Self {
            start,
            holes: 0,
            count: 64,
            free_count: 64,
            free: u64::MAX,
        }
    }

    /// Whether the chunk has this inode at all.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.holes >> (index / INODES_PER_HOLE_BIT) & 1 == 0
    }

    /// Adds inodes that were missing, all of them free; false if some are there already or `first` and
    /// `count` are not multiples of four inodes, for which a bit of the hole mask stands.
    #[must_use]
    pub(crate) fn fill(&mut self, first: u32, count: u32) -> bool {
        let aligned =
            first.is_multiple_of(INODES_PER_HOLE_BIT) && count.is_multiple_of(INODES_PER_HOLE_BIT);
        let missing = (first..first + count).all(|index| index < CHUNK_INODES && !self.has(index));
        let Ok(added) = u8::try_from(count) else {
            return false;
        };
        if !aligned || !missing {
            return false;
        }
        for index in first..first + count {
            self.holes &= !(1 << (index / INODES_PER_HOLE_BIT));
            self.free |= 1 << index;
        }
        self.count += added;
        self.free_count += added;
        true
    }

    /// Whether the inode is there and not in use.
    pub(crate) fn is_free(&self, index: u32) -> bool {
        self.has(index) && self.free >> index & 1 == 1
    }
}

impl Record for InodeRecord {
    type Key = GroupInode;
    const LEN: usize = 16;
    const KEY_LEN: usize = 4;
    const OVERLAPPING: bool = false;

    fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Self, String> {
        let start = GroupInode(u32_at(bytes, 0));
        let free = u64_at(bytes, 8);
        let (holes, count, free_count) = if geometry.features.sparse {
            (u16_at(bytes, 4), bytes[6], bytes[7])
        } else {
            let free_count = u8::try_from(u32_at(bytes, 4))
                .map_err(|_| format!("chunk {start} has {} free inodes", u32_at(bytes, 4)))?;
            (0, 64, free_count)
        };
        let record = Self {
            start,
            holes,
            count,
            free_count,
            free,
        };
        let there = (0..CHUNK_INODES).filter(|i| record.has(*i)).count();
        let free = (0..CHUNK_INODES).filter(|i| record.is_free(*i)).count();
        if usize::from(count) != there || usize::from(free_count) != free {
            return Err(format!(
                "chunk {start} counts {count} inodes and {free_count} free ones, but has {there} and {free}"
            ));
        }
        Ok(record)
    }
    fn encode(&self, bytes: &mut [u8], geometry: &Geometry) {
        put_u32(bytes, 0, self.start.0);
        if geometry.features.sparse {
            put_u16(bytes, 4, self.holes);
            bytes[6] = self.count;
            bytes[7] = self.free_count;
        } else {
            put_u32(bytes, 4, u32::from(self.free_count));
        }
        put_u64(bytes, 8, self.free);
    }
    fn low(&self) -> GroupInode {
        self.start
    }
    fn encode_key(start: GroupInode, bytes: &mut [u8]) {
        put_u32(bytes, 0, start.0);
    }
}

/// A run of blocks with the same number of owners (`xfs_refcount_rec`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefcountRecord {
    /// Whether the blocks are staged for copy on write (`XFS_REFC_DOMAIN_COW`).
    pub(crate) staged: bool,
    /// First block.
    pub(crate) start: GroupBlock,
    /// Number of blocks.
    pub(crate) len: u32,
    /// Number of owners: 2 at least, 1 for blocks staged for copy on write.
    pub(crate) count: u32,
}

/// The bit of a stored first block that marks blocks staged for copy on write
/// (`XFS_REFC_COWFLAG`).
const COPY_ON_WRITE: u32 = 0x8000_0000;

impl Record for RefcountRecord {
    type Key = (bool, GroupBlock);
    const LEN: usize = 12;
    const KEY_LEN: usize = 4;
    const OVERLAPPING: bool = false;

    fn decode(bytes: &[u8], _: &Geometry) -> Result<Self, String> {
        Ok(Self {
            staged: u32_at(bytes, 0) & COPY_ON_WRITE != 0,
            start: GroupBlock(u32_at(bytes, 0) & !COPY_ON_WRITE),
            len: u32_at(bytes, 4),
            count: u32_at(bytes, 8),
        })
    }
    fn encode(&self, bytes: &mut [u8], _: &Geometry) {
        Self::encode_key(self.low(), bytes);
        put_u32(bytes, 4, self.len);
        put_u32(bytes, 8, self.count);
    }
    fn low(&self) -> (bool, GroupBlock) {
        (self.staged, self.start)
    }
    fn encode_key((staged, start): (bool, GroupBlock), bytes: &mut [u8]) {
        let flag = if staged { COPY_ON_WRITE } else { 0 };
        put_u32(bytes, 0, flag | start.0);
    }
}

/// A run of blocks and what it belongs to (`xfs_rmap_rec`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnerRecord {
    /// First block.
    pub(crate) start: GroupBlock,
    /// An inode's number, or one of [`owner`].
    pub(crate) owner: u64,
    /// For a file's extents, the first block in the file, with the bits of [`owner_offset`].
    pub(crate) offset: u64,
    /// Number of blocks.
    pub(crate) len: u32,
}

/// Owners other than inodes (`XFS_RMAP_OWN_*`).
pub(crate) mod owner {
    /// The heads of the groups.
    pub(crate) const HEADS: u64 = u64::MAX - 2;
    /// The log.
    pub(crate) const LOG: u64 = u64::MAX - 3;
    /// The trees of free space and of owners, and the free list.
    pub(crate) const FREE_SPACE: u64 = u64::MAX - 4;
    /// The trees of inodes.
    pub(crate) const INODE_TREES: u64 = u64::MAX - 5;
    /// Inode chunks.
    pub(crate) const INODES: u64 = u64::MAX - 6;
    /// The tree of shared blocks.
    pub(crate) const REFCOUNTS: u64 = u64::MAX - 7;
    /// Blocks staged for copy on write.
    pub(crate) const STAGED: u64 = u64::MAX - 8;
}

/// Bits of [`OwnerRecord::offset`].
pub(crate) mod owner_offset {
    /// The blocks belong to the attribute fork.
    pub(crate) const ATTRIBUTES: u64 = 1 << 63;
    /// The blocks belong to the tree of the fork's extents.
    pub(crate) const TREE: u64 = 1 << 62;
    /// The blocks are allocated but not written.
    pub(crate) const UNWRITTEN: u64 = 1 << 61;
}

impl Record for OwnerRecord {
    type Key = (GroupBlock, u64, u64);
    const LEN: usize = 24;
    const KEY_LEN: usize = 20;
    const OVERLAPPING: bool = true;

    fn decode(bytes: &[u8], _: &Geometry) -> Result<Self, String> {
        Ok(Self {
            start: GroupBlock(u32_at(bytes, 0)),
            len: u32_at(bytes, 4),
            owner: u64_at(bytes, 8),
            offset: u64_at(bytes, 16),
        })
    }
    fn encode(&self, bytes: &mut [u8], _: &Geometry) {
        put_u32(bytes, 0, self.start.0);
        put_u32(bytes, 4, self.len);
        put_u64(bytes, 8, self.owner);
        put_u64(bytes, 16, self.offset);
    }
    fn low(&self) -> (GroupBlock, u64, u64) {
        (
            self.start,
            self.owner,
            self.offset & !owner_offset::UNWRITTEN,
        )
    }
    fn high(&self) -> (GroupBlock, u64, u64) {
        let last = self.len.saturating_sub(1);
        let offset = self.offset & !owner_offset::UNWRITTEN;
        let is_file = self.owner < owner::STAGED && self.offset & owner_offset::TREE == 0;
        (
            GroupBlock(self.start.0.saturating_add(last)),
            self.owner,
            if is_file {
                offset.saturating_add(u64::from(last))
            } else {
                offset
            },
        )
    }
    fn encode_key((start, owner, offset): (GroupBlock, u64, u64), bytes: &mut [u8]) {
        put_u32(bytes, 0, start.0);
        put_u64(bytes, 4, owner);
        put_u64(bytes, 12, offset);
    }
}
