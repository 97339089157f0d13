//! imgasm assembles disk images offline: an image is a base plus a delta.
//!
//! Lowest floor first; a module imports only from those above it in this list:
//!
//! - [`block`]: block devices, the copy-on-write delta, sparse files, the chunk map.
//! - [`container`]: what a disk image is wrapped in, and the cache of unpacked base images.
//! - [`fs`]: the filesystems inside an image, behind one trait.

pub mod block;
pub mod container;
pub mod fs;
