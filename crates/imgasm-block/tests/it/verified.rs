//! A file that is read by its digests.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use imgasm_block::{
    BlockDevice, CHUNK_BYTES, ChunkMap, Delta, Error, FileDevice, Output, Verified,
};
use imgasm_testkit::disk::bytes_of;
use imgasm_testkit::mount::Mounted;
use imgasm_testkit::rng::Rng;

/// Data in chunks 0, 1 and 3 of five and a bit.
fn file(path: &Path) -> Vec<u8> {
    let chunk = usize::try_from(CHUNK_BYTES).unwrap();
    let mut bytes = vec![0; 5 * chunk + 1000];
    let mut random = Rng::new(7);
    random.fill(&mut bytes[..2 * chunk - 5000]);
    random.fill(&mut bytes[3 * chunk + 100..3 * chunk + 200]);
    random.fill(&mut bytes[5 * chunk + 10..5 * chunk + 20]);
    fs::write(path, &bytes).unwrap();
    bytes
}

fn verified(path: &Path, mistrusted: &Arc<AtomicUsize>) -> Verified {
    let file = Arc::new(FileDevice::open(path).unwrap());
    let map = Arc::new(ChunkMap::compute(&file).unwrap());
    let mistrusted = Arc::clone(mistrusted);
    Verified::new(file, map, move || {
        mistrusted.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap()
}

fn overwrite(path: &Path, offset: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"EVIL", offset).unwrap();
}

#[test]
fn what_is_read_is_what_the_digests_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base");
    let bytes = file(&path);
    let device = verified(&path, &Arc::default());
    assert!(bytes_of(&device) == bytes);
    for (offset, len) in [(0, 1), (CHUNK_BYTES - 3, 7), (3 * CHUNK_BYTES + 90, 4096)] {
        let mut piece = vec![1; len];
        device.read_at(offset, &mut piece).unwrap();
        let start = usize::try_from(offset).unwrap();
        assert!(piece == bytes[start..start + len], "{offset}");
    }
    let ranges = [
        (0, Some(0..2 * CHUNK_BYTES)),
        (7, Some(7..2 * CHUNK_BYTES)),
        (2 * CHUNK_BYTES, Some(3 * CHUNK_BYTES..4 * CHUNK_BYTES)),
        (4 * CHUNK_BYTES, Some(5 * CHUNK_BYTES..device.len())),
        (device.len(), None),
    ];
    for (from, expected) in ranges {
        assert_eq!(device.next_data(from).unwrap(), expected, "{from}");
    }
    assert!(matches!(device.write_at(0, b"x"), Err(Error::ReadOnly)));
}

#[test]
fn a_chunk_that_was_written_since_is_an_error_and_one_of_zeros_stays_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base");
    let bytes = file(&path);
    let mistrusted = Arc::default();
    let device = verified(&path, &mistrusted);
    // What is to be zeros is not read. Another device, because this one may still hold what was
    // read.
    let whole = verified(&path, &mistrusted);
    overwrite(&path, 2 * CHUNK_BYTES);
    assert!(bytes_of(&whole) == bytes);
    overwrite(&path, CHUNK_BYTES + 9);
    let mut byte = [0];
    let last_of_chunk = 2 * CHUNK_BYTES - 1;
    let error = device.read_at(last_of_chunk, &mut byte).unwrap_err();
    assert!(
        matches!(error, Error::Changed { offset, .. } if offset == CHUNK_BYTES),
        "{error}"
    );
    assert_eq!(mistrusted.load(Ordering::Relaxed), 1);
    device.read_at(0, &mut byte).unwrap();
}

/// Copies a device whose file is written after its digests were made.
fn copies(dir: &Path) {
    let path = dir.join("base");
    let bytes = file(&path);
    let copy = |device: &Verified| {
        let output = Output::create(&dir.join("copy")).unwrap();
        output.write_device(device)?;
        output.commit()
    };
    let mistrusted = Arc::default();
    let device = verified(&path, &mistrusted);
    copy(&device).unwrap();
    assert!(fs::read(dir.join("copy")).unwrap() == bytes);
    overwrite(&path, 2 * CHUNK_BYTES);
    copy(&device).unwrap();
    assert!(fs::read(dir.join("copy")).unwrap() == bytes);
    overwrite(&path, 3 * CHUNK_BYTES);
    let error = copy(&device).unwrap_err();
    assert!(matches!(error, Error::Changed { offset, .. } if offset == 3 * CHUNK_BYTES));
    assert!(mistrusted.load(Ordering::Relaxed) > 0);
    let delta = Delta::new(Arc::new(device));
    let output = Output::create(&dir.join("image")).unwrap();
    assert!(output.write_delta(&delta, &[]).is_err());
}

#[test]
fn a_copy_holds_what_the_digests_say() {
    let dir = tempfile::tempdir().unwrap();
    copies(dir.path());
}

#[test]
fn a_clone_holds_what_the_digests_say() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(mounted) = Mounted::xfs(dir.path(), 400 << 20) {
        copies(mounted.path());
    }
}
