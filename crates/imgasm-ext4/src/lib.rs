//! ext2, ext3 and ext4.
//!
//! From the disk upwards:
//!
//! - [`mod@format`]: the on-disk structures as bytes and values; no I/O.
//! - [`hash`]: the hashes of names by which an indexed directory is ordered.
//! - [`bitmap`], [`zone`]: sets of blocks and inodes.
//! - [`stage`]: metadata blocks in memory, undone when an operation fails.
//! - [`journal`]: replaying the journal of an image that was not unmounted.
//! - [`volume`]: opening, operations as units, flushing.
//! - [`groups`], [`alloc`], [`inode_table`]: descriptors and bitmaps, what is taken from them, and
//!   inodes.
//! - [`mapping`], [`extent_tree`], [`block_map`]: which blocks are a file's.
//! - [`content`], [`symlink`], [`inline`]: what files hold.
//! - [`dir`]: names in directories, linear and indexed.
//! - [`xattrs`]: extended attributes and access control lists.
//! - [`namespace`], [`metadata`]: creating, linking, renaming, removing; owners, modes and times.
//! - [`info`]: the filesystem as a whole.
//! - [`filesystem`]: all this as [`imgasm_fs::FileSystem`].
//! - [`journal`], [`recovery`], [`orphans`]: bringing an image that was not unmounted up to date.
//! - [`check`]: all metadata against itself.
//! - [`mkfs`]: making a fresh filesystem.

mod alloc;
mod bitmap;
mod block_map;
mod check;
mod content;
mod dir;
mod extent_tree;
mod filesystem;
mod format;
mod groups;
pub mod hash;
mod info;
mod inline;
mod inode_table;
mod journal;
mod mapping;
mod metadata;
pub mod mkfs;
mod namespace;
mod orphans;
mod recovery;
mod stage;
mod symlink;
mod volume;
mod xattrs;
mod zone;

pub use mkfs::format;
pub use mkfs::options::FormatOptions;
pub use volume::Ext4;

use format::numbers::InodeNumber;
use imgasm_block::BlockDevice;
use imgasm_fs::error::{Error, Location, Result};

/// What messages call the format.
const FS: &str = "ext4";

/// Whether a device holds an ext2, ext3 or ext4 filesystem, by its magic number.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    const MAGIC_AT: u64 = format::superblock::OFFSET_BYTES + 0x38;
    if device.len() < MAGIC_AT + 2 {
        return Ok(false);
    }
    let mut magic = [0; 2];
    device.read_at(MAGIC_AT, &mut magic)?;
    Ok(u16::from_le_bytes(magic) == format::superblock::MAGIC)
}

/// The image contradicts its format.
fn corrupt(at: Location, problem: impl Into<String>) -> Error {
    Error::Corrupt {
        fs: FS,
        at,
        problem: problem.into(),
    }
}

/// An inode as a place.
fn at_inode(inode: InodeNumber) -> Location {
    Location::Inode(u64::from(inode.0))
}
