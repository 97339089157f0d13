//! The on-disk structures of XFS, as bytes and as values; no I/O.
//!
//! All numbers on the disk are big-endian, except checksums. Decoders say in a sentence what is
//! wrong; their callers add the place.
//!
//! - [`bytes`], [`numbers`]: numbers in blocks, and numbers with a unit.
//! - [`checksum`], [`stamp`]: the checksum and the identity of every metadata block.
//! - [`features`], [`superblock`], [`geometry`]: what the filesystem is, and where its blocks are.
//! - [`mod@ag`], [`agf`], [`agfl`], [`agi`]: the head of an allocation group.
//! - [`btree`]: blocks of trees and their records.
//! - [`inode`], [`extent`], [`device_number`]: inodes and what their forks hold.
//! - [`hash_tree`]: the blocks that lead to names and attributes by their hashes.
//! - [`dir`], [`attr`], [`symlink`]: directories, attributes, targets of links.

pub(crate) mod ag;
pub(crate) mod agf;
pub(crate) mod agfl;
pub(crate) mod agi;
pub(crate) mod attr;
pub(crate) mod btree;
pub(crate) mod bytes;
pub(crate) mod checksum;
pub(crate) mod device_number;
pub(crate) mod dir;
pub(crate) mod extent;
pub(crate) mod features;
pub(crate) mod geometry;
pub(crate) mod hash_tree;
pub(crate) mod inode;
pub(crate) mod numbers;
pub(crate) mod stamp;
pub(crate) mod superblock;
pub(crate) mod symlink;
