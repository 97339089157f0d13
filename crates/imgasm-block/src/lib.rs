//! Block devices: where the bytes of an image come from and go to.
//!
//! An edit that costs what it changes, not what the disk weighs:
//!
//! ```
//! use std::sync::Arc;
//!
//! use imgasm_block::{BlockDevice, Delta, FileDevice, Output};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (base, target) = (folder.path().join("base.raw"), folder.path().join("new.raw"));
//! # std::fs::File::create(&base)?.set_len(1 << 30)?;
//! let delta = Delta::new(Arc::new(FileDevice::open(&base)?)); // The base stays as it is.
//! delta.write_at(440, b"disk")?;
//! let changes = delta.changes()?;
//! assert_eq!(changes[0].range, 0..4096);
//!
//! let output = Output::create(&target)?; // A file beside the target …
//! output.write_delta(&delta, &changes)?;
//! output.commit()?; // … that takes its name when it is whole.
//!
//! let mut text = [0; 4];
//! FileDevice::open(&target)?.read_at(440, &mut text)?;
//! assert_eq!(&text, b"disk");
//! # Ok(())
//! # }
//! ```
//!
//! - [`device`]: [`BlockDevice`], the one trait. Offsets and lengths are bytes.
//! - [`mod@file`]: a sparse file on the host.
//! - [`memory`]: a device in memory.
//! - [`hole`]: a device of zeros.
//! - [`reader`]: a part of a device as a stream.
//! - [`mod@slice`]: a window onto another device, such as a partition.
//! - [`delta`]: changes above a base that stays as it is, with their blocks in `spill`.
//! - [`chunk_map`]: the digests of a device's chunks, and [`chunk_map_file`], its file form.
//! - [`once`]: a file's SHA-256 and its chunk map from one reading.
//! - [`verified`]: a file whose bytes are compared with their digests as they are read.
//! - [`lock`]: locks of files on the host.
//! - [`output`]: a new image beside its target, renamed when it is whole.
//! - [`in_place`]: changing an image where it lies, if `in_use` finds that nobody else uses it,
//!   with [`undo`] to get back from a half-done change.
//! - [`sidecar`]: whether a file beside an image may speak of it.
//! - [`shared`]: the blocks that two files on the host share.
//! - [`digest`](mod@digest): SHA-256.
//! - [`byte_size`]: a number of bytes as people write it.
//! - [`pool`]: work on all cores.
//! - [`bytes`]: buffers: their lengths, and which of their bytes are zeros.
//! - `serde`: sizes and digests in configuration and manifests.
//! - [`error`]: why a device could not do what was asked.
//!
//! # Features
//! Neither is on by default. `digest`, with the crates `sha2` and `blake3`: [`Digest`], [`ChunkMap`],
//! [`Hashed`], [`Verified`], and [`InPlace`] with [`Recovery`]. `serde`: [`ByteSize`] and [`Digest`] in
//! configuration.

#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

pub mod byte_size;
pub mod bytes;
#[cfg(feature = "digest")]
pub mod chunk_map;
#[cfg(feature = "digest")]
pub mod chunk_map_file;
pub mod delta;
pub mod device;
#[cfg(feature = "digest")]
pub mod digest;
pub mod error;
pub mod file;
pub mod hole;
#[cfg(feature = "digest")]
pub mod in_place;
#[cfg(feature = "digest")]
mod in_use;
pub mod lock;
pub mod memory;
#[cfg(feature = "digest")]
pub mod once;
pub mod output;
pub mod pool;
pub mod reader;
#[cfg(feature = "serde")]
mod serde;
pub mod shared;
pub mod sidecar;
pub mod slice;
mod spill;
#[cfg(feature = "digest")]
pub mod undo;
#[cfg(feature = "digest")]
pub mod verified;

pub use byte_size::ByteSize;
#[cfg(feature = "digest")]
pub use chunk_map::{CHUNK_BYTES, Chunk, ChunkChange, ChunkMap, ChunkMapBuilder};
pub use delta::{Change, ChangeKind, Delta};
pub use device::{BlockDevice, check_range};
#[cfg(feature = "digest")]
pub use digest::Digest;
pub use error::{Error, Result};
pub use file::FileDevice;
pub use hole::Hole;
#[cfg(feature = "digest")]
pub use in_place::InPlace;
pub use memory::MemoryDevice;
#[cfg(feature = "digest")]
pub use once::{Hashed, Progress};
pub use output::Output;
pub use reader::Reader;
pub use slice::Slice;
#[cfg(feature = "digest")]
pub use undo::Recovery;
#[cfg(feature = "digest")]
pub use verified::Verified;
