//! What the tests of whole filesystems share.
//!
//! - [`rng`]: the deterministic numbers everything random here is made of.
//! - [`content`]: file contents of any size from a seed.
//! - [`command`]: running the tools that judge us.
//! - [`image`]: images in the feature sets that are out there, made by the formats' own tools.
//! - [`kernel`]: loop mounts, and what the kernel says about them.
//! - [`judge`]: `e2fsck`, `xfs_repair`.
//! - [`tree`]: a whole file tree as a value, taken from a mount or from an engine, and compared.
//! - [`look`]: everything there is to ask of a filesystem that may be broken.
//! - [`mutate`]: damage to an image.
//! - [`populate`]: fills a mounted image with everything that occurs on real ones.
//! - [`edits`], [`model`], [`apply`]: random edits that are valid, and carrying them out by the
//!   kernel and by an engine.
//! - [`engine`]: what the engines under test are given.
//! - [`sandbox`]: many cases of hostile input in a watched process.
//! - [`engine`]: the engines under test.
//! - [`scratch`]: room for images.
//! - [`trial`]: one comparison from beginning to end.

// Every test binary has its own copy of these modules and uses only a part of them.
#![allow(dead_code)]

pub mod apply;
pub mod command;
pub mod content;
pub mod edits;
pub mod engine;
pub mod image;
pub mod judge;
pub mod kernel;
pub mod look;
pub mod model;
pub mod mutate;
pub mod populate;
pub mod rng;
pub mod sandbox;
pub mod scratch;
pub mod tree;
pub mod trial;
