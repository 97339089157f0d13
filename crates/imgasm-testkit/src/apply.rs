//! Carrying out edits: by the kernel on a mount, and by an engine.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use imgasm_fs::posix::{self, Attributes};
use imgasm_fs::{DeviceNumber, FileSystem, FileType, MetadataChange, NodeId, Timestamp};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};

use crate::edits::{Bytes, Edit, NewKind};
use crate::model::{name, parent};
use crate::tree::host_path;

/// Makes an edit below the mount point `root`.
///
/// Its side effects matter as well: set-ID bits and capabilities that are dropped, groups and
/// access control lists that are inherited.
pub fn by_kernel(root: &Path, edit: &Edit) -> Result<(), String> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
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
                if uid.is_some() || gid.is_some() {
                    std::os::unix::fs::lchown(&path, *uid, *gid)?;
                }
                if let Some(permissions) = permissions {
                    chmod(&path, *permissions)?;
                }
            }
            Edit::WriteContent { path, content } => {
                let mut file = File::create(self.path(path))?;
                std::io::copy(&mut content.reader(), &mut file)?;
                file.flush()?;
            }
            Edit::WriteAt {
                path,
                offset,
                content,
            } => {
                let file = OpenOptions::new().write(true).open(self.path(path))?;
                file.write_all_at(&content.bytes(), *offset)?;
            }
            Edit::Stripes { path, stripes } => {
                let file = OpenOptions::new().write(true).open(self.path(path))?;
                stripes.pieces().try_for_each(|(offset, content)| {
                    file.write_all_at(&content.bytes(), offset)
                })?;
            }
            Edit::SetSize { path, size } => {
                let file = OpenOptions::new().write(true).open(self.path(path))?;
                file.set_len(*size)?;
            }
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
            Edit::Chown { path, uid, gid } => {
                std::os::unix::fs::lchown(self.path(path), Some(*uid), Some(*gid))?;
            }
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
                None => match rustix::fs::lremovexattr(self.path(path), &*name.0) {
                    // An earlier edit has removed it.
                    Ok(()) | Err(rustix::io::Errno::NODATA) => {}
                    Err(error) => return Err(error.into()),
                },
            },
        }
        Ok(())
    }
}

/// Makes a node with the kernel, as yet with any owner and mode.
pub fn create(path: &Path, kind: &NewKind) -> std::io::Result<()> {
    use rustix::fs::FileType as Type;
    let node = |file_type, number: Option<DeviceNumber>| {
        let number = number.map_or(0, |n| rustix::fs::makedev(n.major, n.minor));
        rustix::fs::mknodat(CWD, path, file_type, Mode::from_raw_mode(0o666), number)
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

    #[allow(clippy::too_many_lines)] // One arm per kind of edit.
    fn apply(&mut self, edit: &Edit) -> imgasm_fs::Result<()> {
        match edit {
            Edit::Create {
                path,
                kind,
                permissions,
                uid,
                gid,
            } => {
                let attributes = Attributes {
                    permissions: *permissions,
                    uid: *uid,
                    gid: *gid,
                };
                let directory = self.parent(path)?;
                let (name, kind) = (name(&path.0), kind.node_kind());
                posix::create(self.fs, directory, name, kind, attributes)?;
            }
            Edit::WriteContent { path, content } => {
                let node = self.node(path)?;
                posix::write_content(self.fs, node, content.size, &mut content.reader())?;
            }
            Edit::WriteAt {
                path,
                offset,
                content,
            } => {
                let node = self.node(path)?;
                posix::write_at(self.fs, node, *offset, &content.bytes())?;
            }
            Edit::Stripes { path, stripes } => {
                let node = self.node(path)?;
                for (offset, content) in stripes.pieces() {
                    posix::write_at(self.fs, node, offset, &content.bytes())?;
                }
            }
            Edit::SetSize { path, size } => {
                let node = self.node(path)?;
                posix::set_size(self.fs, node, *size)?;
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
                let attributes = Attributes {
                    permissions: Some(*permissions),
                    ..Attributes::default()
                };
                let node = self.node(path)?;
                posix::set_attributes(self.fs, node, attributes)?;
            }
            Edit::Chown { path, uid, gid } => {
                let attributes = Attributes {
                    permissions: None,
                    uid: Some(*uid),
                    gid: Some(*gid),
                };
                let node = self.node(path)?;
                posix::set_attributes(self.fs, node, attributes)?;
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
