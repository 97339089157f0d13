//! Why a block device could not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

/// Why a block device could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The range does not lie inside the device.
    #[error(
        "bytes {offset}..{} lie outside the device, which has {device_len} bytes",
        offset.saturating_add(*len)
    )]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        len: u64,
        /// Length of the device in bytes.
        device_len: u64,
    },
    /// The device was opened for reading only.
    #[error("the device is opened for reading only")]
    ReadOnly,
    /// The host failed to read or write.
    #[error("{}: cannot {operation} {len} bytes at offset {offset}", path.display())]
    Io {
        /// File on the host.
        path: PathBuf,
        /// What was tried: `read`, `write`, …
        operation: &'static str,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// What the host said.
        source: io::Error,
    },
    /// The host failed to open, make, lock, rename or remove a file, or to bring it to its disk.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// File on the host.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the host said.
        source: io::Error,
    },
    /// The host's file system is full.
    #[error("no room on the file system that holds {}: free some or choose another folder", path.display())]
    NoSpace {
        /// File on the host that was written.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// Another process is writing the same file.
    #[error("{} is being written by another process", path.display())]
    Locked {
        /// File on the host.
        path: PathBuf,
    },
    /// A change in place failed, and so did going back.
    #[error(
        "{} is half-changed; the file {} puts it back when the image is next opened for writing",
        path.display(),
        undo.display()
    )]
    HalfChanged {
        /// The image.
        path: PathBuf,
        /// Its undo file.
        undo: PathBuf,
        /// Why going back failed.
        source: Box<Error>,
    },
    /// What a file holds contradicts its format.
    #[error("{}: {problem}", path.display())]
    Corrupt {
        /// File on the host.
        path: PathBuf,
        /// What was seen, where, and what was expected.
        problem: String,
    },
}

impl Error {
    /// A failure of the host at a range of a file.
    pub fn io(
        path: &Path,
        operation: &'static str,
        offset: u64,
        len: u64,
        source: io::Error,
    ) -> Self {
        if is_full(&source) {
            return Self::NoSpace {
                path: path.to_owned(),
                source,
            };
        }
        Self::Io {
            path: path.to_owned(),
            operation,
            offset,
            len,
            source,
        }
    }

    /// A failure of the host at a file as a whole.
    pub fn file(path: &Path, operation: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            return Self::NoSpace { path, source };
        }
        Self::File {
            path,
            operation,
            source,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What block devices return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
