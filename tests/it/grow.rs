//! `imgasm grow`, `disk_size`, and the message of an image that is too small.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::support::example::{assert_success, imgasm};
use crate::support::overlay::folder;
use imgasm_testkit::mount::Loop;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

const MIB: u64 = 1 << 20;
const TOOLS: [&str; 5] = ["sgdisk", "mkfs.xfs", "xfs_repair", "xfs_info", "sfdisk"];

/// A disk like that of cloud images: a small partition first, then the root, in XFS.
fn disk(dir: &Path) -> PathBuf {
    let image = dir.join("disk.raw");
    let file = File::create(&image).unwrap();
    file.set_len(400 * MIB).unwrap();
    run(
        "sgdisk",
        [
            "-n",
            "128:2048:4095",
            "-t",
            "128:ef02",
            "-n",
            "1:4096:0",
            "-t",
            "1:8300",
        ]
        .iter()
        .map(|arg| (*arg).to_owned())
        .chain([image.display().to_string()]),
    );
    let root = part(&image);
    run("mkfs.xfs", ["-q".as_ref(), root.path().as_os_str()]);
    image
}

/// The root partition as a device.
fn part(image: &Path) -> Loop {
    let table = run("sfdisk", ["-d".as_ref(), image.as_os_str()]);
    let line = table.lines().find(|line| line.contains(".raw1 :")).unwrap();
    let number = |name: &str| -> u64 {
        let value = line.split(name).nth(1).unwrap().trim_start();
        let end = value.find(',').unwrap_or(value.len());
        value[..end].parse().unwrap()
    };
    let (start, size) = (number("start=") * 512, number("size=") * 512);
    Loop::attach(
        image,
        &["-o", &start.to_string(), "--sizelimit", &size.to_string()],
    )
}

fn blocks(device: &Loop) -> u64 {
    let info = run("xfs_info", [device.path()]);
    let text = info.split("bsize=4096   blocks=").nth(1).unwrap();
    text.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn an_image_grows_where_it_lies_with_its_filesystem() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path());
    let output = imgasm().arg("grow").arg(&image).arg("900MiB").output();
    let output = output.unwrap();
    assert_success(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("partition 1: xfs, "), "{said}");
    assert_eq!(fs::metadata(&image).unwrap().len(), 900 * MIB);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no undo file");
    let verified = run("sgdisk", ["-v".as_ref(), image.as_os_str()]);
    assert!(verified.contains("No problems found"), "{verified}");
    let root = part(&image);
    run("xfs_repair", ["-n".as_ref(), root.path().as_os_str()]);
    // All of the partition, except the end of its last mebibyte.
    assert!((897 * 256..898 * 256).contains(&blocks(&root)));
    drop(root);
    // The second time there is nothing to do, and it cannot become smaller.
    let before = fs::read(&image).unwrap();
    let again = imgasm().arg("grow").arg(&image).arg("900MiB").output();
    assert_success(&again.unwrap());
    assert!(fs::read(&image).unwrap() == before);
    let smaller = imgasm().arg("grow").arg(&image).arg("800MiB").output();
    let smaller = smaller.unwrap();
    assert_eq!(smaller.status.code(), Some(2));
    let said = String::from_utf8(smaller.stderr).unwrap();
    assert!(said.contains("an image can only grow"), "{said}");
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn a_disk_that_grows_in_a_build_has_room_for_what_did_not_fit() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path());
    // The base has room for less than 320 MiB.
    let steps: Vec<String> = (0..12)
        .map(|n| format!("[[step]]\ncopy = {{ from = 'large', to = '/large-{n}' }}\n"))
        .collect();
    let overlay = folder(
        &steps.concat(),
        &[("large", &"0123456789abcdef".repeat(2 << 20))],
    );
    let recipe = |disk_size: &str| {
        format!(
            "name = 'grown'\nsource_date_epoch = 1700000000\nbase = {{ file = '{}', partition = 1 }}\n\
             {disk_size}\noverlays = ['{}']\n",
            image.display(),
            overlay.path().display()
        )
    };
    let build = |recipe: &str| {
        let path = dir.path().join("imgasm.toml");
        fs::write(&path, recipe).unwrap();
        let mut command = imgasm();
        command.args(["build", "-f"]).arg(&path);
        command.arg("-o").arg(dir.path().join("out"));
        command.arg("--allow-outside").arg(overlay.path());
        command.env("IMGASM_CACHE", dir.path().join("cache"));
        command.output().unwrap()
    };
    let full = build(&recipe(""));
    assert_eq!(full.status.code(), Some(2));
    let said = String::from_utf8(full.stderr).unwrap();
    assert!(said.contains("are missing"), "{said}");
    assert!(said.contains("disk_size"), "{said}");
    assert!(!dir.path().join("out/grown.raw").exists());
    assert_success(&build(&recipe("disk_size = '1200MiB'")));
    let built = dir.path().join("out/grown.raw");
    let root = part(&built);
    run("xfs_repair", ["-n".as_ref(), root.path().as_os_str()]);
    assert!(blocks(&root) > 1190 * 256);
}
