//! The errors that lie in an image, and the values that the format has no place for. A lack of room, a node of
//! another type and the like are made where they are found.

use imgasm_fs::{Error, Location};

use crate::format::numbers::{FileBlock, InodeNumber};

/// What messages call the format.
pub(crate) const FS: &str = "xfs";

/// The image contradicts its format.
pub(crate) fn corrupt(at: Location, problem: impl Into<String>) -> Error {
    Error::Corrupt {
        fs: FS,
        at,
        problem: problem.into(),
    }
}

/// The image is sound, but uses what is not supported.
pub(crate) fn incompatible(what: impl Into<String>) -> Error {
    Error::Incompatible {
        fs: FS,
        what: what.into(),
    }
}

/// The filesystem must not be written, and why.
pub(crate) fn not_writable(reason: impl Into<String>) -> Error {
    Error::NotWritable {
        fs: FS,
        reason: reason.into(),
    }
}

/// The format cannot hold what is to be stored.
pub(crate) fn unstorable(what: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Unstorable {
        what: what.into(),
        problem: problem.into(),
    }
}

/// A block of a file.
pub(crate) fn in_file(inode: InodeNumber, block: impl Into<FileBlock>) -> Location {
    Location::FileBlock {
        inode: inode.0,
        block: block.into().0,
    }
}

/// The log contradicts itself, at one of its 512-byte blocks.
pub(crate) fn bad_log(block: u64, problem: impl Into<String>) -> Error {
    corrupt(Location::Journal(block), problem)
}

/// The log holds something unknown.
pub(crate) fn unknown_in_log(what: impl std::fmt::Display) -> Error {
    incompatible(format!(
        "replaying a log with {what} (mount and unmount it once instead)"
    ))
}
