//! Running a tool by its name.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a tool that must succeed; gives what it printed on standard output.
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new(program);
    command.args(args);
    let output = crate::command::succeeded(&mut command);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a tool and gives its output, whatever its status.
pub fn output<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Output {
    crate::command::output(Command::new(program).args(args))
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
