//! Running the tools that make and judge images.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs a command that must succeed; panics with all it said where it does not.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    let text = text(&output);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    text
}

/// Runs a command to its end, whatever that is.
pub fn output(command: &mut Command) -> Output {
    command
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

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// Whether this machine lets us mount, and has the tools; says what is missing where not, so that
/// a test that does nothing does not look like one that passed.
pub fn can_mount(tools: &[&str]) -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        "root"
    } else if !Path::new("/dev/loop-control").exists() {
        "loop devices"
    } else {
        return has_tools(tools);
    };
    eprintln!("skipped: needs {missing}");
    false
}

/// Whether the tools are there; says which is not.
pub fn has_tools(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| find(tool).is_none());
    if let Some(tool) = missing {
        eprintln!("skipped: needs {tool}");
    }
    missing.is_none()
}
