//! Block devices: where the bytes of an image come from and go to.
//!
//! - [`device`]: [`BlockDevice`], the one trait. Offsets and lengths are bytes.
//! - [`mod@file`]: a sparse file on the host.
//! - [`memory`]: a device in memory.
//! - [`hole`]: a device of zeros.
//! - [`mod@slice`]: a window onto another device, such as a partition.
//! - [`delta`]: what is changed of a base that stays as it is, with its blocks in `spill`.
//! - [`chunk_map`]: the digests of a device's chunks, and [`chunk_map_file`], its file form.
//! - [`output`]: a new image beside its target, renamed when it is whole.
//! - [`in_place`]: changing an image where it lies, if `in_use` finds nobody else at it, with
//!   [`undo`] to get back from a half-done change.
//! - [`shared`]: what two files on the host have in common because they share it.
//! - [`digest`](mod@digest): SHA-256.
//! - [`byte_size`]: a number of bytes as people write it.
//! - [`pool`]: work on all cores.
//! - [`bytes`]: buffers: their lengths, and where they are zeros.
//! - [`error`]: why a device could not do what was asked.

pub mod byte_size;
pub mod bytes;
pub mod chunk_map;
pub mod chunk_map_file;
pub mod delta;
pub mod device;
pub mod digest;
pub mod error;
pub mod file;
pub mod hole;
pub mod in_place;
mod in_use;
pub mod memory;
pub mod output;
pub mod pool;
pub mod shared;
pub mod slice;
mod spill;
pub mod undo;

pub use byte_size::ByteSize;
pub use chunk_map::{CHUNK_BYTES, Chunk, ChunkChange, ChunkMap, ChunkMapBuilder};
pub use delta::{Change, ChangeKind, Delta};
pub use device::{BlockDevice, check_range};
pub use digest::Digest;
pub use error::{Error, Result};
pub use file::FileDevice;
pub use hole::Hole;
pub use in_place::InPlace;
pub use memory::MemoryDevice;
pub use output::Output;
pub use slice::Slice;
pub use undo::Recovery;
