//! Data volumes of each kind, judged by the tools that know them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::example::{assert_success, build, copy_inputs, imgasm, shrink_disks};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// Builds the example with one more volume of a kind; gives the output folder.
fn build_with(dir: &Path, kind: &str, more: &str) -> PathBuf {
    copy_inputs(dir);
    shrink_disks(dir);
    let recipe = dir.join("imgasm.toml");
    let mut text = fs::read_to_string(&recipe).unwrap();
    text = format!(
        "{text}\n[[volume]]\ndevice_name = '/dev/sdk'\nvolume_size = 1\nfilesystem = '{kind}'\n\
         label = 'added'\n{more}\n"
    );
    fs::write(&recipe, text).unwrap();
    build(dir)
}

/// The file of the added volume.
fn volume(out: &Path) -> PathBuf {
    out.join("ecs-added.raw")
}

/// What the root's fstab says about the volume.
fn fstab(out: &Path) -> String {
    let output = imgasm()
        .arg("cat")
        .arg(out.join("ecs.raw"))
        .arg("/etc/fstab")
        .env("IMGASM_CACHE", out.join("cache"))
        .output()
        .unwrap();
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("LABEL=added"));
    line.unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn an_xfs_volume_holds_its_files_and_is_sound() {
    if !need::tools(&["xfs_repair", "blkid"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("put in");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("hello"), "hello").unwrap();
    let out = build_with(dir.path(), "xfs", "files = 'put in'\nmount = '/var/added'");
    let volume = volume(&out);
    run("xfs_repair", ["-n".as_ref(), volume.as_os_str()]);
    let known = run("blkid", ["-p".as_ref(), volume.as_os_str()]);
    for part in ["LABEL=\"added\"", "TYPE=\"xfs\""] {
        assert!(known.contains(part), "{known}");
    }
    let content = imgasm().arg("cat").arg(&volume).arg("/hello").output();
    assert_eq!(content.unwrap().stdout, b"hello");
    assert_eq!(fstab(&out), "LABEL=added /var/added xfs defaults 0 0");
}

#[test]
fn a_swap_volume_is_that_of_mkswap() {
    if !need::tools(&["mkswap", "blkid"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = build_with(dir.path(), "swap", "");
    let ours = volume(&out);
    let known = run(
        "blkid",
        [
            "-p",
            "-s",
            "UUID",
            "-o",
            "value",
            &ours.display().to_string(),
        ],
    );
    let theirs = dir.path().join("theirs");
    let file = fs::File::create(&theirs).unwrap();
    file.set_len(1 << 30).unwrap();
    run(
        "mkswap",
        [
            "-p",
            "4096",
            "-L",
            "added",
            "-U",
            known.trim(),
            &theirs.display().to_string(),
        ],
    );
    let page = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.truncate(1 << 16);
        bytes
    };
    assert!(page(&ours) == page(&theirs));
    assert_eq!(fstab(&out), "LABEL=added none swap defaults 0 0");
}
