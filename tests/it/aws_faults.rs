//! `imgasm import` and `pull` when AWS, the network or the machine fail: the end is the right AMI or
//! one clear error, and nothing is left behind that `gc` does not find.

use crate::support::aws;
use crate::support::aws_steps;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::aws::{example, is_one_error, refused, said, started, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{is_right, leftovers};

fn built() -> Option<(tempfile::TempDir, Server)> {
    aws_steps::built("ami_name = \"ecs\"\n")
}

fn faults(server: &Server, rules: &Value) {
    server.tell("faults", rules);
}

#[test]
fn throttled_failing_and_cut_off_it_still_arrives() {
    let Some((dir, server)) = built() else { return };
    let dir = dir.path();
    for (via, rules) in [
        (
            "ebs",
            json!([{"service": "ebs", "operation": "PutSnapshotBlock", "kind": "throttle", "rate": 0.3}]),
        ),
        ("s3", json!([{"kind": "throttle", "rate": 0.1}])),
        ("ebs", json!([{"kind": "error", "rate": 0.05}])),
        ("s3", json!([{"kind": "error", "rate": 0.05}])),
        (
            "ebs",
            json!([{"service": "ebs", "kind": "drop", "rate": 0.1}]),
        ),
        (
            "s3",
            json!([{"service": "s3", "operation": "UploadPart", "kind": "drop", "times": 2}]),
        ),
        // The answer is lost of what was done.
        (
            "ebs",
            json!([{"operation": "StartSnapshot", "kind": "drop-late", "times": 1},
                       {"operation": "RegisterImage", "kind": "drop-late", "times": 1}]),
        ),
        (
            "s3",
            json!([{"operation": "CreateMultipartUpload", "kind": "drop-late", "times": 1},
                      {"operation": "ImportSnapshot", "kind": "drop-late", "times": 1},
                      {"operation": "RegisterImage", "kind": "drop-late", "times": 1}]),
        ),
    ] {
        faults(&server, &rules);
        let args = ["--force", "--force-deregister"];
        let output = server.import(dir, via).args(args).output().unwrap();
        assert!(output.status.success(), "{via} {rules}: {}", said(&output));
        faults(&server, &json!([]));
        // What `--force-deregister` took the name from.
        succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
        is_right(&server, dir, &String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn killed_at_any_moment_a_second_run_ends_it() {
    let Some((dir, server)) = built() else { return };
    let dir = dir.path();
    let mut total = 0;
    for (via, moments) in [("ebs", [1, 6, 20, 40, 60]), ("s3", [2, 5, 8, 11, 14])] {
        for moment in moments {
            let before = server.log().len();
            let puts = server.count("PutSnapshotBlock");
            let mut import = server.import(dir, via);
            import
                .args(["--force-deregister"])
                .env("SOURCE_DATE_EPOCH", "1");
            let mut child = started(&mut import, || server.log().len() >= before + moment);
            child.kill().unwrap();
            child.wait().unwrap();
            let id = succeed(&mut server.import(dir, via));
            is_right(&server, dir, &id);
            total = server.count("PutSnapshotBlock") - puts;
            // Away with it, for the next time to begin from nothing.
            let deregister = json!({"region": REGION, "id": id.trim()});
            server.tell("deregister", &deregister);
            succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
            assert_eq!(leftovers(&server, dir), "");
        }
        if via == "ebs" {
            // Those that were under way when it was killed, and no others, are sent again.
            let output = succeed(server.import(dir, "ebs").arg("--dry-run"));
            let preview: Value = serde_json::from_str(&output).unwrap();
            let disks = preview["disks"].as_array().unwrap().iter();
            let once: u64 = disks
                .map(|it| it["upload_requests"].as_u64().unwrap() - 2)
                .sum();
            let once = usize::try_from(once).unwrap();
            assert!(
                total >= once && total <= once + 64,
                "{total} for {once} blocks"
            );
        }
    }
}

/// Nothing is there at all, whoever looks for it.
fn is_empty(server: &Server) {
    let place = json!({"region": REGION, "bucket": BUCKET});
    let nothing = json!({
        "images": [], "snapshots": [], "tasks": [], "objects": [], "uploads": [],
    });
    assert_eq!(server.tell("everything", &place), nothing);
}

#[test]
fn gc_finds_all_that_a_killed_run_has_left() {
    let Some((dir, server)) = built() else { return };
    let dir = dir.path();
    for (via, moments) in [("ebs", [4, 12, 30]), ("s3", [6, 9, 13])] {
        for moment in moments {
            let before = server.log().len();
            let mut import = server.import(dir, via);
            let mut child = started(&mut import, || server.log().len() >= before + moment);
            child.kill().unwrap();
            child.wait().unwrap();
            // What was on its way arrives.
            sleep(Duration::from_millis(300));
            succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
            for image in leftovers_of_success(&server) {
                server.tell("deregister", &json!({"region": REGION, "id": image}));
                succeed(server.gc(dir).arg("--yes"));
            }
            is_empty(&server);
        }
    }
}

/// The AMIs of runs that were killed too late.
fn leftovers_of_success(server: &Server) -> Vec<Value> {
    let place = json!({"region": REGION, "bucket": BUCKET});
    let everything = server.tell("everything", &place);
    everything["images"].as_array().unwrap().clone()
}

#[test]
fn what_is_wrong_is_told_with_what_to_do_and_nothing_stays() {
    let Some((dir, server)) = built() else { return };
    let dir = dir.path();
    let import = |args: &[&str]| refused(server.import(dir, "s3").args(args));
    let import_from =
        |bucket: &str| refused(server.command(dir, "import").args(["--bucket", bucket]));
    let nothing_stays = || assert_eq!(leftovers(&server, dir), "");

    let said = import(&["--role", "nobody"]);
    is_one_error(
        &said,
        &["nobody", "trust vmie.amazonaws.com", "s3:GetObject"],
    );
    nothing_stays();

    server.make_bucket("far-away", "eu-west-1");
    let said = import_from("far-away");
    is_one_error(&said, &["far-away", "eu-west-1", "us-east-1"]);
    let said = import_from("nowhere");
    is_one_error(&said, &["nowhere", "does not exist", "--bucket"]);

    let invalid = "ClientError: Disk validation failed [Unsupported VMDK File Format]";
    server.tell("settings", &json!({"task_message": invalid}));
    let said = import(&[]);
    is_one_error(
        &said,
        &["Disk validation failed", "--disk-format", "ecs.raw"],
    );
    nothing_stays();

    server.tell("settings", &json!({"task_message": ""}));
    faults(
        &server,
        &json!([{"operation": "ImportSnapshot", "kind":
        "ResourceCountLimitExceeded: You have reached the maximum number of imports"}]),
    );
    let said = import(&[]);
    is_one_error(&said, &["ResourceCountLimitExceeded", "Service Quotas"]);
    faults(&server, &json!([]));
    nothing_stays();

    server.tell("settings", &json!({"polls": 1000}));
    let said = import(&["--timeout", "1"]);
    is_one_error(&said, &["not done after 1 seconds", "--timeout"]);
    // What is under way is for the next run, or for gc.
    assert_ne!(leftovers(&server, dir), "");
    succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
    nothing_stays();
    server.tell("settings", &json!({"polls": 1}));

    faults(
        &server,
        &json!([{"kind": "UnauthorizedOperation: You are not authorized",
        "operation": "RegisterImage"}]),
    );
    let said = import(&[]);
    is_one_error(&said, &["UnauthorizedOperation", "--dry-run"]);
    faults(&server, &json!([]));
    nothing_stays();

    let mut nobody = aws::command(dir, "import");
    nobody.args([
        "--bucket",
        BUCKET,
        "--endpoint-url",
        &server.url(),
        "--region",
        REGION,
    ]);
    is_one_error(&refused(&mut nobody), &["credentials"]);
    let mut unreachable = server.import(dir, "ebs");
    unreachable.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    is_one_error(&refused(&mut unreachable), &["no answer"]);
}

#[test]
fn where_nothing_can_be_removed_either_a_further_run_goes_on() {
    let Some((dir, server)) = built() else { return };
    let dir = dir.path();
    // From some block on, nobody believes us any more.
    faults(
        &server,
        &json!([
            {"operation": "PutSnapshotBlock", "kind": "expired", "skip": 10},
            {"operation": "DeleteSnapshot", "kind": "expired"},
        ]),
    );
    let told = refused(&mut server.import(dir, "ebs"));
    is_one_error(&told, &["xpired", "sign in again", "imgasm gc"]);
    faults(&server, &json!([]));
    let output = server.import(dir, "ebs").output().unwrap();
    let told = said(&output);
    assert!(
        output.status.success() && told.contains("resuming"),
        "{told}"
    );
    is_right(&server, dir, &String::from_utf8(output.stdout).unwrap());
}

#[test]
fn expired_credentials_leave_what_gc_finds_and_a_further_run_goes_on() {
    for (via, operation, skip) in [("ebs", "PutSnapshotBlock", 10), ("s3", "UploadPart", 9)] {
        let Some(server) = Server::start() else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        example(dir, "ami_name = \"ecs\"\n");
        aws::make_small(dir);
        succeed(&mut server.command(dir, "build"));
        let import = |on_error: &str| {
            let mut import = server.import(dir, via);
            import.args(["--disk-format", "raw", "--on-error", on_error]);
            import
        };
        let expire = json!([{"operation": operation, "kind": "expired", "skip": skip}]);
        faults(&server, &expire);
        let said = refused(&mut import("keep"));
        is_one_error(&said, &["xpired", "sign in again"]);
        faults(&server, &json!([]));
        assert_ne!(leftovers(&server, dir), "");
        // What had been sent is not sent again.
        let sent = || server.count("PutSnapshotBlock") + server.count("UploadPart");
        let before = sent();
        let output = import("cleanup").output().unwrap();
        let said = aws::said(&output);
        assert!(
            output.status.success() && said.contains("resuming"),
            "{said}"
        );
        let again = sent() - before;
        let preview: Value =
            serde_json::from_str(&succeed(import("keep").arg("--dry-run"))).unwrap();
        let once = preview["disks"][0]["upload_requests"].as_u64().unwrap() - 2;
        let once = usize::try_from(once).unwrap();
        assert!(again > 0 && again + 5 <= once, "{via}: {again} of {once}");
        is_right(&server, dir, &String::from_utf8(output.stdout).unwrap());
    }
}
