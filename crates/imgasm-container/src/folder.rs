//! The cache's folder is ours alone: nobody else can put anything there that would be trusted.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::{Error, Result};

/// The folder in the cache for what is known about files elsewhere.
pub(super) const PATHS: &str = "paths";

/// What nobody but the owner may do.
const PRIVATE: u32 = 0o700;

/// What lets others write.
const OTHERS_WRITE: u32 = 0o022;

/// Makes the folder, or makes sure that it belongs to us and to nobody else.
///
/// # Errors
/// [`Error::Foreign`] if it belongs to another user, or others can write it and that cannot be
/// changed.
pub(super) fn own(dir: &Path) -> Result<()> {
    let failed = |e| imgasm_block::Error::file(dir, "make", e);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(PRIVATE);
    builder.create(dir).map_err(failed)?;
    let metadata = fs::metadata(dir).map_err(failed)?;
    let foreign = |problem: String| Error::Foreign {
        dir: dir.to_owned(),
        problem,
    };
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        let owner = metadata.uid();
        return Err(foreign(format!(
            "it belongs to user {owner}, and this is user {user}"
        )));
    }
    let mode = metadata.mode() & 0o777;
    // If the folder holds other things, its mode is not ours to change.
    let is_ours = || {
        let mut entries = fs::read_dir(dir).ok()?;
        let is_empty = entries.next().is_none();
        (is_empty || dir.join(PATHS).is_dir()).then_some(())
    };
    if mode & !PRIVATE == 0 {
        return Ok(());
    }
    let is_private = is_ours().and_then(|()| {
        let private = Permissions::from_mode(PRIVATE);
        fs::set_permissions(dir, private).ok()
    });
    // Those who can only read it cannot put anything there.
    if is_private.is_none() && mode & OTHERS_WRITE != 0 {
        return Err(foreign(format!(
            "its mode is {mode:03o}: others can write it"
        )));
    }
    Ok(())
}
