//! Any bytes as a disk: its partition table, what is in the partitions, and growing the first.
#![no_main]

use std::sync::Arc;

use imgasm_block::{Delta, MemoryDevice};
use imgasm_disk::Disk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let base = Arc::new(MemoryDevice::new(data.to_vec()));
    let len = data.len() as u64 + (1 << 20);
    let Ok(mut disk) = Disk::open(Arc::new(Delta::grown(base, len))) else {
        return;
    };
    let _ = disk.table();
    for place in disk.places() {
        let _ = disk.probe(place);
        let _ = disk.slice(place);
    }
    let _ = disk.root(None);
    let _ = disk.grow(Some(1));
    let _ = disk.table();
});
