//! Trees from archives: a root filesystem from a tar file, or what a step unpacks.
//!
//! - [`mod@tar`]: the members of a tar file, compressed or not.
//! - [`zip`]: the members of a zip file.
//! - here: which of them a file is, and what both do with a member.

pub mod tar;
pub mod zip;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::source::Source;
use super::tree::{Content, Item, Tree, add_directories};
use super::{Error, Result};
use imgasm_block::{BlockDevice, Delta, Digest, Hole};
use imgasm_container::Error as ContainerError;
use imgasm_fs::path::ImagePath;

/// Bytes of all files together, once they are unpacked: more than any disk has.
const STORE_BYTES: u64 = 1 << 46;
/// Most members of an archive.
const MAX_MEMBERS: usize = 10_000_000;
/// How much is unpacked in one step.
const STEP: usize = 1 << 20;
/// Contents begin at a multiple of this, so that their zeros stay holes.
const ALIGN: u64 = 4096;

/// Reads the tar or zip file at `path`, opened as `file`; gives the tree and the file's SHA-256.
///
/// # Errors
/// [`Error::Archive`] for a file of another kind or a damaged one; [`Error::Member`] for a member that
/// cannot be put into an image.
pub fn read(path: &Path, file: File) -> Result<(Tree, Digest)> {
    let mut magic = [0; 4];
    let read = file.read_at(&mut magic, 0);
    let len = read.map_err(|source| Error::Host {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if zip::is_zip(&magic[..len]) {
        zip::read(path, file)
    } else {
        tar::read(path, file)
    }
}

/// Why an archive could not be read.
enum Failure {
    Input(io::Error),
    Ours(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

impl From<imgasm_block::Error> for Failure {
    fn from(error: imgasm_block::Error) -> Self {
        Self::Ours(error.into())
    }
}

/// What was unpacked: the members by path, and the contents of files one after the other.
struct Store<'a> {
    tree: Tree,
    contents: Arc<Delta>,
    end: u64,
    /// The most bytes of contents that there may be.
    limit: u64,
    members: usize,
    path: &'a Path,
}

impl<'a> Store<'a> {
    /// An empty one for the archive at `path`.
    fn new(path: &'a Path, limit: u64) -> Self {
        Self {
            tree: Tree::from([(ImagePath::root(), Item::directory())]),
            contents: Arc::new(Delta::new(Arc::new(Hole::new(STORE_BYTES)))),
            end: 0,
            limit: limit.min(STORE_BYTES),
            members: 0,
            path,
        }
    }

    /// Counts a member, of which there may not be too many.
    fn count(&mut self) -> Result<(), Failure> {
        if self.members == MAX_MEMBERS {
            return Err(Failure::Ours(Error::Archive(ContainerError::Corrupt {
                path: self.path.to_owned(),
                format: "archive",
                problem: format!("more than {MAX_MEMBERS} members"),
            })));
        }
        self.members += 1;
        Ok(())
    }

    /// Makes room for a content, and gives its place.
    fn reserve(&mut self, len: u64) -> Result<u64, Failure> {
        let offset = self.end;
        let end = offset.saturating_add(len);
        if end > self.limit {
            return Err(Failure::Ours(Error::Archive(ContainerError::TooLarge {
                path: self.path.to_owned(),
                limit: self.limit,
            })));
        }
        self.end = end.next_multiple_of(ALIGN);
        Ok(offset)
    }

    /// Keeps a part of a content.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        // What is not written reads as zeros.
        if !imgasm_block::bytes::is_zero(bytes) {
            self.contents.write_at(at, bytes)?;
        }
        Ok(())
    }

    /// A content, for those who read it.
    fn source(&self, offset: u64, len: u64) -> Source {
        Source::Unpacked {
            store: self.contents.clone(),
            offset,
            len,
        }
    }

    /// Puts an item at its path. What comes later takes the place of what was there.
    fn put(&mut self, path: ImagePath, item: Item) -> Result<(), String> {
        let is_directory = matches!(item.content, Content::Directory);
        if let Some(parent) = path.parent() {
            add_directories(&mut self.tree, &parent)?;
        } else if !is_directory {
            return Err("is the root, and no directory".to_owned());
        }
        let was_directory = self
            .tree
            .get(&path)
            .is_some_and(|it| matches!(it.content, Content::Directory));
        if was_directory && !is_directory {
            return Err("was a directory before".to_owned());
        }
        self.tree.insert(path, item);
        Ok(())
    }

    fn wrong(&self, name: &[u8], problem: impl Into<String>) -> Failure {
        Failure::Ours(Error::Member {
            archive: self.path.to_owned(),
            name: String::from_utf8_lossy(name).into_owned(),
            problem: problem.into(),
        })
    }
}

/// Where a member lies in the image: `./etc/fstab` and `etc/fstab` alike.
fn path_of(name: &[u8]) -> Result<ImagePath, String> {
    let relative = name.strip_prefix(b"/").unwrap_or(name);
    if relative.contains(&0) {
        return Err("has a name with a NUL".to_owned());
    }
    let absolute = [b"/", relative].concat();
    ImagePath::parse(absolute).map_err(|error| error.to_string())
}
