//! Mounts of images, and what the kernel says about them.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::command::{output, run, text};
use crate::image::Kind;
use crate::mount::Loop;

/// Log levels of the kernel up to this one are complaints (`KERN_WARNING`).
const WARNING: u32 = 4;

/// How an image is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// A mounted image. It is unmounted, and its loop device detached, when the value is dropped.
#[derive(Debug)]
pub struct Mount {
    device: Loop,
    directory: tempfile::TempDir,
    log: Log,
    mounted: bool,
}

impl Mount {
    /// Mounts the whole of `image`.
    pub fn new(image: &Path, kind: Kind, access: Access) -> Self {
        Self::try_new(image, kind, access).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Mounts the whole of `image`, or says why the kernel will not.
    pub fn try_new(image: &Path, kind: Kind, access: Access) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
        let device = Loop::attach(image, &[]);
        let log = Log::about(&device);
        let mut mount = Self {
            device,
            directory,
            log,
            mounted: false,
        };
        let mut options = kind.mount_options().to_owned();
        options.push_str(match access {
            Access::ReadOnly => ",ro",
            Access::ReadWrite => ",rw",
        });
        let mut command = Command::new("mount");
        command
            .args(["-t", kind.driver(), "-o", &options])
            .arg(mount.device.path())
            .arg(mount.directory.path());
        let result = output(&mut command);
        if result.status.success() {
            mount.mounted = true;
            Ok(mount)
        } else {
            let said = mount.log.complaints().join("\n");
            Err(format!("{command:?}: {}{said}", text(&result)))
        }
    }

    /// Where its root is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Unmounts, and fails with the kernel's complaints since the mount.
    pub fn finish(mut self) -> Result<(), String> {
        let mut command = Command::new("umount");
        command.arg(self.directory.path());
        // A process that another thread is just starting may hold our files open until its `exec`.
        for _ in 0..20 {
            if output(&mut command).status.success() {
                self.mounted = false;
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if self.mounted {
            run(&mut command);
            self.mounted = false;
        }
        let complaints = self.log.complaints();
        if complaints.is_empty() {
            Ok(())
        } else {
            Err(format!("the kernel complains:\n{}", complaints.join("\n")))
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Failing here would hide the failure that brought us here.
        if self.mounted {
            let directory = self.directory.path();
            let done = output(Command::new("umount").arg(directory));
            if !done.status.success() {
                output(Command::new("umount").arg("--lazy").arg(directory));
            }
        }
    }
}

/// What the kernel's log says of a loop device from some point on.
#[derive(Debug)]
struct Log {
    file: Option<File>,
    device: String,
}

impl Log {
    /// From now on. The device is attached by then: under the same name the log may tell of an
    /// image that another test has just detached.
    fn about(device: &Loop) -> Self {
        const O_NONBLOCK: i32 = 0o4000;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open("/dev/kmsg");
        let name = device.path().file_name().unwrap_or_default();
        Self {
            file: file.ok().and_then(|mut file| {
                file.seek(SeekFrom::End(0)).ok()?;
                Some(file)
            }),
            device: name.to_string_lossy().into_owned(),
        }
    }

    /// Warnings and worse that name the device.
    fn complaints(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // One `read` gives one record: `priority,sequence,time,flags;text`.
        let mut record = [0; 8192];
        while let Some(file) = &mut self.file {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(len) => {
                    let record = String::from_utf8_lossy(&record[..len]).into_owned();
                    lines.extend(complaint(&record, &self.device));
                }
                // Records that the kernel has overwritten in the meantime.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        lines
    }
}

fn complaint(record: &str, device: &str) -> Option<String> {
    let (prefix, message) = record.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    let message = message.lines().next()?;
    let named = message
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word == device);
    (priority & 7 <= WARNING && named).then(|| message.to_owned())
}
