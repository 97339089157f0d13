//! The formats' own checkers.

use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::command::{output, text};
use crate::image::Kind;

/// Has the format's own checker look at an image that is not mounted; the error is all that it
/// said.
pub fn check(image: &Path, kind: Kind) -> Result<(), String> {
    match kind {
        Kind::Ext => e2fsck(image),
        Kind::Xfs => xfs_repair(image),
    }
}

/// `e2fsck -fn` must exit with 0 and say nothing but its passes and its summary: some faults that it
/// offers to fix do not change the exit code. A tree of extents that could be narrower is not a
/// fault: in a file whose holes are filled, extents join, and the kernel leaves the nodes as empty as
/// we do.
fn e2fsck(image: &Path) -> Result<(), String> {
    let result = output(Command::new("e2fsck").arg("-fn").arg(image));
    let text = text(&result);
    let summary = format!("{}: ", image.display());
    let expected = |line: &str| {
        line.is_empty()
            || line.starts_with("e2fsck ")
            || (line.starts_with("Pass ") && line.contains(": Checking "))
            || line.ends_with("could be narrower.  Optimize? no")
            || (line.starts_with(&summary) && line.ends_with(" blocks"))
    };
    if result.status.success() && text.lines().all(expected) {
        Ok(())
    } else {
        Err(format!("e2fsck -fn: {}\n{text}", result.status))
    }
}

/// `xfs_repair -n` must exit with 0 and have no remarks.
fn xfs_repair(image: &Path) -> Result<(), String> {
    let (status, text, remarks) = ask_xfs_repair(image);
    if status.success() && remarks.is_empty() {
        Ok(())
    } else {
        Err(format!("xfs_repair -n: {status}\n{text}"))
    }
}

/// What `xfs_repair -n` says of an XFS image besides its phases and steps; it must exit with 0.
pub fn xfs_remarks(image: &Path) -> Result<Vec<String>, String> {
    let (status, text, remarks) = ask_xfs_repair(image);
    if status.success() {
        Ok(remarks)
    } else {
        Err(format!("xfs_repair -n: {status}\n{text}"))
    }
}

/// How `xfs_repair -n` exits, all that it says, and its lines that are no phase or step.
fn ask_xfs_repair(image: &Path) -> (ExitStatus, String, Vec<String>) {
    const NOTES: [&str; 4] = [
        "Cannot get host filesystem geometry.",
        "Repair may fail if there is a sector size mismatch between",
        "the image and the host filesystem.",
        "No modify flag set, ",
    ];
    let result = output(Command::new("xfs_repair").args(["-n", "-f"]).arg(image));
    let text = text(&result);
    let expected = |line: &str| {
        line.is_empty()
            || line.starts_with("Phase ")
            || (line.starts_with("        - ") && !line.contains("would"))
            || NOTES.iter().any(|note| line.starts_with(note))
    };
    let remarks = text.lines().filter(|line| !expected(line));
    let remarks = remarks.map(str::to_owned).collect();
    (result.status, text, remarks)
}
