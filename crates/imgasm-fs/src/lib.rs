//! The filesystems inside an image, behind one trait.
//!
//! - [`FileSystem`]: what the rest of imgasm asks of a filesystem, in inode terms: no paths, no
//!   symbolic links followed, no policy. Paths are the business of the layer above.
//! - [`types`]: the words of the trait: file types, metadata, times, device numbers.
//! - [`digest`]: digests of file contents, computed beside the reading.
//! - [`error`]: why a filesystem could not do what was asked.
//! - [`sparsify()`]: what a filesystem does not use becomes holes.
//! - [`path`], [`tree`]: paths inside an image, and reading and editing a filesystem by them.
//! - [`text`]: names and values from an image, and errors, as text.
//!
//! # Writing
//! A filesystem is a writer's own working copy: it sits on a device that is a copy-on-write delta,
//! so it may write file data at once and keep its metadata in memory until
//! [`FileSystem::flush`]. Nothing is guaranteed about the device before `flush` returns, and
//! nothing of the image itself changes before the delta is committed.
//!
//! Writing is deterministic: the same device, the same [`WriteOptions`] and the same calls in the
//! same order give the same bytes.

pub mod digest;
pub mod error;
pub mod path;
mod sparsify;
pub mod text;
pub mod tree;
pub mod types;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

pub use error::{Error, Location, Result};
pub use sparsify::sparsify;
pub use types::{
    DeviceNumber, DirEntry, FileExtent, FileSystemInfo, FileType, Finding, Metadata,
    MetadataChange, NewNode, NodeId, NodeKind, Severity, Timestamp, WriteOptions,
};

/// A filesystem on a block device, read and written without the help of a kernel.
///
/// A [`NodeId`] stays valid until the file it names is removed by its last link. Names are bytes;
/// an engine refuses those that it cannot store (empty, `.`, `..`, with `/` or NUL, too long).
///
/// The methods do just what they say: they do not look at permissions, inherit a group or a
/// default ACL from the parent, or clear set-user-ID bits, because the caller says what it wants.
/// A call that changes a directory or an inode sets the times that the kernel would set, to
/// [`WriteOptions::now`].
pub trait FileSystem: Send {
    /// What kind of filesystem this is, with its identity, features and room.
    fn info(&self) -> Result<FileSystemInfo>;

    /// The root directory.
    fn root(&self) -> NodeId;

    /// The node called `name` in `directory`, if there is one. `.` and `..` are not names here.
    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>>;

    /// The metadata of a node, as `stat` shows it.
    fn metadata(&self, node: NodeId) -> Result<Metadata>;

    /// The entries of a directory without `.` and `..`, in no promised order.
    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>>;

    /// Reads from a regular file at byte `offset`; gives the number of bytes read, which is less
    /// than `buf.len()` only at the end of the file. Holes and unwritten extents read as zeros.
    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Where a regular file's data lies, in file order; what no extent covers reads as zeros.
    fn extents(&self, node: NodeId) -> Result<Vec<FileExtent>>;

    /// The target of a symbolic link.
    fn read_link(&self, node: NodeId) -> Result<Vec<u8>>;

    /// The extended attributes by full name (`security.selinux`, `system.posix_acl_access`, …),
    /// with the values that `getxattr` on a kernel mount gives.
    fn xattrs(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>>;

    /// The byte ranges of the device that the filesystem uses, metadata and data, in order and
    /// merged. Everything else is free.
    fn used_extents(&self) -> Result<Vec<Range<u64>>>;

    /// Checks all metadata against itself, reading only. Each fault is given to `report`; an error
    /// means that checking could not go on.
    fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<()>;

    /// Makes a new node called `name` in `directory`. A directory comes with its own `.` and `..`.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where the name is taken.
    fn create(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId>;

    /// Replaces the whole content of a regular file by `size` bytes from `content`, allocated as
    /// contiguously as the free space allows; blocks of zeros may become holes.
    ///
    /// # Errors
    /// [`Error::Content`] where `content` fails or gives fewer than `size` bytes.
    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()>;

    /// Writes `data` into a regular file at byte `offset`, growing the file where it must; a gap
    /// before `offset` becomes a hole.
    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()>;

    /// Makes a regular file `size` bytes long: cut off, or grown by a hole.
    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()>;

    /// Gives a node that is not a directory a further name.
    fn link(&mut self, node: NodeId, directory: NodeId, name: &[u8]) -> Result<()>;

    /// Moves a name, replacing what bears the new one as `rename(2)` does: a file by a file, an
    /// empty directory by a directory; two names of one file stay as they are.
    fn rename(&mut self, from: NodeId, from_name: &[u8], to: NodeId, to_name: &[u8]) -> Result<()>;

    /// Removes a name: of an empty directory, or of anything else, whose node is freed with its
    /// last name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`].
    fn remove(&mut self, directory: NodeId, name: &[u8]) -> Result<()>;

    /// Changes permissions, owner, group or times.
    fn set_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()>;

    /// Sets an extended attribute by its full name, or removes it where `value` is `None` (which
    /// is no error where it is not there).
    fn set_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()>;

    /// Writes all that is staged to the device. Flushing with nothing staged writes nothing, so
    /// that a filesystem which was only read is not touched.
    ///
    /// # Errors
    /// After an error nobody knows how much the device has: every later change and flush is
    /// [`Error::NotWritable`].
    fn flush(&mut self) -> Result<()>;
}
