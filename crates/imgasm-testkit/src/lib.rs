//! What the tests of whole filesystems share.
//!
//! - [`rng`]: the deterministic generator of all that is random here.
//! - [`content`]: file contents of any size from a seed.
//! - [`need`]: what a test needs from the machine, and what happens if it is missing.
//! - [`command`], [`tools`]: running the tools that judge us.
//! - [`image`]: images in the feature sets that occur in practice, made by the formats' own tools.
//! - [`mount`]: loop devices and mounts that end with their value.
//! - [`kernel`]: mounts of images, and what the kernel says about them.
//! - [`judge`]: `e2fsck`, `xfs_repair`.
//! - [`tree`]: a whole file tree as a value, taken from a mount or from an engine, and compared.
//! - [`look`]: everything there is to ask of a filesystem that may be broken.
//! - [`mutate`]: damage to an image; [`mod@damage`]: damage to any file.
//! - [`populate`]: fills a mounted image with everything that occurs on real ones.
//! - [`edits`], [`model`], [`apply`]: random edits that are valid, and carrying them out by the
//!   kernel and by an engine.
//! - [`sandbox`]: many cases of hostile input in a watched process.
//! - [`engine`]: the engines under test.
//! - [`scratch`]: room for images.
//! - [`memory_fs`], [`guest_tree`]: a filesystem in memory, and small systems in it.
//! - [`images`], [`disk`]: image files on the host, and disks with something in them.
//! - [`trial`]: one comparison from beginning to end.

#![allow(missing_docs, reason = "nobody but these tests reads it")]

pub mod apply;
pub mod command;
pub mod content;
pub mod damage;
pub mod disk;
pub mod edits;
pub mod engine;
pub mod guest_tree;
pub mod image;
pub mod images;
pub mod judge;
pub mod kernel;
pub mod look;
pub mod memory_fs;
pub mod model;
pub mod mount;
pub mod mutate;
pub mod need;
pub mod populate;
pub mod rng;
pub mod sandbox;
pub mod scratch;
pub mod tools;
pub mod tree;
pub mod trial;
