//! The input of the engines under test.

use std::path::Path;
use std::sync::Arc;

use imgasm_block::{BlockDevice, FileDevice};
use imgasm_fs::{Timestamp, WriteOptions};

/// A time that differs from any clock's, so that what an engine stamps can be distinguished from
/// what the kernel stamps.
pub const OPTIONS: WriteOptions = WriteOptions {
    now: Timestamp {
        seconds: 1_500_000_000,
        nanoseconds: 0,
    },
    seed: *b"differential run",
};

/// An image on the host as a device to read.
pub fn image(path: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}
