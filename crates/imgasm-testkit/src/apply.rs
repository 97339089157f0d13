//! Carrying out edits: by the kernel on a mount, and by an engine.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use imgasm_fs::{DeviceNumber, FileSystem, FileType, MetadataChange, NewNode, NodeId, Timestamp};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};

use crate::edits::{Bytes, Edit, NewKind};
use crate::model::{ACL, name, parent};
use crate::tree::{host_path, mounted_xattrs};

/// Makes an edit below the mount point `root`.
///
/// The kernel does more than it is told: it clears set-user-ID bits and capabilities when a file is
/// written or given away, and lets new files inherit groups and access control lists. Engines do
/// not, so here it is undone.
pub fn by_kernel(root: &Path, edit: &Edit) -> Result<(), String> {
    let kernel = Kernel { root };
    kernel
        .apply(edit)
        .map_err(|e| format!("the kernel fails: {e}\n{edit:?}"))
}

struct Kernel<'a> {
    root: &'a Path,
}

impl Kernel<'_> {
    fn path(&self, path: &Bytes) -> PathBuf {
        host_path(self.root, &path.0)
    }

    fn apply(&self, edit: &Edit) -> std::io::Result<()> {
        match edit {
            Edit::Create {
                path,
                kind,
                permissions,
                uid,
                gid,
            } => {
                let path = self.path(path);
                create(&path, kind)?;
                std::os::unix::fs::lchown(&path, Some(*uid), Some(*gid))?;
                if !matches!(kind, NewKind::Symlink(_)) {
                    for inherited in [ACL, b"system.posix_acl_default"] {
                        // There is mostly none.
                        let _ = rustix::fs::lremovexattr(&path, inherited);
                    }
                    chmod(&path, *permissions)?;
                }
            }
            Edit::WriteContent { path, content } => keeping_rights(&self.path(path), |path| {
                let mut file = File::create(path)?;
                std::io::copy(&mut content.reader(), &mut file)?;
                file.flush()
            })?,
            Edit::WriteAt {
                path,
                offset,
                content,
            } => keeping_rights(&self.path(path), |path| {
                let file = OpenOptions::new().write(true).open(path)?;
                file.write_all_at(&content.bytes(), *offset)
            })?,
            Edit::Stripes { path, stripes } => keeping_rights(&self.path(path), |path| {
                let file = OpenOptions::new().write(true).open(path)?;
                stripes
                    .pieces()
                    .try_for_each(|(offset, content)| file.write_all_at(&content.bytes(), offset))
            })?,
            Edit::SetSize { path, size } => keeping_rights(&self.path(path), |path| {
                OpenOptions::new().write(true).open(path)?.set_len(*size)
            })?,
            Edit::Link { path, new } => {
                rustix::fs::linkat(CWD, self.path(path), CWD, self.path(new), AtFlags::empty())?;
            }
            Edit::Rename { from, to } => std::fs::rename(self.path(from), self.path(to))?,
            Edit::Remove { path } => {
                let path = self.path(path);
                if path.symlink_metadata()?.is_dir() {
                    std::fs::remove_dir(path)?;
                } else {
                    std::fs::remove_file(path)?;
                }
            }
            Edit::RemoveTree { path } => std::fs::remove_dir_all(self.path(path))?,
            Edit::Chmod { path, permissions } => chmod(&self.path(path), *permissions)?,
            Edit::Chown { path, uid, gid } => keeping_rights(&self.path(path), |path| {
                std::os::unix::fs::lchown(path, Some(*uid), Some(*gid))
            })?,
            Edit::SetTimes {
                path,
                accessed,
                modified,
            } => {
                let times = Timestamps {
                    last_access: timespec(*accessed),
                    last_modification: timespec(*modified),
                };
                let path = self.path(path);
                rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Edit::SetXattr { path, name, value } => match value {
                Some(value) => set_xattr(&self.path(path), &name.0, &value.0)?,
                None => rustix::fs::lremovexattr(self.path(path), &*name.0)?,
            },
            Edit::SetAcl {
                path,
                permissions,
                value,
            } => {
                let path = self.path(path);
                set_xattr(&path, ACL, &value.0)?;
                chmod(&path, *permissions)?;
            }
        }
        Ok(())
    }
}

/// Makes a node with the kernel, as yet with any owner and mode.
pub fn create(path: &Path, kind: &NewKind) -> std::io::Result<()> {
    use rustix::fs::FileType as Type;
    let node = |file_type, number: Option<DeviceNumber>| {
        let number = number.map_or(0, |n| rustix::fs::makedev(n.major, n.minor));
        rustix::fs::mknodat(CWD, path, file_type, Mode::from_raw_mode(0o600), number)
            .map_err(std::io::Error::from)
    };
    match kind {
        NewKind::Regular => File::create_new(path).map(drop),
        NewKind::Directory => std::fs::create_dir(path),
        NewKind::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(&target.0), path),
        NewKind::CharDevice(number) => node(Type::CharacterDevice, Some(*number)),
        NewKind::BlockDevice(number) => node(Type::BlockDevice, Some(*number)),
        NewKind::Fifo => node(Type::Fifo, None),
        NewKind::Socket => node(Type::Socket, None),
    }
}

/// Sets the low twelve bits of a mode.
pub fn chmod(path: &Path, permissions: u16) -> std::io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(u32::from(permissions)))
}

/// Sets an attribute by its full name.
pub fn set_xattr(path: &Path, name: &[u8], value: &[u8]) -> std::io::Result<()> {
    Ok(rustix::fs::lsetxattr(
        path,
        name,
        value,
        XattrFlags::empty(),
    )?)
}

/// The kernel's form of a time.
pub fn timespec(time: Timestamp) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    }
}

fn keeping_rights(
    path: &Path,
    change: impl FnOnce(&Path) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let stat = |path: &Path| path.symlink_metadata().map(|stat| stat.mode());
    let mode = stat(path)?;
    let xattrs = mounted_xattrs(path);
    change(path)?;
    if stat(path)? != mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    let left = mounted_xattrs(path);
    for (name, value) in xattrs.iter().filter(|(name, _)| !left.contains_key(*name)) {
        set_xattr(path, name, value)?;
    }
    Ok(())
}

/// Makes an edit through an engine.
pub fn by_engine(fs: &mut dyn FileSystem, edit: &Edit) -> Result<(), String> {
    Engine { fs }
        .apply(edit)
        .map_err(|e| format!("the engine fails: {e}\n{edit:?}"))
}

/// The node at a path.
pub fn resolve(fs: &dyn FileSystem, path: &[u8]) -> imgasm_fs::Result<NodeId> {
    let mut node = fs.root();
    for name in path.split(|&byte| byte == b'/').filter(|n| !n.is_empty()) {
        let found = fs.lookup(node, name)?;
        node = found.ok_or_else(|| imgasm_fs::Error::NotFound {
            directory: node,
            name: name.to_vec(),
        })?;
    }
    Ok(node)
}

struct Engine<'a> {
    fs: &'a mut dyn FileSystem,
}

impl Engine<'_> {
    fn node(&self, path: &Bytes) -> imgasm_fs::Result<NodeId> {
        resolve(self.fs, &path.0)
    }

    fn parent(&self, path: &Bytes) -> imgasm_fs::Result<NodeId> {
        resolve(self.fs, parent(&path.0))
    }

    #[allow(clippy::too_many_lines)] // One arm a kind of edit.
    fn apply(&mut self, edit: &Edit) -> imgasm_fs::Result<()> {
        match edit {
            Edit::Create {
                path,
                kind,
                permissions,
                uid,
                gid,
            } => {
                let new = NewNode {
                    kind: kind.node_kind(),
                    permissions: *permissions,
                    uid: *uid,
                    gid: *gid,
                };
                let directory = self.parent(path)?;
                self.fs.create(directory, name(&path.0), &new)?;
            }
            Edit::WriteContent { path, content } => {
                let node = self.node(path)?;
                self.fs
                    .write_content(node, content.size, &mut content.reader())?;
            }
            Edit::WriteAt {
                path,
                offset,
                content,
            } => {
                let node = self.node(path)?;
                self.fs.write_at(node, *offset, &content.bytes())?;
            }
            Edit::Stripes { path, stripes } => {
                let node = self.node(path)?;
                for (offset, content) in stripes.pieces() {
                    self.fs.write_at(node, offset, &content.bytes())?;
                }
            }
            Edit::SetSize { path, size } => {
                let node = self.node(path)?;
                self.fs.set_size(node, *size)?;
            }
            Edit::Link { path, new } => {
                let (node, directory) = (self.node(path)?, self.parent(new)?);
                self.fs.link(node, directory, name(&new.0))?;
            }
            Edit::Rename { from, to } => {
                let (from_directory, to_directory) = (self.parent(from)?, self.parent(to)?);
                self.fs
                    .rename(from_directory, name(&from.0), to_directory, name(&to.0))?;
            }
            Edit::Remove { path } => {
                let directory = self.parent(path)?;
                self.fs.remove(directory, name(&path.0))?;
            }
            Edit::RemoveTree { path } => {
                let (directory, node) = (self.parent(path)?, self.node(path)?);
                self.empty(node)?;
                self.fs.remove(directory, name(&path.0))?;
            }
            Edit::Chmod { path, permissions } => {
                let permissions = Some(*permissions);
                self.change(
                    path,
                    MetadataChange {
                        permissions,
                        ..Default::default()
                    },
                )?;
            }
            Edit::Chown { path, uid, gid } => {
                let (uid, gid) = (Some(*uid), Some(*gid));
                self.change(
                    path,
                    MetadataChange {
                        uid,
                        gid,
                        ..Default::default()
                    },
                )?;
            }
            Edit::SetTimes {
                path,
                accessed,
                modified,
            } => {
                let (accessed, modified) = (Some(*accessed), Some(*modified));
                self.change(
                    path,
                    MetadataChange {
                        accessed,
                        modified,
                        ..Default::default()
                    },
                )?;
            }
            Edit::SetXattr { path, name, value } => {
                let node = self.node(path)?;
                let value = value.as_ref().map(|value| &*value.0);
                self.fs.set_xattr(node, &name.0, value)?;
            }
            Edit::SetAcl {
                path,
                permissions,
                value,
            } => {
                let node = self.node(path)?;
                self.fs.set_xattr(node, ACL, Some(&value.0))?;
                let permissions = Some(*permissions);
                self.change(
                    path,
                    MetadataChange {
                        permissions,
                        ..Default::default()
                    },
                )?;
            }
        }
        Ok(())
    }

    fn change(&mut self, path: &Bytes, change: MetadataChange) -> imgasm_fs::Result<()> {
        let node = self.node(path)?;
        self.fs.set_metadata(node, &change)
    }

    fn empty(&mut self, directory: NodeId) -> imgasm_fs::Result<()> {
        for entry in self.fs.read_dir(directory)? {
            if entry.file_type == FileType::Directory {
                self.empty(entry.node)?;
            }
            self.fs.remove(directory, &entry.name)?;
        }
        Ok(())
    }
}
