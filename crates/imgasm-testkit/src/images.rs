//! Image files on the host.

use std::path::Path;
use std::sync::Arc;

use imgasm_block::{BlockDevice, FileDevice};

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
