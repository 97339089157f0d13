//! The engines under test.

use std::path::Path;
use std::sync::Arc;

use imgasm::block::{BlockDevice, FileDevice};
use imgasm::fs::xfs::Xfs;
use imgasm::fs::{FileSystem, Timestamp, WriteOptions};

use super::image::Kind;

/// What every engine under test is told: a time that differs from any clock's.
pub const OPTIONS: WriteOptions = WriteOptions {
    now: Timestamp {
        seconds: 1_500_000_000,
        nanoseconds: 0,
    },
    seed: *b"differential run",
};

/// Opens the filesystem on a device for reading.
pub fn open(kind: Kind, device: Arc<dyn BlockDevice>) -> imgasm::fs::Result<Box<dyn FileSystem>> {
    match kind {
        Kind::Ext => Err(not_yet(kind)),
        Kind::Xfs => Ok(Box::new(Xfs::open(device)?)),
    }
}

/// Opens the filesystem on a device for writing.
pub fn open_writable(
    kind: Kind,
    device: Arc<dyn BlockDevice>,
) -> imgasm::fs::Result<Box<dyn FileSystem>> {
    let _ = device;
    match kind {
        Kind::Ext | Kind::Xfs => Err(not_yet(kind)),
    }
}

fn not_yet(kind: Kind) -> imgasm::fs::Error {
    imgasm::fs::Error::Incompatible {
        fs: kind.name(),
        what: "this format".to_owned(),
    }
}

/// An image on the host as a device to read.
pub fn image(path: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}
