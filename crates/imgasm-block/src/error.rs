//! Why a block device could not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

/// Why a block device could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// The host failed to open, make, lock, rename, remove or sync a file.
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
    /// A change in place failed, and so did undoing it.
    #[error(
        "{} is half-changed: a change of it failed, and so did putting it back; its undo file is kept",
        path.display()
    )]
    HalfChanged {
        /// The image.
        path: PathBuf,
        /// Why undoing it failed.
        source: Box<Error>,
    },
    /// An image that is to be read is half-changed.
    #[error(
        "{} is half-changed by an interrupted change; what it held before is in {}",
        path.display(),
        undo.display()
    )]
    Interrupted {
        /// The image.
        path: PathBuf,
        /// Its undo file.
        undo: PathBuf,
    },
    /// An image does not hold what its undo file says.
    #[error(
        "{} is not what an interrupted change left: at byte {offset} it holds neither the old nor the \
         new content, so it was replaced or written since; remove {} if the image is right as it \
         is, else take it from a copy",
        path.display(),
        undo.display()
    )]
    UndoMismatch {
        /// The image.
        path: PathBuf,
        /// Its undo file.
        undo: PathBuf,
        /// The offset in the image.
        offset: u64,
    },
    /// A file beside an image that somebody else may have put there; see [`crate::sidecar`].
    #[error("{} is not trusted: {problem}; remove it if it is not yours", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An undo file that is not about the image.
    #[error(
        "the undo file {} is not trusted: {problem}; remove it if the image is right as it is",
        undo.display()
    )]
    UndoUntrusted {
        /// The undo file.
        undo: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An image has several names, and its file system cannot store where its undo file lies.
    #[error(
        "{} has {names} names (hard links) on a file system without extended attributes, so that \
         a half-done change would not be seen under the others: change a copy",
        path.display()
    )]
    ManyNames {
        /// The image.
        path: PathBuf,
        /// Their number.
        names: u64,
    },
    /// An image that is to be changed is used by somebody else.
    #[error("{} is in use: {by}", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
        /// Who uses it.
        by: String,
    },
    /// A file does not hold the bytes whose digest is known.
    #[error(
        "{} has changed since its digest was made: the bytes from {offset} on differ. It is \
         being written, or was written in a way that its times do not show; once nobody writes it, run \
         this again, and it is read anew",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where the chunk that differs begins.
        offset: u64,
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
