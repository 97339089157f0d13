//! Running the tools that judge our work.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether a tool is there; says so where it is not, because a test is skipped then.
pub fn have(program: &str) -> bool {
    let there = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// Runs a tool, which must succeed, and gives what it printed.
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> String {
    let args: Vec<_> = args
        .into_iter()
        .map(|arg| arg.as_ref().to_owned())
        .collect();
    let output = Command::new(program).args(&args).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a tool from one file to another.
pub fn filter(program: &str, args: &[&str], from: &Path, to: &Path) {
    let status = Command::new(program)
        .args(args)
        .stdin(File::open(from).unwrap())
        .stdout(File::create(to).unwrap())
        .status()
        .expect(program);
    assert!(status.success(), "{program} {args:?}");
}
