//! ext2, ext3 and ext4.
//!
//! - [`format`]: the on-disk structures as bytes and values; no I/O.
//! - [`hash`]: the hashes of names by which an indexed directory is ordered.
//! - [`format`]: the on-disk structures as bytes and values; no I/O.

mod format;
pub mod hash;

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
