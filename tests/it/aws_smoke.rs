//! `make smoke-aws`, which is for a real account, on the test server.

use std::process::Command;

use serde_json::json;

use crate::support::aws::{command, python, said, tool};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::example::project;

#[test]
fn the_smoke_test_of_an_account_passes_here_and_leaves_nothing() {
    let (Some(python), Some(server)) = (python(), Server::start()) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    // A command of imgasm has nothing of AWS in its environment: neither has this.
    let clean = command(dir.path(), "import");
    let mut smoke = Command::new(python);
    for (name, value) in clean.get_envs() {
        match value {
            Some(value) => smoke.env(name, value),
            None => smoke.env_remove(name),
        };
    }
    smoke
        .arg(project().join("tests/aws/smoke.py"))
        .arg(tool().unwrap())
        .arg(BUCKET)
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ENDPOINT_URL", server.url());
    // Where nobody can be asked, nothing is made.
    let output = smoke.output().unwrap();
    assert!(!output.status.success());
    assert!(
        said(&output).contains("nothing was made"),
        "{}",
        said(&output)
    );
    assert_eq!(server.count("RegisterImage"), 0);
    let output = smoke.arg("--yes").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let nothing = json!({
        "images": [], "snapshots": [], "tasks": [], "objects": [], "uploads": [],
    });
    let place = json!({"region": REGION, "bucket": BUCKET});
    assert_eq!(server.tell("everything", &place), nothing);
    server.assert_no_violations();
}
