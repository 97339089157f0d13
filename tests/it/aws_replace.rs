//! `--force-deregister`: an AMI of the same name makes room only when all else is ready, and comes
//! back if the new one does not come to be.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::aws::{is_one_error, make_small, make_small_change, refused, said, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{built, imported};

const COPY: &str = "eu-central-1";

const AMI: &str = r#"
ami_name = "the one"
ami_description = "as it was"
ami_users = ["210987654321"]
ami_regions = ["eu-central-1"]
deprecate_at = "2030-01-31T00:00:00Z"
ssm_parameter = "/images/ecs"
tags = { Team = "images" }
"#;

/// A server with the AMI and its copy, and a folder in which another image of the same name is built.
fn replaceable() -> Option<(tempfile::TempDir, Server, String)> {
    let (dir, server) = built(AMI)?;
    make_small(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    let old = imported(&mut server.import(dir.path(), "ebs"));
    make_small_change(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server, old))
}

fn images(server: &Server, region: &str) -> Vec<Value> {
    let all = server.tell("everything", &json!({"region": region, "bucket": BUCKET}));
    let ids = all["images"].as_array().unwrap();
    ids.iter()
        .map(|id| server.describe_image(region, id.as_str().unwrap()))
        .collect()
}

/// What an AMI is, but for its id and when it was made.
fn substance(image: &Value) -> Value {
    let mut image = image.clone();
    for key in ["ImageId", "CreationDate", "polls", "unknown"] {
        image.as_object_mut().unwrap().remove(key);
    }
    image
}

fn replace(server: &Server, dir: &Path, via: &str) -> std::process::Command {
    let mut import = server.import(dir, via);
    import.arg("--force-deregister");
    import
}

#[test]
fn whatever_request_fails_the_old_ami_is_there_or_the_new_one() {
    let Some((dir, server, _)) = replaceable() else {
        return;
    };
    let dir = dir.path();
    let before = [REGION, COPY].map(|region| substance(&images(&server, region)[0]));
    let mut cells = 0;
    for (via, operations) in [
        (
            "s3",
            &[
                "CreateMultipartUpload",
                "UploadPart",
                "CompleteMultipartUpload",
                "ImportSnapshot",
                "CreateTags",
                "DescribeImportSnapshotTasks",
            ][..],
        ),
        (
            "ebs",
            &[
                "StartSnapshot",
                "PutSnapshotBlock",
                "CompleteSnapshot",
                "DescribeSnapshots",
                "DeregisterImage",
                "RegisterImage",
                "CopyImage",
                "ModifyImageAttribute",
                "EnableImageDeprecation",
            ][..],
        ),
    ] {
        for operation in operations {
            let refusal = "UnauthorizedOperation: You are not authorized";
            // The requests that put the old one back are not refused.
            let fault = json!([{"operation": operation, "kind": refusal, "times": 1}]);
            server.tell("faults", &fault);
            let told = refused(&mut replace(&server, dir, via));
            is_one_error(&told, &["not authorized"]);
            server.tell("faults", &json!([]));
            for (region, before) in [REGION, COPY].iter().zip(&before) {
                let now = images(&server, region);
                assert_eq!(now.len(), 1, "{operation} in {region}: {told}");
                assert_eq!(
                    substance(&now[0]),
                    *before,
                    "{operation} in {region}: {told}"
                );
            }
            assert!(!dir.join("out/.ecs.replaced.json").exists());
            let mut gc = server.gc(dir);
            assert_eq!(succeed(gc.args(["--bucket", BUCKET])), "", "{operation}");
            cells += 1;
        }
    }
    assert_eq!(cells, 15);
    server.assert_no_violations();
}

#[test]
fn a_failure_that_passes_replaces_it_all_the_same() {
    let Some((dir, server, old)) = replaceable() else {
        return;
    };
    let dir = dir.path();
    for kind in ["throttle", "error", "drop", "drop-late"] {
        let rules: Vec<_> = [
            "DeregisterImage",
            "RegisterImage",
            "CopyImage",
            "CreateTags",
            "ModifyImageAttribute",
            "EnableImageDeprecation",
            "PutParameter",
        ]
        .iter()
        .map(|operation| json!({"operation": operation, "kind": kind, "times": 1}))
        .collect();
        server.tell("faults", &json!(rules));
        let mut import = replace(&server, dir, "s3");
        let new = imported(import.arg("--force"));
        server.tell("faults", &json!([]));
        assert_ne!(new, old);
        for region in [REGION, COPY] {
            assert_eq!(images(&server, region).len(), 1, "{kind} in {region}");
        }
        let mut gc = server.gc(dir);
        succeed(gc.args(["--bucket", BUCKET, "--yes"]));
    }
    server.assert_no_violations();
}

#[test]
fn a_protected_ami_is_reported_before_the_upload() {
    let protected = format!("{AMI}deregistration_protection = {{ enabled = true }}\n");
    let Some((dir, server)) = built(&protected) else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    let old = imported(&mut server.import(dir, "ebs"));
    make_small_change(dir);
    succeed(&mut server.command(dir, "build"));
    let before = server.count("StartSnapshot");
    let told = refused(&mut replace(&server, dir, "ebs"));
    is_one_error(&told, &[&old, "protection is enabled"]);
    assert_eq!(server.count("StartSnapshot"), before);
}

#[test]
fn a_run_that_is_killed_after_it_made_room_is_ended_by_the_next() {
    let Some((dir, server, old)) = replaceable() else {
        return;
    };
    let dir = dir.path();
    let mut import = replace(&server, dir, "ebs");
    let deregistered = server.count("DeregisterImage");
    let mut child = crate::support::aws::started(&mut import, || {
        server.count("DeregisterImage") > deregistered
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let output = replace(&server, dir, "ebs").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    for region in [REGION, COPY] {
        let now = images(&server, region);
        assert_eq!(now.len(), 1);
        assert_ne!(now[0]["ImageId"], json!(old));
    }
    assert!(!dir.join("out/.ecs.replaced.json").exists());
}

#[test]
fn whoever_names_an_ami_that_makes_room_is_named() {
    let Some((dir, server, old)) = replaceable() else {
        return;
    };
    let dir = dir.path();
    let templates = json!([
        {"name": "workers", "images": ["ami-1", old, "ami-2"], "default": 2},
        {"name": "others", "images": [old, "ami-1"], "default": 2},
    ]);
    server.tell("settings", &json!({"templates": templates}));
    let put = |name: &str, value: &str| {
        server.tell(
            "put-parameter",
            &json!({"region": REGION, "name": name, "value": value}),
        );
    };
    put("/fleet/image", &old);
    put("/fleet/other", "ami-1");
    // Who may not ask is not told.
    let refusals = [
        "DescribeLaunchTemplateVersions",
        "DescribeParameters",
        "StartSnapshot",
    ]
    .map(|operation| json!({"operation": operation, "kind": "UnauthorizedOperation: no"}));
    server.tell("faults", &json!(refusals));
    let told = refused(&mut replace(&server, dir, "ebs"));
    assert!(!told.contains("is named by"), "{told}");

    server.tell("faults", &json!([]));
    let output = replace(&server, dir, "ebs").output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    let users: Vec<&str> = told
        .lines()
        .filter_map(|line| line.split_once("makes room, is named by ")?.1.into())
        .collect();
    let expected = [
        "version 2 of the launch template workers",
        "the parameter /fleet/image",
    ];
    assert_eq!(users, expected, "{told}");
}
