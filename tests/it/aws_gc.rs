//! `imgasm gc`: where it looks, how old things are, and old AMIs.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::aws::{make_small, refused, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{built, imported, snapshot_of};

fn small(ami: &str) -> Option<(tempfile::TempDir, Server)> {
    let (dir, server) = built(ami)?;
    make_small(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server))
}

/// Runs an import that stops at an operation, as if the credentials had expired.
fn stopped_at(server: &Server, dir: &Path, via: &str, operation: &str, region: &str) {
    let faults = json!([{"operation": operation, "kind": "expired"}]);
    server.tell("faults", &faults);
    refused(server.import(dir, via).args(["--region", region]));
    server.tell("faults", &json!([]));
}

fn images(server: &Server, region: &str) -> Value {
    server.tell("everything", &json!({"region": region, "bucket": BUCKET}))["images"].clone()
}

#[test]
fn what_is_younger_than_a_day_may_belong_to_a_run() {
    let Some((dir, server)) = small("ami_name = \"young\"\n") else {
        return;
    };
    let dir = dir.path();
    stopped_at(&server, dir, "ebs", "RegisterImage", REGION);
    assert_eq!(succeed(&mut server.command(dir, "gc")), "");
    assert!(succeed(&mut server.gc(dir)).contains("snapshot snap-"));
    // An import says since when it is there by its object.
    server.tell("settings", &json!({"polls": 1000}));
    refused(server.import(dir, "s3").args(["--force", "--timeout", "1"]));
    let told = succeed(server.command(dir, "gc").args(["--bucket", BUCKET]));
    assert_eq!(told, "");
    let told = succeed(&mut server.gc(dir));
    let of_task = told
        .lines()
        .find(|line| line.contains("import task"))
        .unwrap();
    assert!(of_task.starts_with("20"), "{told}");
}

#[test]
fn the_bucket_and_the_regions_of_the_recipe_are_looked_at() {
    let ami = format!(
        "ami_name = \"everywhere\"\ns3_bucket_name = \"{BUCKET}\"\nami_regions = [\"eu-west-1\"]\n"
    );
    let Some((dir, server)) = small(&ami) else {
        return;
    };
    let dir = dir.path();
    stopped_at(&server, dir, "s3", "ImportSnapshot", REGION);
    stopped_at(&server, dir, "ebs", "RegisterImage", "eu-west-1");
    let told = succeed(&mut server.gc(dir));
    assert!(told.contains("s3://images/imgasm/ecs/"), "{told}");
    assert!(
        told.lines()
            .any(|line| line.contains("snapshot snap-") && line.contains("in eu-west-1")),
        "{told}"
    );
    let listed = |removed: bool, more: &[&str]| {
        let said = succeed(server.gc(dir).arg("--json").args(more));
        let listed: Vec<Value> = serde_json::from_str(&said).unwrap();
        assert_eq!(listed.len(), told.lines().count());
        for one in &listed {
            assert_eq!(one["removed"], removed, "{one}");
            let id = one["id"].as_str().unwrap();
            assert!(told.contains(id) && one["region"].is_string(), "{one}");
        }
    };
    listed(false, &[]);
    listed(true, &["--yes"]);
    assert_eq!(succeed(&mut server.gc(dir)), "");
    // In a folder without a recipe, the connection's region alone.
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(succeed(&mut server.gc(elsewhere.path())), "");
}

#[test]
fn old_amis_of_the_recipe_go_and_the_newest_stay() {
    let ami = "ami_name = \"nightly {{ timestamp }}\"\nami_regions = [\"eu-west-1\"]\n";
    let Some((dir, server)) = small(ami) else {
        return;
    };
    let dir = dir.path();
    let nights: Vec<String> = (1..=4)
        .map(|night| {
            let mut import = server.import(dir, "ebs");
            imported(
                import
                    .arg("--force")
                    .env("SOURCE_DATE_EPOCH", night.to_string()),
            )
        })
        .collect();
    let old = snapshot_of(&server.describe_image(REGION, &nights[0]), "/dev/xvda");
    // One that is protected is wanted.
    server.tell(
        "edit",
        &json!({"region": REGION, "id": nights[1], "key": "DeregistrationProtection",
                "value": "enabled"}),
    );
    let shown = succeed(server.gc(dir).args(["--keep-last", "2"]));
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(
        shown.contains(&nights[0]) && !shown.contains(&nights[1]),
        "{shown}"
    );
    assert!(shown.contains("nightly 1"), "{shown}");
    assert_eq!(
        images(&server, REGION).as_array().unwrap().len(),
        4,
        "it only shows"
    );
    succeed(server.gc(dir).args(["--keep-last", "2", "--yes"]));
    assert_eq!(images(&server, REGION), json!(nights[1..]));
    assert_eq!(images(&server, "eu-west-1").as_array().unwrap().len(), 2);
    let left = server.tell("everything", &json!({"region": REGION, "bucket": BUCKET}));
    assert!(!left["snapshots"].as_array().unwrap().contains(&json!(old)));
}

#[test]
fn amis_go_that_have_been_deprecated_for_long_but_not_the_newest() {
    let Some((dir, server)) = small("ami_name = \"monthly {{ timestamp }}\"\n") else {
        return;
    };
    let dir = dir.path();
    let months: Vec<String> = (1..=3)
        .map(|month| {
            let mut import = server.import(dir, "ebs");
            imported(
                import
                    .arg("--force")
                    .env("SOURCE_DATE_EPOCH", month.to_string()),
            )
        })
        .collect();
    for month in [0, 2] {
        server.tell(
            "edit",
            &json!({"region": REGION, "id": months[month], "key": "DeprecationTime",
                    "value": "2021-01-01T00:00:00.000Z"}),
        );
    }
    succeed(server.gc(dir).args(["--deprecated-for", "30", "--yes"]));
    assert_eq!(images(&server, REGION), json!(months[1..]));
}
