//! `imgasm convert`, judged by `qemu-img` and the codecs' own tools.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::example;
use imgasm_testkit::disk::sparse_disk;
use imgasm_testkit::need;
use imgasm_testkit::tools::{filter, run};

const MIB: u64 = 1 << 20;

fn convert(dir: &Path, args: &[&str]) -> Output {
    example::imgasm()
        .arg("convert")
        .args(args)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap()
}

fn converted(dir: &Path, args: &[&str]) {
    let output = convert(dir, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output = convert(dir, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names of outputs, and what `qemu-img` calls their formats.
const FORMATS: [(&str, &str); 5] = [
    ("out.raw", "raw"),
    ("out.qcow2", "qcow2"),
    ("out.vmdk", "vmdk"),
    ("out.vhd", "vpc"),
    ("out.bin", "raw"),
];

#[test]
fn qemu_finds_the_same_disk_in_what_extensions_ask_for() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    sparse_disk(&dir.path().join("in.raw"), 37 * MIB, 3);
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, kind) in FORMATS {
        converted(dir.path(), &["in.raw", name]);
        let (input, output) = (path("in.raw"), path(name));
        let compare = ["compare", "-q", "-f", "raw", "-F", kind, &input, &output];
        run("qemu-img", compare);
        if ["qcow2", "vmdk"].contains(&kind) {
            run("qemu-img", ["check", "-q", "-f", kind, &output]);
        }
        // From there to the next format: what is read is what was written.
        converted(dir.path(), &[name, "again.qcow2", "--force"]);
        let again = path("again.qcow2");
        run(
            "qemu-img",
            ["compare", "-q", "-F", "qcow2", "-f", "raw", &input, &again],
        );
    }
    let info = run("qemu-img", ["info", "--output=json", &path("out.vmdk")]);
    assert!(info.contains("streamOptimized"), "{info}");
}

#[test]
fn packed_outputs_are_what_the_codecs_tools_make_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.raw");
    sparse_disk(&input, 9 * MIB, 4);
    for (name, program) in [("o.raw.gz", "gzip"), ("o.raw.zst", "zstd"), ("o.xz", "xz")] {
        if !need::tools(&[program]) {
            continue;
        }
        converted(dir.path(), &["in.raw", name]);
        let back = dir.path().join("back");
        filter(program, &["-dc"], &dir.path().join(name), &back);
        run("cmp", [&input, &back]);
    }
}

/// Names of files, and the format of each if the name does not say it.
const ALL: [(&str, &str); 8] = [
    ("disk.raw", "raw"),
    ("disk.raw.gz", "raw.gz"),
    ("disk.raw.zst", "raw.zst"),
    ("disk.raw.xz", "raw.xz"),
    ("disk.qcow2", "qcow2"),
    ("disk.vmdk", "vmdk"),
    ("disk.vhd", "vhd"),
    ("disk", "vhd-fixed"),
];

#[test]
fn from_every_format_to_every_format_it_is_the_same_disk() {
    let dir = tempfile::tempdir().unwrap();
    sparse_disk(&dir.path().join("in.raw"), 5 * MIB, 8);
    for (name, format) in ALL {
        converted(dir.path(), &["in.raw", name, "--format", format]);
    }
    for (from, _) in ALL {
        for (to, format) in ALL {
            converted(dir.path(), &[from, "again", "--format", format, "--force"]);
            run("cmp", [dir.path().join(to), dir.path().join("again")]);
        }
    }
}

#[test]
fn disks_of_several_files_become_one() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = |name: &str| dir.join(name).display().to_string();
    sparse_disk(&dir.join("in.raw"), 5 * MIB, 3);
    fs::create_dir(dir.join("sub")).unwrap();
    let split = [
        "convert",
        "-O",
        "vmdk",
        "-o",
        "subformat=twoGbMaxExtentSparse",
    ];
    let (input, disk, based) = (path("in.raw"), path("sub/disk.vmdk"), path("based.qcow2"));
    run("qemu-img", split.into_iter().chain([&*input, &disk]));
    converted(dir, &["sub/disk.vmdk", "split.raw"]);
    let on = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "in.raw"];
    run("qemu-img", on.into_iter().chain([&*based]));
    assert!(refused(dir, &["based.qcow2", "out.raw"]).contains("--allow-backing"));
    assert!(!dir.join("out.raw").exists());
    converted(dir, &["--allow-backing", "based.qcow2", "both.raw"]);
    for name in ["split.raw", "both.raw"] {
        let compare = ["compare", "-q", "-f", "raw", "-F", "raw"];
        run(
            "qemu-img",
            compare.into_iter().chain([&*input, &path(name)]),
        );
    }
    let looked = example::imgasm()
        .args(["inspect", "sub/disk.vmdk"])
        .current_dir(dir)
        .output();
    let said = String::from_utf8_lossy(&looked.unwrap().stderr).into_owned();
    assert!(!said.contains("ermission denied"), "{said}");
}

#[test]
fn the_format_can_be_told() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    sparse_disk(&dir.path().join("in.raw"), 5 * MIB, 5);
    converted(dir.path(), &["in.raw", "disk", "--format", "vhd-fixed"]);
    let len = fs::metadata(dir.path().join("disk")).unwrap().len();
    assert_eq!(len, 5 * MIB + 512);
    converted(
        dir.path(),
        &["in.raw", "disk", "--format", "vmdk", "--force"],
    );
    let disk = dir.path().join("disk").display().to_string();
    run("qemu-img", ["check", "-q", "-f", "vmdk", &disk]);
}

#[test]
fn the_same_disk_gives_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    sparse_disk(&dir.path().join("in.raw"), 35 * MIB, 6);
    converted(dir.path(), &["in.raw", "in.qcow2"]);
    for name in [
        "a.vmdk",
        "a.vhd",
        "a.qcow2",
        "a.raw.gz",
        "a.raw.zst",
        "a.raw.xz",
    ] {
        let other = format!("b.{}", name.split_once('.').unwrap().1);
        converted(dir.path(), &["in.raw", name]);
        converted(dir.path(), &["in.qcow2", &other]);
        run("cmp", [dir.path().join(name), dir.path().join(other)]);
    }
}

#[test]
fn a_copy_is_as_private_as_its_source() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let dir = tempfile::tempdir().unwrap();
    sparse_disk(&dir.path().join("a.raw"), MIB, 1);
    for (mode, expected) in [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644)] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.path().join("a.raw"), permissions).unwrap();
        for name in ["b.raw", "b.raw.gz", "b.qcow2"] {
            converted(dir.path(), &["a.raw", name, "--force"]);
            let made = fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
            assert_eq!(made, expected, "{name} of {mode:o}");
        }
    }
}

#[test]
fn a_file_is_replaced_only_with_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    sparse_disk(&path("in.raw"), MIB, 9);
    fs::write(path("precious.raw"), "precious").unwrap();
    std::os::unix::fs::symlink("nowhere", path("link.raw")).unwrap();
    for name in ["precious.raw", "link.raw"] {
        let said = refused(dir.path(), &["in.raw", name]);
        assert!(said.contains(name) && said.contains("--force"), "{said}");
    }
    assert_eq!(fs::read(path("precious.raw")).unwrap(), b"precious");
    assert!(fs::symlink_metadata(path("link.raw")).unwrap().is_symlink());
    converted(dir.path(), &["in.raw", "precious.raw", "--force"]);
    run("cmp", [path("in.raw"), path("precious.raw")]);
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    sparse_disk(&dir.path().join("in.raw"), MIB, 7);
    let before = fs::read(dir.path().join("in.raw")).unwrap();
    let said = refused(dir.path(), &["in.raw", "out.vdi"]);
    assert!(
        said.contains("--format") && said.contains("out.vdi"),
        "{said}"
    );
    let said = refused(dir.path(), &["in.raw", "out", "--format", "vdi"]);
    assert!(said.contains("qcow2"), "{said}");
    let said = refused(dir.path(), &["in.raw", "./in.raw"]);
    assert!(said.contains("the input itself"), "{said}");
    let said = refused(dir.path(), &["missing.raw", "out.vmdk"]);
    assert!(said.contains("missing.raw"), "{said}");
    assert_eq!(fs::read(dir.path().join("in.raw")).unwrap(), before);
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "cache")
        .collect();
    assert_eq!(left, ["in.raw"]);
}
