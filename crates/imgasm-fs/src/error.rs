//! Why a filesystem could not do what was asked.

use std::{fmt, io};

use super::types::NodeId;

/// A place in a filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// The superblock, or the format's word for it.
    Superblock,
    /// A block group (ext4) or allocation group (XFS).
    Group(u32),
    /// A block of the filesystem, by its number.
    Block(u64),
    /// An inode.
    Inode(u64),
    /// A block of a file: the inode, and the block's number within the file.
    FileBlock {
        /// The file.
        inode: u64,
        /// Number of the block in it.
        block: u64,
    },
    /// The journal or log, at one of its blocks.
    Journal(u64),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("superblock"),
            Self::Group(n) => write!(f, "group {n}"),
            Self::Block(n) => write!(f, "block {n}"),
            Self::Inode(n) => write!(f, "inode {n}"),
            Self::FileBlock { inode, block } => {
                write!(f, "inode {inode}, block {block} of the file")
            }
            Self::Journal(n) => write!(f, "journal block {n}"),
        }
    }
}

/// Why a name is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("it is `.` or `..`")]
    Dots,
    /// It has a `/` or a NUL byte.
    #[error("it has a slash or a NUL byte")]
    Reserved,
    /// It is longer than [`NAME_MAX`](crate::NAME_MAX), or than the format can hold.
    #[error("it is too long: names have at most 255 bytes")]
    TooLong,
    /// The format does not have such names.
    #[error("{0}")]
    Format(&'static str),
}

/// Why a filesystem could not do what was asked.
///
/// *Corrupt* means that the image contradicts itself or its format, *incompatible* that it is
/// sound as far as we can tell but uses something that we do not support.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device holds none of the filesystems that there are engines for.
    #[error("there is no known filesystem: ext2, ext3, ext4, XFS or FAT")]
    NoFilesystem,
    /// The image contradicts its format.
    #[error("{fs}: {at}: {problem}")]
    Corrupt {
        /// The format.
        fs: &'static str,
        /// Where.
        at: Location,
        /// What was seen and what was expected.
        problem: String,
    },
    /// The image uses something that is not supported.
    #[error("{fs}: {what} is not supported")]
    Incompatible {
        /// The format.
        fs: &'static str,
        /// The feature, by the name of the format's own tools, or the value seen.
        what: String,
    },
    /// The filesystem is in a state in which it must not be written.
    #[error("{fs}: {reason}")]
    NotWritable {
        /// The format.
        fs: &'static str,
        /// Why, and how to get out of it.
        reason: String,
    },
    /// Nothing has this name.
    #[error("no entry {:?} in {directory}", String::from_utf8_lossy(name))]
    NotFound {
        /// Where it was looked for.
        directory: NodeId,
        /// The name.
        name: Vec<u8>,
    },
    /// The name is taken.
    #[error("{:?} exists already in {directory}", String::from_utf8_lossy(name))]
    AlreadyExists {
        /// Where.
        directory: NodeId,
        /// The name.
        name: Vec<u8>,
    },
    /// The node is not of the type that the operation needs.
    #[error("{node} is not {expected}")]
    WrongType {
        /// The node.
        node: NodeId,
        /// What was expected: `a directory`, `a regular file`, …
        expected: &'static str,
    },
    /// What has the name is of another kind than what is to take its place.
    #[error(
        "what is called {:?} there is {replaced}",
        String::from_utf8_lossy(name)
    )]
    OtherKind {
        /// What it is: `a directory`, `no directory`.
        replaced: &'static str,
        /// The name.
        name: Vec<u8>,
    },
    /// A flag of the node forbids it to everybody, root too.
    #[error("{node} is {flag}")]
    Protected {
        /// The node: the file itself, or the directory that its name is in.
        node: NodeId,
        /// The flag, and how `chattr` has it.
        flag: &'static str,
    },
    /// The directory takes only nodes of its own project.
    #[error("{directory} takes only what belongs to its project {project}, and {node} does not")]
    OtherProject {
        /// The node.
        node: NodeId,
        /// The directory.
        directory: NodeId,
        /// Its project.
        project: u32,
    },
    /// A directory that must be empty is not.
    #[error("directory {0} is not empty")]
    NotEmpty(NodeId),
    /// The name is not possible.
    #[error(
        "the name {:?} cannot be stored: {problem}",
        String::from_utf8_lossy(name)
    )]
    BadName {
        /// The name.
        name: Vec<u8>,
        /// Why not.
        problem: NameProblem,
    },
    /// A directory was to be moved into itself.
    #[error("directory {0} cannot be moved into itself")]
    IntoItself(NodeId),
    /// The chain of a directory's parents never reaches the root: the image is corrupt.
    #[error("directory {0} is not below the root: its parents form a cycle")]
    DirectoryLoop(NodeId),
    /// An earlier change or flush failed half-way, so that what it left must not be used.
    #[error("{fs}: an earlier change failed: throw its writes away and open the filesystem again")]
    Spoilt {
        /// The format.
        fs: &'static str,
    },
    /// There is no room left.
    #[error(
        "no space left: {needed} {unit} needed, {free} free: {} are missing",
        needed.saturating_sub(*free)
    )]
    NoSpace {
        /// What has run out: `blocks`, `inodes`, …
        unit: &'static str,
        /// How many were needed.
        needed: u64,
        /// How many there are.
        free: u64,
    },
    /// A name, target, attribute or file is larger than the format can hold, or a value is not one
    /// that it can store.
    #[error("{what}: {problem}")]
    Unstorable {
        /// What was to be stored.
        what: String,
        /// Why it cannot be, with the limit.
        problem: String,
    },
    /// The content to be written could not be read.
    #[error("cannot read the content to be written")]
    Content(#[source] io::Error),
    /// The device below failed.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

/// What filesystems return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
