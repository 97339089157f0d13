//! What differs between two images, for a person.
//!
//! - [`disk`]: the disk, its partition table, and what lies in each partition.
//! - [`tree`]: the files of two filesystems beside each other; [`content`] compares their bytes.
//! - [`renames`]: files that were moved, found by their content.
//! - [`meaning`]: what a change of a known file means: packages, users, services, builds.
//! - [`raw`]: which bytes of two devices differ, and which of them nothing else explains.
//! - [`fields`]: the properties of two things compared.
//! - `secret`: lines that are not shown; `work`: how much is done to find them.
//! - [`record`]: what two manifests say, or a manifest and an image.
//! - [`policy`]: which changes are expected.
//! - [`render`]: a report as text, JSON, Markdown and HTML.
//! - [`change`]: all that a report can say, as values; [`changes`]: many of them in little memory.
//!
//! Everything is reported: if bytes differ and no rule says why, the report says just that.

pub mod change;
pub mod changes;
pub mod content;
mod disk;
mod fields;
mod meaning;
pub mod policy;
pub mod raw;
pub mod record;
mod renames;
pub mod render;
mod secret;
pub mod tree;
mod work;

pub use change::{
    ContentChange, FieldChange, FileSystemReport, PartitionChange, PathChange, PathChangeKind,
    PathState, RawChange, Report,
};
pub use changes::PathChanges;
pub use disk::compare;
pub use policy::Policy;

/// How two images are compared.
#[derive(Clone, Default)]
pub struct Options {
    /// Whether a file whose modification time alone differs counts as changed, and a filesystem
    /// that was last mounted elsewhere.
    pub times: bool,
    /// Whether lines are shown that hold passwords, keys and tokens.
    pub show_secrets: bool,
    /// Texts that count as secrets, too.
    pub secrets: Vec<String>,
    /// Whether the lines that differ are wanted.
    pub lines: bool,
}

/// Which of the two images of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first one.
    Old,
    /// The second one.
    New,
}

impl std::ops::Not for Side {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Old => "old",
            Self::New => "new",
        })
    }
}

/// Why two images could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A device could not be read.
    #[error("cannot read the {side} image")]
    Device {
        /// Which image.
        side: Side,
        /// What its device said.
        source: imgasm_block::Error,
    },
    /// A disk could not be understood.
    #[error("cannot understand the {side} image")]
    Disk {
        /// Which image.
        side: Side,
        /// What is wrong with it.
        source: imgasm_disk::Error,
    },
    /// A file could not be read.
    #[error("cannot read {path} in the {side} image")]
    File {
        /// Which image.
        side: Side,
        /// The path in it.
        path: imgasm_fs::path::ImagePath,
        /// What its filesystem said.
        source: imgasm_fs::Error,
    },
    /// A path in a manifest could not be read.
    #[error("cannot look at the {side} image")]
    Path {
        /// Which image.
        side: Side,
        /// What went wrong there.
        source: imgasm_fs::tree::Error,
    },
    /// A directory lies inside itself.
    #[error("{path} in the {side} image is a directory that was met before: its tree is corrupt")]
    DirectoryLoop {
        /// Which image.
        side: Side,
        /// Where the directory was met again.
        path: imgasm_fs::path::ImagePath,
    },
}

/// A comparison that could not be brought to its end.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Incomplete {
    /// What was found before.
    pub report: Box<Report>,
    /// What could not be read.
    #[source]
    pub error: Error,
}

impl From<Error> for Incomplete {
    fn from(error: Error) -> Self {
        Self {
            report: Box::default(),
            error,
        }
    }
}

/// What comparisons return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
