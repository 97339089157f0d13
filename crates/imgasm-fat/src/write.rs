//! Changes: each is made on the device at once, through the crate and the corrections around it.

use std::io::{Read, Seek, SeekFrom, Write};

use super::Fat;
use super::edit::{self, Engine, failed};
use super::format::directory::Entry;
use super::problem::{corrupt, unstorable};
use super::volume::Place;
use imgasm_fs::holes::read_content;
use imgasm_fs::{Location, MetadataChange, NewNode, NodeId, NodeKind, Rename, Result};

/// Bytes of content that are moved at once.
const PIECE: usize = 1 << 16;

impl Fat {
    /// Makes a change. If it fails, what it left on the device is useless.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.now()?;
        let result = change(self);
        self.failed |= result.is_err();
        result
    }

    /// Makes a file or directory.
    pub(super) fn create_node(
        &mut self,
        directory: NodeId,
        name: &[u8],
        new: &NewNode<'_>,
    ) -> Result<NodeId> {
        let now = self.now()?;
        let text = edit::storable(name)?;
        let place = self.place(directory)?;
        let is_directory = new.kind == NodeKind::Directory;
        edit::require_room(&self.volume, place, text, is_directory.into())?;
        let before = self.volume.directory_chain(place)?.len();
        let path = self.path(directory, text)?;
        self.edit(|engine| {
            let root = engine.root_dir();
            if is_directory {
                root.create_dir(&path).map(drop).map_err(failed)
            } else {
                root.create_file(&path).map(drop).map_err(failed)
            }
        })?;
        let entry = self.after_insertion(directory, place, before, text)?;
        if is_directory {
            edit::write_dots(&self.volume, entry.cluster, place, now)?;
        } else if new.permissions & 0o200 == 0 {
            self.volume
                .patch(place, entry.slot, |raw| raw.set_read_only(true))?;
        }
        self.forget();
        Ok(self.nodes.get_mut().number(directory, &entry.name))
    }

    /// Replaces all content of a file.
    pub(super) fn replace_content(
        &mut self,
        node: NodeId,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let path = self.writable_file(node, size, 0)?;
        self.edit(|engine| {
            let mut file = engine.root_dir().open_file(&path).map_err(failed)?;
            file.truncate().map_err(failed)?;
            let mut piece = vec![0; PIECE];
            let mut left = size;
            while left > 0 {
                let step = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
                read_content(content, &mut piece[..step])?;
                file.write_all(&piece[..step]).map_err(failed)?;
                left -= u64::try_from(step).expect("a piece");
            }
            file.flush().map_err(failed)
        })?;
        self.touch(node)
    }

    /// Writes into a file.
    pub(super) fn write_part(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset.saturating_add(u64::try_from(data.len()).expect("a buffer's length"));
        let size = self.file(node)?.1.size.into();
        let path = self.writable_file(node, end, size)?;
        self.edit(|engine| {
            let mut file = engine.root_dir().open_file(&path).map_err(failed)?;
            pad(&mut file, size, offset)?;
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            file.write_all(data).map_err(failed)?;
            file.flush().map_err(failed)
        })?;
        self.touch(node)
    }

    /// Truncates a file or extends it with zeros.
    pub(super) fn resize(&mut self, node: NodeId, size: u64) -> Result<()> {
        let before = self.file(node)?.1.size.into();
        let path = self.writable_file(node, size, 0)?;
        self.edit(|engine| {
            let mut file = engine.root_dir().open_file(&path).map_err(failed)?;
            pad(&mut file, before, size)?;
            if size < before {
                file.seek(SeekFrom::Start(size)).map_err(failed)?;
                file.truncate().map_err(failed)?;
            }
            file.flush().map_err(failed)
        })?;
        self.touch(node)
    }

    /// Moves a name, in the place of the one that it replaces.
    pub(super) fn move_node(&mut self, rename: &Rename<'_>) -> Result<()> {
        let &Rename {
            from, to, replaced, ..
        } = rename;
        let new = edit::storable(rename.to_name)?;
        let entry = self.named(from, rename.from_name)?;
        if replaced.is_some() {
            self.remove_entry(to, rename.to_name)?;
        }
        if self.find(self.place(to)?, rename.to_name)?.is_none() {
            return self.move_entry((from, &entry.name), (to, new), &entry);
        }
        // The crate treats another spelling of a name as the same name.
        let between = format!("{:.200}~", entry.name);
        self.move_entry((from, &entry.name), (from, &between), &entry)?;
        let renamed = Entry {
            name: between.clone(),
            ..entry
        };
        self.move_entry((from, &between), (to, new), &renamed)
    }

    /// Removes a name.
    pub(super) fn remove_entry(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        let entry = self.named(directory, name)?;
        let path = self.path(directory, &entry.name)?;
        self.edit(|engine| engine.root_dir().remove(&path).map_err(failed))?;
        self.nodes.get_mut().remove(directory, &entry.name);
        self.touch(directory)
    }

    /// Changes permissions or times, as far as there are any.
    pub(super) fn change_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        self.now()?;
        check_owner(change.uid, change.gid)?;
        let Some((place, entry)) = self.entry(node)? else {
            // The root has no entry: nothing can be changed in it, and times are the only loss.
            return change
                .permissions
                .map_or(Ok(()), |p| check_permissions(p, true));
        };
        if let Some(permissions) = change.permissions {
            check_permissions(permissions, entry.is_directory())?;
        }
        self.volume.patch(place, entry.slot, |raw| {
            if let Some(permissions) = change.permissions {
                raw.set_read_only(permissions & 0o200 == 0);
            }
            if let Some(time) = change.accessed {
                raw.set_accessed(time);
            }
            if let Some(time) = change.modified {
                raw.set_modified(time);
            }
        })?;
        self.forget();
        Ok(())
    }

    /// Makes a change with the crate, and forgets what was read before it.
    fn edit(&mut self, change: impl FnOnce(&Engine) -> Result<()>) -> Result<()> {
        let now = self.now()?;
        let outcome = edit::with_engine(&mut self.volume, now, change);
        self.forget();
        outcome
    }

    /// Notes in a directory's own entry that it has changed.
    fn touch(&mut self, directory: NodeId) -> Result<()> {
        let now = self.now()?;
        if let Some((place, entry)) = self.entry(directory)? {
            self.volume
                .patch(place, entry.slot, |raw| raw.set_modified(now))?;
            self.forget();
        }
        Ok(())
    }

    /// The path of a name, in the crate's form.
    fn path(&self, directory: NodeId, name: &str) -> Result<String> {
        let mut path = String::new();
        for (_, part) in self.nodes.borrow().ancestry(directory)? {
            path.push_str(&part);
            path.push('/');
        }
        Ok(path + name)
    }

    /// The path of a regular file, after a check that `end` bytes of it can be stored.
    fn writable_file(&self, node: NodeId, end: u64, kept: u64) -> Result<String> {
        self.now()?;
        let (_, entry) = self.file(node)?;
        if u32::try_from(end).is_err() {
            return Err(unstorable(
                format!("file {:?} of {end} bytes", entry.name),
                "a file has at most 4 GiB less one byte",
            ));
        }
        let has = self.volume.clusters_for(entry.size.into());
        let needed = self.volume.clusters_for(end.max(kept));
        self.volume.require(needed.saturating_sub(has))?;
        let parent = self.nodes.borrow().get(node)?;
        match parent {
            Some((parent, name)) => self.path(parent, &name),
            None => Ok(String::new()),
        }
    }

    /// Corrects a directory that has got a new entry.
    fn after_insertion(
        &mut self,
        directory: NodeId,
        place: Place,
        clusters_before: usize,
        name: &str,
    ) -> Result<Entry> {
        let entry = self
            .find(place, name.as_bytes())?
            .ok_or_else(|| corrupt(Location::Superblock, format!("{name:?} was not written")))?;
        edit::clear_growth(&self.volume, place, clusters_before, entry.slot)?;
        self.forget();
        self.touch(directory)?;
        Ok(entry)
    }

    /// Moves a name to a place that is free.
    fn move_entry(
        &mut self,
        from: (NodeId, &str),
        to: (NodeId, &str),
        entry: &Entry,
    ) -> Result<()> {
        let now = self.now()?;
        let (from_place, to_place) = (self.place(from.0)?, self.place(to.0)?);
        edit::require_room(&self.volume, to_place, to.1, 0)?;
        let before = self.volume.directory_chain(to_place)?.len();
        let (old, new) = (self.path(from.0, from.1)?, self.path(to.0, to.1)?);
        self.edit(|engine| {
            let root = engine.root_dir();
            root.rename(&old, &root, &new).map_err(failed)
        })?;
        self.nodes.get_mut().rename(from.0, &entry.name, to.0, to.1);
        self.after_insertion(to.0, to_place, before, to.1)?;
        if from_place != to_place {
            if entry.is_directory() {
                self.volume.patch(Place::Chain(entry.cluster), 1, |raw| {
                    raw.set_cluster(to_place.parent_cluster());
                    raw.set_modified(now);
                })?;
                self.forget();
            }
            self.touch(from.0)?;
        }
        Ok(())
    }
}

/// Writes zeros from the end of a file of `size` bytes to `to`, because FAT has no holes.
fn pad(file: &mut fatfs::File<'_, edit::Host>, size: u64, to: u64) -> Result<()> {
    if to > size {
        file.seek(SeekFrom::Start(size)).map_err(failed)?;
        std::io::copy(&mut std::io::repeat(0).take(to - size), file).map_err(failed)?;
    }
    Ok(())
}

/// Checks that FAT can hold a new node.
pub(super) fn check_new(new: &NewNode<'_>) -> Result<()> {
    let kind = match new.kind {
        NodeKind::Regular | NodeKind::Directory => None,
        NodeKind::Symlink(_) => Some("a symbolic link"),
        NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) => Some("a device node"),
        NodeKind::Fifo => Some("a named pipe"),
        NodeKind::Socket => Some("a socket"),
    };
    if let Some(kind) = kind {
        return Err(unstorable(kind, "holds regular files and directories only"));
    }
    check_owner(Some(new.uid), Some(new.gid))?;
    check_permissions(new.permissions, new.kind == NodeKind::Directory)
}

fn check_owner(uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    for (what, id) in [("owner", uid), ("group", gid)] {
        if let Some(id) = id.filter(|id| *id != 0) {
            return Err(unstorable(
                format!("{what} {id}"),
                "everything belongs to owner and group 0",
            ));
        }
    }
    Ok(())
}

/// Checks that permissions say no more than FAT can store: an execute bit is not kept, but not
/// refused either, because the kernel shows every file with one.
fn check_permissions(permissions: u16, directory: bool) -> Result<()> {
    let sound = match permissions {
        0o755 => true,
        0o644 | 0o444 | 0o555 => !directory,
        _ => false,
    };
    if sound {
        return Ok(());
    }
    Err(unstorable(
        format!("mode {permissions:04o}"),
        "directories are 0755, files 0644 or 0755, or 0444 or 0555 if read-only",
    ))
}
