//! Room for images.

use std::path::Path;

/// A folder that is removed at the end: in memory if that is possible, because images are
/// synchronised often, and because a file on ext4 cannot have 16 TiB.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    folder.unwrap_or_else(|e| panic!("a folder for images: {e}"))
}
