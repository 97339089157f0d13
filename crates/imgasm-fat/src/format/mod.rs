//! The on-disk structures of FAT, as bytes and as values; no I/O.
//!
//! - [`boot`]: the boot sector, and where everything lies.
//! - [`directory`]: the bytes of a directory.
//! - [`time`]: FAT's dates and times.

pub mod boot;
pub mod directory;
pub mod time;
