//! Locks of files on the host, which keep two processes of ours apart.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::{Error, Result};

/// Takes the lock of a file, or reports that somebody else has it.
pub(super) fn lock(file: &File, path: &Path) -> Result<()> {
    taken(file.try_lock(), path)
}

/// Takes a lock that readers share, or reports that somebody is writing the file.
#[cfg(feature = "digest")]
pub(super) fn lock_shared(file: &File, path: &Path) -> Result<()> {
    taken(file.try_lock_shared(), path)
}

fn taken(outcome: Result<(), TryLockError>, path: &Path) -> Result<()> {
    outcome.map_err(|error| match error {
        TryLockError::WouldBlock => Error::Locked {
            path: path.to_owned(),
        },
        TryLockError::Error(source) => Error::file(path, "lock", source),
    })
}
