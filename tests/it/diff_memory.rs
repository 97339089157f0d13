//! How much memory `imgasm diff` takes, by the number of paths that differ: up to a million.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use crate::support::example::imgasm;
use imgasm_block::FileDevice;
use imgasm_fs::{FileSystem, NewNode, NodeKind, Timestamp, WriteOptions};
use imgasm_testkit::images::sparse;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use wait4::Wait4;

/// The most memory for a million files.
const MILLION_BYTES: u64 = 256 << 20;

/// The memory of the program whatever it compares: each filesystem caches 16 MiB.
const USUAL_BYTES: u64 = 56 << 20;

/// Files in a folder.
const IN_FOLDER: u64 = 1000;

fn open(image: &Path) -> Box<dyn FileSystem> {
    let options = WriteOptions {
        now: Timestamp::default(),
        seed: [7; 16],
    };
    let device = Arc::new(FileDevice::open_writable(image).unwrap());
    imgasm_disk::open_writable(device, options).unwrap()
}

fn new_node(kind: NodeKind<'_>) -> NewNode<'_> {
    NewNode {
        kind,
        permissions: 0o755,
        uid: 0,
        gid: 0,
    }
}

/// Makes files with the labels that every file of many systems has.
fn populate(image: &Path, files: u64) {
    let mut fs = open(image);
    let root = fs.root();
    for folder in 0..files / IN_FOLDER {
        let name = format!("a-folder-{folder}");
        let kind = new_node(NodeKind::Directory);
        let folder = fs.create(root, name.as_bytes(), &kind).unwrap();
        for file in 0..IN_FOLDER {
            let name = format!("a-file-with-a-name-of-usual-length-{file}.txt");
            let kind = new_node(NodeKind::Regular);
            let file = fs.create(folder, name.as_bytes(), &kind).unwrap();
            let label = b"system_u:object_r:usr_t:s0\0";
            fs.set_xattr(file, b"security.selinux", Some(label))
                .unwrap();
            fs.write_at(file, 0, name.as_bytes()).unwrap();
        }
    }
    fs.flush().unwrap();
}

/// Adds a line to ten files.
fn change(image: &Path) {
    let mut fs = open(image);
    let folder = fs.lookup(fs.root(), b"a-folder-1").unwrap().unwrap();
    for file in 0..10 {
        let name = format!("a-file-with-a-name-of-usual-length-{file}.txt");
        let file = fs.lookup(folder, name.as_bytes()).unwrap().unwrap();
        fs.write_at(file, 0, b"changed").unwrap();
    }
    fs.flush().unwrap();
}

/// The most memory that a comparison held, and how many lines it printed.
fn compare(folder: &Path, args: &[&str]) -> (u64, usize) {
    let printed = folder.join("printed");
    let mut child = imgasm();
    child
        .arg("diff")
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .stdout(fs::File::create(&printed).unwrap())
        .stdin(Stdio::null());
    let used = child.spawn().unwrap().wait4().unwrap();
    assert_eq!(used.status.code(), Some(1));
    let lines = fs::read(&printed).unwrap();
    let lines = lines.split(|&byte| byte == b'\n').count() - 1;
    (used.rusage.maxrss, lines)
}

/// The peak of a process counts what its parent held when it was started (`getrusage(2)`, Linux), and
/// the program of the tests holds much. So this runs in a process in between, which holds little.
#[test]
fn memory_for_a_million_files() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "diff_memory::in_between",
            "--ignored",
            "--nocapture",
        ])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "`memory_for_a_million_files` runs it"]
fn in_between() {
    let files: u64 =
        std::env::var("IMGASM_DIFF_FILES").map_or(50_000, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let inodes = (files + files / 50 + 1000).to_string();
    for name in ["empty", "old"] {
        sparse(&at(name), files * 2048 + (64 << 20));
        let uuid = "6d676173-6d00-4000-8000-000000000001";
        let format = ["-q", "-t", "ext4", "-b", "1024", "-U", uuid, "-N", &inodes];
        let image = at(name);
        run("mke2fs", [&format[..], &[image.to_str().unwrap()]].concat());
    }
    populate(&at("old"), files);
    run(
        "cp",
        [
            "--sparse=always",
            at("old").to_str().unwrap(),
            at("new").to_str().unwrap(),
        ],
    );
    change(&at("new"));
    let paths = usize::try_from(files + files / IN_FOLDER).unwrap();
    // The share of so many files in the memory for a million.
    let bound = USUAL_BYTES + (MILLION_BYTES - USUAL_BYTES) * files / 1_000_000;
    let lines = |args: &[&str], expected: std::ops::Range<usize>| {
        let (held, lines) = compare(folder.path(), args);
        eprintln!(
            "{args:?}: {} KiB of {} KiB, {lines} lines",
            held >> 10,
            bound >> 10
        );
        assert!(expected.contains(&lines), "{args:?}: {lines}");
        assert!(held <= bound, "{args:?}: {held} of {bound}");
    };
    lines(&["old", "new"], 11..15);
    lines(&["empty", "new"], paths..paths + 8);
    lines(&["new", "empty"], paths..paths + 8);
    lines(&["--json", "empty", "new"], paths..usize::MAX);
}
