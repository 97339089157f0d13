//! `imgasm pull`, alone and with what follows it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::aws::{is_one_error, make_small, refused, said, started, succeed};
use crate::support::aws_server::REGION;
use crate::support::aws_steps::{
    build_upon_base, built, imported, leftovers, nothing_left, public_image,
};
use crate::support::sparse::same_bytes;

const AMI: &str = r#"
ami_name = "docker-in-aws-ecs {{ timestamp }}"
tags = { Name = "Docker in AWS ECS Base Image 2018.03.a", DockerVersion = "17.12.1-ce" }
"#;

#[test]
fn pulled_built_imported_and_pulled_again_it_is_the_same() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    let disk = dir.join("amazon.raw");
    fs::rename(dir.join("out/ecs.raw"), &disk).unwrap();
    let ami = "ami-0aff88ed576e63e90";
    public_image(&server, ami, &disk);
    let pull = |what: &str, to: &str| succeed(server.command(dir, "pull").args([what, "-o", to]));
    assert_eq!(pull(ami, "base.raw").trim(), "base.raw");
    assert!(same_bytes(&disk, &dir.join("base.raw")));
    nothing_left(&server, dir);
    let origin = fs::read(dir.join("base.raw.origin.json")).unwrap();
    let origin: Value = serde_json::from_slice(&origin).unwrap();
    assert_eq!(origin["ami_id"], ami);
    assert_eq!(origin["snapshot_id"], Value::Null);

    build_upon_base(dir);
    succeed(&mut server.command(dir, "build"));
    let id = imported(&mut server.import(dir, "ebs"));
    let image = server.describe_image(REGION, &id);
    assert_eq!(image["BootMode"], "legacy-bios");
    let devices: Vec<_> = image["BlockDeviceMappings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mapping| json!([mapping["DeviceName"], mapping["Ebs"]["VolumeSize"]]))
        .collect();
    let expected = [
        json!(["/dev/xvda", 2]),
        json!(["/dev/xvdcy", 1]),
        json!(["/dev/xvdcz", 22]),
    ];
    assert_eq!(devices, expected);
    let tags = server.log();
    let register = tags
        .iter()
        .rfind(|it| it["operation"] == "RegisterImage")
        .unwrap();
    assert!(
        register
            .to_string()
            .contains(&format!("\"Key\":\"SourceAMI\",\"Value\":\"{ami}\""))
    );

    pull(&id, "again.raw.zst");
    let unpack = ["convert", "again.raw.zst", "again.raw"];
    succeed(server.command(dir, unpack[0]).args(&unpack[1..]));
    assert!(same_bytes(&dir.join("out/ecs.raw"), &dir.join("again.raw")));
    let said = refused(
        server
            .command(dir, "pull")
            .args(["ami-0123", "-o", "no.raw"]),
    );
    assert!(said.contains("ami-0123"), "{said}");
    let said = refused(
        server
            .command(dir, "pull")
            .args(["amazon-linux", "-o", "no.raw"]),
    );
    assert!(said.contains("ssm:"), "{said}");
    server.assert_no_violations();
}

#[test]
fn a_pull_that_is_killed_goes_on_and_survives_faults() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    let id = succeed(&mut server.import(dir, "ebs")).trim().to_owned();
    let pull = || {
        let mut pull = server.command(dir, "pull");
        pull.args([&id, "-o", "base.raw"]);
        pull
    };
    let before = server.count("GetSnapshotBlock");
    let mut child = started(&mut pull(), || {
        server.count("GetSnapshotBlock") >= before + 2
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!dir.join("base.raw").exists());
    server.tell(
        "faults",
        &json!([
            {"operation": "GetSnapshotBlock", "kind": "throttle", "rate": 0.2},
            {"operation": "GetSnapshotBlock", "kind": "drop", "rate": 0.1},
            {"operation": "GetSnapshotBlock", "kind": "spoil", "rate": 0.1},
            {"operation": "ListSnapshotBlocks", "kind": "error", "rate": 0.2},
        ]),
    );
    let output = pull().output().unwrap();
    let said = said(&output);
    assert!(
        output.status.success() && said.contains("resuming"),
        "{said}"
    );
    assert!(same_bytes(&dir.join("out/ecs.raw"), &dir.join("base.raw")));
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("base.raw"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["base.raw", "base.raw.chunks", "base.raw.origin.json"]
    );
}

#[test]
fn what_an_earlier_pull_of_another_ami_has_left_does_not_show() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    let id = succeed(&mut server.import(dir, "ebs")).trim().to_owned();
    let disk = dir.join("out/ecs.raw");
    let left = File::create(dir.join(".base.raw.pull.raw")).unwrap();
    let len = fs::metadata(&disk).unwrap().len();
    left.set_len(len).unwrap();
    for place in [0, len / 2, len - 4096] {
        left.write_all_at(&[0x55; 4096], place).unwrap();
    }
    let pull = || {
        let mut pull = server.command(dir, "pull");
        pull.args([&id, "-o", "base.raw", "--force"]);
        pull
    };
    succeed(&mut pull());
    assert!(same_bytes(&disk, &dir.join("base.raw")));
    // A link there leads to a file that is not meant.
    fs::write(dir.join("other"), "other").unwrap();
    for name in [".base.raw.pull.raw", ".base.raw.pull.journal"] {
        let _ = fs::remove_file(dir.join(name));
        symlink("other", dir.join(name)).unwrap();
        is_one_error(&refused(&mut pull()), &[name, "symbolic link"]);
        assert_eq!(fs::read(dir.join("other")).unwrap(), b"other");
        fs::remove_file(dir.join(name)).unwrap();
    }
}

#[test]
fn the_recommended_ami_of_ecs_is_pulled_by_its_parameter() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    // As Amazon has it: JSON, in which the AMI is one of several things.
    let name = "/aws/service/ecs/optimized-ami/amazon-linux/recommended";
    let parameter = server.tell("parameter", &json!({"region": REGION, "name": name}));
    let ami = parameter["image_id"].as_str().unwrap();
    let disk = dir.join("out/ecs.raw");
    public_image(&server, ami, &disk);
    let pull = |parameter: &str, to: &str| {
        let mut pull = server.command(dir, "pull");
        pull.args([&format!("ssm:{parameter}"), "-o", to]);
        pull
    };
    succeed(&mut pull(name, "base.raw"));
    let base = fs::File::options().write(true).open(dir.join("base.raw"));
    base.unwrap()
        .set_len(fs::metadata(&disk).unwrap().len())
        .unwrap();
    assert!(same_bytes(&disk, &dir.join("base.raw")));
    let origin = fs::read(dir.join("base.raw.origin.json")).unwrap();
    let origin: Value = serde_json::from_slice(&origin).unwrap();
    assert_eq!(origin["ami_id"], ami);
    // The one that names the AMI alone.
    succeed(&mut pull(&format!("{name}/image_id"), "by-its-id.raw"));

    let windows = "/aws/service/ecs/optimized-ami/windows_server/2019/english/full/recommended/os";
    let said = refused(&mut pull(windows, "no.raw"));
    is_one_error(&said, &["names no AMI", "Windows_Server-2019"]);
    let said = refused(&mut pull("/images/none", "no.raw"));
    is_one_error(&said, &["/images/none", "--region"]);
    nothing_left(&server, dir);
    server.assert_no_violations();
}

#[test]
fn the_copy_of_a_pull_that_was_killed_is_found_and_used_again() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    let disk = dir.join("out/ecs.raw");
    let ami = "ami-0aff88ed576e63e90";
    public_image(&server, ami, &disk);
    let pull = || {
        let mut pull = server.command(dir, "pull");
        pull.args([ami, "-o", "base.raw"]);
        pull
    };
    let mut child = started(&mut pull(), || server.count("GetSnapshotBlock") >= 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let left = leftovers(&server, dir);
    assert!(left.contains("AMI ami-") && left.contains(ami), "{left}");
    succeed(&mut pull());
    assert!(same_bytes(&disk, &dir.join("base.raw")));
    assert_eq!(server.count("CopyImage"), 1);
    nothing_left(&server, dir);
}

#[test]
fn a_pull_that_is_stopped_takes_its_copy_away_and_can_go_on() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    let disk = dir.join("out/ecs.raw");
    let ami = "ami-0aff88ed576e63e90";
    public_image(&server, ami, &disk);
    let pull = || {
        let mut pull = server.command(dir, "pull");
        pull.args([ami, "-o", "base.raw"]);
        pull
    };
    let mut child = started(&mut pull(), || server.count("CopyImage") >= 1);
    // It has the answer now, and waits for the copy.
    sleep(Duration::from_millis(100));
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    nothing_left(&server, dir);
    succeed(&mut pull());
    assert!(same_bytes(&disk, &dir.join("base.raw")));
    assert_eq!(server.count("CopyImage"), 2);
    nothing_left(&server, dir);
}
