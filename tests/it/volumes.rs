//! Data volumes of each kind, judged by the tools that know them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::example::{assert_success, build, copy_inputs, imgasm, shrink_disks};
use imgasm_testkit::images::sparse;
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

/// What `xfs_info` says of a filesystem in a file, without its name.
fn geometry(path: &Path) -> String {
    let said = run("xfs_info", [path]);
    let (_, said) = said.split_once(' ').unwrap();
    said.trim_start().to_owned()
}

#[test]
fn an_xfs_volume_is_made_as_the_recipe_says() {
    if !need::tools(&["xfs_repair", "xfs_info", "mkfs.xfs"]) {
        return;
    }
    let features = "reflink=1,bigtime=1,inobtcount=1";
    let al2023: &[&str] = &[
        "-s",
        "size=4096",
        "-n",
        "size=16384",
        "-d",
        "agcount=2,su=524288,sw=1",
        "-l",
        "su=16384",
        "-m",
        features,
    ];
    let chosen: &[&str] = &[
        "-b",
        "size=1024",
        "-n",
        "size=8192",
        "-d",
        "agcount=5",
        "-l",
        "size=80m",
        "-m",
        "reflink=0,rmapbt=1,bigtime=0,inobtcount=0",
        "-i",
        "sparse=0",
    ];
    for (options, with) in [
        ("{ defaults = 'al2023' }", al2023),
        (
            "{ block_size = '1KiB', directory_block_size = '8KiB', agcount = 5, log_size = '80MiB', \
             reflink = false, rmapbt = true, bigtime = false, inobtcount = false, sparse = false }",
            chosen,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = build_with(dir.path(), "xfs", &format!("xfs = {options}"));
        let volume = volume(&out);
        run("xfs_repair", ["-n".as_ref(), volume.as_os_str()]);
        let expected = dir.path().join("expected");
        sparse(&expected, 1 << 30);
        run(
            "mkfs.xfs",
            ["-q"]
                .iter()
                .chain(with)
                .copied()
                .chain([expected.to_str().unwrap()]),
        );
        assert_eq!(geometry(&volume), geometry(&expected), "{options}");
    }
}

#[test]
fn an_xfs_volume_that_cannot_be_is_refused_before_the_build() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, options, words) in [
        ("xfs", "{ block_size = '3KiB' }", "power of two"),
        ("xfs", "{ block_size = '128KiB' }", "from 1024 to 65536"),
        ("xfs", "{ sector_size = '8KiB' }", "a sector of 8192 bytes"),
        ("xfs", "{ su = '64KiB' }", "`su` and `sw` belong together"),
        ("xfs", "{ su = '5KiB', sw = 2 }", "a multiple of a block"),
        ("xfs", "{ block_size = '8GiB' }", "too many"),
        ("xfs", "{ defaults = 'al2024' }", "al2023"),
        ("ext4", "{ reflink = true }", "needs `filesystem = \"xfs\"`"),
    ] {
        let volume = format!(
            "name = 'x'\nbase = {{ rootfs = 'root' }}\n[[volume]]\ndevice_name = '/dev/sdk'\n\
             volume_size = 1\nfilesystem = '{kind}'\nlabel = 'added'\nxfs = {options}\n"
        );
        fs::write(dir.path().join("imgasm.toml"), volume).unwrap();
        let output = imgasm()
            .arg("check")
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options}: {said}");
        assert!(
            said.contains(words) && said.contains("imgasm.toml:"),
            "{options}: {said}"
        );
    }
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
    let verified = imgasm()
        .args(["verify", "-f"])
        .arg(dir.path().join("imgasm.toml"))
        .arg(out.join("ecs.raw"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert!(
        said.contains("volume added is as the recipe has it"),
        "{said}"
    );
}
