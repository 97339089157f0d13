//! From a path to a node.

use super::{At, Error, Result};
use crate::path::ImagePath;
use crate::{FileSystem, FileType, NodeId};

/// How many symbolic links one path may lead through: Linux's own limit (`path_resolution(7)`).
pub(super) const MAX_LINKS: u32 = 40;

/// What to do if the last name of a path is a symbolic link. Links before it are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// Go where it leads.
    Follow,
    /// Stop at the link itself.
    Keep,
}

/// A place in a tree, whether or not something is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path without symbolic links in it (the last name may be one with [`LastLink::Keep`]).
    pub path: ImagePath,
    /// The directory that holds, or would hold, the name; the root for the root itself.
    pub directory: NodeId,
    /// What is there.
    pub node: Option<NodeId>,
}

impl Place {
    /// The name in [`Place::directory`]; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default()
    }
}

/// How far a path leads: the place of its last name, or of the first that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The place.
    pub place: Place,
    /// The names after it, which are those of the path itself: nothing can be there.
    pub rest: Vec<Vec<u8>>,
    /// Whether the place is where a symbolic link leads, to nothing.
    pub is_dangling: bool,
}

/// Follows `path` through the image as a process would that has the image as its root: absolute
/// links start at the image's root, and `..` in a link stops there.
///
/// # Errors
/// [`Error::NotFound`] if a directory on the way is missing; a missing last name is no error.
/// [`Error::WrongType`] if something on the way is no directory, [`Error::TooManyLinks`], and
/// [`Error::FileSystem`] if the filesystem fails.
pub fn locate(fs: &dyn FileSystem, path: &ImagePath, last: LastLink) -> Result<Place> {
    let Reached { place, rest, .. } = reach(fs, path, last)?;
    if rest.is_empty() {
        return Ok(place);
    }
    Err(Error::NotFound {
        path: path.clone(),
        missing: place.path,
    })
}

/// As [`locate`], but directories of the path may be missing. Takes time in proportion to its length.
///
/// # Errors
/// [`Error::NotFound`] if a directory is missing on the way to which a link leads; the others of
/// [`locate`].
pub fn reach(fs: &dyn FileSystem, path: &ImagePath, last: LastLink) -> Result<Reached> {
    let mut real = ImagePath::root();
    let mut directories = vec![fs.root()];
    let mut pending: Vec<Vec<u8>> = path.names().rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    // How many of the pending names are the path's own; the others are a link's.
    let mut own = pending.len();

    while let Some(name) = pending.pop() {
        let is_own = pending.len() < own;
        own = own.min(pending.len());
        if name == b".." {
            if real.pop() {
                directories.pop();
            }
            continue;
        }
        let directory = *directories.last().expect("the root is never popped");
        let node = fs.lookup(directory, &name).at("look up", path)?;
        real.push(&name);
        let Some(node) = node else {
            if own < pending.len() {
                return Err(Error::NotFound {
                    path: path.clone(),
                    missing: real,
                });
            }
            pending.reverse();
            return Ok(Reached {
                place: Place {
                    path: real,
                    directory,
                    node,
                },
                rest: pending,
                is_dangling: !is_own,
            });
        };
        let file_type = fs.metadata(node).at("look up", path)?.file_type;
        match file_type {
            FileType::Directory => directories.push(node),
            FileType::Symlink if !pending.is_empty() || last == LastLink::Follow => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::TooManyLinks { path: path.clone() });
                }
                let target = fs.read_link(node).at("read", &real)?;
                if target.starts_with(b"/") {
                    real = ImagePath::root();
                    directories.truncate(1);
                } else {
                    real.pop();
                }
                let names = target.split(|&b| b == b'/');
                let names = names.filter(|name| !matches!(*name, b"" | b"."));
                pending.extend(names.rev().map(<[u8]>::to_vec));
            }
            _ if pending.is_empty() => {
                return Ok(Reached::at(Place {
                    path: real,
                    directory,
                    node: Some(node),
                }));
            }
            found => {
                return Err(Error::WrongType {
                    path: real,
                    found,
                    expected: "a directory",
                });
            }
        }
    }

    let node = directories.pop();
    Ok(Reached::at(Place {
        path: real,
        directory: directories.pop().unwrap_or(fs.root()),
        node,
    }))
}

impl Reached {
    fn at(place: Place) -> Self {
        Self {
            place,
            rest: Vec::new(),
            is_dangling: false,
        }
    }
}

/// Follows `path` to what is there.
///
/// # Errors
/// [`Error::NotFound`] if nothing is; those of [`locate`].
pub fn resolve(
    fs: &dyn FileSystem,
    path: &ImagePath,
    last: LastLink,
) -> Result<(NodeId, ImagePath)> {
    let place = locate(fs, path, last)?;
    match place.node {
        Some(node) => Ok((node, place.path)),
        None => Err(Error::NotFound {
            path: path.clone(),
            missing: place.path,
        }),
    }
}

/// Whether `path` leads to something: a dangling symbolic link does not.
///
/// # Errors
/// [`Error::FileSystem`]: what [`Error::is_absence`] means is no error here.
pub fn exists(fs: &dyn FileSystem, path: &ImagePath) -> Result<bool> {
    match locate(fs, path, LastLink::Follow) {
        Ok(place) => Ok(place.node.is_some()),
        Err(error) if error.is_absence() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `path` leads to a regular file.
///
/// # Errors
/// As [`exists`].
pub fn is_file(fs: &dyn FileSystem, path: &ImagePath) -> Result<bool> {
    if !exists(fs, path)? {
        return Ok(false);
    }
    let (node, real) = resolve(fs, path, LastLink::Follow)?;
    Ok(fs.metadata(node).at("read", &real)?.file_type == FileType::Regular)
}
