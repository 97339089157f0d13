//! Folders for what nobody else on the machine may see: what was read from images, or is going into
//! them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tempfile::Builder;

/// Makes temporary folders whose names begin with `prefix`, whatever the umask allows.
pub fn folder(prefix: &str) -> Builder<'_, '_> {
    let mut builder = Builder::new();
    builder
        .prefix(prefix)
        .permissions(Permissions::from_mode(0o700));
    builder
}
