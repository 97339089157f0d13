//! B+trees: one codec for the trees of the allocation groups (short pointers) and those of a file's
//! extents (long pointers). (Kernel documentation of XFS, "Variable Length Record B+trees".)
//!
//! - [`records`]: what the leaves hold.
//! - [`build`]: from sorted records to blocks.

pub(crate) mod build;
pub(crate) mod records;

use crate::format::bytes::{u32_at, u64_at};
use crate::format::geometry::Geometry;
use crate::format::stamp::{LONG_TREE, SHORT_TREE, Stamp};

/// A record of a tree: its form on the disk, and the key by which it is found.
pub(crate) trait Record: Copy {
    /// What records are found by.
    type Key: Copy + Ord + std::fmt::Debug;
    /// Bytes of a record.
    const LEN: usize;
    /// Bytes of a key.
    const KEY_LEN: usize;
    /// Whether records may overlap, so that a node also gives the highest key below it.
    const OVERLAPPING: bool;

    /// Decodes a record of [`Self::LEN`] bytes; the error says what is wrong.
    fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Self, String>;
    /// Encodes the record into [`Self::LEN`] bytes.
    fn encode(&self, bytes: &mut [u8], geometry: &Geometry);
    /// The record's key.
    fn low(&self) -> Self::Key;
    /// The key of the last thing that the record covers.
    fn high(&self) -> Self::Key {
        self.low()
    }
    /// Encodes a key into [`Self::KEY_LEN`] bytes.
    fn encode_key(key: Self::Key, bytes: &mut [u8]);
}

/// A kind of tree: its magic numbers and the width of its pointers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// What the tree is called in messages.
    pub(crate) name: &'static str,
    magic_v4: u32,
    magic_v5: u32,
    pub(crate) long: bool,
}

/// Free space by block number.
pub(crate) const FREE_BY_BLOCK: Kind = Kind::short("bnobt", 0x4142_5442, 0x4142_3342);
/// Free space by size.
pub(crate) const FREE_BY_SIZE: Kind = Kind::short("cntbt", 0x4142_5443, 0x4142_3343);
/// Inode chunks.
pub(crate) const INODES: Kind = Kind::short("inobt", 0x4941_4254, 0x4941_4233);
/// Inode chunks with free inodes.
pub(crate) const FREE_INODES: Kind = Kind::short("finobt", 0x4649_4254, 0x4649_4233);
/// Shared blocks.
pub(crate) const REFCOUNTS: Kind = Kind::short("refcountbt", 0, 0x5233_4643);
/// Owners of blocks.
pub(crate) const OWNERS: Kind = Kind::short("rmapbt", 0, 0x524d_4233);
/// Extents of a file.
pub(crate) const EXTENTS: Kind = Kind {
    name: "bmbt",
    magic_v4: 0x424d_4150,
    magic_v5: 0x424d_4133,
    long: true,
};

/// More levels than any tree can have; a bound on what the disk says.
pub(crate) const MAX_LEVELS: u16 = 16;

impl Kind {
    const fn short(name: &'static str, magic_v4: u32, magic_v5: u32) -> Self {
        Self {
            name,
            magic_v4,
            magic_v5,
            long: false,
        }
    }

    pub(crate) fn magic(self, geometry: &Geometry) -> u32 {
        if geometry.features.crc {
            self.magic_v5
        } else {
            self.magic_v4
        }
    }

    pub(crate) fn stamp(self) -> Stamp {
        if self.long { LONG_TREE } else { SHORT_TREE }
    }

    /// Bytes before the first record or key.
    pub(crate) fn header_len(self, geometry: &Geometry) -> usize {
        match (self.long, geometry.features.crc) {
            (false, false) => 16,
            (false, true) => 56,
            (true, false) => 24,
            (true, true) => 72,
        }
    }

    pub(crate) fn pointer_len(self) -> usize {
        if self.long { 8 } else { 4 }
    }

    /// Checks the pointers of a block to its left and right neighbours, if it has any.
    pub(crate) fn check_siblings(
        self,
        bytes: &[u8],
        expected: [Option<&u64>; 2],
    ) -> Result<(), String> {
        let seen = [8, 8 + self.pointer_len()].map(|at| self.pointer_at(bytes, at));
        if seen == expected.map(Option::<&u64>::copied) {
            Ok(())
        } else {
            Err(format!("siblings {seen:?}, expected {expected:?}"))
        }
    }

    /// The pointer at a place of a block; all ones stand for none.
    fn pointer_at(self, bytes: &[u8], at: usize) -> Option<u64> {
        if self.long {
            Some(u64_at(bytes, at)).filter(|pointer| *pointer != u64::MAX)
        } else {
            let pointer = u32_at(bytes, at);
            (pointer != u32::MAX).then_some(u64::from(pointer))
        }
    }

    /// How many records a leaf can hold.
    pub(crate) fn leaf_capacity<R: Record>(self, geometry: &Geometry) -> usize {
        (geometry.block_len() - self.header_len(geometry)) / R::LEN
    }

    /// How many children a node can have.
    pub(crate) fn node_capacity<R: Record>(self, geometry: &Geometry) -> usize {
        (geometry.block_len() - self.header_len(geometry))
            / (node_key_len::<R>() + self.pointer_len())
    }
}

/// Bytes that a node stores for a child: its lowest key, and its highest if records may overlap.
pub(crate) const fn node_key_len<R: Record>() -> usize {
    if R::OVERLAPPING {
        2 * R::KEY_LEN
    } else {
        R::KEY_LEN
    }
}
