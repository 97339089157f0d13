//! A filesystem in memory, for tests of what lies above the engines.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use imgasm_fs::{
    DirEntry, Error, FileExtent, FileSystem, FileSystemInfo, Finding, Metadata, MetadataChange,
    NewNode, NodeId, NodeKind, Rename, Result, Timestamp,
};

#[derive(Clone, PartialEq, Eq, Debug)]
enum Body {
    File(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, NodeId>),
    Symlink(Vec<u8>),
    Other,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Node {
    metadata: Metadata,
    body: Body,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The filesystem, and how many calls have changed it.
#[derive(Clone, Debug)]
pub struct MemoryFs {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    /// Calls that changed something, or would have.
    pub writes: u64,
}

impl Default for MemoryFs {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryFs {
    /// An empty root directory, 0755 and owned by root.
    pub fn new() -> Self {
        let mut fs = Self {
            nodes: BTreeMap::new(),
            next: 2,
            writes: 0,
        };
        fs.insert(&NewNode {
            kind: NodeKind::Directory,
            permissions: 0o755,
            uid: 0,
            gid: 0,
        });
        fs
    }

    fn insert(&mut self, new: &NewNode<'_>) -> NodeId {
        let id = NodeId(self.next);
        self.next += 1;
        let (body, device) = match new.kind {
            NodeKind::Regular => (Body::File(Vec::new()), None),
            NodeKind::Directory => (Body::Directory(BTreeMap::new()), None),
            NodeKind::Symlink(target) => (Body::Symlink(target.to_vec()), None),
            NodeKind::CharDevice(d) | NodeKind::BlockDevice(d) => (Body::Other, Some(d)),
            NodeKind::Fifo | NodeKind::Socket => (Body::Other, None),
        };
        let metadata = Metadata {
            file_type: new.kind.file_type(),
            permissions: new.permissions,
            uid: new.uid,
            gid: new.gid,
            size: 0,
            links: 1,
            device,
            accessed: Timestamp::default(),
            modified: Timestamp::default(),
            changed: Timestamp::default(),
            created: None,
        };
        let xattrs = BTreeMap::new();
        self.nodes.insert(
            id,
            Node {
                metadata,
                body,
                xattrs,
            },
        );
        id
    }

    fn directory(&self, node: NodeId) -> Result<&BTreeMap<Vec<u8>, NodeId>> {
        match &self.nodes[&node].body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(wrong(node, "a directory")),
        }
    }

    fn entries(&mut self, node: NodeId) -> &mut BTreeMap<Vec<u8>, NodeId> {
        match &mut self.nodes.get_mut(&node).expect("a node").body {
            Body::Directory(entries) => entries,
            other => panic!("{node} is {other:?}"),
        }
    }

    fn content(&mut self, node: NodeId) -> Result<&mut Vec<u8>> {
        match &mut self.nodes.get_mut(&node).expect("a node").body {
            Body::File(content) => Ok(content),
            _ => Err(wrong(node, "a regular file")),
        }
    }

    /// Everything by path, for comparisons.
    pub fn dump(&self) -> String {
        use imgasm_fs::path::ImagePath;
        let mut lines = Vec::new();
        for entry in imgasm_fs::tree::walk(self, &ImagePath::root()).expect("a root") {
            let entry = entry.expect("a sound tree");
            let node = &self.nodes[&entry.node];
            let m = &node.metadata;
            let body = match &node.body {
                Body::File(content) => format!("{:?}", String::from_utf8_lossy(content)),
                Body::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                _ => String::new(),
            };
            let line = format!(
                "{} {} {:04o} {}:{} {} {body}",
                entry.path,
                m.file_type.name(),
                m.permissions,
                m.uid,
                m.gid,
                m.links
            );
            lines.push(line.trim_end().to_owned());
            for (name, value) in &node.xattrs {
                let name = String::from_utf8_lossy(name);
                lines.push(format!("  {name}={:?}", String::from_utf8_lossy(value)));
            }
        }
        lines.join("\n")
    }
}

fn wrong(node: NodeId, expected: &'static str) -> Error {
    Error::WrongType { node, expected }
}

impl FileSystem for MemoryFs {
    fn info(&self) -> Result<FileSystemInfo> {
        Ok(FileSystemInfo {
            kind: "memory",
            label: Vec::new(),
            uuid: String::new(),
            features: Vec::new(),
            block_size: 4096,
            total_bytes: 1 << 30,
            free_bytes: 0,
            inodes: None,
            needs_recovery: false,
            parameters: Vec::new(),
        })
    }

    fn root(&self) -> NodeId {
        NodeId(2)
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        Ok(self.directory(directory)?.get(name).copied())
    }

    fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId> {
        let holds = |node: &Node| match &node.body {
            Body::Directory(entries) => entries.values().any(|entry| *entry == directory),
            _ => false,
        };
        let found = self.nodes.iter().find(|(_, node)| holds(node));
        Ok(found.map_or(directory, |(parent, _)| *parent))
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        let node = &self.nodes[&node];
        let mut metadata = node.metadata.clone();
        metadata.size = match &node.body {
            Body::File(content) => content.len() as u64,
            Body::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        Ok(metadata)
    }

    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>> {
        let entries = self.directory(directory)?.iter();
        Ok(entries
            .rev()
            .map(|(name, &node)| DirEntry {
                name: name.clone(),
                node,
                file_type: self.nodes[&node].metadata.file_type,
            })
            .collect())
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Body::File(content) = &self.nodes[&node].body else {
            return Err(wrong(node, "a regular file"));
        };
        let rest = content.get(usize::try_from(offset).expect("a small file")..);
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn extents(&self, _node: NodeId) -> Result<Vec<FileExtent>> {
        Ok(Vec::new())
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        match &self.nodes[&node].body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(wrong(node, "a symbolic link")),
        }
    }

    fn xattrs(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Ok(self.nodes[&node].xattrs.clone())
    }

    fn used_extents(&self) -> Result<Vec<Range<u64>>> {
        Ok(Vec::new())
    }

    fn check(&self, _report: &mut dyn FnMut(Finding)) -> Result<()> {
        Ok(())
    }

    fn check_storable(&self, _name: &[u8], _new: Option<&NewNode<'_>>) -> Result<()> {
        Ok(())
    }

    fn insert_node(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        self.writes += 1;
        let node = self.insert(new);
        self.entries(directory).insert(name.to_vec(), node);
        Ok(node)
    }

    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        self.writes += 1;
        let mut data = vec![0; usize::try_from(size).expect("a small file")];
        content.read_exact(&mut data).map_err(Error::Content)?;
        *self.content(node)? = data;
        Ok(())
    }

    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        self.writes += 1;
        let content = self.content(node)?;
        let start = usize::try_from(offset).expect("a small file");
        let end = start + data.len();
        content.resize(content.len().max(end), 0);
        content[start..end].copy_from_slice(data);
        Ok(())
    }

    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()> {
        self.writes += 1;
        let size = usize::try_from(size).expect("a small file");
        self.content(node)?.resize(size, 0);
        Ok(())
    }

    fn insert_name(&mut self, node: NodeId, directory: NodeId, name: &[u8]) -> Result<()> {
        self.writes += 1;
        self.entries(directory).insert(name.to_vec(), node);
        self.nodes.get_mut(&node).expect("a node").metadata.links += 1;
        Ok(())
    }

    fn move_name(&mut self, rename: &Rename<'_>) -> Result<()> {
        self.writes += 1;
        if let Some(replaced) = rename.replaced {
            self.remove_name(rename.to, rename.to_name, replaced)?;
        }
        self.entries(rename.from).remove(rename.from_name);
        self.entries(rename.to)
            .insert(rename.to_name.to_vec(), rename.node);
        Ok(())
    }

    fn remove_name(&mut self, directory: NodeId, name: &[u8], node: NodeId) -> Result<()> {
        self.writes += 1;
        self.entries(directory).remove(name);
        let links = &mut self.nodes.get_mut(&node).expect("a node").metadata.links;
        *links -= 1;
        if *links == 0 {
            self.nodes.remove(&node);
        }
        Ok(())
    }

    fn store_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        self.writes += 1;
        let metadata = &mut self.nodes.get_mut(&node).expect("a node").metadata;
        metadata.permissions = change.permissions.unwrap_or(metadata.permissions);
        metadata.uid = change.uid.unwrap_or(metadata.uid);
        metadata.gid = change.gid.unwrap_or(metadata.gid);
        Ok(())
    }

    fn store_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.writes += 1;
        let xattrs = &mut self.nodes.get_mut(&node).expect("a node").xattrs;
        match value {
            Some(value) => drop(xattrs.insert(name.to_vec(), value.to_vec())),
            None => drop(xattrs.remove(name)),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
