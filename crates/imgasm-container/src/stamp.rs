//! Properties of a file on the host that change when the file does.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// How long a file must have been at rest before its stamp is trusted. Times on the host's files
/// are at worst those of FAT, which are 2 s apart.
const AT_REST: Duration = Duration::from_secs(2);

/// Longer than a tick of the kernel: the time of a change is that of the last tick.
const TICK: Duration = Duration::from_millis(20);

/// File systems of this machine whose times have nanoseconds, by their numbers (`linux/magic.h`):
/// ext4, XFS, btrfs, tmpfs, overlayfs.
const FINE: [i64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630];

/// Linux's identity of this boot: another UUID at every boot (`random(4)`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Device and inode number, length, the times of a file's last change of content and of inode, and
/// the machine's boot.
///
/// The kernel sets the times by its clock on every write, and nobody can set the second one back.
/// Two equal stamps mean one file with one content, if the first was taken when the file had been
/// at rest for longer than the resolution of its times. A machine that stops may lose data that had
/// not reached the disk and keep the times, so no stamp is valid after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    boot: String,
}

impl Stamp {
    /// The stamp of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::new(&metadata))
    }

    /// The stamp of a file with this metadata.
    pub(super) fn new(metadata: &Metadata) -> Self {
        // Without `/proc` nothing is trusted.
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            boot: boot.trim_end().to_owned(),
        }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the last change is long enough ago that the times would show another one.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.boot.is_empty() && self.age().is_some_and(|age| age > AT_REST)
    }

    /// Whether two stamps mean one content, if the first was taken before the file got its name:
    /// renaming alone changed the time of the inode.
    fn is_renamed(&self, later: &Self) -> bool {
        (self.device, self.inode, self.len) == (later.device, later.inode, later.len)
            && self.modified == later.modified
    }

    /// The time since the last change.
    fn age(&self) -> Option<Duration> {
        let since = |(seconds, nanoseconds): (i64, i64)| {
            let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
            Some(seconds + Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
        };
        let changed = since(self.changed)?.max(since(self.modified)?);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?;
        Some(now.saturating_sub(changed))
    }
}

/// A file that was just written and does not have its final name yet, so that nobody else writes
/// it.
#[derive(Debug)]
pub struct Written {
    file: File,
    stamp: Stamp,
}

impl Written {
    /// Takes the stamp of a file that the caller has written and will not change again. The file
    /// gets a time that no later change can have. `None` if times are too coarse for that.
    pub fn new(file: &File) -> io::Result<Option<Self>> {
        let file = file.try_clone()?;
        let kind = rustix::fs::fstatfs(&file)?.f_type;
        let is_fine = FINE
            .iter()
            .any(|fine| i128::from(*fine) == i128::from(kind));
        file.set_modified(SystemTime::now() - TICK)?;
        let stamp = Stamp::of(&file)?;
        // Old file systems of these kinds may have whole seconds only.
        let has_nanoseconds = stamp.modified.1 != 0 && stamp.changed.1 != 0;
        let is_worth_it = is_fine && has_nanoseconds && !stamp.boot.is_empty();
        Ok(is_worth_it.then_some(Self { file, stamp }))
    }

    /// The stamp under the final name; `None` if the file was changed since.
    pub(super) fn stamp(&self) -> io::Result<Option<Stamp>> {
        let now = Stamp::of(&self.file)?;
        Ok(self.stamp.is_renamed(&now).then_some(now))
    }
}
