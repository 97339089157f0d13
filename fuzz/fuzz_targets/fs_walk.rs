//! Any bytes as a filesystem: from the superblock to the whole tree.
#![no_main]

use std::sync::Arc;

use imgasm_block::MemoryDevice;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/look.rs"]
mod look;

fuzz_target!(|data: &[u8]| {
    if let Ok(fs) = imgasm_disk::open(Arc::new(MemoryDevice::new(data.to_vec()))) {
        look::look_at_all(&*fs);
    }
});
