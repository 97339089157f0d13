//! The [`FileSystem`] trait, for a FAT volume.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

use super::boot::{Root, Width};
use super::directory::{Entry, attribute};
use super::edit::{self, failed};
use super::nodes::Nodes;
use super::table::Link;
use super::volume::Place;
use super::{Fat, KIND, check, unstorable};
use imgasm_fs::{
    DirEntry, Error, FileExtent, FileSystem, FileSystemInfo, FileType, Finding, Metadata,
    MetadataChange, NewNode, NodeId, NodeKind, Result,
};

/// Bytes of content that are moved at once.
const PIECE: usize = 1 << 16;

impl FileSystem for Fat {
    fn info(&self) -> Result<FileSystemInfo> {
        let geometry = &self.volume.geometry;
        let label = self.listing(Place::Root)?.label.unwrap_or(geometry.label);
        let label = match &label {
            b"NO NAME    " => &[],
            label => label.trim_ascii_end(),
        };
        let free = self.volume.table.count_free()?;
        let bits = match geometry.width {
            Width::Fat12 => "12",
            Width::Fat16 => "16",
            Width::Fat32 => "32",
        };
        Ok(FileSystemInfo {
            kind: KIND,
            label: label.to_vec(),
            uuid: format!(
                "{:04X}-{:04X}",
                geometry.volume_id >> 16,
                geometry.volume_id & 0xffff
            ),
            features: Vec::new(),
            block_size: geometry.cluster_size,
            total_bytes: geometry.total_len,
            free_bytes: u64::from(free) * u64::from(geometry.cluster_size),
            inodes: None,
            needs_recovery: false,
            parameters: vec![
                ("fat_bits", bits.to_owned()),
                ("sector_size", geometry.sector_size.to_string()),
                ("fats", geometry.fats.to_string()),
                ("clusters", geometry.clusters.to_string()),
            ],
        })
    }

    fn root(&self) -> NodeId {
        Nodes::ROOT
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let entry = self.find(self.place(directory)?, name)?;
        Ok(entry.map(|entry| self.nodes.borrow_mut().number(directory, &entry.name)))
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        let entry = self.entry(node)?.map(|(_, entry)| entry);
        let directory = entry.as_ref().is_none_or(Entry::is_directory);
        let (mut size, mut links) = (entry.as_ref().map_or(0, |entry| entry.size.into()), 1);
        if directory {
            let place = self.place(node)?;
            size = if let (Place::Root, Root::Area { len, .. }) = (place, self.volume.geometry.root)
            {
                len
            } else {
                let chain = self.volume.directory_chain(place)?;
                let count = u64::try_from(chain.len()).unwrap_or(u64::MAX);
                count * u64::from(self.volume.geometry.cluster_size)
            };
            let listing = self.listing(place)?;
            let below = listing
                .entries
                .iter()
                .filter(|e| e.is_directory() && !e.is_dots());
            links = 2 + u32::try_from(below.count()).unwrap_or(u32::MAX - 2);
        }
        let read_only = entry
            .as_ref()
            .is_some_and(|entry| entry.attributes & attribute::READ_ONLY != 0);
        Ok(Metadata {
            file_type: if directory {
                FileType::Directory
            } else {
                FileType::Regular
            },
            permissions: match (directory, read_only) {
                (true, _) => 0o755,
                (false, false) => 0o644,
                (false, true) => 0o444,
            },
            uid: 0,
            gid: 0,
            size,
            links,
            device: None,
            accessed: entry.as_ref().map(|e| e.accessed).unwrap_or_default(),
            modified: entry.as_ref().map(|e| e.modified).unwrap_or_default(),
            changed: entry.as_ref().map(|e| e.modified).unwrap_or_default(),
            created: entry.map(|entry| entry.created),
        })
    }

    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>> {
        let listing = self.listing(self.place(directory)?)?;
        let entries = listing.entries.iter().filter(|entry| !entry.is_dots());
        Ok(entries
            .map(|entry| DirEntry {
                name: entry.name.clone().into_bytes(),
                node: self.nodes.borrow_mut().number(directory, &entry.name),
                file_type: if entry.is_directory() {
                    FileType::Directory
                } else {
                    FileType::Regular
                },
            })
            .collect())
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (_, entry) = self.file(node)?;
        let left = u64::from(entry.size).saturating_sub(offset);
        let count = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let end = offset + u64::try_from(count).expect("a buffer's length");
        for extent in self.extents(node)? {
            let (from, to) = (
                offset.max(extent.file_offset),
                end.min(extent.file_offset + extent.len),
            );
            if from < to {
                let index = |at: u64| usize::try_from(at - offset).expect("within the buffer");
                self.volume.device.read_at(
                    extent.device_offset + (from - extent.file_offset),
                    &mut buf[index(from)..index(to)],
                )?;
            }
        }
        Ok(count)
    }

    fn extents(&self, node: NodeId) -> Result<Vec<FileExtent>> {
        let (_, entry) = self.file(node)?;
        let size = u64::from(self.volume.geometry.cluster_size);
        let mut extents: Vec<FileExtent> = Vec::new();
        for (index, cluster) in (0..).zip(self.volume.file_chain(&entry)?) {
            let offset = self.volume.geometry.offset(cluster);
            match extents.last_mut() {
                Some(last) if last.device_offset + last.len == offset => last.len += size,
                _ => extents.push(FileExtent {
                    file_offset: index * size,
                    device_offset: offset,
                    len: size,
                }),
            }
        }
        Ok(extents)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        Err(Error::WrongType {
            node,
            expected: "a symbolic link",
        })
    }

    fn xattrs(&self, _node: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Ok(BTreeMap::new())
    }

    fn used_extents(&self) -> Result<Vec<Range<u64>>> {
        let geometry = &self.volume.geometry;
        let metadata = 0..geometry.data_offset;
        let mut used = vec![metadata];
        for cluster in self.volume.table.clusters() {
            if self.volume.table.link(cluster)? == Link::Free {
                continue;
            }
            let offset = geometry.offset(cluster);
            let end = offset + u64::from(geometry.cluster_size);
            match used.last_mut() {
                Some(last) if last.end == offset => last.end = end,
                _ => used.push(offset..end),
            }
        }
        Ok(used)
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        check::check(&self.volume, report)
    }

    fn create(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        let now = self.now()?;
        let text = edit::storable(name)?;
        check_new(new)?;
        let place = self.place(directory)?;
        if self.find(place, name)?.is_some() {
            return Err(Error::AlreadyExists {
                directory,
                name: name.to_vec(),
            });
        }
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

    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        let path = self.writable_file(node, size, 0)?;
        self.edit(|engine| {
            let mut file = engine.root_dir().open_file(&path).map_err(failed)?;
            file.truncate().map_err(failed)?;
            let mut piece = vec![0; PIECE];
            let mut left = size;
            while left > 0 {
                let step = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
                content
                    .read_exact(&mut piece[..step])
                    .map_err(Error::Content)?;
                file.write_all(&piece[..step]).map_err(failed)?;
                left -= u64::try_from(step).expect("a piece");
            }
            file.flush().map_err(failed)
        })?;
        self.touch(node)
    }

    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
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

    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()> {
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

    fn link(&mut self, node: NodeId, _directory: NodeId, _name: &[u8]) -> Result<()> {
        Err(unstorable(
            format!("a second name for {node}"),
            "has no hard links",
        ))
    }

    fn rename(&mut self, from: NodeId, from_name: &[u8], to: NodeId, to_name: &[u8]) -> Result<()> {
        self.now()?;
        let (from_place, to_place) = (self.place(from)?, self.place(to)?);
        let new = edit::storable(to_name)?;
        let Some(entry) = self.find(from_place, from_name)? else {
            return Err(Error::NotFound {
                directory: from,
                name: from_name.to_vec(),
            });
        };
        let node = self.nodes.get_mut().number(from, &entry.name);
        if self.nodes.borrow().is_within(to, node)? {
            return Err(unstorable(
                format!("directory {:?}", entry.name),
                "a directory cannot be moved into itself",
            ));
        }
        let existing = self.find(to_place, to_name)?;
        match existing {
            Some(same) if from_place == to_place && same.slot == entry.slot => {
                if entry.name != new {
                    // The crate takes another spelling of a name for the same name.
                    let between = format!("{:.200}~", entry.name);
                    self.move_name((from, &entry.name), (from, &between), &entry)?;
                    let renamed = Entry {
                        name: between.clone(),
                        ..entry
                    };
                    self.move_name((from, &between), (to, new), &renamed)?;
                }
                return Ok(());
            }
            Some(other) => {
                let other_node = self.nodes.get_mut().number(to, &other.name);
                let expected = match (entry.is_directory(), other.is_directory()) {
                    (true, false) => Some("a directory"),
                    (false, true) => Some("a regular file"),
                    _ => None,
                };
                if let Some(expected) = expected {
                    return Err(Error::WrongType {
                        node: other_node,
                        expected,
                    });
                }
                self.remove(to, to_name)?;
            }
            None => {}
        }
        self.move_name((from, &entry.name), (to, new), &entry)
    }

    fn remove(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        self.now()?;
        let place = self.place(directory)?;
        let Some(entry) = self.find(place, name)? else {
            return Err(Error::NotFound {
                directory,
                name: name.to_vec(),
            });
        };
        let node = self.nodes.get_mut().number(directory, &entry.name);
        if entry.is_directory() {
            let below = self.listing(self.place(node)?)?;
            if below.entries.iter().any(|entry| !entry.is_dots()) {
                return Err(Error::NotEmpty(node));
            }
        }
        let path = self.path(directory, &entry.name)?;
        self.edit(|engine| engine.root_dir().remove(&path).map_err(failed))?;
        self.nodes.get_mut().remove(directory, &entry.name);
        self.touch(directory)
    }

    fn set_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        self.now()?;
        check_owner(change.uid, change.gid)?;
        let Some((place, entry)) = self.entry(node)? else {
            // The root has no entry: nothing of it can be changed, and only times are lost.
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

    fn set_xattr(&mut self, _node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        match value {
            None => Ok(()),
            Some(_) => Err(unstorable(
                format!("attribute {}", String::from_utf8_lossy(name)),
                "has no extended attributes",
            )),
        }
    }

    fn flush(&mut self) -> Result<()> {
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

/// What a new node must be for FAT to hold it.
fn check_new(new: &NewNode<'_>) -> Result<()> {
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

/// Permissions that say no more than FAT can: an execute bit is not kept, but not refused either,
/// because the kernel shows every file with one.
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
        "directories are 0755, files 0644 or 0755, or 0444 or 0555 where read-only",
    ))
}
