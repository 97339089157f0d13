//! A new image: made beside its target and renamed when it is whole.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use super::bytes::write_non_zero;
use super::lock::lock;
use super::{BlockDevice, Change, Delta, Error, FileDevice, Result, pool};

/// How much is copied in one step: the unit in which work is shared between the cores, which fits a
/// core's cache. Steps end where chunks do, so that a device which compares digests hashes each
/// chunk once.
const COPY_BYTES: u64 = 512 << 10;

/// The names of all unfinished files.
static UNDER_WAY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn under_way() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An unfinished file. It is called `.NAME.partial` until [`Output::commit`] gives it its name, and
/// it is removed if it is dropped before that, or by [`Output::abandon_all`]. What a killed process
/// has left is removed and made anew, because it may be somebody else's.
///
/// The file is locked, so of two processes that make the same one the second is refused. Its mode
/// follows the umask; [`Output::restrict`] restricts it further.
#[derive(Debug)]
pub struct Output {
    file: File,
    target: PathBuf,
    /// The name it has now; `None` once it has its own.
    partial: Option<PathBuf>,
}

/// What the owner of an image may always do with it.
const OWNER: u32 = 0o600;

impl Output {
    /// Begins an empty file that is to become `target`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process is making the same file; [`Error::File`] if it cannot
    /// be made or `target` is a node of another kind, or a symbolic link to one.
    pub fn create(target: &Path) -> Result<Self> {
        let partial = partial_path(target)?;
        check_is_file(target)?;
        // Another process may take the name between our making the file and locking it.
        for _ in 0..100 {
            let mut under_way = under_way();
            let made = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&partial);
            let file = match made {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    remove_left(&partial)?;
                    continue;
                }
                made => made.map_err(|e| Error::file(&partial, "make", e))?,
            };
            lock(&file, &partial)?;
            if !is_called(&file, &partial) {
                continue;
            }
            under_way.insert(partial.clone());
            return Ok(Self {
                file,
                target: target.to_owned(),
                partial: Some(partial),
            });
        }
        Err(Error::Locked { path: partial })
    }

    /// The unfinished file, for callers that write their content as a stream.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Removes all unfinished files of this process, and keeps their list locked for good: a thread
    /// that begins, commits or drops an output after that waits for ever. It is the last thing that
    /// a process does before it ends, when a signal ends it.
    pub fn abandon_all() {
        let under_way = under_way();
        for partial in &*under_way {
            // Nobody is left to report to; the next run replaces it.
            let _ = fs::remove_file(partial);
        }
        mem::forget(under_way);
    }

    /// What messages call the file: its final name.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Makes `path` a file of these bytes, as a whole or not at all.
    ///
    /// # Errors
    /// Those of [`Output::create`] and [`Output::commit`]; [`Error::File`] or [`Error::NoSpace`] if the
    /// bytes cannot be written.
    pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        let output = Self::create(path)?;
        let written = (&output.file).write_all(bytes);
        written.map_err(|e| Error::file(path, "write", e))?;
        output.commit()
    }

    /// Makes the file the base of a delta with its changes, as [`Delta::changes`] gave them.
    ///
    /// # Errors
    /// Those of [`Output::write_device`] and [`Delta::copy_changes`].
    pub fn write_delta(&self, delta: &Delta, changes: &[Change]) -> Result<()> {
        self.write_device(delta.base())?;
        self.set_len(delta.len())?;
        delta.copy_changes(changes, &self.device()?)
    }

    /// Makes the file a copy of a device: a clone that shares its blocks if the host can do
    /// that, else a copy of what is not zeros.
    ///
    /// # Errors
    /// Those of reading the device; [`Error::File`], [`Error::Io`] or [`Error::NoSpace`] if the file cannot
    /// be written.
    pub fn write_device(&self, device: &dyn BlockDevice) -> Result<()> {
        if let Some(base) = device.host_file()
            && rustix::fs::ioctl_ficlone(&self.file, base.file()).is_ok()
        {
            self.set_len(device.len())?;
            // If the clone is wrong, the copy finds the difference again and reports it.
            if self.is_as_expected(device)? {
                return Ok(());
            }
        }
        self.empty()?;
        self.set_len(device.len())?;
        self.copy_non_zero(device)
    }

    /// Whether a clone of a device's file, which nobody else can write any more, holds what the device
    /// has to hold.
    #[cfg(feature = "digest")]
    fn is_as_expected(&self, device: &dyn BlockDevice) -> Result<bool> {
        match device.digests() {
            Some(expected) => expected.describes(&self.device()?),
            None => Ok(true),
        }
    }

    /// Without digests nothing is expected.
    #[cfg(not(feature = "digest"))]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as with digests"
    )]
    fn is_as_expected(&self, _device: &dyn BlockDevice) -> Result<bool> {
        Ok(true)
    }

    /// Removes what an earlier attempt has left. An empty file is left alone: ext4 syncs a file
    /// that was truncated to nothing when it is closed.
    fn empty(&self) -> Result<()> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|e| Error::file(&self.target, "look at", e))?;
        match metadata.len() {
            0 => Ok(()),
            _ => self.set_len(0),
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file
            .set_len(len)
            .map_err(|e| Error::io(&self.target, "make room for", 0, len, e))
    }

    /// The unfinished file as a device with the length that it has now.
    ///
    /// # Errors
    /// [`Error::File`] if the host cannot open it once more.
    pub fn device(&self) -> Result<FileDevice> {
        let file = self.file.try_clone();
        file.and_then(|file| FileDevice::with(file, &self.target, true))
            .map_err(|e| Error::file(&self.target, "open", e))
    }

    /// Copies what is not zeros, on all cores.
    fn copy_non_zero(&self, device: &dyn BlockDevice) -> Result<()> {
        let output = self.device()?;
        let left = Mutex::new(0..0);
        let next = || {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            if left.is_empty() {
                match device.next_data(left.end)? {
                    Some(data) => *left = data,
                    None => return Ok(None),
                }
            }
            let end = left.end.min((left.start / COPY_BYTES + 1) * COPY_BYTES);
            let step = left.start..end;
            left.start = end;
            Ok(Some(step))
        };
        let work = || {
            let mut buf = Vec::new();
            while let Some(step) = next()? {
                let len = usize::try_from(step.end - step.start).expect("at most a step");
                buf.resize(len, 0);
                device.read_at(step.start, &mut buf)?;
                write_non_zero(step.start, &buf, |at, data| output.write_at(at, data))?;
            }
            Ok(())
        };
        pool::on_all_cores(work).map(|_| ())
    }

    /// As [`Output::commit`], under another name in the same folder.
    ///
    /// # Errors
    /// Those of [`Output::commit`]; [`Error::File`] if `target` is a node of another kind, or a
    /// symbolic link to one.
    pub fn commit_as(mut self, target: &Path) -> Result<()> {
        check_is_file(target)?;
        target.clone_into(&mut self.target);
        self.commit()
    }

    /// Waits until the file is on the disk, so that a machine which stops after [`Output::commit`]
    /// has it whole.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::NoSpace`] for what the host finds out only then.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|e| Error::file(&self.target, "sync", e))
    }

    /// Clears the bits of the file's mode that the mode of what it is made from does not have; its owner can
    /// read and write it all the same.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn as_private_as(&self, mode: u32) -> Result<()> {
        self.restrict(mode | OWNER)
    }

    /// Clears the bits of the file's mode that `mask` does not have.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn restrict(&self, mask: u32) -> Result<()> {
        let failed = |e| Error::file(&self.target, "set the mode of", e);
        let mode = self.file.metadata().map_err(failed)?.mode();
        let permissions = Permissions::from_mode(mode & 0o777 & mask);
        self.file.set_permissions(permissions).map_err(failed)
    }

    /// Gives the file its name, replacing what had it.
    ///
    /// As with `cp`, the kernel decides when it reaches the disk; call [`Output::sync`] before if
    /// that matters.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be renamed; the unfinished file is then removed.
    pub fn commit(mut self) -> Result<()> {
        let partial = self.partial.as_ref().expect("taken here only");
        fs::rename(partial, &self.target).map_err(|e| Error::file(&self.target, "make", e))?;
        under_way().remove(partial);
        self.partial = None;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let _ = fs::remove_file(partial);
            under_way().remove(partial);
        }
    }
}

/// The hidden name beside `target` that a file has while it is made.
fn partial_path(target: &Path) -> Result<PathBuf> {
    let Some(name) = target.file_name() else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
        return Err(Error::file(target, "make", source));
    };
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    Ok(target.with_file_name(partial))
}

/// Checks that what an output replaces is a file: a device such as `/dev/null` would be lost to
/// everybody else if a file took its name.
fn check_is_file(target: &Path) -> Result<()> {
    match fs::metadata(target) {
        Ok(found) if !found.is_file() => {
            let source = io::Error::other("it is not a regular file");
            Err(Error::file(target, "replace", source))
        }
        _ => Ok(()),
    }
}

/// Removes an unfinished file that no process is making any more.
fn remove_left(partial: &Path) -> Result<()> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(partial);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::file(partial, "open", e)),
    };
    lock(&file, partial)?;
    if is_called(&file, partial) {
        fs::remove_file(partial).map_err(|e| Error::file(partial, "remove", e))?;
    }
    Ok(())
}

/// Whether `path` still names this file.
fn is_called(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| a.ino() == b.ino() && a.dev() == b.dev();
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => same(&open, &named),
        _ => false,
    }
}
