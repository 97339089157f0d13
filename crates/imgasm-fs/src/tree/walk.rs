//! Everything below a path.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::resolve::{LastLink, locate};
use super::{At, Error, Result};
use crate::path::ImagePath;
use crate::{DirEntry, FileSystem, FileType, Location, Metadata, NodeId};

/// One name met on a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: ImagePath,
    /// The directory that holds it; the root for the root itself.
    pub directory: NodeId,
    /// The node that has the name.
    pub node: NodeId,
    /// What `stat` reports of it.
    pub metadata: Metadata,
    /// The first path of this walk that led to the same node, if this is a further one.
    pub first_link: Option<ImagePath>,
}

/// Walks over `start` and everything below it: a directory before what it holds, and what it holds
/// in the order of the names' bytes. Symbolic links are entries, never followed, save those in
/// `start` before its last name.
///
/// If a directory cannot be read, an error takes the place of its content, and the walk goes on.
///
/// # Errors
/// Those of [`resolve`](super::resolve()) for `start`. The walk itself gives [`Error::FileSystem`] for what
/// cannot be read, [`Error::DirectoryLoop`] for a directory that lies in itself, and [`Error::Refused`]
/// for paths longer than [`ImagePath::LONGEST`].
pub fn walk<'a>(fs: &'a dyn FileSystem, start: &ImagePath) -> Result<Walk<'a>> {
    let place = locate(fs, start, LastLink::Keep)?;
    let Some(node) = place.node else {
        return Err(Error::NotFound {
            path: start.clone(),
            missing: place.path,
        });
    };
    let pending = Pending {
        path: place.path,
        directory: place.directory,
        node,
        depth: 0,
    };
    Ok(Walk {
        fs,
        pending: vec![pending],
        failed: None,
        budget: None,
        max_depth: usize::MAX,
        directories: HashSet::new(),
        links: HashMap::new(),
    })
}

/// Makes sure that the paths of a directory's entries are not longer than [`ImagePath::LONGEST`].
///
/// # Errors
/// [`Error::Refused`] if one cannot.
pub fn check_length(directory: &ImagePath, entries: &[DirEntry]) -> Result<()> {
    let longest = entries.iter().map(|entry| entry.name.len()).max();
    if directory.as_bytes().len() + 1 + longest.unwrap_or(0) <= ImagePath::LONGEST {
        return Ok(());
    }
    Err(Error::Refused {
        path: directory.clone(),
        problem: format!(
            "has entries whose paths have more than {} bytes",
            ImagePath::LONGEST
        ),
    })
}

/// The least room that a name takes on the disk; XFS has nine bytes within an inode, ext4 twelve, FAT 32.
const NAME_BYTES: u64 = 8;

/// How many names any filesystem may have.
const FREE_NAMES: u64 = 10_000;

/// How many names may still come in one walk. In a damaged filesystem any number of directories hold
/// the same blocks.
#[derive(Debug)]
pub struct NameBudget(u64);

impl NameBudget {
    /// Allows for the names of a filesystem.
    ///
    /// # Errors
    /// Those of [`FileSystem::info`].
    pub fn of(fs: &dyn FileSystem) -> crate::Result<Self> {
        Ok(Self(fs.info()?.total_bytes / NAME_BYTES + FREE_NAMES))
    }

    /// Takes the entries of a directory.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if that is more than is left.
    pub fn take(
        &mut self,
        fs: &dyn FileSystem,
        directory: NodeId,
        entries: &[DirEntry],
    ) -> crate::Result<()> {
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        self.0 = self
            .0
            .checked_sub(count)
            .ok_or_else(|| crate::Error::Corrupt {
                fs: fs.info().map_or("", |info| info.kind),
                at: Location::Inode(directory.0),
                problem:
                    "the directories up to this one have more names than the filesystem has room \
                      for: they share blocks"
                        .to_owned(),
            })?;
        Ok(())
    }
}

/// An iterator over a tree; see [`walk`].
pub struct Walk<'a> {
    fs: &'a dyn FileSystem,
    pending: Vec<Pending>,
    failed: Option<Error>,
    /// Once a directory is entered.
    budget: Option<NameBudget>,
    max_depth: usize,
    directories: HashSet<NodeId>,
    links: HashMap<NodeId, ImagePath>,
}

impl fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("pending", &self.pending.len())
            .field("max_depth", &self.max_depth)
            .finish_non_exhaustive()
    }
}

/// A name still to be visited.
struct Pending {
    path: ImagePath,
    directory: NodeId,
    node: NodeId,
    depth: usize,
}

impl Walk<'_> {
    /// Descends no further than `depth` names below the start.
    #[must_use]
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }

    fn visit(&mut self, pending: Pending) -> Result<Entry> {
        let Pending {
            path,
            directory,
            node,
            depth,
        } = pending;
        let metadata = self.fs.metadata(node).at("read", &path)?;
        let mut first_link = None;
        if metadata.file_type == FileType::Directory {
            if !self.directories.insert(node) {
                return Err(Error::DirectoryLoop { path });
            }
            if depth < self.max_depth {
                self.failed = self.descend(&path, node, depth).err();
            }
        } else if metadata.links > 1 {
            first_link = self.links.get(&node).cloned();
            if first_link.is_none() {
                self.links.insert(node, path.clone());
            }
        }
        Ok(Entry {
            path,
            directory,
            node,
            metadata,
            first_link,
        })
    }

    fn descend(&mut self, path: &ImagePath, directory: NodeId, depth: usize) -> Result<()> {
        let mut entries = self.fs.read_dir(directory).at("list", path)?;
        let budget = match &mut self.budget {
            Some(budget) => budget,
            none => none.insert(NameBudget::of(self.fs).at("list", path)?),
        };
        let taken = budget.take(self.fs, directory, &entries);
        taken.at("list", path)?;
        check_length(path, &entries)?;
        entries.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        self.pending
            .extend(entries.into_iter().map(|entry| Pending {
                path: path.child(&entry.name),
                directory,
                node: entry.node,
                depth: depth + 1,
            }));
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let pending = self.pending.pop()?;
        Some(self.visit(pending))
    }
}
