//! Small file systems of the host for tests, unmounted when dropped. They need root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    if !done {
        eprintln!(
            "skipped: `{program} {}` did not work here: {output:?}",
            args.join(" ")
        );
    }
    done
}

/// A file system in memory of `bytes`; `None` where that cannot be had.
pub fn tmpfs(dir: &Path, bytes: u64) -> Option<Mounted> {
    let at = dir.join("tmpfs");
    fs::create_dir(&at).ok()?;
    let size = format!("size={bytes}");
    let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "none", at.to_str()?]);
    mounted.then_some(Mounted(at))
}

/// An XFS, which can clone files, in an image of `bytes`; `None` where that cannot be had.
pub fn xfs(dir: &Path, bytes: u64) -> Option<Mounted> {
    let image = dir.join("xfs.img");
    fs::File::create(&image).ok()?.set_len(bytes).ok()?;
    let at = dir.join("xfs");
    fs::create_dir(&at).ok()?;
    let made = run("mkfs.xfs", &["-q", "-m", "reflink=1", image.to_str()?]);
    let mounted = made && run("mount", &["-o", "loop", image.to_str()?, at.to_str()?]);
    mounted.then_some(Mounted(at))
}
