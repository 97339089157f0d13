//! Any text as an overlay's description.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use imgasm::overlay::OverlayFile;
use libfuzzer_sys::fuzz_target;

/// A folder of this process's own, since an overlay is a folder.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("imgasm-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("room for a folder");
    folder
});

fuzz_target!(|text: &str| {
    std::fs::write(FOLDER.join("overlay.toml"), text).expect("room for a text");
    let read = OverlayFile::read("any", &FOLDER);
    if let Err(error) = read.and_then(|overlay| overlay.resolve(|_| None)) {
        let _ = error.to_string();
    }
});
