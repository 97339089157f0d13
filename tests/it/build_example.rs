//! The example build: the same bytes everywhere, and sound according to other tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::example::{
    assert_success, build, copy_inputs, imgasm, same_bytes, shrink_disks,
};

/// The digest of the example's image. If it changes, users get other bytes for the same inputs:
/// change it only on purpose, and say so in the change log.
const IMAGE_DIGEST: &str = "a28bd1acf046a08e94ca8ef09a7ce4e1fa2c04fe9721d675e9670e86d32072cf";
const OUTPUTS: [&str; 3] = ["ecs.raw", "ecs-docker.raw", "manifest.json"];

fn manifest(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn the_digest_is_pinned() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    let out = build(dir.path());
    assert_eq!(manifest(&out)["image"]["digest"], IMAGE_DIGEST);
}

#[test]
fn folder_umask_locale_time_zone_home_and_user_make_no_difference() {
    let one = tempfile::tempdir().unwrap();
    let other = tempfile::Builder::new()
        .prefix("größer ")
        .tempdir()
        .unwrap();
    copy_inputs(one.path());
    shrink_disks(one.path());
    let out = build(one.path());

    let shaken = other.path().join("some where/else");
    copy_inputs(&shaken);
    shrink_disks(&shaken);
    let everybody =
        |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    everybody(other.path());
    everybody(&other.path().join("some where"));
    everybody(&shaken);
    let is_root = rustix::process::geteuid().is_root();
    let program = imgasm().get_program().to_owned();
    // The program may lie where only its owner can reach it.
    let copy = shaken.join("imgasm");
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let drop = if is_root {
        "setpriv --reuid=65534 --regid=65534 --clear-groups"
    } else {
        ""
    };
    let script = format!("umask 077; exec {drop} ./imgasm build -o out");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&shaken)
        .env_clear()
        .envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("TZ", "Asia/Tokyo"),
            ("LC_ALL", "de_DE.UTF-8"),
        ])
        .env("HOME", shaken.join("home"))
        .output()
        .unwrap();
    assert_success(&output);
    for name in OUTPUTS {
        assert!(
            same_bytes(&out.join(name), &shaken.join("out").join(name)),
            "{name} differs"
        );
    }
}

#[test]
fn building_again_replaces_the_outputs_with_the_same() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    let first = manifest(&build(dir.path()));
    assert_eq!(first, manifest(&build(dir.path())));
    let names: Vec<_> = fs::read_dir(dir.path().join("out"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), OUTPUTS.len(), "{names:?}");
}

#[test]
fn the_tools_of_the_formats_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    let out = build(dir.path());
    let image = out.join("ecs.raw");
    let table = Command::new("sgdisk")
        .arg("-v")
        .arg(&image)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&table.stdout).contains("No problems found"),
        "{table:?}"
    );
    let manifest = manifest(&out);
    for partition in manifest["image"]["partition_table"]["partitions"]
        .as_array()
        .unwrap()
    {
        let number = partition["number"].as_u64().unwrap();
        let (first, last) = (
            partition["first_lba"].as_u64().unwrap(),
            partition["last_lba"].as_u64().unwrap(),
        );
        let part = dir.path().join("partition.raw");
        let copied = Command::new("dd")
            .arg(format!("if={}", image.display()))
            .arg(format!("of={}", part.display()))
            .arg(format!("skip={}", first / 2048))
            .arg(format!("count={}", (last + 1 - first) / 2048))
            .args(["bs=1M", "conv=sparse", "status=none"])
            .status()
            .unwrap();
        assert!(copied.success());
        let judge = match number {
            1 => ["e2fsck", "-fn"],
            127 => ["fsck.vfat", "-n"],
            _ => continue,
        };
        let output = Command::new(judge[0])
            .arg(judge[1])
            .arg(&part)
            .output()
            .unwrap();
        assert!(output.status.success(), "partition {number}: {output:?}");
    }
    let volume = Command::new("e2fsck")
        .arg("-fn")
        .arg(out.join("ecs-docker.raw"))
        .output()
        .unwrap();
    assert!(volume.status.success(), "{volume:?}");
}

#[test]
fn the_outputs_of_another_recipe_are_replaced_by_force_only() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    shrink_disks(dir.path());
    let out = build(dir.path());
    let recipe = dir.path().join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("name = \"ecs\"", "name = \"other\"")).unwrap();
    let again = |arguments: &[&str]| {
        let mut command = imgasm();
        command
            .arg("build")
            .arg("-f")
            .arg(&recipe)
            .arg("-o")
            .arg(&out)
            .args(arguments);
        command
            .env("IMGASM_CACHE", dir.path().join("cache"))
            .output()
            .unwrap()
    };
    let refused = again(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"));
    assert_eq!(manifest(&out)["name"], "ecs");
    assert_success(&again(&["--force"]));
    assert_eq!(manifest(&out)["name"], "other");
}
