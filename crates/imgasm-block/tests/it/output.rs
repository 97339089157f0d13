//! A new image: whole under its name or not there at all.

use imgasm_testkit::mount::Mounted;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use imgasm_block::{BlockDevice, Delta, Error, FileDevice, MemoryDevice, Output};
use imgasm_testkit::rng::Rng;

const BLOCK: u64 = 4096;
const LEN: u64 = 300 * BLOCK + 123;

/// A sparse file: data in every tenth block.
fn sparse_file(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(LEN).unwrap()];
    fs::write(path, b"").unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(LEN)
        .unwrap();
    let device = FileDevice::open_writable(path).unwrap();
    let mut random = Rng::new(5);
    for start in (0..bytes.len()).step_by(40960) {
        let piece = &mut bytes[start..(start + 4096).min(usize::try_from(LEN).unwrap())];
        random.fill(piece);
        device
            .write_at(u64::try_from(start).unwrap(), piece)
            .unwrap();
    }
    bytes
}

fn edited(base: Arc<dyn BlockDevice>) -> (Delta, Vec<u8>) {
    let delta = Delta::grown(base, LEN + 5 * BLOCK);
    delta.write_zeros(10 * BLOCK, BLOCK).unwrap();
    delta.write_at(15 * BLOCK + 1, b"data").unwrap();
    delta.write_at(LEN, b"more").unwrap();
    let mut bytes = vec![0; usize::try_from(delta.len()).unwrap()];
    delta.read_at(0, &mut bytes).unwrap();
    (delta, bytes)
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn build_in(dir: &Path) {
    let base_path = dir.join("base.raw");
    let base_bytes = sparse_file(&base_path);
    let base = Arc::new(FileDevice::open(&base_path).unwrap());
    let (delta, expected) = edited(base);
    let target = dir.join("out.raw");
    let output = Output::create(&target).unwrap();
    output
        .write_delta(&delta, &delta.changes().unwrap())
        .unwrap();
    assert!(!target.exists(), "no final name before the commit");
    output.commit().unwrap();
    assert!(fs::read(&target).unwrap() == expected);
    assert!(
        fs::read(&base_path).unwrap() == base_bytes,
        "the base is untouched"
    );
    // The tests run with the usual umask or a stricter one.
    let plain = dir.join("plain");
    fs::write(&plain, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&target), mode(&plain));
    fs::remove_file(&plain).unwrap();
    assert_eq!(names(dir), ["base.raw", "out.raw"]);
}

#[test]
fn a_build_is_the_base_with_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    build_in(dir.path());
    // 31 blocks of the base, one of them zeroed, two new ones, and room for the host's own.
    assert!(allocated(&dir.path().join("out.raw")) < 60 * BLOCK);
}

#[test]
fn a_base_is_cloned_where_the_host_can() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::xfs(dir.path(), 400 << 20) else {
        return;
    };
    build_in(mounted.path());
    // A clone shares its blocks: any number of such files fits.
    let big = mounted.path().join("big.raw");
    fs::write(&big, vec![1; 100 << 20]).unwrap();
    let base = FileDevice::open(&big).unwrap();
    for number in 0..10 {
        let output = Output::create(&mounted.path().join(format!("{number}.raw"))).unwrap();
        output.write_device(&base).unwrap();
        output.commit().unwrap();
    }
    assert!(fs::read(mounted.path().join("9.raw")).unwrap() == vec![1; 100 << 20]);
}

#[test]
fn zeros_of_a_base_that_is_not_sparse_become_holes() {
    let dir = tempfile::tempdir().unwrap();
    let sparse = dir.path().join("sparse.raw");
    let bytes = sparse_file(&sparse);
    let dense = dir.path().join("dense.raw");
    fs::write(&dense, &bytes).unwrap();
    let devices: [&dyn BlockDevice; 2] = [
        &FileDevice::open(&dense).unwrap(),
        &MemoryDevice::new(bytes.clone()),
    ];
    for device in devices {
        let target = dir.path().join("out.raw");
        let output = Output::create(&target).unwrap();
        output.write_device(device).unwrap();
        output.commit().unwrap();
        assert!(fs::read(&target).unwrap() == bytes);
        assert!(allocated(&target) < 60 * BLOCK);
    }
}

#[test]
fn a_dropped_output_leaves_nothing_and_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.raw");
    fs::write(&target, b"before").unwrap();
    let output = Output::create(&target).unwrap();
    output
        .write_device(&MemoryDevice::new(vec![1; 10000]))
        .unwrap();
    assert_eq!(names(dir.path()), [".out.raw.partial", "out.raw"]);
    drop(output);
    assert_eq!(names(dir.path()), ["out.raw"]);
    assert_eq!(fs::read(&target).unwrap(), b"before");
}

#[test]
fn the_same_file_is_made_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.raw");
    // What a killed process left is no obstacle, and whoever has it open cannot reach the new file.
    let left = dir.path().join(".out.raw.partial");
    fs::write(&left, vec![3; 50000]).unwrap();
    let held = fs::metadata(&left).unwrap().ino();
    let keeper = fs::File::open(&left).unwrap();
    let first = Output::create(&target).unwrap();
    assert_ne!(first.file().metadata().unwrap().ino(), held);
    drop(keeper);
    assert!(matches!(Output::create(&target), Err(Error::Locked { .. })));
    first.write_device(&MemoryDevice::new(vec![1; 10])).unwrap();
    first.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), [1; 10]);
    drop(Output::create(&target).unwrap());
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(dir.path(), 1 << 20) else {
        return;
    };
    let output = Output::create(&mounted.path().join("out.raw")).unwrap();
    let error = output
        .write_device(&MemoryDevice::new(vec![1; 4 << 20]))
        .unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    assert!(error.to_string().contains("out.raw"), "{error}");
    drop(output);
    assert_eq!(names(mounted.path()), [""; 0]);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Output::create(Path::new("/nonexistent/out.raw")).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/.out.raw.partial"),
        "{error}"
    );
    assert!(Output::create(Path::new("/")).is_err());
}

#[test]
fn what_is_not_a_file_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("pipe", &link).unwrap();
    let refused = |error: Error| {
        let operation = match &error {
            Error::File { operation, .. } => operation,
            _ => "another",
        };
        assert_eq!(operation, "replace", "{error}");
    };
    for target in [&pipe, &link, &dir.path().to_owned()] {
        refused(Output::create(target).unwrap_err());
        let other = Output::create(&dir.path().join("other")).unwrap();
        refused(other.commit_as(target).unwrap_err());
    }
    assert_eq!(names(dir.path()), ["link", "pipe"]);
}

#[test]
fn an_output_is_as_private_as_it_is_told_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.raw");
    let output = Output::create(&target).unwrap();
    output.restrict(0o600).unwrap();
    output.commit().unwrap();
    assert_eq!(
        fs::metadata(&target).unwrap().permissions().mode() & 0o7777,
        0o600
    );
}
