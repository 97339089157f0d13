//! What users of Packer know: who may use an AMI and its snapshots, regions, filters, and outputs.

use std::fs;

use serde_json::{Value, json};

use crate::support::aws::{is_one_error, make_small, refused, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{built, imported, nothing_left, public_image};
use crate::support::sparse::same_bytes;

fn small(ami: &str) -> Option<(tempfile::TempDir, Server)> {
    let (dir, server) = built(ami)?;
    make_small(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server))
}

#[test]
fn who_may_use_an_ami_and_its_snapshots() {
    let ami = r#"
ami_name = "for everybody"
ami_groups = ["all"]
snapshot_users = ["210987654321"]
snapshot_groups = ["all"]
ami_regions = ["eu-central-1"]
snapshot_copy_duration_minutes = 45
fast_snapshot_restore = ["us-east-1a", "us-east-1b", "eu-central-1a"]
"#;
    let Some((dir, server)) = small(ami) else {
        return;
    };
    let dir = dir.path();
    let id = imported(&mut server.import(dir, "ebs"));
    let image = server.describe_image(REGION, &id);
    assert_eq!(image["permissions"], json!([{"Group": "all"}]));
    let log = server.log();
    let of = |operation: &str, region: &str| -> Vec<Value> {
        let found = log
            .iter()
            .filter(|it| it["operation"] == operation && it["region"] == region);
        found.map(|it| it["parameters"].clone()).collect()
    };
    for (region, zones) in [
        (REGION, json!(["us-east-1a", "us-east-1b"])),
        ("eu-central-1", json!(["eu-central-1a"])),
    ] {
        let permitted = &of("ModifySnapshotAttribute", region)[0];
        let add = json!([{"Group": "all"}, {"UserId": "210987654321"}]);
        assert_eq!(permitted["CreateVolumePermission"]["Add"], add);
        let fast = &of("EnableFastSnapshotRestores", region)[0];
        assert_eq!(fast["AvailabilityZones"], zones);
        assert_eq!(fast["SourceSnapshotIds"][0], permitted["SnapshotId"]);
    }
    let copy = &of("CopyImage", "eu-central-1")[0];
    assert_eq!(copy["SnapshotCopyCompletionDurationMinutes"], 45);
    server.assert_no_violations();
}

#[test]
fn the_ami_need_not_stay_where_it_is_made() {
    let ami = "ami_name = \"elsewhere\"\nami_regions = [\"eu-central-1\"]\n\
               skip_save_build_region = true\nami_users = [\"210987654321\"]\n";
    let Some((dir, server)) = small(ami) else {
        return;
    };
    let dir = dir.path();
    let id = imported(&mut server.import(dir, "s3"));
    let here = json!({"region": REGION, "bucket": BUCKET});
    let nothing = json!({
        "images": [], "snapshots": [], "tasks": [], "objects": [], "uploads": [],
    });
    assert_eq!(server.tell("everything", &here), nothing);
    let image = server.describe_image("eu-central-1", &id);
    assert_eq!(image["permissions"], json!([{"UserId": "210987654321"}]));
    // The second run finds the copy, and makes nothing.
    assert_eq!(imported(&mut server.import(dir, "s3")), id);
    assert_eq!(server.count("RegisterImage"), 1);
    assert_eq!(server.count("ImportSnapshot"), 1);
    server.assert_no_violations();
}

#[test]
fn the_ids_of_all_regions_are_written_for_others_to_read() {
    let Some((dir, server)) = small("ami_name = \"ids\"\nami_regions = [\"eu-central-1\"]\n")
    else {
        return;
    };
    let dir = dir.path();
    let mut import = server.import(dir, "ebs");
    let id = imported(import.args(["--output-file", "ami.auto.tfvars.json"]));
    let text = fs::read(dir.join("ami.auto.tfvars.json")).unwrap();
    let ids: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(ids["ami"][REGION], id);
    let there = json!({"region": "eu-central-1", "bucket": BUCKET});
    let copies = server.tell("everything", &there);
    assert_eq!(ids["ami"]["eu-central-1"], copies["images"][0]);
    let manifest = fs::read(dir.join("out/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let copy = copies["images"][0].as_str().unwrap();
    let artifact = format!("eu-central-1:{copy},{REGION}:{id}");
    assert_eq!(manifest["builds"][0]["artifact_id"], artifact);
    let told = succeed(server.import(dir, "ebs").arg("--json"));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, manifest["builds"]);
}

#[test]
fn an_ami_is_pulled_by_what_it_is() {
    let Some((dir, server)) = small("ami_name = \"pulled\"\n") else {
        return;
    };
    let dir = dir.path();
    let disk = dir.join("out/ecs.raw");
    let ami = "ami-0aff88ed576e63e90";
    public_image(&server, ami, &disk);
    let pull = |args: &[&str]| {
        let mut pull = server.command(dir, "pull");
        pull.args(args).args(["-o", "base.raw"]);
        pull
    };
    let by_name = "name=amzn-ami-*-amazon-ecs-optimized";
    let told = refused(&mut pull(&["--filter", by_name]));
    assert!(told.contains("--owner"), "{told}");
    let told = refused(&mut pull(&["--filter", by_name, "--owner", "self"]));
    is_one_error(&told, &["no AMI of self", REGION]);
    let owner = ["--owner", "amazon", "--filter", by_name];
    succeed(pull(&owner).args(["--filter", "architecture=x86_64"]));
    let base = fs::File::options().write(true).open(dir.join("base.raw"));
    base.unwrap()
        .set_len(fs::metadata(&disk).unwrap().len())
        .unwrap();
    assert!(same_bytes(&disk, &dir.join("base.raw")));
    // Of two, one has to be meant.
    public_image(&server, "ami-0aff88ed576e63e91", &disk);
    let told = refused(pull(&owner).arg("--force"));
    is_one_error(&told, &["2 AMIs fit", "--most-recent"]);
    succeed(pull(&owner).args(["--most-recent", "--force"]));
    nothing_left(&server, dir);
    server.assert_no_violations();
}
