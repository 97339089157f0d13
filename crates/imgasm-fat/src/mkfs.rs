//! Making a FAT volume.

use std::sync::Arc;

use fatfs::{FatType, FormatVolumeOptions, format_volume};

use super::edit::{self, Host, failed};
use super::problem::{KIND, unstorable};
use super::volume::Volume;
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Result, Timestamp};

/// The options for a new volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormatOptions {
    /// Its label: at most 11 characters of printable ASCII; empty for none.
    pub label: String,
    /// Its serial number.
    pub volume_id: u32,
    /// Size of the device's logical blocks in bytes: 512 to 4096.
    pub sector_size: u16,
}

impl FormatOptions {
    /// A volume without a label, in sectors of 512 bytes.
    pub fn new(volume_id: u32) -> Self {
        Self {
            label: String::new(),
            volume_id,
            sector_size: 512,
        }
    }
}

/// The smallest device that is worth a filesystem.
const MIN_LEN: u64 = 64 << 10;
/// From this length on volumes have 32-bit entries, as `mkfs.fat` makes them.
const FAT32_FROM: u64 = 512 << 20;

/// Makes an empty volume on all of `device`: FAT12, FAT16 or FAT32 by its length.
///
/// # Errors
/// [`Error::Unstorable`] if the label is not valid, or the device's length does not suit.
pub fn format(device: &Arc<dyn BlockDevice>, options: &FormatOptions) -> Result<()> {
    let label = label(&options.label)?;
    let len = device.len();
    if len < MIN_LEN || !matches!(options.sector_size, 512 | 1024 | 2048 | 4096) {
        return Err(unstorable(
            format!(
                "a volume of {len} bytes in sectors of {}",
                options.sector_size
            ),
            "at least 64 KiB and sectors of 512 to 4096 bytes are needed",
        ));
    }
    // What was there before must not show: the crate writes only what a new volume needs.
    device.write_zeros(0, len)?;
    let mut volume = FormatVolumeOptions::new()
        .bytes_per_sector(options.sector_size)
        .volume_id(options.volume_id);
    if len < FAT32_FROM {
        let small = len < 16 << 20;
        volume = volume.fat_type(if small {
            FatType::Fat12
        } else {
            FatType::Fat16
        });
    }
    if let Some(label) = label {
        volume = volume.volume_label(label);
    }
    format_volume(Host::new(Arc::clone(device), len), volume).map_err(failed)?;
    // The crate does not store the number of free clusters; they are counted here.
    let mut volume = Volume::open(Arc::clone(device))?;
    edit::with_engine(&mut volume, Timestamp::default(), |engine| {
        engine.stats().map(drop).map_err(failed)
    })
}

/// The label as it is stored: padded by spaces.
fn label(label: &str) -> Result<Option<[u8; 11]>> {
    let mut bytes = [b' '; 11];
    let sound = label.len() <= bytes.len()
        && !label.starts_with(' ')
        && label
            .bytes()
            .all(|byte| (0x20..0x7f).contains(&byte) && !b"\"*+,./:;<=>?[\\]|".contains(&byte));
    if !sound {
        return Err(Error::Unstorable {
            what: format!("the label {label:?}"),
            problem: format!("{KIND}: a label has at most 11 characters of ASCII, none reserved"),
        });
    }
    bytes[..label.len()].copy_from_slice(label.as_bytes());
    Ok((!label.is_empty()).then_some(bytes))
}
