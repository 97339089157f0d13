//! What is found is used only if it is what is wanted, and what was made is compared with the wish.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::aws::{is_one_error, make_small, refused, said, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{built, imported, is_right, nothing_left, snapshot_of};

fn small(ami: &str) -> Option<(tempfile::TempDir, Server)> {
    let (dir, server) = built(ami)?;
    make_small(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server))
}

/// Gives the recipe in `dir` another `[ami]`; the image stays what it is.
fn change(server: &Server, dir: &Path, ami: &str) {
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let end = text.find("\n[ami]").unwrap();
    fs::write(&recipe, format!("{}\n[ami]\n{ami}", &text[..end])).unwrap();
    succeed(&mut server.command(dir, "build"));
}

fn everything(server: &Server) -> Value {
    server.tell("everything", &json!({"region": REGION, "bucket": BUCKET}))
}

/// Runs an import that fails when the AMI is registered, and keeps the snapshot.
fn leave_a_snapshot(server: &Server, dir: &Path, via: &str) -> String {
    let denied = "UnauthorizedOperation: You are not authorized";
    let faults = json!([{"operation": "RegisterImage", "kind": denied}]);
    server.tell("faults", &faults);
    refused(server.import(dir, via).args(["--on-error", "keep"]));
    server.tell("faults", &json!([]));
    let snapshots = everything(server)["snapshots"].clone();
    assert_eq!(snapshots.as_array().unwrap().len(), 1);
    snapshots[0].as_str().unwrap().to_owned()
}

#[test]
fn a_snapshot_is_what_its_blocks_are_and_not_what_its_tag_says() {
    let Some((dir, server)) = small("ami_name = \"proved\"\n") else {
        return;
    };
    let dir = dir.path();
    let left = leave_a_snapshot(&server, dir, "ebs");
    server.tell("tamper", &json!({"region": REGION, "id": left, "index": 2}));
    let output = server.import(dir, "ebs").output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains(&format!(
            "{left} has the tag of ecs.raw and is something else"
        )),
        "{told}"
    );
    let id = String::from_utf8(output.stdout).unwrap();
    let image = server.describe_image(REGION, id.trim());
    assert_ne!(snapshot_of(&image, "/dev/xvda"), left);
    succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
    is_right(&server, dir, &id);
}

#[test]
fn a_snapshot_that_is_right_is_used() {
    let Some((dir, server)) = small("ami_name = \"proved\"\n") else {
        return;
    };
    let dir = dir.path();
    for (via, verify) in [("ebs", "auto"), ("s3", "full"), ("ebs", "off")] {
        let left = leave_a_snapshot(&server, dir, via);
        let (reads, starts) = (
            server.count("GetSnapshotBlock"),
            server.count("StartSnapshot"),
        );
        let id = imported(server.import(dir, via).args(["--verify-snapshot", verify]));
        assert_eq!(server.count("StartSnapshot"), starts);
        assert_eq!(server.count("GetSnapshotBlock") > reads, verify != "off");
        let image = server.describe_image(REGION, &id);
        assert_eq!(snapshot_of(&image, "/dev/xvda"), left);
        // The object that the first run was to keep.
        succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
        is_right(&server, dir, &id);
        server.tell("reset", &json!({"bucket": BUCKET}));
    }
}

#[test]
fn what_the_import_service_has_written_into_a_disk_is_found() {
    let Some((dir, server)) = small("ami_name = \"rewritten\"\n") else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"rewrites": [2]}));
    let told = refused(&mut server.import(dir, "s3"));
    is_one_error(&told, &["is not ecs.raw", "byte 1048576", "--via ebs"]);
    nothing_left(&server, dir);
    assert_eq!(everything(&server)["images"], json!([]));
    imported(server.import(dir, "s3").args(["--verify-snapshot", "off"]));
}

#[test]
fn an_import_of_another_encryption_is_not_waited_for() {
    let Some((dir, server)) = small("ami_name = \"encrypted\"\n") else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"polls": 1000}));
    let told = refused(server.import(dir, "s3").args(["--timeout", "1"]));
    is_one_error(&told, &["not done"]);
    server.tell("settings", &json!({"polls": 1}));
    change(
        &server,
        dir,
        "ami_name = \"encrypted\"\nami_root_device = { encrypted = true }\n",
    );
    let before = server.count("ImportSnapshot");
    let id = imported(&mut server.import(dir, "s3"));
    assert_eq!(server.count("ImportSnapshot"), before + 1);
    let image = server.describe_image(REGION, &id);
    assert_eq!(image["BlockDeviceMappings"][0]["Ebs"]["Encrypted"], true);
}

#[test]
fn an_ami_that_is_found_is_brought_up_to_date() {
    let first = r#"
ami_name = "found {{ timestamp }}"
ami_description = "as it was"
ami_users = ["210987654321", "310987654321"]
ami_regions = ["eu-central-1"]
deprecate_at = "2030-01-31T00:00:00Z"
tags = { Team = "images", Stage = "test" }
snapshot_tags = { Cost = "1" }
"#;
    let Some((dir, server)) = small(first) else {
        return;
    };
    let dir = dir.path();
    let id = imported(&mut server.import(dir, "ebs"));
    let second = r#"
ami_name = "found {{ timestamp }}"
ami_description = "as it is"
ami_users = ["310987654321", "410987654321"]
ami_regions = ["eu-central-1"]
tags = { Team = "images", Stage = "production" }
snapshot_tags = { Cost = "2" }
"#;
    change(&server, dir, second);
    let output = server.import(dir, "ebs").output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), id);
    for word in [
        "as it was",
        "Stage is \"test\"",
        "Cost is \"1\"",
        "210987654321",
        "deprecated",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let copies = server.tell(
        "everything",
        &json!({"region": "eu-central-1", "bucket": BUCKET}),
    );
    let copy = copies["images"][0].as_str().unwrap();
    for (region, id) in [(REGION, &*id), ("eu-central-1", copy)] {
        let image = server.describe_image(region, id);
        assert_eq!(image["Description"], "as it is");
        assert_eq!(image["DeprecationTime"], Value::Null);
        let users = json!([{"UserId": "310987654321"}, {"UserId": "410987654321"}]);
        assert_eq!(image["permissions"], users);
    }
    assert_eq!(server.count("RegisterImage"), 1);
    // Nothing is left to do.
    let output = server.import(dir, "ebs").output().unwrap();
    assert!(!said(&output).contains("updated"), "{}", said(&output));
    server.assert_no_violations();
}

#[test]
fn another_name_makes_another_ami_of_the_same_snapshots() {
    let Some((dir, server)) = small("ami_name = \"one\"\n") else {
        return;
    };
    let dir = dir.path();
    let one = imported(&mut server.import(dir, "ebs"));
    change(&server, dir, "ami_name = \"two\"\n");
    let two = imported(&mut server.import(dir, "ebs"));
    assert_ne!(one, two);
    let images = [&one, &two].map(|id| server.describe_image(REGION, id));
    assert_eq!(images[1]["Name"], "two");
    let snapshots = images
        .each_ref()
        .map(|image| snapshot_of(image, "/dev/xvda"));
    assert_eq!(snapshots[0], snapshots[1]);
    assert_eq!(server.count("StartSnapshot"), 1);
}

#[test]
fn the_snapshots_of_a_copy_are_tagged_each_with_its_own_disk() {
    let Some((dir, server)) = built("ami_name = \"two disks\"\nami_regions = [\"eu-west-1\"]\n")
    else {
        return;
    };
    let dir = dir.path();
    imported(&mut server.import(dir, "ebs"));
    let log = server.log();
    let of_copy: Vec<_> = log
        .iter()
        .filter(|it| it["operation"] == "CreateTags" && it["region"] == "eu-west-1")
        .map(|it| {
            let tags = it["parameters"]["Tags"].as_array().unwrap();
            let disk = tags.iter().find(|tag| tag["Key"] == "imgasm:disk");
            (
                it["parameters"]["Resources"][0].clone(),
                disk.unwrap()["Value"].clone(),
            )
        })
        .collect();
    assert_eq!(of_copy.len(), 2);
    assert!(of_copy[0].0 != of_copy[1].0 && of_copy[0].1 != of_copy[1].1);
}

#[test]
fn what_ec2_has_registered_is_compared_with_what_was_asked_for() {
    let Some((dir, server)) = small("ami_name = \"compared\"\n") else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"forgets": ["ImdsSupport"]}));
    let told = refused(&mut server.import(dir, "ebs"));
    is_one_error(
        &told,
        &["is not what was asked for", "IMDS support is missing"],
    );
    assert_eq!(everything(&server)["images"], json!([]));
    nothing_left(&server, dir);
}
