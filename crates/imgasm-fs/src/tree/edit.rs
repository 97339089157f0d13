//! Changes by path, made only if something differs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use super::read::same_content;
use super::resolve::{LastLink, Place, Reached, locate, reach, resolve};
use super::walk::walk;
use super::{At, Error, Result};
use crate::path::ImagePath;
use crate::posix::{self, Attributes};
use crate::rules;
use crate::{FileSystem, FileType, MetadataChange, NodeId, NodeKind, Rehearsal, Timestamp};

/// What happened at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// Permissions, owner, group or an extended attribute.
    Metadata,
    /// The content of a file.
    Content,
    /// It is new, or replaced something else.
    Created,
    /// It is gone.
    Removed,
}

/// A path that an edit was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The path, without symbolic links in it.
    pub path: ImagePath,
    /// What was changed; `None` if all was as wanted already.
    pub change: Option<ChangeKind>,
}

/// Edits a filesystem by paths.
///
/// An edit has the effect that root's has on a running kernel ([`posix`]). Every edit
/// first looks whether there is something to do, so that repeating it writes nothing, and records
/// the paths that it was about; [`Editor::take_touched`] hands them over.
pub struct Editor<'a> {
    pub(super) fs: &'a mut dyn FileSystem,
    touched: Vec<Touch>,
}

impl fmt::Debug for Editor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Editor")
            .field("touched", &self.touched)
            .finish_non_exhaustive()
    }
}

impl<'a> Editor<'a> {
    /// An editor of `fs` with nothing recorded.
    pub fn new(fs: &'a mut dyn FileSystem) -> Self {
        let touched = Vec::new();
        Self { fs, touched }
    }

    /// The filesystem, for reading.
    pub fn fs(&self) -> &dyn FileSystem {
        self.fs
    }

    /// The filesystem as it is, to be changed for a trial: nothing of the changes reaches it.
    pub fn rehearsal(&mut self, now: Timestamp) -> Rehearsal<'_> {
        Rehearsal::new(self.fs, now)
    }

    /// What was recorded since the last call, in order.
    pub fn take_touched(&mut self) -> Vec<Touch> {
        std::mem::take(&mut self.touched)
    }

    /// Makes the regular file at `path` hold `content`. The directory must be there.
    ///
    /// # Errors
    /// As [`Editor::write_from`].
    pub fn write(
        &mut self,
        path: &ImagePath,
        last: LastLink,
        content: &[u8],
        attributes: Attributes,
    ) -> Result<()> {
        let mut source = io::Cursor::new(content);
        self.write_from(path, last, content.len() as u64, &mut source, attributes)
    }

    /// Makes the regular file at `path` hold what the host's file holds.
    ///
    /// # Errors
    /// [`Error::Host`] if the host's file cannot be opened; those of [`Editor::write_from`].
    pub fn copy_in(
        &mut self,
        host: &Path,
        path: &ImagePath,
        last: LastLink,
        attributes: Attributes,
    ) -> Result<()> {
        let error = |source| Error::Host {
            path: host.to_owned(),
            source,
        };
        let mut file = File::open(host).map_err(error)?;
        let size = file.metadata().map_err(error)?.len();
        self.write_from(path, last, size, &mut file, attributes)
    }

    /// Makes the regular file at `path` hold the `size` bytes of `source` from its beginning on.
    ///
    /// # Errors
    /// [`Error::WrongType`] if something other than a file or a link is there, [`Error::Refused`] for the root;
    /// those of [`locate`]; [`Error::FileSystem`], also if `source` fails or ends early.
    pub fn write_from<S: Read + Seek>(
        &mut self,
        path: &ImagePath,
        last: LastLink,
        size: u64,
        source: &mut S,
        attributes: Attributes,
    ) -> Result<()> {
        let place = self.place(path, last)?;
        let mut change = None;
        let existing = match place.node {
            Some(node) => match self.file_type(node, &place.path)? {
                FileType::Regular => Some(node),
                FileType::Symlink => {
                    self.remove_name(&place)?;
                    None
                }
                found => {
                    return Err(Error::WrongType {
                        path: place.path,
                        found,
                        expected: "a regular file",
                    });
                }
            },
            None => None,
        };
        let node = if let Some(node) = existing {
            let same = same_content(self.fs, node, size, source)
                .and_then(|same| source.rewind().map(|()| same))
                .map_err(crate::Error::Content)
                .at("compare", &place.path)?;
            if !same {
                let written = posix::write_content(self.fs, node, size, source);
                written.at("write", &place.path)?;
                change = Some(ChangeKind::Content);
            }
            node
        } else {
            let node = self.create(&place, NodeKind::Regular, attributes)?;
            let written = self.fs.write_content(node, size, source);
            written.at("write", &place.path)?;
            change = Some(ChangeKind::Created);
            node
        };
        let metadata_changed = self.attribute(node, &place.path, attributes)?;
        self.record(place.path, change, metadata_changed);
        Ok(())
    }

    /// Makes `path` a directory, along with missing ones above it.
    ///
    /// # Errors
    /// [`Error::WrongType`] if something other than a directory is there or on the way; those of [`reach`];
    /// [`Error::FileSystem`].
    pub fn mkdir_all(&mut self, path: &ImagePath, attributes: Attributes) -> Result<()> {
        let reached = reach(self.fs, path, LastLink::Follow)?;
        let Some(node) = reached.place.node else {
            return self.mkdir_missing(reached, Attributes::default(), attributes);
        };
        match self.file_type(node, &reached.place.path)? {
            FileType::Directory => {}
            found => {
                return Err(Error::WrongType {
                    path: reached.place.path,
                    found,
                    expected: "a directory",
                });
            }
        }
        let metadata_changed = self.attribute(node, &reached.place.path, attributes)?;
        self.record(reached.place.path, None, metadata_changed);
        Ok(())
    }

    /// Makes the directories that [`reach`] found to be missing: the last with these attributes, and
    /// those above it with those `between`.
    ///
    /// # Errors
    /// [`Error::FileSystem`], with those of [`FileSystem::create`].
    pub fn mkdir_missing(
        &mut self,
        reached: Reached,
        between: Attributes,
        last: Attributes,
    ) -> Result<()> {
        let Reached {
            mut place, rest, ..
        } = reached;
        let mut rest = rest.into_iter().peekable();
        loop {
            let attributes = if rest.peek().is_some() { between } else { last };
            let directory = self.create(&place, NodeKind::Directory, attributes)?;
            self.record(place.path.clone(), Some(ChangeKind::Created), false);
            let Some(name) = rest.next() else {
                return Ok(());
            };
            place.path.push(&name);
            place.directory = directory;
        }
    }

    /// Makes `path` a symbolic link to `target`, in the place of any file or link there.
    ///
    /// # Errors
    /// [`Error::Refused`] if a directory is there; those of [`locate`]; [`Error::FileSystem`].
    pub fn symlink(&mut self, path: &ImagePath, target: &[u8]) -> Result<()> {
        let place = self.place(path, LastLink::Keep)?;
        if let Some(node) = place.node {
            if self.file_type(node, &place.path)? == FileType::Symlink
                && self.fs.read_link(node).at("read", &place.path)? == target
            {
                self.record(place.path, None, false);
                return Ok(());
            }
            self.remove_name(&place)?;
        }
        let kind = NodeKind::Symlink(target);
        self.create(&place, kind, Attributes::default())?;
        self.record(place.path, Some(ChangeKind::Created), false);
        Ok(())
    }

    /// Makes `path` a further name of what `target` names, in the place of any file or link there.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `target` names nothing, [`Error::WrongType`] if it names a directory,
    /// [`Error::Refused`] if a directory is at `path`; those of [`locate`]; [`Error::FileSystem`].
    pub fn hard_link(&mut self, path: &ImagePath, target: &ImagePath) -> Result<()> {
        let (node, target) = resolve(self.fs, target, LastLink::Keep)?;
        if self.file_type(node, &target)? == FileType::Directory {
            return Err(Error::WrongType {
                path: target,
                found: FileType::Directory,
                expected: "a file",
            });
        }
        let place = self.place(path, LastLink::Keep)?;
        if place.node == Some(node) {
            self.record(place.path, None, false);
            return Ok(());
        }
        if place.node.is_some() {
            self.remove_name(&place)?;
        }
        let linked = self.fs.link(node, place.directory, place.name());
        linked.at("link", &place.path)?;
        self.record(place.path, Some(ChangeKind::Created), false);
        Ok(())
    }

    /// Makes `path` a device node, pipe or socket, in the place of any file or link there.
    ///
    /// # Errors
    /// As [`Editor::symlink`].
    pub fn mknod(
        &mut self,
        path: &ImagePath,
        kind: NodeKind<'_>,
        attributes: Attributes,
    ) -> Result<()> {
        let place = self.place(path, LastLink::Keep)?;
        let wanted_device = match kind {
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => Some(device),
            _ => None,
        };
        if let Some(node) = place.node {
            let metadata = self.fs.metadata(node).at("read", &place.path)?;
            let device = metadata.device.filter(|_| wanted_device.is_some());
            if metadata.file_type == kind.file_type() && device == wanted_device {
                let metadata_changed = self.attribute(node, &place.path, attributes)?;
                self.record(place.path, None, metadata_changed);
                return Ok(());
            }
            self.remove_name(&place)?;
        }
        self.create(&place, kind, attributes)?;
        self.record(place.path, Some(ChangeKind::Created), false);
        Ok(())
    }

    /// Removes what is at `path`, a directory with everything in it; a symbolic link is removed,
    /// not followed. Gives whether something was there.
    ///
    /// # Errors
    /// [`Error::Refused`] for the root; those of [`locate`], but for [`Error::NotFound`], and of a [`walk`];
    /// [`Error::FileSystem`], when a part may be gone.
    pub fn remove_tree(&mut self, path: &ImagePath) -> Result<bool> {
        if path.is_root() {
            return Err(refused(path, "cannot be removed"));
        }
        match locate(self.fs, path, LastLink::Keep) {
            Ok(place) if place.node.is_some() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.is_absence() => return Ok(false),
            Err(error) => return Err(error),
        }
        let entries: Vec<_> = walk(self.fs, path)?.collect::<Result<_>>()?;
        for entry in entries.into_iter().rev() {
            let name = entry.path.file_name().unwrap_or_default();
            let removed = self.fs.remove(entry.directory, name);
            removed.at("remove", &entry.path)?;
            self.record(entry.path, Some(ChangeKind::Removed), false);
        }
        Ok(true)
    }

    /// Moves `from` to the path `to`, whose directory must be there, replacing a file there.
    ///
    /// If `from` is missing and `to` is there, it counts as moved before.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing is at either path, [`Error::Refused`] for the root and for a move of a
    /// directory into itself; those of [`locate`] and of a [`walk`]; [`Error::FileSystem`], with those of
    /// [`FileSystem::rename`].
    pub fn rename(&mut self, from: &ImagePath, to: &ImagePath) -> Result<()> {
        let to_place = self.place(to, LastLink::Keep)?;
        let from_place = match locate(self.fs, from, LastLink::Keep) {
            Ok(place) => place,
            Err(Error::NotFound { .. }) if to_place.node.is_some() => {
                self.record(to_place.path, None, false);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if from_place.node.is_none() {
            if to_place.node.is_none() {
                return Err(Error::NotFound {
                    path: from.clone(),
                    missing: from_place.path,
                });
            }
            self.record(to_place.path, None, false);
            return Ok(());
        }
        if from_place.path.is_root() || to_place.path.starts_with(&from_place.path) {
            let problem = format!("cannot be moved to {}", to_place.path);
            return Err(refused(&from_place.path, &problem));
        }
        let spelled_anew = |node| {
            let (from, to) = (from_place.directory, to_place.directory);
            rules::is_other_spelling(self.fs, from, to, node).at("move", &from_place.path)
        };
        if let Some(node) = from_place.node.filter(|_| from_place.node == to_place.node)
            && !spelled_anew(node)?
        {
            // Renaming one name of a file to another leaves both, as POSIX says.
            self.remove_tree(&from_place.path)?;
            self.record(to_place.path, None, false);
            return Ok(());
        }
        let entries: Vec<_> = walk(self.fs, &from_place.path)?.collect::<Result<_>>()?;
        let (old, new) = (from_place.name(), to_place.name());
        let renamed = self
            .fs
            .rename(from_place.directory, old, to_place.directory, new);
        renamed.at("move", &from_place.path)?;
        for entry in entries {
            let below = &entry.path.as_bytes()[from_place.path.as_bytes().len()..];
            let mut moved = to_place.path.clone();
            if let Some(below) = below.strip_prefix(b"/") {
                moved.push(below);
            }
            self.record(entry.path, Some(ChangeKind::Removed), false);
            self.record(moved, Some(ChangeKind::Created), false);
        }
        Ok(())
    }

    /// Gives what is at `path` these permissions and owners. A symbolic link has owners of its
    /// own, but no permissions.
    ///
    /// # Errors
    /// Those of [`resolve`]; [`Error::FileSystem`], with those of [`FileSystem::set_metadata`].
    pub fn set_attributes(
        &mut self,
        path: &ImagePath,
        last: LastLink,
        mut attributes: Attributes,
    ) -> Result<()> {
        let (node, path) = resolve(self.fs, path, last)?;
        if self.file_type(node, &path)? == FileType::Symlink {
            attributes.permissions = None;
        }
        let metadata_changed = self.attribute(node, &path, attributes)?;
        self.record(path, None, metadata_changed);
        Ok(())
    }

    /// Sets the time at which what is at `path` was last modified.
    ///
    /// # Errors
    /// As [`Editor::set_attributes`].
    pub fn set_modified(
        &mut self,
        path: &ImagePath,
        last: LastLink,
        modified: Timestamp,
    ) -> Result<()> {
        let (node, path) = resolve(self.fs, path, last)?;
        let differs = self.fs.metadata(node).at("read", &path)?.modified != modified;
        if differs {
            let change = MetadataChange {
                modified: Some(modified),
                ..MetadataChange::default()
            };
            let set = self.fs.set_metadata(node, &change);
            set.at("change the time of", &path)?;
        }
        self.record(path, None, differs);
        Ok(())
    }

    /// Sets an extended attribute of what is at `path`, or removes it.
    ///
    /// # Errors
    /// Those of [`resolve`]; [`Error::FileSystem`], with those of [`FileSystem::set_xattr`].
    pub fn set_xattr(
        &mut self,
        path: &ImagePath,
        last: LastLink,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let (node, path) = resolve(self.fs, path, last)?;
        let set = posix::set_xattr(self.fs, node, name, value);
        let differs = set.at("set an attribute of", &path)?;
        self.record(path, None, differs);
        Ok(())
    }

    /// The place of something that is not the root.
    fn place(&self, path: &ImagePath, last: LastLink) -> Result<Place> {
        let place = locate(self.fs, path, last)?;
        if place.path.is_root() {
            return Err(refused(&place.path, "cannot be replaced"));
        }
        Ok(place)
    }

    fn file_type(&self, node: NodeId, path: &ImagePath) -> Result<FileType> {
        Ok(self.fs.metadata(node).at("read", path)?.file_type)
    }

    /// Removes what is in the way of a new node, unless it is a directory.
    fn remove_name(&mut self, place: &Place) -> Result<()> {
        if let Some(node) = place.node
            && self.file_type(node, &place.path)? == FileType::Directory
        {
            return Err(refused(&place.path, "is a directory and is not replaced"));
        }
        let removed = self.fs.remove(place.directory, place.name());
        removed.at("replace", &place.path)
    }

    fn create(
        &mut self,
        place: &Place,
        kind: NodeKind<'_>,
        attributes: Attributes,
    ) -> Result<NodeId> {
        let (directory, name) = (place.directory, place.name());
        let created = posix::create(self.fs, directory, name, kind, attributes);
        created.at("create", &place.path)
    }

    /// Sets the attributes that differ; gives whether there were any. A file is not given to the
    /// owner that it already has: that would clear its set-ID bits each time.
    fn attribute(
        &mut self,
        node: NodeId,
        path: &ImagePath,
        attributes: Attributes,
    ) -> Result<bool> {
        let metadata = self.fs.metadata(node).at("read", path)?;
        let uid = attributes.uid.filter(|&wanted| wanted != metadata.uid);
        let gid = attributes.gid.filter(|&wanted| wanted != metadata.gid);
        let changes_hands = uid.is_some() || gid.is_some();
        let permissions = attributes
            .permissions
            .filter(|&wanted| changes_hands || wanted != metadata.permissions);
        if !changes_hands && permissions.is_none() {
            return Ok(false);
        }
        let missing = Attributes {
            permissions,
            uid,
            gid,
        };
        let set = posix::set_attributes(self.fs, node, missing);
        set.at("change the attributes of", path)?;
        Ok(true)
    }

    pub(super) fn record(
        &mut self,
        path: ImagePath,
        change: Option<ChangeKind>,
        metadata_changed: bool,
    ) {
        let change = change.or(metadata_changed.then_some(ChangeKind::Metadata));
        self.touched.push(Touch { path, change });
    }
}

fn refused(path: &ImagePath, problem: &str) -> Error {
    Error::Refused {
        path: path.clone(),
        problem: problem.to_owned(),
    }
}
