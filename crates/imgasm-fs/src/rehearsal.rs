//! A filesystem whose changes are kept in memory and thrown away.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::types::{
    DirEntry, FileExtent, FileSystemInfo, FileType, Finding, Metadata, MetadataChange, NewNode,
    NodeFlags, NodeId, NodeKind, Rename, Timestamp,
};
use crate::{FileSystem, NAME_MAX};

/// The most bytes of new content that are kept.
const MAX_CONTENT: u64 = 64 << 20;

/// Another filesystem as it would be after changes: what comes of them can be seen, and nothing of
/// them reaches it. How much memory they may take is bounded; beyond that it is as if the disk were
/// full.
pub struct Rehearsal<'a> {
    below: &'a mut dyn FileSystem,
    now: Timestamp,
    /// What was changed or is new.
    nodes: BTreeMap<NodeId, Node>,
    /// How many nodes are new: their numbers count down from the highest.
    made: u64,
    /// How many bytes of content may still be kept.
    room: u64,
}

impl fmt::Debug for Rehearsal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehearsal")
            .field("changed", &self.nodes.len())
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

/// What lies in a directory, by its names.
type Names = BTreeMap<Vec<u8>, (NodeId, FileType)>;

/// A node that differs from the one below.
struct Node {
    metadata: Metadata,
    flags: NodeFlags,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    body: Body,
    /// The directory that a directory lies in, if it was made or moved.
    parent: Option<NodeId>,
}

enum Body {
    /// As in the filesystem below.
    Below,
    File(Vec<u8>),
    Directory(Names),
    Symlink(Vec<u8>),
    /// A device, pipe or socket.
    Other,
}

impl<'a> Rehearsal<'a> {
    /// A rehearsal above `below`; `now` is when its changes happen.
    pub fn new(below: &'a mut dyn FileSystem, now: Timestamp) -> Self {
        Self {
            below,
            now,
            nodes: BTreeMap::new(),
            made: 0,
            room: MAX_CONTENT,
        }
    }

    /// The node, to be changed.
    fn changed(&mut self, node: NodeId) -> Result<&mut Node> {
        if !self.nodes.contains_key(&node) {
            let copy = Node {
                metadata: self.below.metadata(node)?,
                flags: self.below.flags(node)?,
                xattrs: self.below.xattrs(node)?,
                body: Body::Below,
                parent: None,
            };
            self.nodes.insert(node, copy);
        }
        let now = self.now;
        let node = self.nodes.get_mut(&node).ok_or(Error::WrongType {
            node,
            expected: "a node",
        })?;
        node.metadata.changed = now;
        Ok(node)
    }

    /// The names in a directory, to be changed, and its metadata.
    fn names(&mut self, directory: NodeId) -> Result<(&mut Names, &mut Metadata)> {
        let is_below = matches!(self.changed(directory)?.body, Body::Below);
        if is_below {
            let entries = self.below.read_dir(directory)?.into_iter();
            let names = entries.map(|entry| (entry.name, (entry.node, entry.file_type)));
            self.changed(directory)?.body = Body::Directory(names.collect());
        }
        let now = self.now;
        let node = self.changed(directory)?;
        node.metadata.modified = now;
        match &mut node.body {
            Body::Directory(names) => Ok((names, &mut node.metadata)),
            _ => Err(wrong(directory, "a directory")),
        }
    }

    /// The content of a regular file, to be changed.
    fn content(&mut self, node: NodeId) -> Result<&mut Vec<u8>> {
        let changed = self.changed(node)?;
        if changed.metadata.file_type != FileType::Regular {
            return Err(wrong(node, "a regular file"));
        }
        let size = changed.metadata.size;
        if matches!(changed.body, Body::Below) {
            let mut content = vec![0; self.take_room(size)?];
            let mut done = 0;
            while done < content.len() {
                let count = self
                    .below
                    .read_at(node, done as u64, &mut content[done..])?;
                if count == 0 {
                    break;
                }
                done += count;
            }
            self.changed(node)?.body = Body::File(content);
        }
        let now = self.now;
        let changed = self.changed(node)?;
        changed.metadata.modified = now;
        match &mut changed.body {
            Body::File(content) => Ok(content),
            _ => Err(wrong(node, "a regular file")),
        }
    }

    /// Takes room for content.
    fn take_room(&mut self, bytes: u64) -> Result<usize> {
        let full = Error::NoSpace {
            unit: "bytes in memory",
            needed: bytes,
            free: self.room,
        };
        match (self.room.checked_sub(bytes), usize::try_from(bytes)) {
            (Some(left), Ok(bytes)) => {
                self.room = left;
                Ok(bytes)
            }
            _ => Err(full),
        }
    }

    /// Makes a file's content this long.
    fn resize(&mut self, node: NodeId, size: u64) -> Result<&mut Vec<u8>> {
        let have = self.content(node)?.len();
        let size = match size.checked_sub(have as u64) {
            Some(more) => have + self.take_room(more)?,
            None => usize::try_from(size).unwrap_or(have),
        };
        let content = self.content(node)?;
        content.resize(size, 0);
        Ok(content)
    }

    /// Counts a name less.
    fn lose_name(&mut self, node: NodeId) -> Result<()> {
        let metadata = &mut self.changed(node)?.metadata;
        metadata.links = metadata.links.saturating_sub(1);
        Ok(())
    }
}

fn wrong(node: NodeId, expected: &'static str) -> Error {
    Error::WrongType { node, expected }
}

impl FileSystem for Rehearsal<'_> {
    fn info(&self) -> Result<FileSystemInfo> {
        self.below.info()
    }

    fn check_writable(&self) -> Result<()> {
        self.below.check_writable()
    }

    fn root(&self) -> NodeId {
        self.below.root()
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        match self.nodes.get(&directory).map(|node| &node.body) {
            Some(Body::Directory(names)) => Ok(names.get(name).map(|(node, _)| *node)),
            Some(Body::Below) | None => self.below.lookup(directory, name),
            Some(_) => Err(wrong(directory, "a directory")),
        }
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId> {
        match self.nodes.get(&directory).and_then(|node| node.parent) {
            Some(parent) => Ok(parent),
            None => self.below.parent(directory),
        }
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        let Some(node) = self.nodes.get(&node) else {
            return self.below.metadata(node);
        };
        let mut metadata = node.metadata.clone();
        match &node.body {
            Body::File(content) => metadata.size = content.len() as u64,
            Body::Symlink(target) => metadata.size = target.len() as u64,
            _ => {}
        }
        Ok(metadata)
    }

    fn flags(&self, node: NodeId) -> Result<NodeFlags> {
        match self.nodes.get(&node) {
            Some(node) => Ok(node.flags),
            None => self.below.flags(node),
        }
    }

    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>> {
        match self.nodes.get(&directory).map(|node| &node.body) {
            Some(Body::Directory(names)) => Ok(names
                .iter()
                .map(|(name, (node, file_type))| DirEntry {
                    name: name.clone(),
                    node: *node,
                    file_type: *file_type,
                })
                .collect()),
            Some(Body::Below) | None => self.below.read_dir(directory),
            Some(_) => Err(wrong(directory, "a directory")),
        }
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.nodes.get(&node).map(|node| &node.body) {
            Some(Body::File(content)) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = content.get(start..).unwrap_or_default();
                let count = rest.len().min(buf.len());
                buf[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
            Some(Body::Below) | None => self.below.read_at(node, offset, buf),
            Some(_) => Err(wrong(node, "a regular file")),
        }
    }

    /// New content lies nowhere; nothing of it is a hole.
    fn extents(&self, node: NodeId) -> Result<Vec<FileExtent>> {
        match self.nodes.get(&node).map(|node| &node.body) {
            Some(Body::File(content)) if content.is_empty() => Ok(Vec::new()),
            Some(Body::File(content)) => Ok(vec![FileExtent {
                file_offset: 0,
                device_offset: 0,
                len: content.len() as u64,
            }]),
            Some(Body::Below) | None => self.below.extents(node),
            Some(_) => Err(wrong(node, "a regular file")),
        }
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        match self.nodes.get(&node).map(|node| &node.body) {
            Some(Body::Symlink(target)) => Ok(target.clone()),
            Some(Body::Below) | None => self.below.read_link(node),
            Some(_) => Err(wrong(node, "a symbolic link")),
        }
    }

    fn xattrs(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        match self.nodes.get(&node) {
            Some(node) => Ok(node.xattrs.clone()),
            None => self.below.xattrs(node),
        }
    }

    fn used_extents(&self) -> Result<Vec<Range<u64>>> {
        self.below.used_extents()
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        self.below.check(report)
    }

    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        // What is replaced need not be read.
        let changed = self.changed(node)?;
        if changed.metadata.file_type == FileType::Regular {
            changed.body = Body::File(Vec::new());
        }
        let bytes = self.resize(node, size)?;
        content.read_exact(bytes).map_err(Error::Content)
    }

    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        let have = self.content(node)?.len() as u64;
        let end = offset.saturating_add(data.len() as u64);
        let content = self.resize(node, have.max(end))?;
        // The end lies within what there is room for.
        let end = usize::try_from(end).unwrap_or(content.len());
        content[end - data.len()..end].copy_from_slice(data);
        Ok(())
    }

    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()> {
        self.resize(node, size)?;
        Ok(())
    }

    /// Nothing of a rehearsal is written.
    fn flush(&mut self) -> Result<()> {
        Err(Error::NotWritable {
            fs: self.below.info()?.kind,
            reason: "a rehearsal is never written".to_owned(),
        })
    }

    fn check_storable(&self, name: &[u8], new: Option<&NewNode<'_>>) -> Result<()> {
        self.below.check_storable(name, new)
    }

    fn insert_node(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        self.take_room((NAME_MAX + name.len()) as u64)?;
        let (body, device) = match new.kind {
            NodeKind::Regular => (Body::File(Vec::new()), None),
            NodeKind::Directory => (Body::Directory(BTreeMap::new()), None),
            NodeKind::Symlink(target) => (Body::Symlink(target.to_vec()), None),
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                (Body::Other, Some(device))
            }
            NodeKind::Fifo | NodeKind::Socket => (Body::Other, None),
        };
        let file_type = new.kind.file_type();
        let is_directory = file_type == FileType::Directory;
        let node = NodeId(u64::MAX - self.made);
        let above = self.flags(directory)?;
        let (names, metadata) = self.names(directory)?;
        names.insert(name.to_vec(), (node, file_type));
        metadata.links += u32::from(is_directory);
        let now = self.now;
        let metadata = Metadata {
            file_type,
            permissions: new.permissions,
            uid: new.uid,
            gid: new.gid,
            size: 0,
            links: 1 + u32::from(is_directory),
            device,
            accessed: now,
            modified: now,
            changed: now,
            created: Some(now),
        };
        self.made += 1;
        let flags = NodeFlags {
            project: if above.inherits_project {
                above.project
            } else {
                0
            },
            inherits_project: above.inherits_project && is_directory,
            ..NodeFlags::default()
        };
        let new = Node {
            metadata,
            flags,
            xattrs: BTreeMap::new(),
            body,
            parent: is_directory.then_some(directory),
        };
        self.nodes.insert(node, new);
        Ok(node)
    }

    fn insert_name(&mut self, node: NodeId, directory: NodeId, name: &[u8]) -> Result<()> {
        self.take_room((NAME_MAX + name.len()) as u64)?;
        let metadata = &mut self.changed(node)?.metadata;
        metadata.links = metadata.links.saturating_add(1);
        let file_type = metadata.file_type;
        let (names, _) = self.names(directory)?;
        names.insert(name.to_vec(), (node, file_type));
        Ok(())
    }

    fn move_name(&mut self, rename: &Rename<'_>) -> Result<()> {
        self.take_room((NAME_MAX + rename.to_name.len()) as u64)?;
        if let Some(replaced) = rename.replaced {
            self.remove_name(rename.to, rename.to_name, replaced)?;
        }
        let file_type = self.metadata(rename.node)?.file_type;
        let (names, metadata) = self.names(rename.from)?;
        names.remove(rename.from_name);
        if rename.is_directory {
            metadata.links = metadata.links.saturating_sub(1);
        }
        let (names, metadata) = self.names(rename.to)?;
        names.insert(rename.to_name.to_vec(), (rename.node, file_type));
        if rename.is_directory {
            metadata.links = metadata.links.saturating_add(1);
            self.changed(rename.node)?.parent = Some(rename.to);
        }
        Ok(())
    }

    fn remove_name(&mut self, directory: NodeId, name: &[u8], node: NodeId) -> Result<()> {
        let is_directory = self.metadata(node)?.file_type == FileType::Directory;
        let (names, metadata) = self.names(directory)?;
        names.remove(name);
        if is_directory {
            metadata.links = metadata.links.saturating_sub(1);
        }
        self.lose_name(node)
    }

    fn store_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        let metadata = &mut self.changed(node)?.metadata;
        metadata.permissions = change.permissions.unwrap_or(metadata.permissions);
        metadata.uid = change.uid.unwrap_or(metadata.uid);
        metadata.gid = change.gid.unwrap_or(metadata.gid);
        metadata.accessed = change.accessed.unwrap_or(metadata.accessed);
        metadata.modified = change.modified.unwrap_or(metadata.modified);
        Ok(())
    }

    fn store_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.take_room(value.map_or(0, <[u8]>::len) as u64)?;
        let xattrs = &mut self.changed(node)?.xattrs;
        match value {
            Some(value) => drop(xattrs.insert(name.to_vec(), value.to_vec())),
            None => drop(xattrs.remove(name)),
        }
        Ok(())
    }
}
