//! Two trees beside each other: one walk over both, in the order of names.
//!
//! A path is reported if anything that can be seen at it differs. For a file with several names,
//! that is each of its names. The names of one file are tied together by the first of them in the
//! order of the walk, with names that exist on both sides before the others: so a name that comes
//! or goes changes nothing about the names that stay.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::vec;

use super::change::{ContentChange, PathChange, PathChangeKind, PathState};
use super::content::{self, Describing, DeviceBytes, File, FileBytes};
use super::work::Work;
use super::{Error, PathChanges, Result, Side};
use imgasm_fs::digest::ContentBudget;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{NameBudget, check_length};
use imgasm_fs::{DirEntry, FileSystem, FileType, Metadata, NodeId};

/// How two trees are compared.
pub struct TreeOptions<'a> {
    /// Whether a file whose modification time alone differs counts as changed.
    pub times: bool,
    /// See [`super::Options::show_secrets`].
    pub show_secrets: bool,
    /// See [`super::Options::secrets`].
    pub secrets: &'a [String],
    /// See [`super::Options::lines`].
    pub lines: bool,
    /// Which bytes of the devices below differ.
    pub device: DeviceBytes<'a>,
}

/// What differs between two trees.
#[derive(Debug)]
pub struct TreeChanges {
    /// Every path that differs, in the order of a walk over both trees.
    pub paths: PathChanges,
    /// Bytes of the disks that differ and belong to files.
    pub bytes: FileBytes,
    /// The first place that could not be read: what follows in the walk was not looked at.
    pub failure: Option<Error>,
}

/// Compares two trees, with no more work than is left.
pub fn compare(
    old: &dyn FileSystem,
    new: &dyn FileSystem,
    options: &TreeOptions<'_>,
    work: &mut Work,
) -> TreeChanges {
    let mut comparison = Comparison {
        old: Tree::new(Side::Old, old),
        new: Tree::new(Side::New, new),
        options,
        contents: HashMap::new(),
        lone_links: HashMap::new(),
        describing: Describing {
            show_secrets: options.show_secrets,
            secrets: options.secrets,
            lines: options.lines,
            budget: ContentBudget::default(),
            work,
        },
        changes: PathChanges::default(),
        bytes: FileBytes::default(),
    };
    let failure = comparison.walk().err();
    TreeChanges {
        paths: name_lone_links(
            comparison.changes,
            &comparison.lone_links,
            &comparison.old,
            &comparison.new,
        ),
        bytes: comparison.bytes,
        failure,
    }
}

struct Comparison<'a> {
    old: Tree<'a>,
    new: Tree<'a>,
    options: &'a TreeOptions<'a>,
    /// How the contents of files with several names differ, so that each pair is read once.
    contents: HashMap<NodePair, Option<ContentChange>>,
    /// The changes for names that exist on one side only, of files with several names; with the
    /// nodes.
    lone_links: HashMap<usize, NodePair>,
    describing: Describing<'a>,
    changes: PathChanges,
    bytes: FileBytes,
}

/// The nodes of a path on the old side and on the new one.
type NodePair = (Option<NodeId>, Option<NodeId>);

/// The directories at one path, on one side or both, with what is still to be compared in them.
struct Directory {
    path: ImagePath,
    old: Entries,
    new: Entries,
}

type Entries = Peekable<vec::IntoIter<DirEntry>>;

impl Directory {
    /// The next name, with the nodes that have it.
    fn next(&mut self) -> Option<(Vec<u8>, NodePair)> {
        let order = match (self.old.peek(), self.new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        let old = if order.is_le() { self.old.next() } else { None };
        let new = if order.is_ge() { self.new.next() } else { None };
        let nodes = (
            old.as_ref().map(|entry| entry.node),
            new.as_ref().map(|entry| entry.node),
        );
        Some((old.or(new)?.name, nodes))
    }
}

/// One of the two trees.
struct Tree<'a> {
    side: Side,
    fs: &'a dyn FileSystem,
    /// Directories met, so that a loop is noticed.
    directories: HashSet<NodeId>,
    /// How many names there may still be, once the walk has begun.
    names: Option<NameBudget>,
    /// The names met so far of each file that has several.
    links: HashMap<NodeId, Names>,
}

/// The names of one file.
struct Names {
    /// The first one met.
    first: ImagePath,
    /// The first one met that exists on both sides.
    shared: Option<ImagePath>,
}

impl<'a> Tree<'a> {
    fn new(side: Side, fs: &'a dyn FileSystem) -> Self {
        Self {
            side,
            fs,
            directories: HashSet::new(),
            names: None,
            links: HashMap::new(),
        }
    }

    /// Adds to a filesystem's error the path at which it arose.
    fn at<T>(&self, path: &ImagePath, result: imgasm_fs::Result<T>) -> Result<T> {
        result.map_err(|source| Error::File {
            side: self.side,
            path: path.clone(),
            source,
        })
    }

    /// The state of what is there, if anything is, and the file.
    fn state(
        &mut self,
        node: Option<NodeId>,
        path: &ImagePath,
        is_shared: bool,
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
            hard_link_to: self.first_link(node, &metadata, path, is_shared),
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

    /// The name that stands for all names of the file, if it is not this one; for a path on one
    /// side only, as far as is known now.
    fn first_link(
        &mut self,
        node: NodeId,
        metadata: &Metadata,
        path: &ImagePath,
        is_shared: bool,
    ) -> Option<ImagePath> {
        if metadata.links < 2 || metadata.file_type == FileType::Directory {
            return None;
        }
        let names = self.links.entry(node).or_insert_with(|| Names {
            first: path.clone(),
            shared: None,
        });
        let first = if is_shared {
            names.shared.get_or_insert_with(|| path.clone())
        } else {
            &names.first
        };
        (first != path).then(|| first.clone())
    }

    /// The first name on both sides of a file that has several.
    fn shared_name(&self, node: Option<NodeId>) -> Option<&ImagePath> {
        self.links.get(&node?)?.shared.as_ref()
    }

    /// Whether a file has several names.
    fn has_links(&self, node: Option<NodeId>) -> bool {
        node.is_some_and(|node| self.links.contains_key(&node))
    }

    /// The entries of a directory in the order of their names.
    fn entries(&mut self, path: &ImagePath, directory: Option<NodeId>) -> Result<Entries> {
        let Some(directory) = directory else {
            return Ok(Vec::new().into_iter().peekable());
        };
        if !self.directories.insert(directory) {
            return Err(Error::DirectoryLoop {
                side: self.side,
                path: path.clone(),
            });
        }
        let mut entries = self.at(path, self.fs.read_dir(directory))?;
        let mut names = match self.names.take() {
            Some(names) => names,
            None => self.at(path, NameBudget::of(self.fs))?,
        };
        self.at(path, names.take(self.fs, directory, &entries))?;
        self.names = Some(names);
        check_length(path, &entries).map_err(|source| Error::Path {
            side: self.side,
            source,
        })?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries.into_iter().peekable())
    }
}

/// The regular file of a state, if it is one.
fn file<'a>(state: Option<&(PathState, File<'a>)>) -> Option<File<'a>> {
    let (state, file) = state?;
    (state.file_type == FileType::Regular).then_some(*file)
}

impl Comparison<'_> {
    fn walk(&mut self) -> Result<()> {
        for tree in [&self.old, &self.new] {
            let allowed = self.describing.budget.allow(tree.fs);
            allowed.map_err(|source| Error::File {
                side: tree.side,
                path: ImagePath::root(),
                source,
            })?;
        }
        let roots = (Some(self.old.fs.root()), Some(self.new.fs.root()));
        let mut around: Vec<Directory> = Vec::new();
        around.extend(self.visit(ImagePath::root(), roots)?);
        while let Some(directory) = around.last_mut() {
            match directory.next() {
                Some((name, nodes)) => {
                    let path = directory.path.child(&name);
                    around.extend(self.visit(path, nodes)?);
                }
                None => drop(around.pop()),
            }
        }
        Ok(())
    }

    /// Compares what is at a path; gives the directories there, if there are any.
    fn visit(&mut self, path: ImagePath, (old, new): NodePair) -> Result<Option<Directory>> {
        let times = self.options.times;
        let is_shared = old.is_some() && new.is_some();
        let before = self.old.state(old, &path, is_shared, times)?;
        let after = self.new.state(new, &path, is_shared, times)?;
        let as_directory = |state: &Option<(PathState, File<'_>)>| {
            let (state, file) = state.as_ref()?;
            (state.file_type == FileType::Directory).then_some(file.node)
        };
        let directories = (as_directory(&before), as_directory(&after));
        let nodes = (old, new);
        let has_links = self.old.has_links(old) || self.new.has_links(new);
        let content = self.content(
            &path,
            nodes,
            has_links,
            file(before.as_ref()),
            file(after.as_ref()),
        )?;
        let (old, new) = (
            before.map(|(state, _)| state),
            after.map(|(state, _)| state),
        );
        let kind = match (&old, &new) {
            (_, None) => PathChangeKind::Removed,
            (None, Some(_)) => PathChangeKind::Added,
            (Some(_), Some(_)) => PathChangeKind::Changed,
        };
        if old != new || content.is_some() {
            if has_links && !is_shared {
                self.lone_links.insert(self.changes.len(), nodes);
            }
            self.changes.push(&PathChange {
                path: path.clone(),
                kind,
                old,
                new,
                content,
                meanings: Vec::new(),
            });
        }
        if directories == (None, None) {
            return Ok(None);
        }
        Ok(Some(Directory {
            old: self.old.entries(&path, directories.0)?,
            new: self.new.entries(&path, directories.1)?,
            path,
        }))
    }

    /// How the contents at a path differ. Hunks are shown at the first name of a file only.
    fn content(
        &mut self,
        path: &ImagePath,
        nodes: NodePair,
        has_links: bool,
        old: Option<File<'_>>,
        new: Option<File<'_>>,
    ) -> Result<Option<ContentChange>> {
        if has_links && let Some(known) = self.contents.get(&nodes) {
            return Ok(known.clone());
        }
        let device = &self.options.device;
        let content = match (&old, &new) {
            (None, None) => None,
            (Some(a), Some(b)) if content::is_same(path, a, b, device, &mut self.bytes)? => None,
            _ => {
                let (bytes, describing) = (&mut self.bytes, &mut self.describing);
                Some(content::describe(
                    path, old, new, device, bytes, describing,
                )?)
            }
        };
        if has_links {
            let without_hunks = content.clone().map(|content| ContentChange {
                hunks: None,
                ..content
            });
            self.contents.insert(nodes, without_hunks);
        }
        Ok(content)
    }
}

/// All names are known now: a name on one side only is a link to the first name on both sides, if
/// its file has one.
fn name_lone_links(
    changes: PathChanges,
    lone_links: &HashMap<usize, NodePair>,
    old: &Tree<'_>,
    new: &Tree<'_>,
) -> PathChanges {
    if lone_links.is_empty() {
        return changes;
    }
    changes.rewrite(|index, mut change| {
        if let Some(nodes) = lone_links.get(&index) {
            let sides = [
                (&mut change.old, old.shared_name(nodes.0)),
                (&mut change.new, new.shared_name(nodes.1)),
            ];
            for (state, shared) in sides {
                if let (Some(state), Some(shared)) = (state, shared) {
                    state.hard_link_to = Some(shared.clone());
                }
            }
        }
        Some(change)
    })
}
