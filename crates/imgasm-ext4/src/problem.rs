//! What can be wrong with an image. The errors that lie in an image are made here: corrupt, incompatible,
//! not writable. Those that lie in what was asked for, such as a lack of room, are made where that is found.
//!
//! Decoders know what is wrong but not where: they give a [`Problem`], and their callers, who read
//! the bytes, add the place.

use super::format::numbers::InodeNumber;
use imgasm_fs::error::{Error, Location};

/// What messages call the format.
pub const FS: &str = "ext4";

/// What is wrong with a structure whose place is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

/// What decoders return.
pub type Decoded<T> = Result<T, Problem>;

impl Problem {
    /// A problem; `text` says what was seen and what was expected.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The error with the place added.
    pub fn at(self, at: Location) -> Error {
        corrupt(at, self.0)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The image contradicts its format.
pub fn corrupt(at: Location, problem: impl Into<String>) -> Error {
    Error::Corrupt {
        fs: FS,
        at,
        problem: problem.into(),
    }
}

/// The image uses something that is not supported.
pub fn incompatible(what: impl Into<String>) -> Error {
    Error::Incompatible {
        fs: FS,
        what: what.into(),
    }
}

/// The image must not be written in the state that it is in.
pub fn not_writable(reason: impl Into<String>) -> Error {
    Error::NotWritable {
        fs: FS,
        reason: reason.into(),
    }
}

/// An inode as a place.
pub fn at_inode(inode: InodeNumber) -> Location {
    Location::Inode(u64::from(inode.0))
}
