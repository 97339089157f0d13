//! Paths in a filesystem, above the inodes of [`FileSystem`](super::FileSystem).
//!
//! - [`locate`], [`resolve()`]: from a path to a node, with symbolic links followed inside the image.
//! - [`read`]: the content of a file, whole or as a stream.
//! - [`walk()`]: everything below a path, in order of names.
//! - [`glob()`]: the paths that a pattern matches.
//! - `edit`, with the [`Editor`]: changes by path, made only if something differs, and recorded;
//!   `patch`: those of a file in place.

pub mod edit;
#[cfg(feature = "glob")]
pub mod glob;
mod patch;
pub mod read;
mod resolve;
pub mod walk;

use std::io;
use std::path::PathBuf;

pub use crate::posix::Attributes;
pub use edit::{ChangeKind, Editor, Touch};
#[cfg(feature = "glob")]
pub use glob::glob;
pub use read::{FileReader, holds, read_file, read_range};
pub use resolve::{LastLink, Place, Reached, exists, is_file, locate, reach, resolve};
pub use walk::{Entry, NameBudget, Walk, check_length, walk};

use super::path::ImagePath;
use super::types::FileType;

/// Why something could not be done at a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is there.
    #[error("{path} does not exist{}", because(path, missing))]
    NotFound {
        /// The path that was asked for.
        path: ImagePath,
        /// The first part of the way that is not there, with links followed.
        missing: ImagePath,
    },
    /// What is there is not of the type that is needed.
    #[error("{path} is {}, not {expected}", found.article_and_name())]
    WrongType {
        /// The path.
        path: ImagePath,
        /// What it is.
        found: FileType,
        /// What was needed.
        expected: &'static str,
    },
    /// Following the path met too many symbolic links.
    #[error("{path}: more than {} symbolic links on the way", resolve::MAX_LINKS)]
    TooManyLinks {
        /// The path that was asked for.
        path: ImagePath,
    },
    /// A file is larger than what the caller can take.
    #[error("{path} has {size} bytes, and at most {limit} can be handled here")]
    TooLarge {
        /// The file.
        path: ImagePath,
        /// Its size in bytes.
        size: u64,
        /// The most that would be read.
        limit: u64,
    },
    /// A directory lies inside itself: the image is corrupt.
    #[error("{path} is a directory that was met before: the tree is corrupt")]
    DirectoryLoop {
        /// Where it was met again.
        path: ImagePath,
    },
    /// The path cannot be used in this way.
    #[error("{path} {problem}")]
    Refused {
        /// The path.
        path: ImagePath,
        /// Why not.
        problem: String,
    },
    /// The pattern is not a valid one.
    #[error("{pattern:?} is not a valid pattern: {problem}")]
    Pattern {
        /// The pattern, or how it begins.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The filesystem failed.
    #[error("cannot {action} {path}")]
    FileSystem {
        /// What was tried: `read`, `create`, …
        action: &'static str,
        /// Where.
        path: ImagePath,
        /// What the filesystem said.
        source: super::Error,
    },
    /// A file on the host could not be read.
    #[error("cannot read {}", path.display())]
    Host {
        /// The file on the host.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

impl Error {
    /// Whether it means that a path leads nowhere: a part of it is missing, or no directory, or its links
    /// have no end.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::WrongType { .. } | Self::TooManyLinks { .. }
        )
    }
}

/// What operations on paths return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn because(path: &ImagePath, missing: &ImagePath) -> String {
    if path == missing {
        String::new()
    } else {
        format!(": there is no {missing}")
    }
}

/// Adds to a filesystem's error the path at which it arose, and what was being done.
pub trait At<T> {
    /// The result of doing this, `action` being a verb, at this path.
    ///
    /// # Errors
    /// [`Error::FileSystem`].
    fn at(self, action: &'static str, path: &ImagePath) -> Result<T>;
}

impl<T> At<T> for super::Result<T> {
    fn at(self, action: &'static str, path: &ImagePath) -> Result<T> {
        self.map_err(|source| Error::FileSystem {
            action,
            path: path.clone(),
            source,
        })
    }
}
