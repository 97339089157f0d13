//! The rules of the VFS, which belong to no format: which names are valid, what may be linked,
//! moved, replaced and removed, which nodes nobody may change, which attributes there can be, and which
//! permissions an access control list leaves.
//!
//! [`FileSystem`]'s provided methods apply them and then call the engine's primitives, so that an
//! engine holds nothing but its format. What a rule refuses is refused before anything is changed.

use crate::acl::{self, Acl};
use crate::error::{Error, NameProblem, Result};
use crate::types::{
    DeviceNumber, DirEntry, FileType, MetadataChange, NewNode, NodeId, NodeKind, Rename,
};
use crate::{FileSystem, NAME_MAX};

/// The longest name of an extended attribute, with its namespace, in bytes (`XATTR_NAME_MAX`).
const XATTR_NAME_MAX: usize = 255;
/// The longest value of an extended attribute in bytes (`XATTR_SIZE_MAX`).
const XATTR_SIZE_MAX: usize = 65536;
/// The largest numbers of a device (`MINORBITS`).
const MAJOR_MAX: u32 = 0xfff;
const MINOR_MAX: u32 = 0xf_ffff;

/// The longest target of a symbolic link that Linux follows, in bytes (`PATH_MAX` less the NUL).
const TARGET_MAX: usize = 4095;

/// Whether a directory can hold this name: 1 to [`NAME_MAX`] bytes, neither `.` nor `..`, and no
/// `/` or NUL in it.
pub fn is_name(name: &[u8]) -> bool {
    name_problem(name).is_none()
}

fn name_problem(name: &[u8]) -> Option<NameProblem> {
    if name.is_empty() {
        Some(NameProblem::Empty)
    } else if matches!(name, b"." | b"..") {
        Some(NameProblem::Dots)
    } else if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        Some(NameProblem::Reserved)
    } else {
        (name.len() > NAME_MAX).then_some(NameProblem::TooLong)
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    name_problem(name).map_or(Ok(()), |problem| {
        let name = name.to_vec();
        Err(Error::BadName { name, problem })
    })
}

/// The target of a new symbolic link: not empty, without NUL, and short enough to be followed.
fn check_target(target: &[u8]) -> Result<()> {
    let problem = if target.is_empty() {
        "it is empty".to_owned()
    } else if target.contains(&0) {
        "it has a NUL byte".to_owned()
    } else if target.len() > TARGET_MAX {
        format!("it has {} bytes, at most {TARGET_MAX}", target.len())
    } else {
        return Ok(());
    };
    Err(Error::Unstorable {
        what: "the target of a symbolic link".to_owned(),
        problem,
    })
}

/// The number of a new device: Linux has 12 bits and 20 for it.
fn check_device(device: DeviceNumber) -> Result<()> {
    let DeviceNumber { major, minor } = device;
    if major <= MAJOR_MAX && minor <= MINOR_MAX {
        return Ok(());
    }
    Err(Error::Unstorable {
        what: format!("device {major}:{minor}"),
        problem: format!("numbers go to {MAJOR_MAX}:{MINOR_MAX}"),
    })
}

/// Refuses what nobody may change, link or remove (`IS_IMMUTABLE`, `IS_APPEND`).
fn expect_free<F: FileSystem + ?Sized>(fs: &F, node: NodeId) -> Result<()> {
    let flags = fs.flags(node)?;
    let flag = match (flags.immutable, flags.append_only) {
        (true, _) => "immutable (chattr +i)",
        (_, true) => "append-only (chattr +a)",
        _ => return Ok(()),
    };
    Err(Error::Protected { node, flag })
}

/// Refuses a directory that no name may be added to.
fn expect_open<F: FileSystem + ?Sized>(fs: &F, directory: NodeId) -> Result<()> {
    if fs.flags(directory)?.immutable {
        expect_free(fs, directory)?;
    }
    Ok(())
}

/// Refuses a node of another project than the one whose nodes alone a directory takes
/// (`FS_PROJINHERIT_FL`).
fn expect_same_project<F: FileSystem + ?Sized>(
    fs: &F,
    node: NodeId,
    directory: NodeId,
) -> Result<()> {
    let wanted = fs.flags(directory)?;
    if !wanted.inherits_project || fs.flags(node)?.project == wanted.project {
        return Ok(());
    }
    Err(Error::OtherProject {
        node,
        directory,
        project: wanted.project,
    })
}

/// Refuses to change the content of a file that nobody may change; one that is append-only can become
/// longer.
pub(crate) fn check_content<F: FileSystem + ?Sized>(
    fs: &F,
    node: NodeId,
    offset: Option<u64>,
) -> Result<()> {
    let flags = fs.flags(node)?;
    if flags.append_only && !flags.immutable && offset == Some(fs.metadata(node)?.size) {
        return Ok(());
    }
    expect_free(fs, node)
}

fn file_type<F: FileSystem + ?Sized>(fs: &F, node: NodeId) -> Result<FileType> {
    Ok(fs.metadata(node)?.file_type)
}

fn expect_directory<F: FileSystem + ?Sized>(fs: &F, node: NodeId) -> Result<()> {
    match file_type(fs, node)? {
        FileType::Directory => Ok(()),
        _ => Err(Error::WrongType {
            node,
            expected: "a directory",
        }),
    }
}

fn expect_empty<F: FileSystem + ?Sized>(fs: &F, directory: NodeId) -> Result<()> {
    if fs.read_dir(directory)?.is_empty() {
        Ok(())
    } else {
        Err(Error::NotEmpty(directory))
    }
}

/// The node that has a name.
fn existing<F: FileSystem + ?Sized>(fs: &F, directory: NodeId, name: &[u8]) -> Result<NodeId> {
    check_name(name)?;
    fs.lookup(directory, name)?.ok_or_else(|| Error::NotFound {
        directory,
        name: name.to_vec(),
    })
}

/// Refuses a name that is not valid, or that is taken.
fn check_new_name<F: FileSystem + ?Sized>(fs: &F, directory: NodeId, name: &[u8]) -> Result<()> {
    check_name(name)?;
    expect_directory(fs, directory)?;
    match fs.lookup(directory, name)? {
        None => Ok(()),
        Some(_) => Err(Error::AlreadyExists {
            directory,
            name: name.to_vec(),
        }),
    }
}

pub(crate) fn create<F: FileSystem + ?Sized>(
    fs: &mut F,
    directory: NodeId,
    name: &[u8],
    new: &NewNode<'_>,
) -> Result<NodeId> {
    fs.check_writable()?;
    check_new_name(fs, directory, name)?;
    match new.kind {
        NodeKind::Symlink(target) => check_target(target)?,
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => check_device(device)?,
        _ => {}
    }
    expect_open(fs, directory)?;
    fs.check_storable(name, Some(new))?;
    fs.insert_node(directory, name, new)
}

pub(crate) fn link<F: FileSystem + ?Sized>(
    fs: &mut F,
    node: NodeId,
    directory: NodeId,
    name: &[u8],
) -> Result<()> {
    fs.check_writable()?;
    if file_type(fs, node)? == FileType::Directory {
        return Err(Error::WrongType {
            node,
            expected: "a file: directories have one name",
        });
    }
    check_new_name(fs, directory, name)?;
    expect_open(fs, directory)?;
    expect_free(fs, node)?;
    expect_same_project(fs, node, directory)?;
    fs.check_storable(name, None)?;
    fs.insert_name(node, directory, name)
}

pub(crate) fn remove<F: FileSystem + ?Sized>(
    fs: &mut F,
    directory: NodeId,
    name: &[u8],
) -> Result<()> {
    fs.check_writable()?;
    let node = existing(fs, directory, name)?;
    if file_type(fs, node)? == FileType::Directory {
        expect_empty(fs, node)?;
    }
    expect_free(fs, directory)?;
    expect_free(fs, node)?;
    fs.remove_name(directory, name, node)
}

pub(crate) fn rename<F: FileSystem + ?Sized>(
    fs: &mut F,
    from: NodeId,
    from_name: &[u8],
    to: NodeId,
    to_name: &[u8],
) -> Result<()> {
    fs.check_writable()?;
    let node = existing(fs, from, from_name)?;
    check_name(to_name)?;
    expect_directory(fs, to)?;
    let is_directory = file_type(fs, node)? == FileType::Directory;
    if is_directory && from != to {
        expect_outside(fs, to, node)?;
    }
    let mut replaced = fs.lookup(to, to_name)?;
    if replaced == Some(node) {
        // Two names of one file both stay, as POSIX says.
        if from_name == to_name || !is_other_spelling(fs, from, to, node)? {
            return Ok(());
        }
        replaced = None;
    }
    if let Some(old) = replaced {
        let replaces_directory = file_type(fs, old)? == FileType::Directory;
        if replaces_directory != is_directory {
            return Err(Error::OtherKind {
                replaced: if replaces_directory {
                    "a directory"
                } else {
                    "no directory"
                },
                name: to_name.to_vec(),
            });
        }
        if is_directory {
            expect_empty(fs, old)?;
        }
        expect_free(fs, to)?;
        expect_free(fs, old)?;
    }
    expect_free(fs, from)?;
    expect_free(fs, node)?;
    expect_open(fs, to)?;
    expect_same_project(fs, node, to)?;
    fs.check_storable(to_name, None)?;
    fs.move_name(&Rename {
        node,
        is_directory,
        from,
        from_name,
        to,
        to_name,
        replaced,
    })
}

/// Whether two names in these directories, both of `node`, are one name in two spellings, as on a
/// filesystem that ignores case.
pub(crate) fn is_other_spelling<F: FileSystem + ?Sized>(
    fs: &F,
    from: NodeId,
    to: NodeId,
    node: NodeId,
) -> Result<bool> {
    let names = |entries: Vec<DirEntry>| entries.iter().filter(|e| e.node == node).count();
    Ok(from == to && names(fs.read_dir(from)?) == 1)
}

/// Refuses a directory that is `moved` or lies below it.
fn expect_outside<F: FileSystem + ?Sized>(fs: &F, directory: NodeId, moved: NodeId) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    let mut at = directory;
    loop {
        if at == moved {
            return Err(Error::IntoItself(moved));
        }
        if at == fs.root() {
            return Ok(());
        }
        if !seen.insert(at) {
            return Err(Error::DirectoryLoop(directory));
        }
        at = fs.parent(at)?;
    }
}

pub(crate) fn set_metadata<F: FileSystem + ?Sized>(
    fs: &mut F,
    node: NodeId,
    change: &MetadataChange,
) -> Result<()> {
    fs.check_writable()?;
    if *change == MetadataChange::default() {
        return Ok(());
    }
    expect_free(fs, node)?;
    if let Some(permissions) = change.permissions
        && let Some(stored) = fs.xattrs(node)?.get(acl::ACCESS)
    {
        let mut acl = Acl::decode(stored).map_err(|p| p.of(acl::ACCESS))?;
        acl.set_permissions(permissions);
        let encoded = acl.encode();
        if encoded != *stored {
            fs.store_xattr(node, acl::ACCESS, Some(&encoded))?;
        }
    }
    fs.store_metadata(node, change)
}

/// Refuses an attribute that Linux has on no filesystem.
fn check_xattr<F: FileSystem + ?Sized>(
    fs: &F,
    node: NodeId,
    name: &[u8],
    value: &[u8],
) -> Result<()> {
    let can_have_users = || {
        let file_type = file_type(fs, node)?;
        Ok::<_, Error>(matches!(file_type, FileType::Regular | FileType::Directory))
    };
    let problem = if name.len() > XATTR_NAME_MAX {
        format!(
            "the name has {} bytes, at most {XATTR_NAME_MAX}",
            name.len()
        )
    } else if value.len() > XATTR_SIZE_MAX {
        format!(
            "the value has {} bytes, at most {XATTR_SIZE_MAX}",
            value.len()
        )
    } else if name.starts_with(b"user.") && !can_have_users()? {
        "only files and directories have attributes of users".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Unstorable {
        what: format!("attribute {:?}", String::from_utf8_lossy(name)),
        problem,
    })
}

pub(crate) fn set_xattr<F: FileSystem + ?Sized>(
    fs: &mut F,
    node: NodeId,
    name: &[u8],
    value: Option<&[u8]>,
) -> Result<()> {
    fs.check_writable()?;
    expect_free(fs, node)?;
    if let Some(value) = value {
        check_xattr(fs, node, name, value)?;
    }
    let (Some(value), true) = (value, acl::is_acl(name)) else {
        return fs.store_xattr(node, name, value);
    };
    let metadata = fs.metadata(node)?;
    let setting = acl::Setting::new(name, value, &metadata)?;
    fs.store_xattr(node, name, setting.stored.as_deref())?;
    if setting.permissions != metadata.permissions {
        let change = MetadataChange {
            permissions: Some(setting.permissions),
            ..MetadataChange::default()
        };
        fs.store_metadata(node, &change)?;
    }
    Ok(())
}
