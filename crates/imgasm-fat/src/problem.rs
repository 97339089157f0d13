//! What can be wrong with a volume, or cannot be stored on one. A lack of room, a node of another type and
//! the like are made where they are found.

use imgasm_fs::{Error, Location};

/// What `blkid` and the kernel call the format.
pub const KIND: &str = "vfat";

/// The volume contradicts its format.
pub fn corrupt(at: Location, problem: String) -> Error {
    Error::Corrupt {
        fs: KIND,
        at,
        problem,
    }
}

/// The volume must not be written, and why.
pub fn not_writable(reason: impl Into<String>) -> Error {
    Error::NotWritable {
        fs: KIND,
        reason: reason.into(),
    }
}

/// FAT cannot hold something.
pub fn unstorable(what: impl Into<String>, problem: &str) -> Error {
    Error::Unstorable {
        what: what.into(),
        problem: format!("{KIND}: {problem}"),
    }
}
