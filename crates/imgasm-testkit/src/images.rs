//! Images on the host, and the tools that judge them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use imgasm_block::{BlockDevice, FileDevice};

/// Whether all of `tools` can be run; says which one cannot.
pub fn have(tools: &[&str]) -> bool {
    tools.iter().all(|tool| {
        let found = std::env::var_os("PATH")
            .into_iter()
            .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
            .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
            .any(|dir| dir.join(tool).exists());
        if !found {
            eprintln!("skipped: {tool} is not installed");
        }
        found
    })
}

/// Whether a loop device can be mounted: as root only.
pub fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if !root {
        eprintln!("skipped: loop mounts need root");
    }
    root
}

/// Runs a command, and gives what it printed; panics where it fails.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = output(program, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Runs a command, and gives its outcome whatever it is.
pub fn output(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap_or_else(|e| panic!("cannot run {program}: {e}"))
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// Makes a sparse file of `len` bytes.
pub fn sparse(path: &Path, len: u64) {
    let file = std::fs::File::create(path).expect("create an image");
    file.set_len(len).expect("size an image");
}

/// Opens an image for reading and writing.
pub fn device(path: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::open_writable(path).expect("open an image"))
}

/// A loop device over a file, or one of its partitions, detached when dropped.
pub struct Loop(pub String);

impl Loop {
    /// Attaches `image` with its partitions.
    pub fn attach(image: &Path, options: &[&str]) -> Self {
        let mut args = vec!["--find", "--show"];
        args.extend(options);
        args.push(arg(image));
        Self(run("losetup", &args).trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = output("losetup", &["--detach", &self.0]);
    }
}

/// A mounted filesystem, unmounted when dropped.
pub struct Mount(pub PathBuf);

impl Mount {
    /// Mounts `source` on a new directory at `at`.
    pub fn new(source: &str, at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).expect("make a mount point");
        run("mount", &["-o", options, source, arg(at)]);
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = output("umount", &[arg(&self.0)]);
    }
}
