//! The policies that are printed: all that a run does is allowed by them, and little else.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::aws::{is_one_error, make_small, make_small_change, refused, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{built, imported, nothing_left, public_image};

const AMI: &str = r#"
ami_name = "allowed"
ami_users = ["210987654321"]
ami_regions = ["eu-central-1"]
snapshot_users = ["210987654321"]
fast_snapshot_restore = ["us-east-1a"]
deprecate_at = "2030-01-31T00:00:00Z"
ssm_parameter = "/images/ecs"
"#;

fn policy(server: &Server, dir: &Path, via: &str, args: &[&str]) -> Value {
    let mut shown = server.import(dir, via);
    let shown = succeed(shown.args(["--dry-run"]).args(args));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["policy"].clone()
}

fn obey(server: &Server, policy: &Value) {
    server.tell("settings", &json!({"policy": policy}));
}

#[test]
fn an_import_needs_no_more_than_its_policy() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    for via in ["ebs", "s3"] {
        obey(&server, &policy(&server, dir, via, &[]));
        imported(&mut server.import(dir, via));
        // Found again, replaced, and taken back where that fails.
        imported(&mut server.import(dir, via));
        let replace = ["--force", "--force-deregister"];
        obey(&server, &policy(&server, dir, via, &replace));
        let denied = "UnauthorizedOperation: not you";
        let fault = json!([{"operation": "CopyImage", "kind": denied, "times": 1}]);
        server.tell("faults", &fault);
        is_one_error(
            &refused(server.import(dir, via).args(replace)),
            &["not you"],
        );
        server.tell("faults", &json!([]));
        imported(server.import(dir, via).args(replace));
        obey(&server, &Value::Null);
        succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
        nothing_left(&server, dir);
        server.tell("reset", &json!({"bucket": BUCKET}));
    }
    // What the one way needs, the other way's policy does not allow.
    obey(&server, &policy(&server, dir, "ebs", &[]));
    let told = refused(&mut server.import(dir, "s3"));
    is_one_error(&told, &["not allowed"]);
}

#[test]
fn what_others_have_made_cannot_be_removed_by_it() {
    let Some((dir, server)) = built("ami_name = \"others\"\n") else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    let place = json!({"region": REGION, "bucket": BUCKET});
    let id = imported(&mut server.import(dir, "ebs"));
    // An AMI of the name that imgasm has not made.
    server.tell("untag", &json!({"region": REGION, "id": id}));
    make_small_change(dir);
    succeed(&mut server.command(dir, "build"));
    obey(&server, &policy(&server, dir, "ebs", &[]));
    let told = refused(server.import(dir, "ebs").arg("--force-deregister"));
    is_one_error(&told, &["ec2:DeregisterImage"]);
    assert_eq!(server.tell("everything", &place)["images"], json!([id]));
    // With the policy of a run that replaces, it can.
    let replace = ["--force-deregister"];
    obey(&server, &policy(&server, dir, "ebs", &replace));
    assert_ne!(imported(server.import(dir, "ebs").args(replace)), id);
}

#[test]
fn pull_and_gc_have_policies_of_their_own() {
    let Some((dir, server)) = built("ami_name = \"pulled {{ timestamp }}\"\n") else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    let shown = |command: &str, args: &[&str]| -> Value {
        let mut command = server.command(dir, command);
        let before = server.log().len();
        let shown = succeed(command.args(args).arg("--policy"));
        assert_eq!(server.log().len(), before, "it asks nobody");
        serde_json::from_str(&shown).unwrap()
    };
    let ami = "ami-0aff88ed576e63e90";
    public_image(&server, ami, &dir.join("out/ecs.raw"));
    obey(&server, &shown("pull", &[]));
    let parameter = "/aws/service/ecs/optimized-ami/amazon-linux/recommended";
    server.tell("parameter", &json!({"region": REGION, "name": parameter}));
    succeed(server.command(dir, "pull").args([ami, "-o", "base.raw"]));

    obey(&server, &Value::Null);
    for night in ["1", "2"] {
        let mut import = server.import(dir, "s3");
        imported(import.arg("--force").env("SOURCE_DATE_EPOCH", night));
    }
    // One of each kind is left behind: an object, and a snapshot without tags.
    for operation in ["ImportSnapshot", "CreateTags"] {
        let faults = json!([{"operation": operation, "kind": "expired"}]);
        server.tell("faults", &faults);
        refused(
            server
                .import(dir, "s3")
                .args(["--force"])
                .env("SOURCE_DATE_EPOCH", "3"),
        );
        server.tell("faults", &json!([]));
    }
    let args = ["--bucket", BUCKET, "--keep-last", "1"];
    obey(&server, &shown("gc", &args));
    succeed(server.gc(dir).args(args).arg("--yes"));
    assert_eq!(succeed(server.gc(dir).args(args)), "");
    let place = json!({"region": REGION, "bucket": BUCKET});
    let left = server.tell("everything", &place);
    assert_eq!(left["images"].as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left["objects"], json!([]), "{left}");
    server.assert_no_violations();
}
