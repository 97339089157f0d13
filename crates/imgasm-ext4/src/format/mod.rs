//! The on-disk structures of ext2, ext3 and ext4, as bytes and as values; no I/O.
//!
//! Facts about the format are from the kernel's documentation, "ext4 Data Structures and
//! Algorithms"; fields have its names. All numbers on the disk are little-endian.
//!
//! - [`numbers`]: block, inode and group numbers, the block size.
//! - [`checksum`]: CRC-32C and CRC-16 over the structures.
//! - [`features`]: the three feature sets.
//! - [`superblock`], [`geometry`]: what the superblock says, and what follows from it once it is
//!   known to be sound.
//! - [`group`]: block group descriptors.
//! - [`inode`], [`time`], [`device_number`]: inodes and what is packed into them.
//! - [`extent`]: nodes of extent trees.
//! - [`dirent`], [`htree`]: directory entries and the hash index above them.
//! - [`xattr`], [`acl`]: extended attributes.
//! - [`quota`]: the hidden files that count what each owner uses.

pub mod acl;
pub mod checksum;
pub mod device_number;
pub mod dirent;
pub mod extent;
pub mod features;
pub mod geometry;
pub mod group;
pub mod htree;
pub mod inode;
pub mod numbers;
pub mod quota;
pub mod superblock;
pub mod time;
pub mod xattr;

/// Two bytes at `offset`; callers have checked the length of `bytes`.
pub fn read_u16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

/// Four bytes at `offset`; callers have checked the length of `bytes`.
pub fn read_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes([
        bytes[offset],
        bytes[offset + 1],
        bytes[offset + 2],
        bytes[offset + 3],
    ])
}

/// Puts two bytes at `offset`; callers have checked the length of `bytes`.
pub fn put_u16(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
}

/// Puts four bytes at `offset`; callers have checked the length of `bytes`.
pub fn put_u32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}
