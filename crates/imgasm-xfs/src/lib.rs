//! XFS on a block device: read, written, checked and recovered without the help of a kernel.
//!
//! From the disk upwards:
//!
//! - [`mod@format`]: the on-disk structures as bytes and values; no I/O.
//! - [`problem`]: the errors.
//! - [`volume`]: the device with the geometry that gives its bytes their places.
//! - [`btree`], [`ag`]: trees as they are read, and the allocation groups that they describe.
//! - [`extent_map`], [`bmap`], [`fork`]: where the blocks of a fork are.
//! - [`inode`]: inodes with both their forks.
//! - [`dir`], [`attr`], [`symlink`], [`content`]: what inodes hold, by their kind.
//! - [`owners`]: who has which blocks.
//! - [`alloc`]: free blocks and inodes while writing.
//! - [`mod@write`], [`writes`]: changes in memory, and how they come to the device.
//! - [`check`]: all metadata against itself.
//! - [`log`], [`recovery`]: the log, and opening what was not unmounted.
//! - [`xfs`], [`filesystem`]: an opened filesystem, and all this as [`imgasm_fs::FileSystem`].
//!
//! Format facts come from the kernel's documentation, "XFS Filesystem Disk Structures"; fields bear
//! the kernel's names.

mod ag;
mod alloc;
mod attr;
mod bmap;
mod btree;
mod check;
mod content;
mod dir;
mod extent_map;
mod filesystem;
mod fork;
mod format;
mod inode;
mod log;
mod owners;
mod problem;
mod recovery;
mod symlink;
mod volume;
mod write;
mod writes;
mod xfs;

pub use xfs::Xfs;

use imgasm_block::BlockDevice;
use imgasm_fs::Result;

/// Whether a device seems to hold an XFS filesystem.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut magic = [0; 4];
    if device.len() < format::superblock::MAX_SECTOR {
        return Ok(false);
    }
    device.read_at(0, &mut magic)?;
    Ok(u32::from_be_bytes(magic) == format::superblock::MAGIC)
}
