//! Running the commands that make and judge images.

use std::path::Path;
use std::process::{Command, Output};

/// Runs a command that must succeed, and gives all that it said; panics with that if it fails.
pub fn run(command: &mut Command) -> String {
    text(&succeeded(command))
}

/// Runs a command that must succeed; panics with all that it said if it fails.
pub fn succeeded(command: &mut Command) -> Output {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output)
    );
    output
}

/// Runs a command and gives its output, whatever its status. It runs in English, with root's search
/// path.
pub fn output(command: &mut Command) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .env("MKE2FS_SKIP_PROGRESS", "1")
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Standard output and error of a command in one text.
pub fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// Copies an image with its holes.
pub fn copy_sparse(from: &Path, to: &Path) {
    run(Command::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(from)
        .arg(to));
}
