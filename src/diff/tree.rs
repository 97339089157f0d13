//! Two trees beside each other: one walk over both, in the order of names.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::change::{ContentChange, PathChange, PathChangeKind, PathState};
use super::content::{self, File};
use super::{Error, Result, Side};
use crate::fs::path::ImagePath;
use crate::fs::{self, DirEntry, FileExtent, FileSystem, FileType, Metadata, NodeId};

/// How two trees are compared.
pub struct TreeOptions<'a> {
    /// Whether a file whose modification time alone differs counts as changed.
    pub times: bool,
    /// Says of an extent that the devices of both sides are known to hold the same bytes there.
    pub same_device_bytes: &'a dyn Fn(&FileExtent) -> bool,
}

/// Every path that differs, in the order of a walk over both trees.
pub fn compare(
    old: &dyn FileSystem,
    new: &dyn FileSystem,
    options: &TreeOptions<'_>,
) -> Result<Vec<PathChange>> {
    let mut comparison = Comparison {
        old: Tree::new(Side::Old, old),
        new: Tree::new(Side::New, new),
        options,
        pending: vec![Pending {
            path: ImagePath::root(),
            old: Some(old.root()),
            new: Some(new.root()),
        }],
        changes: Vec::new(),
    };
    while let Some(pending) = comparison.pending.pop() {
        comparison.visit(pending)?;
    }
    Ok(comparison.changes)
}

struct Comparison<'a> {
    old: Tree<'a>,
    new: Tree<'a>,
    options: &'a TreeOptions<'a>,
    pending: Vec<Pending>,
    changes: Vec<PathChange>,
}

/// A name that is still to be looked at.
struct Pending {
    path: ImagePath,
    old: Option<NodeId>,
    new: Option<NodeId>,
}

/// One of the two trees.
struct Tree<'a> {
    side: Side,
    fs: &'a dyn FileSystem,
    /// Directories met, so that a loop is noticed.
    directories: HashSet<NodeId>,
    /// The first path met of each file that has several.
    links: HashMap<NodeId, ImagePath>,
}

impl<'a> Tree<'a> {
    fn new(side: Side, fs: &'a dyn FileSystem) -> Self {
        Self {
            side,
            fs,
            directories: HashSet::new(),
            links: HashMap::new(),
        }
    }

    /// Gives a filesystem's error the place at which it came.
    fn at<T>(&self, path: &ImagePath, result: fs::Result<T>) -> Result<T> {
        result.map_err(|source| Error::File {
            side: self.side,
            path: path.clone(),
            source,
        })
    }

    /// What is there, if anything is, with the metadata it was made of.
    fn state(
        &mut self,
        node: Option<NodeId>,
        path: &ImagePath,
        times: bool,
    ) -> Result<Option<(PathState, File<'a>)>> {
        let Some(node) = node else { return Ok(None) };
        let metadata = self.at(path, self.fs.metadata(node))?;
        let is = |file_type| metadata.file_type == file_type;
        let size = if is(FileType::Regular) {
            metadata.size
        } else {
            0
        };
        let state = PathState {
            file_type: metadata.file_type,
            permissions: metadata.permissions,
            uid: metadata.uid,
            gid: metadata.gid,
            size,
            device: metadata.device,
            target: self.at(
                path,
                is(FileType::Symlink)
                    .then(|| self.fs.read_link(node))
                    .transpose(),
            )?,
            xattrs: self.at(path, self.fs.xattrs(node))?,
            hard_link_to: self.first_link(node, &metadata, path),
            modified: times.then_some(metadata.modified),
        };
        Ok(Some((
            state,
            File {
                side: self.side,
                fs: self.fs,
                node,
                size,
            },
        )))
    }

    fn first_link(
        &mut self,
        node: NodeId,
        metadata: &Metadata,
        path: &ImagePath,
    ) -> Option<ImagePath> {
        if metadata.links < 2 || metadata.file_type == FileType::Directory {
            return None;
        }
        let first = self.links.entry(node).or_insert_with(|| path.clone());
        (first != path).then(|| first.clone())
    }

    /// The entries of a directory by the order of their names.
    fn entries(&mut self, path: &ImagePath, directory: Option<NodeId>) -> Result<Vec<DirEntry>> {
        let Some(directory) = directory else {
            return Ok(Vec::new());
        };
        if !self.directories.insert(directory) {
            return Err(Error::DirectoryLoop {
                side: self.side,
                path: path.clone(),
            });
        }
        let mut entries = self.at(path, self.fs.read_dir(directory))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// The regular file of a state, if it is one.
fn file<'a>(state: Option<&(PathState, File<'a>)>) -> Option<File<'a>> {
    let (state, file) = state?;
    (state.file_type == FileType::Regular).then_some(*file)
}

impl Comparison<'_> {
    fn visit(&mut self, pending: Pending) -> Result<()> {
        let Pending { path, old, new } = pending;
        let times = self.options.times;
        let before = self.old.state(old, &path, times)?;
        let after = self.new.state(new, &path, times)?;
        let as_directory = |state: &Option<(PathState, File<'_>)>| {
            let (state, file) = state.as_ref()?;
            (state.file_type == FileType::Directory).then_some(file.node)
        };
        let directories = (as_directory(&before), as_directory(&after));
        if let Some(change) = self.change(&path, before, after)? {
            self.changes.push(change);
        }
        self.descend(&path, directories.0, directories.1)
    }

    fn change(
        &self,
        path: &ImagePath,
        before: Option<(PathState, File<'_>)>,
        after: Option<(PathState, File<'_>)>,
    ) -> Result<Option<PathChange>> {
        let kind = match (&before, &after) {
            (None, None) => return Ok(None),
            (None, Some(_)) => PathChangeKind::Added,
            (Some(_), None) => PathChangeKind::Removed,
            (Some(_), Some(_)) => PathChangeKind::Changed,
        };
        // The content of a further link is told at the first one.
        let links =
            [&before, &after].map(|side| side.as_ref().and_then(|(s, _)| s.hard_link_to.as_ref()));
        let is_told = links.iter().all(Option::is_some) && links[0] == links[1]
            || before.is_none() && links[1].is_some()
            || after.is_none() && links[0].is_some();
        let content = if is_told {
            None
        } else {
            self.content(path, file(before.as_ref()), file(after.as_ref()))?
        };
        let (old, new) = (
            before.map(|(state, _)| state),
            after.map(|(state, _)| state),
        );
        if old == new && content.is_none() {
            return Ok(None);
        }
        Ok(Some(PathChange {
            path: path.clone(),
            kind,
            old,
            new,
            content,
        }))
    }

    fn content(
        &self,
        path: &ImagePath,
        old: Option<File<'_>>,
        new: Option<File<'_>>,
    ) -> Result<Option<ContentChange>> {
        if let (Some(a), Some(b)) = (&old, &new)
            && content::is_same(path, a, b, self.options.same_device_bytes)?
        {
            return Ok(None);
        }
        if old.is_none() && new.is_none() {
            return Ok(None);
        }
        content::describe(path, old, new).map(Some)
    }

    /// Puts what two directories hold before what is pending already, pairing equal names.
    fn descend(
        &mut self,
        path: &ImagePath,
        old: Option<NodeId>,
        new: Option<NodeId>,
    ) -> Result<()> {
        let first = self.pending.len();
        let mut before = self.old.entries(path, old)?.into_iter().peekable();
        let mut after = self.new.entries(path, new)?.into_iter().peekable();
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.name.cmp(&b.name),
            };
            let a = if order.is_le() { before.next() } else { None };
            let b = if order.is_ge() { after.next() } else { None };
            let name = a
                .as_ref()
                .or(b.as_ref())
                .map(|entry| entry.name.clone())
                .unwrap_or_default();
            self.pending.push(Pending {
                path: path.child(&name),
                old: a.map(|entry| entry.node),
                new: b.map(|entry| entry.node),
            });
        }
        self.pending[first..].reverse();
        Ok(())
    }
}
