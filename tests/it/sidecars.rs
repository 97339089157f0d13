//! What lies beside an image and speaks of it counts only if it belongs to the image's owner and is
//! about its bytes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::example::{self, imgasm};
use imgasm_testkit::images::sparse;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// A user who owns nothing here.
const STRANGER: u32 = 4711;

fn command(dir: &Path, args: &[&str]) -> Output {
    let mut command = imgasm();
    command.args(args).current_dir(dir);
    command
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap()
}

/// A folder with a recipe whose base is a file, and with what the base was built to.
fn built() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::create_dir_all(dir.join("tree/etc")).unwrap();
    fs::write(dir.join("tree/etc/os-release"), "ID=here\n").unwrap();
    sparse(&dir.join("base.raw"), 8 << 20);
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (tree, base) = (at("tree"), at("base.raw"));
    run("mke2fs", ["-q", "-t", "ext4", "-d", &tree, &base]);
    fs::write(
        dir.join("imgasm.toml"),
        "name = 'x'\nbase = { file = 'base.raw' }\n",
    )
    .unwrap();
    example::assert_success(&command(dir, &["build"]));
    folder
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("out/manifest.json")).unwrap()).unwrap()
}

/// The record of an AMI with a second disk, about a disk with this digest.
fn origin(dir: &Path, digest: &Value) {
    let disk = |device: &str, snapshot: Value| {
        json!({ "device_name": device, "snapshot_id": snapshot, "volume_size": 8, "volume_type": "gp3",
                "iops": null, "throughput": null, "delete_on_termination": true, "encrypted": false,
                "virtual_name": null })
    };
    let origin = json!({
        "ami_id": "ami-12345678", "name": "amazon", "region": "us-east-1", "snapshot_id": null,
        "digest": digest, "architecture": "x86_64", "boot_mode": null,
        "root_device_name": "/dev/xvda", "tags": {},
        "block_device_mappings": [disk("/dev/xvda", Value::Null), disk("/dev/sdf", json!("snap-1"))],
    });
    fs::write(dir.join("base.raw.origin.json"), origin.to_string()).unwrap();
}

/// Builds again, which fails for this reason and leaves what was built as it is.
#[track_caller]
fn refused(dir: &Path, why: &str) {
    let before = fs::read(dir.join("out/manifest.json")).unwrap();
    let output = command(dir, &["build"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{why}: {said}");
    assert!(
        said.contains(why) && said.contains("base.raw.origin.json"),
        "{said}"
    );
    assert!(fs::read(dir.join("out/manifest.json")).unwrap() == before);
}

#[test]
fn an_origin_is_of_the_bases_owner_and_about_its_bytes() {
    if !need::tools(&["mke2fs"]) || !need::root() {
        return;
    }
    let folder = built();
    let dir = folder.path();
    assert_eq!(manifest(dir)["base"].get("origin"), None);
    let digest = manifest(dir)["base"]["digest"].clone();
    let beside = dir.join("base.raw.origin.json");

    origin(dir, &json!("0".repeat(64)));
    refused(dir, "about a disk with the digest 0000");
    origin(dir, &digest);
    std::os::unix::fs::chown(&beside, Some(STRANGER), None).unwrap();
    refused(dir, "belongs to user 4711");
    fs::rename(&beside, dir.join("elsewhere")).unwrap();
    symlink("elsewhere", &beside).unwrap();
    refused(dir, "symbolic link");
    fs::remove_file(&beside).unwrap();
    fs::create_dir(&beside).unwrap();
    refused(dir, "not a regular file");
    fs::remove_dir(&beside).unwrap();
    fs::write(&beside, vec![b' '; 2 << 20]).unwrap();
    refused(dir, "has more than 1048576 bytes");

    origin(dir, &digest);
    std::os::unix::fs::chown(&beside, Some(STRANGER), None).unwrap();
    std::os::unix::fs::chown(dir.join("base.raw"), Some(STRANGER), None).unwrap();
    example::assert_success(&command(dir, &["build"]));
    assert_eq!(manifest(dir)["base"]["origin"]["ami_id"], "ami-12345678");
}

#[test]
fn a_manifest_is_about_files_beside_itself() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let folder = built();
    let dir = folder.path();
    let path = dir.join("out/manifest.json");
    for file in [
        "../base.raw",
        "/etc/passwd",
        "sub/x.raw",
        "..",
        ".",
        "x.raw/",
    ] {
        let mut forged = manifest(dir);
        forged["image"]["file"] = json!(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, forged.to_string()).unwrap();
        for args in [
            &["diff", "out/manifest.json", "base.raw"][..],
            &["build", "--from-manifest", "out/manifest.json"],
        ] {
            let output = command(dir, args);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{file}: {said}");
            assert!(said.contains("files beside itself only"), "{file}: {said}");
        }
        fs::write(&path, good).unwrap();
    }
}
