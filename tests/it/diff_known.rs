//! What was known about two images before saves reading them, and never hides a change.

use imgasm_testkit::mount::Mounted;
use imgasm_testkit::need;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::example::{build, copy_inputs, imgasm, shrink_disks};
use imgasm_block::{FileDevice, shared::unshared};

fn differs(folder: &Path, old: &str, new: &str) -> bool {
    let output = imgasm()
        .args(["diff", old, new])
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => false,
        Some(1) => true,
        code => panic!("{code:?}: {said}"),
    }
}

/// Changes a byte of a file in place and sets the time of modification back.
fn change_secretly(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    file.set_modified(modified).unwrap();
}

fn entries(folder: &Path, extension: &str) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .count()
}

#[test]
fn chunk_maps_of_outputs_and_earlier_comparisons() {
    let folder = tempfile::tempdir().unwrap();
    copy_inputs(folder.path());
    shrink_disks(folder.path());
    build(folder.path());
    let at = |name: &str| folder.path().join(name);
    if entries(&at("cache/paths"), "chunks") == 0 {
        let _ = need::lacking("a file system with fine times of change");
        return;
    }
    assert!(!differs(folder.path(), "imgasm.toml", "out/ecs.raw"));
    // In the boot code, which lies outside all filesystems.
    change_secretly(&at("out/ecs.raw"), 100);
    assert!(differs(folder.path(), "imgasm.toml", "out/ecs.raw"));

    fs::copy(at("out/ecs.raw"), at("copy.raw")).unwrap();
    std::thread::sleep(Duration::from_millis(2200));
    assert!(!differs(folder.path(), "out/ecs.raw", "copy.raw"));
    assert_eq!(entries(&at("cache/pairs"), "json"), 1);
    assert!(!differs(folder.path(), "out/ecs.raw", "copy.raw"));
    change_secretly(&at("copy.raw"), 101);
    assert!(differs(folder.path(), "out/ecs.raw", "copy.raw"));
    change_secretly(&at("copy.raw"), 101);
    assert!(!differs(folder.path(), "out/ecs.raw", "copy.raw"));
}

#[test]
fn shared_extents() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mounted::xfs(folder.path(), 400 << 20) else {
        return;
    };
    let (old, new) = (mount.path().join("old"), mount.path().join("new"));
    let content: Vec<u8> = (0..24_u32 << 20)
        .map(|n| n.to_be_bytes()[2] ^ (n % 251).to_be_bytes()[3])
        .collect();
    fs::write(&old, &content).unwrap();
    let clone = Command::new("cp")
        .arg("--reflink=always")
        .args([&old, &new])
        .status();
    assert!(clone.unwrap().success());
    let open = |path: &Path| FileDevice::open(path).unwrap();
    assert_eq!(unshared(&open(&old), &open(&new)), Some(Vec::new()));
    let file = File::options().write(true).open(&new).unwrap();
    file.write_all_at(b"other", 5 << 20).unwrap();
    file.write_all_at(b"other", (24 << 20) - 5).unwrap();
    let found = unshared(&open(&old), &open(&new)).unwrap();
    for offset in [5_u64 << 20, (24 << 20) - 5] {
        assert!(
            found.iter().any(|range| range.contains(&offset)),
            "{found:?}"
        );
    }
    let len: u64 = found.iter().map(|range| range.end - range.start).sum();
    assert!(len <= 4 << 20, "{found:?}");
    // A copy of its own shares nothing.
    fs::write(&new, &content).unwrap();
    assert_eq!(unshared(&open(&old), &open(&new)), None);
}
