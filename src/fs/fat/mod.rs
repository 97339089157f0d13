//! FAT12, FAT16 and FAT32: the EFI system partition of an image.
//!
//! - [`boot`]: the boot sector, and where everything lies.

pub mod boot;

use self::boot::{BOOT_LEN, Geometry};
use super::Result;
use crate::block::BlockDevice;

/// Whether `device` begins with the boot sector of a FAT volume.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut sector = [0; BOOT_LEN];
    if device.len() < 512 {
        return Ok(false);
    }
    device.read_at(0, &mut sector)?;
    Ok(Geometry::decode(&sector, device.len()).is_ok())
}
