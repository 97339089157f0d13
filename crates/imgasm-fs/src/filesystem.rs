//! The trait that every engine implements.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::rules;
use crate::types::{
    DirEntry, FileExtent, FileSystemInfo, Finding, Metadata, MetadataChange, NewNode, NodeFlags,
    NodeId, Rename,
};

/// A filesystem on a block device, read and written without the help of a kernel.
///
/// A [`NodeId`] stays valid until the file it names is removed by its last link. Names are bytes.
///
/// The methods do just what they say: they do not check permissions, inherit a group or a default
/// ACL from the parent, or clear set-user-ID bits, because the caller says what it wants;
/// [`posix`](crate::posix) adds the side effects of root's system calls. But a mode and an access
/// control list always agree, as in the kernel. A call that changes a directory or an inode sets
/// the times that the kernel would set, to [`WriteOptions::now`](crate::WriteOptions::now).
///
/// # What an engine implements
/// The methods without a body. Those that begin with `insert_`, `move_`, `remove_name` and `store_`
/// are its primitives: they are only called by the provided methods, after the rules. Once a change
/// or a flush has failed, an engine refuses all later ones with [`Error::Spoilt`].
///
/// # Errors
/// Each method names its own. Those *of reading* come with any: [`Error::Corrupt`] where the image
/// contradicts its format, [`Error::Incompatible`] where it has what the engine does not know, and
/// [`Error::Block`] if the device fails. Those *of changing* are these, [`Error::NotWritable`],
/// [`Error::Spoilt`] and [`Error::NoSpace`].
pub trait FileSystem: Send {
    /// What kind of filesystem this is, with its identity, features and room.
    ///
    /// # Errors
    /// Those of reading.
    fn info(&self) -> Result<FileSystemInfo>;

    /// Refuses to change a filesystem that was opened for reading only, or in which a change has
    /// failed.
    ///
    /// # Errors
    /// [`Error::NotWritable`], [`Error::Spoilt`].
    fn check_writable(&self) -> Result<()>;

    /// The root directory.
    fn root(&self) -> NodeId;

    /// The node called `name` in `directory`, if there is one. `.` and `..` are not names here.
    ///
    /// # Errors
    /// [`Error::WrongType`] if `directory` is none; those of reading.
    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>>;

    /// The directory that a directory lies in, by its `..`; the root's is the root itself.
    ///
    /// # Errors
    /// As [`FileSystem::lookup`].
    fn parent(&self, directory: NodeId) -> Result<NodeId>;

    /// The metadata of a node, as `stat` shows it.
    ///
    /// # Errors
    /// Those of reading.
    fn metadata(&self, node: NodeId) -> Result<Metadata>;

    /// The flags of a node that bind root, too. A format without such has none.
    ///
    /// # Errors
    /// Those of [`FileSystem::metadata`].
    fn flags(&self, node: NodeId) -> Result<NodeFlags> {
        let _ = node;
        Ok(NodeFlags::default())
    }

    /// The entries of a directory without `.` and `..`, in no promised order.
    ///
    /// # Errors
    /// [`Error::WrongType`] if `directory` is none; those of reading.
    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>>;

    /// Reads from a regular file at byte `offset`; gives the number of bytes read, which is less
    /// than `buf.len()` only at the end of the file. Holes and unwritten extents read as zeros.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is no regular file; those of reading.
    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Where a regular file's data lies, in file order; what no extent covers reads as zeros.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is no regular file; those of reading.
    fn extents(&self, node: NodeId) -> Result<Vec<FileExtent>>;

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is no symbolic link; those of reading.
    fn read_link(&self, node: NodeId) -> Result<Vec<u8>>;

    /// The extended attributes by full name (`security.selinux`, `system.posix_acl_access`, …),
    /// with the values that `getxattr` on a kernel mount gives.
    ///
    /// # Errors
    /// Those of reading.
    fn xattrs(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>>;

    /// The byte ranges of the device that the filesystem uses, metadata and data, in order and
    /// merged. Everything else is free.
    ///
    /// # Errors
    /// Those of reading.
    fn used_extents(&self) -> Result<Vec<Range<u64>>>;

    /// Checks all metadata against itself, reading only. Each fault is given to `report`; an error
    /// means that checking could not go on.
    ///
    /// # Errors
    /// Those of reading.
    fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<()>;

    /// Replaces the whole content of a regular file by `size` bytes from `content`, allocated as
    /// contiguously as the free space allows; blocks of zeros become holes as [`holes`](crate::holes)
    /// says.
    ///
    /// # Errors
    /// [`Error::Content`] if `content` fails or gives fewer than `size` bytes.
    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()>;

    /// Writes `data` into a regular file at byte `offset`, growing the file if it must; a gap
    /// before `offset` becomes a hole.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is no regular file, [`Error::Unstorable`] if the format has no files that
    /// long; those of changing.
    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()>;

    /// Makes a regular file `size` bytes long: cut off, or grown by a hole.
    ///
    /// # Errors
    /// As [`FileSystem::write_at`].
    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()>;

    /// Makes the filesystem as large as a device of `len` bytes allows; the device below must have
    /// at least that length by now. What the filesystem holds stays where it is. Gives the size of
    /// the filesystem afterwards, in bytes. One that is as large or larger already stays as it is,
    /// and nothing is staged.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the engine does not grow filesystems of this kind or with these
    /// features, [`Error::Unstorable`] if the format cannot be so large.
    fn grow(&mut self, len: u64) -> Result<u64> {
        let info = self.info()?;
        if len < info.total_bytes + u64::from(info.block_size) {
            return Ok(info.total_bytes);
        }
        Err(Error::Incompatible {
            fs: info.kind,
            what: "growing".to_owned(),
        })
    }

    /// Writes all that is staged to the device. Flushing with nothing staged writes nothing, so
    /// that a filesystem which was only read is not touched.
    ///
    /// # Errors
    /// After an error it is unknown how much has reached the device; see [`Error::Spoilt`].
    fn flush(&mut self) -> Result<()>;

    /// Refuses what this format cannot hold although others can: a new name, or with `new` a new
    /// node.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Unstorable`].
    fn check_storable(&self, name: &[u8], new: Option<&NewNode<'_>>) -> Result<()>;

    /// Primitive of [`FileSystem::create`]: `name` is valid and free.
    ///
    /// # Errors
    /// [`Error::Unstorable`]; those of changing.
    fn insert_node(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId>;

    /// Primitive of [`FileSystem::link`]: `node` is not a directory, and `name` is valid and free.
    ///
    /// # Errors
    /// [`Error::Unstorable`]; those of changing.
    fn insert_name(&mut self, node: NodeId, directory: NodeId, name: &[u8]) -> Result<()>;

    /// Primitive of [`FileSystem::rename`].
    ///
    /// # Errors
    /// [`Error::Unstorable`]; those of changing.
    fn move_name(&mut self, rename: &Rename<'_>) -> Result<()>;

    /// Primitive of [`FileSystem::remove`]: `name` names `node`, which is empty if it is a directory.
    ///
    /// # Errors
    /// Those of changing.
    fn remove_name(&mut self, directory: NodeId, name: &[u8], node: NodeId) -> Result<()>;

    /// Primitive of [`FileSystem::set_metadata`]: stores what is given in the inode, and nothing
    /// else.
    ///
    /// # Errors
    /// [`Error::Unstorable`]; those of changing.
    fn store_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()>;

    /// Primitive of [`FileSystem::set_xattr`]: stores a value, or removes the attribute if there is
    /// one. An access control list is valid here.
    ///
    /// # Errors
    /// [`Error::Unstorable`]; those of changing.
    fn store_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()>;

    /// Makes a new node called `name` in `directory`. A directory comes with its own `.` and `..`.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::AlreadyExists`], [`Error::Unstorable`], [`Error::Protected`].
    fn create(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        rules::create(self, directory, name, new)
    }

    /// Gives a node that is not a directory a further name.
    ///
    /// # Errors
    /// [`Error::WrongType`], [`Error::BadName`], [`Error::AlreadyExists`], [`Error::Protected`],
    /// [`Error::OtherProject`].
    fn link(&mut self, node: NodeId, directory: NodeId, name: &[u8]) -> Result<()> {
        rules::link(self, node, directory, name)
    }

    /// Moves a name, replacing what has the new one, as `rename(2)` does: a file by a file, an
    /// empty directory by a directory; two names of one file stay as they are.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::BadName`], [`Error::OtherKind`], [`Error::NotEmpty`],
    /// [`Error::IntoItself`], [`Error::Protected`], [`Error::OtherProject`].
    fn rename(&mut self, from: NodeId, from_name: &[u8], to: NodeId, to_name: &[u8]) -> Result<()> {
        rules::rename(self, from, from_name, to, to_name)
    }

    /// Removes a name: of an empty directory, or of anything else, whose node is freed with its
    /// last name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`], [`Error::Protected`].
    fn remove(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        rules::remove(self, directory, name)
    }

    /// Changes permissions, owner, group or times. Permissions go to the access control list as
    /// well, if there is one: the group's bits are its mask.
    ///
    /// # Errors
    /// [`Error::Protected`];
    /// [`Error::Unstorable`] for what the format cannot hold, or if the access control list that is there
    /// is not valid; those of changing.
    fn set_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        rules::set_metadata(self, node, change)
    }

    /// Sets an extended attribute by its full name, or removes it if `value` is `None` (no error if
    /// it is not there). An access control list sets the permission bits as well, and is not kept
    /// if they say all that it says.
    ///
    /// # Errors
    /// [`Error::Unstorable`] if the format or this type of file has no such attribute, or the value
    /// is not a valid access control list; [`Error::Protected`].
    fn set_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        rules::set_xattr(self, node, name, value)
    }
}
