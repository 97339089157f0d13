//! Loop devices and mounts that end with their value. They need root: [`need::mounts`] first.
//!
//! [`kernel`](crate::kernel) builds on them for images whose mount the kernel must not complain of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{output, run};
use crate::images::{arg, sparse};
use crate::need;

/// A loop device over a file, detached when dropped.
#[derive(Debug)]
pub struct Loop(PathBuf);

impl Loop {
    /// Attaches `image`, with these options of `losetup`.
    pub fn attach(image: &Path, options: &[&str]) -> Self {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show"]).args(options).arg(image);
        // Another process can take the free device after it was found and before it is set up.
        for _ in 0..20 {
            let result = output(&mut command);
            if result.status.success() {
                let device = String::from_utf8_lossy(&result.stdout);
                return Self(device.trim_end().into());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self(run(&mut command).trim_end().into())
    }

    /// The device.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        output(Command::new("losetup").arg("--detach").arg(&self.0));
    }
}

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts `source` at the new folder `at`, with these options of `mount -o`.
    pub fn new(source: &Path, at: &Path, options: &str) -> Self {
        Self::by(Command::new("mount").args(["-o", options]).arg(source), at)
    }

    /// An empty file system in memory with room for `bytes`, in `dir`; `None` without root.
    #[track_caller]
    pub fn tmpfs(dir: &Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "none"]);
        need::root().then(|| Self::by(&mut command, &dir.join("tmpfs")))
    }

    /// An empty XFS, which can clone files, in an image of `bytes` in `dir`; `None` if that is not
    /// possible here.
    #[track_caller]
    pub fn xfs(dir: &Path, bytes: u64) -> Option<Self> {
        if !need::mounts(&["mkfs.xfs"]) {
            return None;
        }
        let image = dir.join("xfs.img");
        sparse(&image, bytes);
        run(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1", arg(&image)]));
        Some(Self::new(&image, &dir.join("xfs"), "loop"))
    }

    fn by(mount: &mut Command, at: &Path) -> Self {
        fs::create_dir_all(at).expect("make a mount point");
        run(mount.arg(at));
        Self(at.to_owned())
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        output(Command::new("umount").arg(&self.0));
    }
}
