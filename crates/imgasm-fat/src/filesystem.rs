//! The [`FileSystem`] trait, for a FAT volume.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use super::edit;
use super::format::boot::{Root, Width};
use super::format::directory::{Entry, attribute};
use super::nodes::Nodes;
use super::problem::{KIND, unstorable};
use super::table::Link;
use super::volume::Place;
use super::write::check_new;
use super::{Fat, check};
use imgasm_fs::{
    DirEntry, Error, FileExtent, FileSystem, FileSystemInfo, FileType, Finding, Metadata,
    MetadataChange, NewNode, NodeId, Rename, Result,
};

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

    fn check_writable(&self) -> Result<()> {
        self.now().map(drop)
    }

    fn root(&self) -> NodeId {
        Nodes::ROOT
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let entry = self.find(self.place(directory)?, name)?;
        Ok(entry.map(|entry| self.nodes.borrow_mut().number(directory, &entry.name)))
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId> {
        let parent = self.nodes.borrow().get(directory)?;
        Ok(parent.map_or(Nodes::ROOT, |(parent, _)| parent))
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

    fn check_storable(&self, name: &[u8], new: Option<&NewNode<'_>>) -> Result<()> {
        edit::storable(name)?;
        new.map_or(Ok(()), check_new)
    }

    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        self.change(|fat| fat.replace_content(node, size, content))
    }

    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        self.change(|fat| fat.write_part(node, offset, data))
    }

    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()> {
        self.change(|fat| fat.resize(node, size))
    }

    fn insert_node(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        self.change(|fat| fat.create_node(directory, name, new))
    }

    fn insert_name(&mut self, node: NodeId, _directory: NodeId, _name: &[u8]) -> Result<()> {
        Err(unstorable(
            format!("a second name for {node}"),
            "has no hard links",
        ))
    }

    fn move_name(&mut self, rename: &Rename<'_>) -> Result<()> {
        self.change(|fat| fat.move_node(rename))
    }

    fn remove_name(&mut self, directory: NodeId, name: &[u8], _node: NodeId) -> Result<()> {
        self.change(|fat| fat.remove_entry(directory, name))
    }

    fn store_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        self.change(|fat| fat.change_metadata(node, change))
    }

    fn store_xattr(&mut self, _node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        match value {
            None => Ok(()),
            Some(_) => Err(unstorable(
                format!("attribute {}", String::from_utf8_lossy(name)),
                "has no extended attributes",
            )),
        }
    }

    fn flush(&mut self) -> Result<()> {
        // Everything is on the device already; only what a failed change has left must not be kept.
        if self.failed {
            return Err(Error::Spoilt { fs: KIND });
        }
        Ok(())
    }
}
