//! imgasm assembles disk images offline: an image is a base plus a delta.
//!
//! Lowest floor first; a module imports only from those above it in this list:
//!
//! - [`block`]: block devices, the copy-on-write delta, sparse files, the chunk map.
//! - [`container`]: what a disk image is wrapped in, and the cache of unpacked base images.
//! - [`fs`]: the filesystems inside an image, behind one trait.
//! - [`disk`]: partition tables, and the filesystem in each partition.
//! - [`guest`]: what imgasm knows of a Linux root filesystem.
//! - [`diff`]: what differs between two images.
//! - [`inspect`]: what an image is, described.
//! - [`cli`]: the command line.
//!
//! Beside them: [`text`], bytes from an image as text.

pub mod block;
pub mod cli;
pub mod container;
pub mod diff;
pub mod disk;
pub mod fs;
pub mod guest;
pub mod inspect;
pub mod text;
