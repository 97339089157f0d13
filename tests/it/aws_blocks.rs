//! `imgasm import --via ebs`: which blocks are sent, and what becomes of those that are not.

use crate::support::aws;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::aws::{
    command, example, is_one_error, make_small, make_small_change, refused, said, set_base, succeed,
};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{
    build_upon_base, built, imported, is_snapshot_of, nothing_left, snapshot_of,
};

const AMI: &str = "ami_name = \"docker-in-aws-ecs {{ timestamp }}\"\n";
const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Makes the AMI the base of what is built in `dir` next: itself with one small file changed.
fn change_a_little(server: &Server, dir: &Path, ami: &str) {
    succeed(server.command(dir, "pull").args([ami, "-o", "base.raw"]));
    build_upon_base(dir);
    make_small_change(dir);
    succeed(&mut server.command(dir, "build"));
}

fn root_is_right(server: &Server, dir: &Path, ami: &str) {
    let image = server.describe_image(REGION, ami);
    let root = snapshot_of(&image, "/dev/xvda");
    is_snapshot_of(server, &root, &dir.join("out/ecs.raw"), dir);
    server.assert_no_violations();
}

/// The parameters of the last request of an operation.
fn last(server: &Server, operation: &str) -> Value {
    let log = server.log();
    let mut of_it = log.iter().filter(|it| it["operation"] == operation);
    of_it.next_back().unwrap()["parameters"].clone()
}

#[test]
fn one_small_file_of_8_gib_is_a_small_upload() {
    let Some(server) = Server::start() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    example(dir, AMI);
    set_base(dir, "{ rootfs = \"rootfs\", size = \"8GiB\" }");
    succeed(&mut server.command(dir, "build"));
    assert_eq!(
        fs::metadata(dir.join("out/ecs.raw")).unwrap().len(),
        8 << 30
    );
    let id = imported(&mut server.import(dir, "s3"));
    change_a_little(&server, dir, &id);
    let before = server.count("PutSnapshotBlock");
    let mut import = server.import(dir, "ebs");
    let id = imported(import.env("SOURCE_DATE_EPOCH", "7"));
    let sent = server.count("PutSnapshotBlock") - before;
    assert!(sent > 0 && sent < 20, "{sent} blocks");
    root_is_right(&server, dir, &id);
}

#[test]
fn upon_an_encrypted_snapshot_nothing_is_built() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    server.tell("settings", &json!({"encryption_by_default": true}));
    let id = imported(&mut server.import(dir, "s3"));
    server.tell("settings", &json!({"encryption_by_default": false}));
    change_a_little(&server, dir, &id);
    let mut import = server.import(dir, "ebs");
    let output = import.env("SOURCE_DATE_EPOCH", "7").output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("all of its data is sent") && told.contains("it is encrypted"),
        "{told}"
    );
    assert_eq!(
        last(&server, "StartSnapshot")["ParentSnapshotId"],
        Value::Null
    );
    root_is_right(
        &server,
        dir,
        String::from_utf8(output.stdout).unwrap().trim(),
    );
}

#[test]
fn a_snapshot_is_encrypted_with_the_key_of_the_recipe() {
    let ami = format!("{AMI}ami_root_device = {{ encrypted = true, kms_key_id = \"{KEY}\" }}\n");
    let Some((dir, server)) = built(&ami) else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    for (via, operation, key) in [
        ("ebs", "StartSnapshot", "KmsKeyArn"),
        ("s3", "ImportSnapshot", "KmsKeyId"),
    ] {
        let mut import = server.import(dir, via);
        import
            .arg("--force")
            .env("SOURCE_DATE_EPOCH", via.len().to_string());
        let id = imported(&mut import);
        let image = server.describe_image(REGION, &id);
        let mapping = &image["BlockDeviceMappings"][0]["Ebs"];
        assert_eq!(mapping["Encrypted"], true);
        let request = last(&server, operation);
        assert_eq!(
            (&request["Encrypted"], &request[key]),
            (&json!(true), &json!(KEY))
        );
        root_is_right(&server, dir, &id);
    }
    nothing_left(&server, dir);
}

#[test]
fn a_key_that_ebs_would_not_take_is_refused_before_anything_is_sent() {
    if !aws::is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let key = "ami_root_device = { encrypted = true, kms_key_id = \"alias/images\" }";
    example(dir, &format!("{AMI}{key}\n"));
    make_small(dir);
    succeed(&mut command(dir, "build"));
    let import = |via: &str| {
        let mut import = command(dir, "import");
        import.args(["--via", via, "--bucket", BUCKET, "--dry-run"]);
        import
    };
    let told = refused(&mut import("ebs"));
    is_one_error(
        &told,
        &["/dev/xvda", "alias/images", "arn:aws:kms:", "--via s3"],
    );
    succeed(&mut import("s3"));
}

#[test]
fn where_blocks_that_are_left_out_are_not_zeros_all_are_sent() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    aws::make_small(dir);
    succeed(&mut server.command(dir, "build"));
    server.tell("settings", &json!({"encryption_by_default": true}));
    let output = server.import(dir, "ebs").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("encrypt"), "{}", said(&output));
    let id = String::from_utf8(output.stdout).unwrap();
    let image = server.describe_image(REGION, id.trim());
    let root = snapshot_of(&image, "/dev/xvda");
    is_snapshot_of(&server, &root, &dir.join("out/ecs.raw"), dir);
    server.assert_no_violations();
}
