//! The filesystems inside a disk image, behind one trait, without the help of a kernel.
//!
//! Any engine can be edited by paths, as root would on a running kernel:
//!
//! ```
//! use std::sync::Arc;
//!
//! use imgasm_block::MemoryDevice;
//! use imgasm_ext4::{Ext4, FormatOptions};
//! use imgasm_fs::path::ImagePath;
//! use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file, walk};
//! use imgasm_fs::{FileSystem, Timestamp, WriteOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
//! let device = Arc::new(MemoryDevice::new(vec![0; 16 << 20]));
//! imgasm_ext4::format(&*device, &FormatOptions::new([1; 16], [2; 16], now))?;
//! let mut fs = Ext4::open_writable(device, WriteOptions { now, seed: [3; 16] })?;
//!
//! let path = ImagePath::parse("/etc/motd")?;
//! let mut editor = Editor::new(&mut fs);
//! editor.mkdir_all(&ImagePath::parse("/etc")?, Attributes::default())?;
//! editor.write(&path, LastLink::Follow, b"Hello\n", Attributes::default())?;
//! fs.flush()?;
//!
//! assert_eq!(read_file(&fs, &path, 1 << 20)?, b"Hello\n");
//! for entry in walk(&fs, &ImagePath::root())? {
//!     let entry = entry?;
//!     println!("{:04o} {}", entry.metadata.permissions, entry.path);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - `filesystem`, [`FileSystem`]: what is asked of a filesystem, in inode terms: no paths, no symbolic links
//!   followed. Its primitives are what an engine implements; its provided methods add the rules.
//! - `rules`: the rules that are no format's own, applied once for all engines: [`is_name`], what
//!   may be linked, moved and removed, and how a mode and an access control list agree.
//! - [`posix`]: the effect that root's edit has on a running kernel.
//! - [`acl`]: POSIX access control lists.
//! - [`holes`]: which zeros of new content become holes, and whether a file has any.
//! - [`types`]: the words of the trait: file types, metadata, times, device numbers.
//! - [`error`]: why a filesystem could not do what was asked.
//! - [`path`], [`tree`]: paths inside an image, and reading and editing a filesystem by them.
//! - [`digest`]: digests of file contents: of one file, or of many while they are read.
//! - `label`, [`check_label`]: which labels a filesystem can have.
//! - `rehearsal`, [`Rehearsal`]: a filesystem as it would be after changes, which are thrown away.
//! - [`sparsify()`]: turns what a filesystem does not use into holes.
//! - `serde`: paths in configuration and manifests.
//! - [`text`]: names and values from an image, and errors, as text.
//!
//! # Features
//! None is on by default. `digest`: SHA-256 of contents. `glob`: patterns of paths. `serde`: paths
//! and metadata in configuration and manifests.
//!
//! # Writing
//! A filesystem is a writer's own working copy: it sits on a device that is a copy-on-write delta,
//! so it may write file data at once and keep its metadata in memory until
//! [`FileSystem::flush`]. Nothing is guaranteed about the device before `flush` returns, and
//! nothing of the image itself changes before the delta is committed.
//!
//! Writing is deterministic: the same device, the same [`WriteOptions`] and the same calls in the
//! same order give the same bytes.
//!
//! # Failure
//! No engine undoes a change. What the rules refuse is refused before anything is changed; after
//! any other error of a change or a flush, what was staged and written is useless, and every later
//! change and flush gives [`Error::Spoilt`]. The delta is thrown away, and the image is as it was.

#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

pub mod acl;
#[cfg(feature = "digest")]
pub mod digest;
pub mod error;
mod filesystem;
pub mod holes;
mod label;
pub mod path;
pub mod posix;
mod rehearsal;
mod rules;
#[cfg(feature = "serde")]
mod serde;
mod sparsify;
pub mod text;
pub mod tree;
pub mod types;

pub use error::{Error, Location, NameProblem, Result};
pub use filesystem::FileSystem;
pub use label::check_label;
pub use rehearsal::Rehearsal;
pub use rules::is_name;
pub use sparsify::sparsify;
pub use types::{
    DeviceNumber, DirEntry, FileExtent, FileSystemInfo, FileType, Finding, Metadata,
    MetadataChange, NewNode, NodeFlags, NodeId, NodeKind, Rename, Severity, Timestamp,
    WriteOptions,
};

/// The longest name in a directory, in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
