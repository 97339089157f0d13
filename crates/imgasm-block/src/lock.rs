//! Locks of files on the host, which keep two processes of ours apart.
//!
//! They are those of `flock(2)`: only who asks for them is kept out.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Error, Result};

/// A program that another thread of this process starts holds our files, and so their locks, for
/// the moment until it is executed. So a lock is held by somebody else only if it is still taken
/// after all of these tries.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Takes the lock of a file, or reports that somebody else has it. It is held as long as the file is open.
///
/// # Errors
/// [`Error::Locked`] if somebody else has it for longer than a moment; [`Error::File`] if the host cannot
/// lock the file.
pub fn lock(file: &File, path: &Path) -> Result<()> {
    take(path, || file.try_lock())
}

/// Takes a lock that readers share, or reports that somebody is writing the file.
#[cfg(feature = "digest")]
pub(super) fn lock_shared(file: &File, path: &Path) -> Result<()> {
    take(path, || file.try_lock_shared())
}

fn take(path: &Path, attempt: impl Fn() -> Result<(), TryLockError>) -> Result<()> {
    for _ in 0..TRIES {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_TRIES),
            Err(TryLockError::Error(source)) => return Err(Error::file(path, "lock", source)),
        }
    }
    Err(Error::Locked {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_in_a_moment_is_waited_for_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let wanted = File::open(&path).unwrap();
        assert!(matches!(lock(&wanted, &path), Err(Error::Locked { .. })));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(BETWEEN_TRIES * 4);
                held.unlock().unwrap();
            });
            lock(&wanted, &path).unwrap();
        });
    }
}
