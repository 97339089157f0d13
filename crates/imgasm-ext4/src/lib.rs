//! ext2, ext3 and ext4 on a block device: made, read, written, checked and recovered in safe Rust,
//! without a kernel and without root.
//!
//! ```
//! use std::sync::Arc;
//!
//! use imgasm_block::MemoryDevice;
//! use imgasm_ext4::{Ext4, FormatOptions};
//! use imgasm_fs::{FileSystem, NewNode, NodeKind, Timestamp, WriteOptions};
//!
//! # fn main() -> imgasm_fs::Result<()> {
//! // Nothing comes from the host: who makes a filesystem says when, and under which identity.
//! let now = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
//! let device = Arc::new(MemoryDevice::new(vec![0; 16 << 20]));
//! imgasm_ext4::format(&*device, &FormatOptions::new([1; 16], [2; 16], now))?;
//!
//! let mut fs = Ext4::open_writable(device.clone(), WriteOptions { now, seed: [3; 16] })?;
//! let new = NewNode { kind: NodeKind::Regular, permissions: 0o644, uid: 0, gid: 0 };
//! let file = fs.create(fs.root(), b"hello", &new)?;
//! fs.write_content(file, 12, &mut &b"Hello, world"[..])?;
//! fs.flush()?; // Metadata reaches the device here.
//!
//! let fs = Ext4::open(device)?;
//! let names: Vec<_> = fs.read_dir(fs.root())?.into_iter().map(|entry| entry.name).collect();
//! assert_eq!(names, [b"lost+found".to_vec(), b"hello".to_vec()]);
//! fs.check(&mut |finding| panic!("{}: {}", finding.at, finding.problem))?;
//! # Ok(())
//! # }
//! ```
//!
//! What can be done with a filesystem is in [`imgasm_fs::FileSystem`]; this crate makes one
//! ([`format()`]), recognises one ([`probe`]) and opens it ([`Ext4::open`],
//! [`Ext4::open_writable`]).
//!
//! # What it knows
//! It reads all features that kernels have except external journals. It writes block maps, extents,
//! hash indexes of all depths, attributes in inodes and in blocks, checksums, 64-bit block numbers,
//! flexible and meta block groups, quotas, revision 0. A filesystem with a feature that it does not
//! write is refused by the feature's name before anything is written; encrypted, sealed and
//! case-insensitive nodes are left alone beside what is written, and in a filesystem of clusters
//! everything that needs or frees a block is refused. A journal is replayed
//! when a filesystem is opened: on the device for writing, in memory for reading.
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
//! - `problem`: makes the errors that lie in an image.
//! - `hash`: the hashes of names by which an indexed directory is ordered.
//! - `bitmap`, `zone`, `space`: sets of blocks and inodes.
//! - `stage`: metadata blocks in memory.
//! - `journal`: replaying a journal.
//! - `groups`, `name_cache`: descriptors, and the names of large directories, in memory.
//! - `volume`: opening, changing as a unit, flushing.
//! - `bitmaps`, `alloc`, `inode_table`: what is free, what is taken, and inodes.
//! - `mapping`, `extent_tree`, `block_map`: which blocks belong to a file.
//! - `content`, `symlink`, `inline`: what files hold.
//! - `dir`: names in directories, linear and indexed.
//! - `xattrs`: extended attributes and access control lists.
//! - `namespace`, `metadata`: creating, linking, renaming, removing; owners, modes and times.
//! - `quotas`: what owners, groups and projects use, counted anew.
//! - `orphans`, `recovery`: bringing an image that was not unmounted up to date.
//! - `check`: checks all metadata against itself.
//! - `info`: the filesystem as a whole.
//! - `filesystem`: all this as [`imgasm_fs::FileSystem`].
//! - `mkfs`: making a fresh filesystem.
//! - `grow`: making one larger.

#![warn(missing_debug_implementations)]

mod alloc;
mod bitmap;
mod bitmaps;
mod block_map;
mod check;
mod content;
mod dir;
mod extent_tree;
mod filesystem;
mod format;
mod groups;
mod grow;
mod hash;
mod info;
mod inline;
mod inode_table;
mod journal;
mod mapping;
mod metadata;
mod mkfs;
mod name_cache;
mod namespace;
mod orphans;
mod problem;
mod quotas;
mod recovery;
mod space;
mod stage;
mod symlink;
mod volume;
mod xattrs;
mod zone;

pub use mkfs::format;
pub use mkfs::options::{FormatOptions, MAX_LABEL_LEN};
pub use volume::{Ext4, probe};
