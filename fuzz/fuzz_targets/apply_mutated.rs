//! Any bytes as a filesystem to which the stock overlays are applied.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use imgasm_block::{Delta, MemoryDevice};
use imgasm_fs::{Timestamp, WriteOptions};
use imgasm::overlay::{Applier, Overlay, OverlayFile};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/look.rs"]
mod look;

/// The stock overlays that need no values for their variables.
static OVERLAYS: LazyLock<Vec<Overlay>> = LazyLock::new(|| {
    let stock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    let mut folders: Vec<_> = std::fs::read_dir(stock)
        .expect("the stock overlays are beside this folder")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    folders.sort();
    let read = |folder: &std::path::PathBuf| {
        let overlay = OverlayFile::read("stock", folder).ok()?;
        overlay.resolve(|_| None).ok()
    };
    folders.iter().filter_map(read).collect()
});

const OPTIONS: WriteOptions = WriteOptions {
    now: Timestamp {
        seconds: 1_500_000_000,
        nanoseconds: 0,
    },
    seed: [7; 16],
};

fuzz_target!(|data: &[u8]| {
    let base = Arc::new(MemoryDevice::new(data.to_vec()));
    let delta = Arc::new(Delta::new(base));
    let Ok(mut fs) = imgasm_disk::open_writable(delta.clone(), OPTIONS) else {
        return;
    };
    if let Ok(mut applier) = Applier::new(&mut *fs, OPTIONS.now) {
        for overlay in OVERLAYS.iter() {
            let _ = applier.apply(overlay);
        }
    }
    if fs.flush().is_err() {
        return;
    }
    drop(fs);
    if let Ok(fs) = imgasm_disk::open(delta) {
        look::look_at_all(&*fs);
    }
});
