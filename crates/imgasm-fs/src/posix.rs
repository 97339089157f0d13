//! The effect that root's edit has on a running kernel: the part of a system call that lies above
//! the filesystem.
//!
//! A new node takes its group and its access control list from its directory, a file that is
//! written loses its capabilities, and one that changes hands its set-ID bits too. Engines do just
//! what they are asked for; whoever edits an image as a running system would goes through here.
//!
//! Sources: Linux, `inode_init_owner`, `posix_acl_create`, `file_remove_privs`, `chown_common`,
//! `setattr_should_drop_sgid`; root has `CAP_FSETID`.

use std::io::Read;

use crate::acl::{self, Acl, Setting};
use crate::rules;
use crate::{
    Error, FileSystem, FileType, Metadata, MetadataChange, NewNode, NodeId, NodeKind, Result,
};

/// The permission bits that a new node loses if none were asked for and its directory has no
/// default access control list: the umask of a root shell.
const UMASK: u16 = 0o022;
/// What programs ask for when they make a file.
const FILE_MODE: u16 = 0o666;
/// What programs ask for when they make a directory.
const DIRECTORY_MODE: u16 = 0o777;
/// Permissions of a symbolic link: they mean nothing, and Linux shows these.
const LINK_MODE: u16 = 0o777;

const S_ISUID: u16 = 0o4000;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o0010;

/// Where the capabilities of a program are kept.
const CAPABILITY: &[u8] = b"security.capability";

/// The permissions and owners that a file is to have. What is `None` stays as it is; a new file
/// gets what the system call gives it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The low twelve bits of `st_mode`.
    pub permissions: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

impl Attributes {
    /// Those of a file that belongs to root, with this mode.
    pub fn of_root(mode: u16) -> Self {
        Self {
            permissions: Some(mode),
            uid: Some(0),
            gid: Some(0),
        }
    }
}

/// Makes a node as root's `open`, `mkdir`, `symlink` or `mknod` does under a umask of 022, followed
/// by a `chown` and a `chmod` for the attributes that are given.
///
/// # Errors
/// Those of [`FileSystem::create`].
pub fn create(
    fs: &mut dyn FileSystem,
    directory: NodeId,
    name: &[u8],
    kind: NodeKind<'_>,
    attributes: Attributes,
) -> Result<NodeId> {
    let parent = fs.metadata(directory)?;
    let file_type = kind.file_type();
    let is_directory = file_type == FileType::Directory;
    let asked = match file_type {
        FileType::Symlink => LINK_MODE,
        FileType::Directory => DIRECTORY_MODE,
        _ => FILE_MODE,
    };
    let default = match file_type {
        FileType::Symlink => None,
        _ => fs.xattrs(directory)?.remove(acl::DEFAULT),
    };
    let own = match &default {
        Some(stored) => {
            let default = Acl::decode(stored).map_err(|problem| problem.of(acl::DEFAULT))?;
            Some(default.inherited(asked))
        }
        None => None,
    };
    let mut permissions = match &own {
        Some(own) => own.permissions(),
        None if file_type == FileType::Symlink => asked,
        None => asked & !UMASK,
    };
    let shares_group = parent.permissions & S_ISGID != 0;
    if shares_group && is_directory {
        permissions |= S_ISGID;
    }
    let new = NewNode {
        kind,
        permissions: attributes.permissions.unwrap_or(permissions),
        uid: attributes.uid.unwrap_or(0),
        gid: attributes
            .gid
            .unwrap_or(if shares_group { parent.gid } else { 0 }),
    };
    let node = fs.create(directory, name, &new)?;
    if let Some(mut own) = own.filter(|own| !own.is_plain()) {
        own.set_permissions(new.permissions);
        fs.set_xattr(node, acl::ACCESS, Some(&own.encode()))?;
    }
    if let Some(default) = default.filter(|_| is_directory) {
        fs.set_xattr(node, acl::DEFAULT, Some(&default))?;
    }
    Ok(node)
}

/// Replaces the content of a regular file, which loses its capabilities.
///
/// # Errors
/// Those of [`FileSystem::write_content`], and [`Error::Protected`].
pub fn write_content(
    fs: &mut dyn FileSystem,
    node: NodeId,
    size: u64,
    content: &mut dyn Read,
) -> Result<()> {
    rules::check_content(fs, node, None)?;
    drop_capabilities(fs, node)?;
    fs.write_content(node, size, content)
}

/// Writes into a regular file, which loses its capabilities.
///
/// # Errors
/// Those of [`FileSystem::write_at`], and [`Error::Protected`].
pub fn write_at(fs: &mut dyn FileSystem, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
    if !data.is_empty() {
        rules::check_content(fs, node, Some(offset))?;
        drop_capabilities(fs, node)?;
    }
    fs.write_at(node, offset, data)
}

/// Makes a regular file `size` bytes long; it loses its capabilities.
///
/// # Errors
/// Those of [`FileSystem::set_size`], and [`Error::Protected`].
pub fn set_size(fs: &mut dyn FileSystem, node: NodeId, size: u64) -> Result<()> {
    rules::check_content(fs, node, None)?;
    drop_capabilities(fs, node)?;
    fs.set_size(node, size)
}

/// Gives a node these owners and then these permissions, by `chown` and `chmod`. Anything but a
/// directory loses its set-ID bits and its capabilities with a `chown`, even to the same owner.
///
/// # Errors
/// Those of [`FileSystem::set_metadata`].
pub fn set_attributes(fs: &mut dyn FileSystem, node: NodeId, attributes: Attributes) -> Result<()> {
    let Attributes {
        mut permissions,
        uid,
        gid,
    } = attributes;
    if uid.is_some() || gid.is_some() {
        let metadata = fs.metadata(node)?;
        if metadata.file_type != FileType::Directory {
            drop_capabilities(fs, node)?;
            let kept = after_chown(&metadata);
            permissions = permissions.or((kept != metadata.permissions).then_some(kept));
        }
    }
    let change = MetadataChange {
        permissions,
        uid,
        gid,
        ..MetadataChange::default()
    };
    fs.set_metadata(node, &change)
}

/// The permissions that a `chown` leaves a file. A set-group-ID bit without the group's execute bit
/// is the mark of mandatory locking, and stays.
fn after_chown(metadata: &Metadata) -> u16 {
    let mut permissions = metadata.permissions & !S_ISUID;
    if permissions & S_IXGRP != 0 {
        permissions &= !S_ISGID;
    }
    permissions
}

/// Sets an extended attribute or removes it, if that makes a difference; gives whether it did.
///
/// # Errors
/// Those of [`FileSystem::set_xattr`].
pub fn set_xattr(
    fs: &mut dyn FileSystem,
    node: NodeId,
    name: &[u8],
    value: Option<&[u8]>,
) -> Result<bool> {
    if let Some(value) = value.filter(|_| name == CAPABILITY) {
        check_capability(value)?;
    }
    let now = fs.xattrs(node)?;
    let now = now.get(name).map(Vec::as_slice);
    let differs = match value {
        // The access control list that is stored is not always the one that was given.
        Some(value) if acl::is_acl(name) => {
            let metadata = fs.metadata(node)?;
            let setting = Setting::new(name, value, &metadata)?;
            setting.stored.as_deref() != now || setting.permissions != metadata.permissions
        }
        value => value != now,
    };
    if differs {
        fs.set_xattr(node, name, value)?;
    }
    Ok(differs)
}

/// Makes sure that a value is one that the kernel takes for capabilities: of its second form, or of the
/// third, which ends with a user (`struct vfs_cap_data` and `vfs_ns_cap_data` in `linux/capability.h`).
fn check_capability(value: &[u8]) -> Result<()> {
    let revision = value.get(3).copied();
    if matches!((value.len(), revision), (20, Some(2)) | (24, Some(3))) {
        return Ok(());
    }
    Err(Error::Unstorable {
        what: "security.capability".to_owned(),
        problem: format!("these {} bytes are no capabilities", value.len()),
    })
}

fn drop_capabilities(fs: &mut dyn FileSystem, node: NodeId) -> Result<()> {
    if fs.xattrs(node)?.contains_key(CAPABILITY) {
        fs.set_xattr(node, CAPABILITY, None)?;
    }
    Ok(())
}
