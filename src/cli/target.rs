//! The file that a command was told to write.

use std::fs;
use std::path::Path;

use super::failure::Failure;

/// Refuses to replace what is there, unless that was asked for.
pub(super) fn refuse_existing(path: &Path, force: bool) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::new(format!("{} is there already", path.display()))
            .with_hint("choose another name: a folder is not replaced"));
    }
    // A dangling link counts, too.
    if force || fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    Err(Failure::new(format!("{} is there already", path.display()))
        .with_hint("choose another name, or replace it with --force"))
}
