//! A base disk, assembled from a root filesystem that lies as files on the host.
//!
//! - [`meta`]: the file beside the tree, with what a checkout of it cannot keep.
//! - [`tree`]: what the root filesystem is to hold, from both.
//! - [`fill`]: the tree put into a filesystem.
//! - [`assemble`](mod@assemble): the disk: partition table, boot partitions, root filesystem.

pub mod assemble;
pub mod fill;
pub mod meta;
pub mod tree;

use std::path::PathBuf;

pub use assemble::{AssembleOptions, Assembly};

use imgasm_fs::path::ImagePath;

/// Why a base disk could not be assembled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file on the host could not be read.
    #[error("cannot {action} {}", path.display())]
    Host {
        /// What was tried: `list`, `read`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: std::io::Error,
    },
    /// The file beside the tree is not as it must be.
    #[error("{}: {problem}", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place in the file where that is known.
        problem: String,
    },
    /// Something in the tree cannot be put into an image.
    #[error("{}: {problem}", path.display())]
    Tree {
        /// The file on the host.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The disk is too small for what is to go onto it.
    #[error("{what} of {len} bytes is too small: at least {required} bytes are needed")]
    TooSmall {
        /// `a disk`.
        what: &'static str,
        /// The size asked for.
        len: u64,
        /// The smallest size that will do.
        required: u64,
    },
    /// A path could not be made in the new filesystem.
    #[error("{path}: {source}")]
    Fill {
        /// The path in the image.
        path: ImagePath,
        /// What the filesystem said.
        source: imgasm_fs::Error,
    },
    /// A new filesystem could not be made.
    #[error("cannot make the {what}")]
    Format {
        /// Which.
        what: &'static str,
        /// What was said about it.
        source: imgasm_fs::Error,
    },
    /// The partition table could not be laid out.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The device failed.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

/// What the functions of this module return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
