//! The engine for what a device holds.

use std::sync::Arc;

use super::probe::probe;
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, FileSystem, Result, WriteOptions};

/// Whether there is an engine for contents with this name from [`probe`].
pub(crate) fn has_engine(kind: &str) -> bool {
    matches!(kind, "ext2" | "ext3" | "ext4" | "vfat" | "xfs")
}

/// Opens the filesystem on `device` for reading.
///
/// # Errors
/// [`Error::Incompatible`] if there is none, or one that we cannot read.
pub fn open(device: Arc<dyn BlockDevice>) -> Result<Box<dyn FileSystem>> {
    Ok(match probe(&device)? {
        Some("ext2" | "ext3" | "ext4") => Box::new(imgasm_ext4::Ext4::open(device)?),
        Some("vfat") => Box::new(imgasm_fat::Fat::open(device)?),
        Some("xfs") => Box::new(imgasm_xfs::Xfs::open(device)?),
        other => return Err(unsupported(other)),
    })
}

/// Opens the filesystem on `device` for reading and writing.
///
/// # Errors
/// [`Error::Incompatible`] if there is none, or one that we cannot write;
/// [`Error::NotWritable`] if it must be repaired first.
pub fn open_writable(
    device: Arc<dyn BlockDevice>,
    options: WriteOptions,
) -> Result<Box<dyn FileSystem>> {
    Ok(match probe(&device)? {
        Some("ext2" | "ext3" | "ext4") => {
            Box::new(imgasm_ext4::Ext4::open_writable(device, options)?)
        }
        Some("vfat") => Box::new(imgasm_fat::Fat::open_writable(device, options)?),
        Some("xfs") => Box::new(imgasm_xfs::Xfs::open_writable(device, options)?),
        other => return Err(unsupported(other)),
    })
}

fn unsupported(kind: Option<&'static str>) -> Error {
    match kind {
        Some(kind) => Error::Incompatible {
            fs: kind,
            what: "this kind of contents".to_owned(),
        },
        None => Error::NoFilesystem,
    }
}
