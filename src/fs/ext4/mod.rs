//! ext2, ext3 and ext4.
//!
//! - [`mod@format`]: the on-disk structures as bytes and values; no I/O.
//! - [`hash`]: the hashes of names by which an indexed directory is ordered.
//! - [`journal`]: replaying the journal of an image that was not unmounted.
//! - [`mkfs`]: making a fresh filesystem.

mod format;
pub mod hash;
pub mod journal;
pub mod mkfs;

pub use mkfs::format;
pub use mkfs::options::FormatOptions;

use super::error::{Error, Location, Result};
use crate::block::BlockDevice;

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
