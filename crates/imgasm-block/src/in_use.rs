//! Whether somebody else uses an image that is about to be changed.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::{Error, Result};

/// The block devices of this machine (`sysfs(5)`).
const BLOCK_DEVICES: &str = "/sys/block";

/// Where the links in it to loop devices lead.
const LOOP_DEVICES: &str = "/sys/devices/virtual/block";

/// What is mounted in this process's view (`proc_pid_mountinfo(5)`); the third field is the device.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Checks that an image, opened for writing, is neither locked by QEMU nor mounted.
///
/// QEMU locks single bytes of its images by `fcntl(2)` (`block/file-posix.c`), which a lock of the
/// whole file contradicts. A mounted image belongs to a loop device (`loop(4)`) that is open
/// exclusively, as mounting opens it.
///
/// # Errors
/// [`Error::InUse`]. What cannot be found out without `sysfs` or without permission counts as
/// unused.
pub(super) fn check(file: &File, path: &Path) -> Result<()> {
    let in_use = |by: String| {
        Err(Error::InUse {
            path: path.to_owned(),
            by,
        })
    };
    // Any other failure means a file system without locks.
    if let Err(Errno::AGAIN | Errno::ACCESS) =
        rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
    {
        return in_use("another program, such as QEMU, has locked it".to_owned());
    }
    let Ok(image) = file.metadata() else {
        return Ok(());
    };
    let mounted = fs::read_to_string(MOUNTS).unwrap_or_default();
    for name in loops_of(&image) {
        let device = Path::new(BLOCK_DEVICES).join(&name);
        if is_claimed(&name) || is_mounted(&device, &name, &mounted) {
            return in_use(format!("it is mounted through /dev/{name}"));
        }
    }
    Ok(())
}

/// What [`check`] reads on this machine about the image at a path.
pub(super) fn looked_at(path: &Path) -> Vec<PathBuf> {
    let mut looked_at: Vec<PathBuf> = [MOUNTS, BLOCK_DEVICES, LOOP_DEVICES].map(Into::into).into();
    if let Ok(image) = fs::metadata(path) {
        let loops = loops_of(&image).into_iter();
        looked_at.extend(loops.map(|name| Path::new("/dev").join(name)));
    }
    looked_at
}

/// The names of the loop devices that show an image.
fn loops_of(image: &fs::Metadata) -> Vec<String> {
    let devices = fs::read_dir(BLOCK_DEVICES).into_iter().flatten().flatten();
    let shows_it = |device: &fs::DirEntry| {
        let Ok(backing) = fs::read(device.path().join("loop/backing_file")) else {
            return false;
        };
        let backing = String::from_utf8_lossy(&backing);
        fs::metadata(backing.trim_end_matches('\n'))
            .is_ok_and(|backing| (backing.dev(), backing.ino()) == (image.dev(), image.ino()))
    };
    devices
        .filter(shows_it)
        .filter_map(|device| device.file_name().into_string().ok())
        .collect()
}

/// Whether a block device, or a partition of it, is open exclusively.
fn is_claimed(name: &str) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::EXCL.bits().cast_signed())
        .open(Path::new("/dev").join(name));
    opened.is_err_and(|e| Errno::from_io_error(&e) == Some(Errno::BUSY))
}

/// Whether a block device or a partition of it is mounted in this process's view.
fn is_mounted(device: &Path, name: &str, mounts: &str) -> bool {
    let partitions = fs::read_dir(device).into_iter().flatten().flatten();
    let partitions = partitions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(name))
        .map(|entry| entry.path());
    partitions
        .chain([device.to_owned()])
        .filter_map(|device| fs::read_to_string(device.join("dev")).ok())
        .any(|number| {
            let mut devices = mounts.lines().filter_map(|line| line.split(' ').nth(2));
            devices.any(|mounted| mounted == number.trim_end())
        })
}
