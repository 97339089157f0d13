//! What a tree looks like after some edits: as much of it as is needed to know which edit is valid
//! next. An edit that is not valid changes nothing, so any part of a list of edits can be left out.

use std::collections::BTreeMap;
use std::ops::Bound;

use imgasm_fs::FileType;

use crate::edits::{Edit, NewKind};
use crate::rng::Rng;
use crate::tree::{Tree, join};

/// The name of an access control list among the attributes.
pub const ACL: &[u8] = b"system.posix_acl_access";
/// The name of the list for new nodes in a directory.
pub const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// A file, whatever its names.
#[derive(Debug, Clone)]
pub struct Node {
    pub file_type: FileType,
    pub names: u32,
    /// Bytes of a regular file.
    pub size: u64,
    /// Bytes that it may occupy.
    pub data: u64,
    /// The most that each attribute's value may take: what the kernel drops by itself stays here.
    pub xattrs: BTreeMap<Vec<u8>, usize>,
}

impl Node {
    pub fn is_directory(&self) -> bool {
        self.file_type == FileType::Directory
    }

    pub fn is_regular(&self) -> bool {
        self.file_type == FileType::Regular
    }

    /// Bytes of the names and values of all attributes except one.
    pub fn xattr_bytes_beside(&self, name: &[u8]) -> usize {
        let others = self.xattrs.iter().filter(|(other, _)| *other != name);
        others.map(|(name, len)| name.len() + len + 20).sum()
    }
}

/// A tree on which edits can be tried.
#[derive(Debug, Clone)]
pub struct Model {
    paths: BTreeMap<Vec<u8>, usize>,
    nodes: Vec<Node>,
}

impl Model {
    pub fn new(tree: &Tree) -> Self {
        let mut model = Self {
            paths: BTreeMap::new(),
            nodes: Vec::new(),
        };
        for (path, record) in &tree.0 {
            let first = record.first_name.as_ref().filter(|first| *first != path);
            let index = if let Some(first) = first {
                model.paths[first]
            } else {
                let regular = record.file_type == FileType::Regular;
                let xattrs = record.xattrs.iter();
                let directory = record.file_type == FileType::Directory;
                model.nodes.push(Node {
                    file_type: record.file_type,
                    names: if directory { 1 } else { record.links },
                    size: if regular { record.size } else { 0 },
                    data: if regular { record.size } else { 0 },
                    xattrs: xattrs.map(|(k, v)| (k.clone(), v.len())).collect(),
                });
                model.nodes.len() - 1
            };
            model.paths.insert(path.clone(), index);
        }
        model
    }

    /// Fails if the kernel's tree differs from the model, which is then wrong.
    pub fn check(&self, tree: &Tree) -> Result<(), String> {
        let told = Self::new(tree);
        if told.paths.keys().ne(self.paths.keys()) {
            return Err("the model has other paths than the kernel".to_owned());
        }
        for ((path, own), (_, told)) in self.paths().zip(told.paths()) {
            let mut lens = told.xattrs.iter();
            let same = (own.file_type, own.names, own.size)
                == (told.file_type, told.names, told.size)
                && lens.all(|(name, len)| own.xattrs.get(name).is_some_and(|most| most >= len));
            if !same {
                let path = path.escape_ascii();
                return Err(format!(
                    "{path}: the model has {own:?}, the kernel {told:?}"
                ));
            }
        }
        Ok(())
    }

    /// Number of paths, the root's included.
    #[allow(clippy::len_without_is_empty, reason = "there is always a root")]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.paths.get(path).map(|&index| &self.nodes[index])
    }

    pub fn paths(&self) -> impl Iterator<Item = (&Vec<u8>, &Node)> {
        let node = |(path, &index)| (path, &self.nodes[index]);
        self.paths.iter().map(node)
    }

    /// A path other than the root whose node is as wanted, if a few tries find one. Each directory
    /// at the top is as likely as any other, however many paths are below it.
    pub fn pick(&self, rng: &mut Rng, wanted: impl Fn(&Node) -> bool) -> Option<Vec<u8>> {
        let tops = self.tops();
        for _ in 0..40 {
            let top = rng.pick(&tops).clone();
            let paths = 1 + self.below(&top).count();
            let path = match rng.index(paths) {
                0 => &top,
                nth => self.below(&top).nth(nth - 1)?,
            };
            if path != b"/" && wanted(&self.nodes[self.paths[path]]) {
                return Some(path.clone());
            }
        }
        None
    }

    /// The paths of one name.
    fn tops(&self) -> Vec<Vec<u8>> {
        let one_name = |path: &&Vec<u8>| parent(path) == b"/";
        self.paths.keys().filter(one_name).cloned().collect()
    }

    /// A directory: one with files in it is likelier than an empty one.
    pub fn pick_directory(&self, rng: &mut Rng) -> Vec<u8> {
        if rng.chance(3) {
            return b"/".to_vec();
        }
        let directory = if rng.chance(40) {
            self.pick(rng, Node::is_directory)
        } else {
            self.pick(rng, |_| true).map(|path| parent(&path).to_vec())
        };
        directory.unwrap_or_else(|| b"/".to_vec())
    }

    /// The paths below a directory.
    pub fn below<'a>(&'a self, directory: &[u8]) -> impl Iterator<Item = &'a Vec<u8>> + use<'a> {
        let mut start = directory.to_vec();
        if directory != b"/" {
            start.push(b'/');
        }
        let prefix = start.clone();
        self.paths
            .range::<Vec<u8>, _>((Bound::Excluded(start), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(move |path| path.starts_with(&prefix))
    }

    fn is_empty_directory(&self, directory: &[u8]) -> bool {
        self.below(directory).next().is_none()
    }

    /// Whether `path` can be made: it is free, and its parent is a directory.
    fn is_free(&self, path: &[u8]) -> bool {
        !self.paths.contains_key(path) && self.get(parent(path)).is_some_and(Node::is_directory)
    }

    fn node_mut(&mut self, path: &[u8]) -> Option<&mut Node> {
        self.paths.get(path).map(|&index| &mut self.nodes[index])
    }

    fn regular_mut(&mut self, path: &[u8]) -> Option<&mut Node> {
        self.node_mut(path).filter(|node| node.is_regular())
    }

    fn forget(&mut self, path: &[u8]) {
        if let Some(index) = self.paths.remove(path) {
            self.nodes[index].names -= 1;
        }
    }

    /// Makes the edit; gives whether it was valid.
    pub fn apply(&mut self, edit: &Edit) -> bool {
        self.try_apply(edit).is_some()
    }

    fn try_apply(&mut self, edit: &Edit) -> Option<()> {
        match edit {
            Edit::Create { path, kind, .. } => {
                self.is_free(&path.0).then_some(())?;
                let inherited = self.get(parent(&path.0))?.xattrs.get(DEFAULT_ACL).copied();
                let mut xattrs = BTreeMap::new();
                if let Some(len) = inherited.filter(|_| !matches!(kind, NewKind::Symlink(_))) {
                    xattrs.insert(ACL.to_vec(), len);
                    if matches!(kind, NewKind::Directory) {
                        xattrs.insert(DEFAULT_ACL.to_vec(), len);
                    }
                }
                self.nodes.push(Node {
                    file_type: kind.node_kind().file_type(),
                    names: 1,
                    size: 0,
                    data: 0,
                    xattrs,
                });
                self.paths.insert(path.0.clone(), self.nodes.len() - 1);
            }
            Edit::WriteContent { path, content } => {
                let node = self.regular_mut(&path.0)?;
                node.size = content.size;
                node.data = content.size;
            }
            Edit::WriteAt {
                path,
                offset,
                content,
            } => {
                let node = self.regular_mut(&path.0)?;
                node.size = node.size.max(offset + content.size);
                node.data += content.size;
            }
            Edit::Stripes { path, stripes } => {
                let node = self.regular_mut(&path.0)?;
                node.size = node.size.max(stripes.end());
                node.data += stripes.count * stripes.len;
            }
            Edit::SetSize { path, size } => {
                let node = self.regular_mut(&path.0)?;
                (node.size != *size).then_some(())?;
                node.size = *size;
                node.data = node.data.min(*size);
            }
            Edit::Link { path, new } => {
                let index = *self.paths.get(&path.0)?;
                let possible = !self.nodes[index].is_directory() && self.is_free(&new.0);
                possible.then_some(())?;
                self.nodes[index].names += 1;
                self.paths.insert(new.0.clone(), index);
            }
            Edit::Rename { from, to } => return self.rename(&from.0, &to.0),
            Edit::Remove { path } => {
                let directory = self.get(&path.0)?.is_directory();
                let possible = path.0 != b"/" && (!directory || self.is_empty_directory(&path.0));
                possible.then_some(())?;
                self.forget(&path.0);
            }
            Edit::RemoveTree { path } => {
                let possible = path.0 != b"/" && self.get(&path.0)?.is_directory();
                possible.then_some(())?;
                let below: Vec<_> = self.below(&path.0).cloned().collect();
                for path in &below {
                    self.forget(path);
                }
                self.forget(&path.0);
            }
            Edit::Chmod { path, .. } => {
                let node = self.get(&path.0)?;
                (node.file_type != FileType::Symlink).then_some(())?;
            }
            Edit::Chown { path, .. } | Edit::SetTimes { path, .. } => {
                self.get(&path.0)?;
            }
            Edit::SetXattr { path, name, value } => {
                let node = self.node_mut(&path.0)?;
                match value {
                    Some(value) => node.xattrs.insert(name.0.clone(), value.0.len()),
                    None => Some(node.xattrs.remove(&name.0)?),
                };
            }
        }
        Some(())
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Option<()> {
        let source = *self.paths.get(from)?;
        let directory = self.nodes[source].is_directory();
        let into_itself = to.starts_with(&join(from, b""));
        self.get(parent(to)).filter(|node| node.is_directory())?;
        let possible = from != b"/" && to != b"/" && from != to && !into_itself;
        possible.then_some(())?;
        if let Some(&target) = self.paths.get(to) {
            if target == source {
                return Some(());
            }
            let fits = self.nodes[target].is_directory() == directory;
            (fits && (!directory || self.is_empty_directory(to))).then_some(())?;
            self.forget(to);
        }
        let below: Vec<_> = self.below(from).cloned().collect();
        for path in below {
            let index = self.paths.remove(&path).expect("just listed");
            let moved = [to, &path[from.len()..]].concat();
            self.paths.insert(moved, index);
        }
        self.paths.remove(from);
        self.paths.insert(to.to_vec(), source);
        Some(())
    }
}

/// The directory that a path lies in; the root's is the root.
pub fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) | None => b"/",
        Some(slash) => &path[..slash],
    }
}

/// The last name of a path.
pub fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}
