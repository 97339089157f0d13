//! Directories in blocks. (Kernel documentation of XFS, "Directories".)
//!
//! - [`entry`]: a name, and the codes of types.
//! - [`data`]: blocks of names.
//! - [`hash`]: the hash of a name.
//! - [`index`]: the blocks through which names, and room for new ones, are found.

pub(crate) mod data;
pub(crate) mod entry;
pub(crate) mod hash;
pub(crate) mod index;
