//! What can be wrong with a volume, or cannot be stored on one. All errors are made here.

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

/// FAT cannot hold something.
pub fn unstorable(what: impl Into<String>, problem: &str) -> Error {
    Error::Unstorable {
        what: what.into(),
        problem: format!("{KIND}: {problem}"),
    }
}
