//! A base disk, assembled from a root filesystem that lies as files or in a tar file on the host.
//!
//! - [`meta`]: the file beside the tree, with what a checkout of it cannot store.
//! - `source`: where the content of a file lies.
//! - [`tree`]: what the root filesystem is to hold, from both; [`archive`]: the same from a tar
//!   file, or a zip file.
//! - [`fill`]: puts the tree into a filesystem.
//! - [`layout`]: how the disk is divided.
//! - `grub`: the boot loader for a BIOS.
//! - [`assemble`](mod@assemble): the disk: partition table, and the filesystems in it.

pub mod archive;
pub mod assemble;
pub mod fill;
mod grub;
pub mod layout;
pub mod meta;
mod source;
pub mod tree;

use std::path::PathBuf;

pub use assemble::{AssembleOptions, Assembly};
pub use layout::Layout;

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
        /// What is wrong, with the place in the file if that is known.
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
        what: String,
        /// What was said about it.
        source: imgasm_fs::Error,
    },
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] imgasm_container::Error),
    /// A member of the archive cannot be put into an image.
    #[error("{}: {name:?} {problem}", archive.display())]
    Member {
        /// The archive.
        archive: PathBuf,
        /// The member.
        name: String,
        /// Why not.
        problem: String,
    },
    /// The tree does not fit the disk's partitions.
    #[error("{0}")]
    Layout(String),
    /// The partitions could not be listed in `/etc/fstab`.
    #[error("/etc/fstab cannot be written")]
    List {
        /// Why not.
        source: imgasm_fs::tree::Error,
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
