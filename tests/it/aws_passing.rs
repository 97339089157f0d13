//! What passes, passes: failures that EC2 is known to have for a moment, and what is kept until then.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::support::aws::{is_one_error, make_small, refused, said, started, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{built, imported, is_right, leftovers, nothing_left};

fn small(ami: &str) -> Option<(tempfile::TempDir, Server)> {
    let (dir, server) = built(ami)?;
    make_small(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server))
}

#[test]
fn what_was_just_made_is_not_known_at_once() {
    let ami = "ami_name = \"new {{ timestamp }}\"\nami_users = [\"210987654321\"]\n\
               ami_regions = [\"eu-central-1\"]\nssm_parameter = \"/images/new\"\n";
    let Some((dir, server)) = small(ami) else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"unknown": 3}));
    for (via, stamp) in [("ebs", "1"), ("s3", "2")] {
        let mut import = server.import(dir, via);
        import.arg("--force").env("SOURCE_DATE_EPOCH", stamp);
        let id = imported(&mut import);
        server.tell("settings", &json!({"unknown": 0}));
        is_right(&server, dir, &id);
        server.tell("settings", &json!({"unknown": 3}));
    }
}

#[test]
fn failures_that_were_reported_of_ec2_pass() {
    let ami = "ami_name = \"passing {{ timestamp }}\"\nami_regions = [\"eu-central-1\"]\n";
    let Some((dir, server)) = small(ami) else {
        return;
    };
    let dir = dir.path();
    let busy = "ResourceLimitExceeded: You have exceeded the snapshot copies in progress";
    for (number, (via, rules)) in [
        (
            "ebs",
            json!([
                {"operation": "PutSnapshotBlock", "times": 5,
                 "kind": "ValidationException: Failed to read block data"},
                {"operation": "PutSnapshotBlock", "times": 3, "kind": "ResourceNotFoundException: not yet"},
                {"operation": "CopyImage", "times": 2, "kind": busy}
            ]),
        ),
        // Longer than the SDK itself would try.
        ("s3", json!([{"service": "s3", "kind": "throttle", "times": 12}])),
        (
            "s3",
            json!([{"operation": "CompleteMultipartUpload", "kind": "drop-late", "times": 1}]),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        server.tell("faults", &rules);
        let mut import = server.import(dir, via);
        import
            .args(["--force"])
            .env("SOURCE_DATE_EPOCH", (number + 1).to_string());
        let id = imported(&mut import);
        server.tell("faults", &json!([]));
        is_right(&server, dir, &id);
    }
}

#[test]
fn what_takes_too_long_is_kept_and_the_next_run_goes_on_with_it() {
    let Some((dir, server)) = small("ami_name = \"slow\"\n") else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"polls": 1000}));
    let told = refused(server.import(dir, "s3").args(["--timeout", "1"]));
    is_one_error(
        &told,
        &["not done after 1 seconds", "run the same command again"],
    );
    server.tell("settings", &json!({"polls": 1}));
    let parts = server.count("UploadPart");
    let place = json!({"region": REGION, "bucket": BUCKET});
    assert_eq!(
        server.tell("everything", &place)["tasks"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.tell("hurry", &json!({"region": REGION}));
    let id = imported(&mut server.import(dir, "s3"));
    assert_eq!(
        server.count("UploadPart"),
        parts,
        "nothing is uploaded again"
    );
    is_right(&server, dir, &id);
}

#[test]
fn what_another_run_has_begun_is_not_taken_away_from_it() {
    let Some((dir, server)) = small("ami_name = \"shared\"\n") else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"polls": 1000}));
    let told = refused(server.import(dir, "s3").args(["--timeout", "1"]));
    is_one_error(&told, &["not done"]);
    // The second run finds the import of the first, waits for it, and is stopped.
    let waits = server.count("DescribeImportSnapshotTasks");
    let mut child = started(&mut server.import(dir, "s3"), || {
        server.count("DescribeImportSnapshotTasks") > waits + 2
    });
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let everything = server.tell("everything", &json!({"region": REGION, "bucket": BUCKET}));
    assert_eq!(
        everything["tasks"].as_array().unwrap().len(),
        1,
        "{everything}"
    );
    assert_eq!(server.count("CancelImportTask"), 0);
}

#[test]
fn two_imports_of_one_image_at_once_end_with_one_ami() {
    let Some((dir, server)) = small("ami_name = \"twice {{ timestamp }}\"\n") else {
        return;
    };
    let dir = dir.path();
    let child = |stamp: &str| {
        let mut import = server.import(dir, "ebs");
        import.env("SOURCE_DATE_EPOCH", stamp);
        import.stdout(std::process::Stdio::piped());
        import.spawn().unwrap()
    };
    let both = [child("1"), child("2")].map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(both[0], both[1]);
    is_right(&server, dir, &both[0]);
}

#[test]
fn a_second_interrupt_stops_the_cleaning_and_says_what_is_left() {
    let Some((dir, server)) = small("ami_name = \"stopped\"\n") else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"polls": 1000}));
    // What would clean up is refused for as long as the user likes to wait.
    server.tell(
        "faults",
        &json!([{"operation": "CancelImportTask", "kind": "throttle"}]),
    );
    let mut import = server.import(dir, "s3");
    import.stderr(std::process::Stdio::piped());
    let child = import.spawn().unwrap();
    let wait_for = |operation: &str| {
        for _ in 0..600 {
            if server.count(operation) > 0 {
                break;
            }
            sleep(Duration::from_millis(100));
        }
    };
    let interrupt = || {
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    };
    wait_for("ImportSnapshot");
    sleep(Duration::from_millis(500));
    interrupt();
    wait_for("CancelImportTask");
    interrupt();
    let output = child.wait_with_output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("import task import-snap-") && told.contains("left behind"),
        "{told}"
    );
    server.tell("faults", &json!([]));
    assert_ne!(leftovers(&server, dir), "");
    succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
    nothing_left(&server, dir);
}

#[test]
fn a_closed_terminal_stops_an_import_that_heeds_it() {
    let Some((dir, server)) = small("ami_name = \"closed\"\n") else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"polls": 1000}));
    let begun = |command: &mut Command, earlier: usize| {
        let child = started(command, || {
            server.count("DescribeImportSnapshotTasks") > earlier + 2
        });
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
        child
    };
    let mut stopped = begun(&mut server.import(dir, "s3"), 0);
    assert_eq!(stopped.wait().unwrap().code(), Some(2));
    assert_eq!(server.count("CancelImportTask"), 1);
    nothing_left(&server, dir);

    let import = server.import(dir, "s3");
    let mut deaf = Command::new("/usr/bin/env");
    deaf.arg("--ignore-signal=HUP")
        .args(import.get_args().skip(1))
        .current_dir(dir);
    for (name, value) in import.get_envs() {
        match value {
            Some(value) => deaf.env(name, value),
            None => deaf.env_remove(name),
        };
    }
    let mut goes_on = begun(&mut deaf, server.count("DescribeImportSnapshotTasks"));
    sleep(Duration::from_millis(200));
    server.tell("settings", &json!({"polls": 1}));
    server.tell("hurry", &json!({"region": REGION}));
    assert!(goes_on.wait().unwrap().success());
    assert_eq!(server.count("CancelImportTask"), 1);
}
