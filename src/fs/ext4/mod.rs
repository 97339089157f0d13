//! ext2, ext3 and ext4.
//!
//! - [`hash`]: the hashes of names by which an indexed directory is ordered.

pub mod hash;
