//! Block devices: where the bytes of an image come from and go to.
//!
//! - [`BlockDevice`]: the one trait. Offsets and lengths are bytes.
//! - [`mod@file`]: a sparse file on the host.
//! - [`memory`]: a device in memory.
//! - [`mod@slice`]: a window onto another device, such as a partition.
//! - [`delta`]: what is changed of a base that stays as it is, with its blocks in `spill`.
//! - [`chunk_map`]: the digests of a device's chunks, and [`chunk_map_file`], its file form.
//! - [`output`]: a new image beside its target, renamed when it is whole.
//! - [`in_place`]: changing an image where it lies, with [`undo`] to get back from a half-done change.
//! - [`shared`]: what two files on the host have in common because they share it.
//! - [`digest`](mod@digest): SHA-256.
//! - [`byte_size`]: a number of bytes as people write it.

pub mod byte_size;
pub mod chunk_map;
pub mod chunk_map_file;
pub mod delta;
pub mod digest;
pub mod file;
pub mod hole;
pub mod in_place;
pub mod memory;
pub mod output;
pub mod shared;
pub mod slice;
mod spill;
pub mod undo;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use byte_size::ByteSize;
pub use chunk_map::{CHUNK_BYTES, Chunk, ChunkChange, ChunkMap, ChunkMapBuilder};
pub use delta::{Change, ChangeKind, Delta};
pub use digest::Digest;
pub use file::FileDevice;
pub use hole::Hole;
pub use in_place::InPlace;
pub use memory::MemoryDevice;
pub use output::Output;
pub use output::{write_changes, write_non_zero};
pub use slice::Slice;
pub use undo::Recovery;

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
        "{} is half-changed; the file {} beside it puts it back when the image is next opened",
        path.display(),
        undo::undo_path(path).display()
    )]
    HalfChanged {
        /// The image.
        path: PathBuf,
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

/// Random access to a fixed number of bytes, some of which may be holes that read as zeros.
///
/// All methods take `&self`, as `pread` and `pwrite` do, so that several partitions of one disk can
/// be edited through one device. A range that does not lie inside the device is
/// [`Error::OutOfRange`] and changes nothing.
pub trait BlockDevice: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether the device has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Makes `len` bytes at `offset` read as zeros, as a hole where the device can have one.
    fn write_zeros(&self, offset: u64, len: u64) -> Result<()>;

    /// The first range of data at or after `from`, clipped to start no earlier than `from`; `None`
    /// where only a hole follows. A range need not be as long as it could be: the next one may begin
    /// where it ends. Bytes outside all such ranges read as zeros; a range may hold
    /// zeros too.
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>>;

    /// The file on the host whose bytes are the bytes of this device, if there is one, so that it
    /// can be cloned as a file.
    fn host_file(&self) -> Option<&FileDevice> {
        None
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for Arc<D> {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        (**self).write_at(offset, buf)
    }
    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        (**self).write_zeros(offset, len)
    }
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        (**self).next_data(from)
    }
    fn host_file(&self) -> Option<&FileDevice> {
        (**self).host_file()
    }
}

/// Checks that `len` bytes at `offset` lie inside a device of `device_len` bytes.
pub fn check_range(offset: u64, len: u64, device_len: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= device_len => Ok(()),
        _ => Err(Error::OutOfRange {
            offset,
            len,
            device_len,
        }),
    }
}

/// The length of a buffer as a number of bytes on a device.
pub fn byte_len(buf: &[u8]) -> u64 {
    u64::try_from(buf.len()).expect("a buffer's length fits 64 bits")
}

/// Whether all bytes are zero. Comparing with zeros is what the C library does fastest.
pub fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|piece| *piece == ZEROS[..piece.len()])
}

/// What a thread came to; its panic goes on in this one.
pub fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How many threads to share work between.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
