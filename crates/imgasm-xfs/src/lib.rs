//! XFS on a block device: made, read, written, checked, grown and recovered in safe Rust, without a
//! kernel and without root.
//!
//! ```
//! use std::sync::Arc;
//!
//! use imgasm_block::{Delta, Hole};
//! use imgasm_fs::{FileSystem, NewNode, NodeKind, Timestamp, WriteOptions};
//! use imgasm_xfs::{FormatOptions, Xfs};
//!
//! # fn main() -> imgasm_fs::Result<()> {
//! // Nothing comes from the host: who makes a filesystem says when, and under which identity.
//! let now = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
//! let device = Arc::new(Delta::new(Arc::new(Hole::new(2 << 30))));
//! imgasm_xfs::format(&*device, &FormatOptions::new([1; 16], now))?;
//!
//! let mut fs = Xfs::open_writable(device.clone(), WriteOptions { now, seed: [7; 16] })?;
//! let new = NewNode { kind: NodeKind::Regular, permissions: 0o644, uid: 0, gid: 0 };
//! let file = fs.create(fs.root(), b"hello", &new)?;
//! fs.write_content(file, 12, &mut &b"Hello, world"[..])?;
//! fs.flush()?; // Metadata reaches the device here.
//!
//! let fs = Xfs::open(device)?;
//! let names: Vec<_> = fs.read_dir(fs.root())?.into_iter().map(|entry| entry.name).collect();
//! assert_eq!(names, [b"hello".to_vec()]);
//! fs.check(&mut |finding| panic!("{}: {}", finding.at, finding.problem))?;
//! # Ok(())
//! # }
//! ```
//!
//! What can be done with a filesystem is in [`imgasm_fs::FileSystem`]; this crate makes one
//! ([`format()`]), recognises one ([`probe`]) and opens it ([`Xfs::open`], [`Xfs::open_writable`]).
//!
//! # What it knows
//! It reads versions 4 and 5, and writes version 5: directories, attributes and extents in all their
//! forms, free-inode, reverse-mapping and reference-count trees, shared blocks, sparse inode chunks,
//! `bigtime`, `nrext64`, `inobtcount`. Quotas are marked, so that the kernel counts them anew. What
//! it does not write (parent pointers, case-insensitive names, unknown features) is refused by name
//! before the first write. The log of a filesystem that was not unmounted is replayed: on the device
//! for writing, in memory for reading. Realtime sections and logs on another device are not
//! supported.
//!
//! # Errors
//! [`imgasm_fs::Error`]: `Corrupt` if the image contradicts its format, with the place and what was
//! seen there; `Incompatible` for what is not supported, by name; `NotWritable`, `NoSpace`,
//! `Unstorable` and so on for what cannot be done. After an error of a writing call, throw the device
//! away: it is meant to be a copy-on-write delta.
//!
//! # Inside
//! From the disk upwards:
//!
//! - `format`: the on-disk structures as bytes and values; no I/O.
//! - `problem`: the errors.
//! - `volume`: the device with the geometry that gives its bytes their places.
//! - `btree`, `ag`: trees as they are read, and the allocation groups that they describe.
//! - `extent_map`, `bmap`, `fork`: where the blocks of a fork are.
//! - `inode`: inodes with both their forks.
//! - `dir`, `attr`, `symlink`, `content`: what inodes hold, by their kind.
//! - `owners`: the owners of blocks.
//! - `alloc`: free blocks and inodes while writing.
//! - `write`, `writes`: changes in memory, and how they reach the device.
//! - `grow`: growing onto a device that has become larger.
//! - `check`: checks all metadata against itself.
//! - `log`, `recovery`: the log, and opening what was not unmounted.
//! - `xfs`, `filesystem`: an opened filesystem, and all this as [`imgasm_fs::FileSystem`].
//! - `mkfs`: making a fresh filesystem.
//!
//! Format facts come from the kernel's documentation, "XFS Filesystem Disk Structures"; fields have
//! the kernel's names.

#![warn(missing_debug_implementations)]

mod ag;
mod alloc;
mod attr;
mod bmap;
mod btree;
mod check;
mod content;
mod dir;
mod extent_map;
mod filesystem;
mod fork;
mod format;
mod grow;
mod inode;
mod log;
mod mkfs;
mod owners;
mod problem;
mod recovery;
mod symlink;
mod volume;
mod write;
mod writes;
mod xfs;

pub use mkfs::format;
pub use mkfs::options::{FormatFeatures, FormatOptions, MAX_LABEL_LEN, Stripe};
pub use xfs::{Xfs, probe};
