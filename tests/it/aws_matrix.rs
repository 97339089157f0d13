//! Every request of a run fails once in each way: the end is the right AMI or one clear error, the old
//! AMI is there for as long as the new one is not, and nothing is left that `gc` does not find.
//!
//! The requests are those of a run that was logged. One of each operation is tried in one of the ways,
//! in others with `IMGASM_AWS_MATRIX=SEED`, from 1 to 4; all of them in every way with `IMGASM_AWS_MATRIX=all`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::aws::{example, is_one_error, make_small, make_small_change, said, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{imported, is_snapshot_of, snapshot_of};

const COPY: &str = "eu-central-1";

const AMI: &str = r#"
ami_name = "the one"
ami_users = ["210987654321"]
ami_regions = ["eu-central-1"]
ssm_parameter = "/images/ecs"
force_deregister = true
force_delete_snapshot = true
"#;

/// How a request fails, and whether that passes.
const WAYS: [(&str, bool); 5] = [
    // Before it is done.
    ("error", true),
    // After it was done: the answer is lost.
    ("drop-late", true),
    ("throttle", true),
    ("drop", true),
    // For good.
    ("UnauthorizedOperation: You are not authorized", false),
];

/// An operation, and the how many-th of it.
type Request = (String, usize);

/// How much is tried.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    All,
    Sample(usize),
}

impl Range {
    fn asked_for() -> Self {
        match std::env::var("IMGASM_AWS_MATRIX") {
            Ok(all) if all == "all" => Self::All,
            Ok(seed) => Self::Sample(seed.parse().expect("`all` or a number")),
            Err(_) => Self::Sample(0),
        }
    }

    /// The ways in which a request fails.
    fn ways(self, request: usize) -> Vec<(&'static str, bool)> {
        let Self::Sample(seed) = self else {
            return WAYS.to_vec();
        };
        vec![WAYS[(request + seed) % WAYS.len()]]
    }
}

/// The requests that are tried, of those that a run has sent.
fn chosen(log: &[Value], range: Range) -> Vec<Request> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for request in log {
        let operation = request["operation"].as_str().unwrap().to_owned();
        let count = counts.entry(operation.clone()).or_default();
        // Blocks and parts are all alike.
        let is_bulk = matches!(
            &*operation,
            "PutSnapshotBlock" | "GetSnapshotBlock" | "UploadPart"
        );
        if *count == 0 || range == Range::All && !is_bulk {
            chosen.push((operation, *count));
        }
        *count += 1;
    }
    chosen
}

fn everything(server: &Server, region: &str) -> Value {
    server.tell("everything", &json!({"region": region, "bucket": BUCKET}))
}

/// In each region is one AMI of the name, with the snapshots that it needs, and nothing else.
fn is_whole(server: &Server, what: &str) {
    for region in [REGION, COPY] {
        let all = everything(server, region);
        let images = all["images"].as_array().unwrap();
        assert_eq!(images.len(), 1, "{what} in {region}: {all}");
        let image = server.describe_image(region, images[0].as_str().unwrap());
        assert_eq!(image["Name"], "the one", "{what} in {region}");
        let users = json!([{"UserId": "210987654321"}]);
        assert_eq!(image["permissions"], users, "{what} in {region}");
        let root = snapshot_of(&image, "/dev/xvda");
        assert_eq!(all["snapshots"], json!([root]), "{what} in {region}");
        for kind in ["tasks", "objects", "uploads"] {
            assert_eq!(all[kind], json!([]), "{what} in {region}: {kind}");
        }
    }
}

fn matrix(via: &str) {
    let Some(server) = Server::start() else {
        return;
    };
    server.tell("settings", &json!({"polls": 0}));
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (dir, is_changed) in dirs.iter().zip([false, true]) {
        let dir = dir.path();
        example(dir, AMI);
        make_small(dir);
        if is_changed {
            make_small_change(dir);
        }
        succeed(&mut server.command(dir, "build"));
    }
    let import = |dir: &Path| server.import(dir, via).output().unwrap();
    imported(&mut server.import(dirs[0].path(), via));
    let before = server.log().len();
    imported(&mut server.import(dirs[1].path(), via));
    let range = Range::asked_for();
    let requests = chosen(&server.log()[before..], range);
    assert!(requests.len() >= 15, "{requests:?}");
    let mut cells = 0;
    for (number, (operation, skip)) in requests.iter().enumerate() {
        for (way, passes) in range.ways(number) {
            let dir = dirs[cells % 2].path();
            let what = format!("{via}, {operation} {skip}, {way}");
            let fault = json!([{"operation": operation, "kind": way, "skip": skip, "times": 1}]);
            server.tell("faults", &fault);
            let output = import(dir);
            let told = said(&output);
            server.tell("faults", &json!([]));
            assert!(output.status.success() || !passes, "{what}: {told}");
            if !output.status.success() {
                is_one_error(&told, &[]);
            }
            succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
            is_whole(&server, &format!("{what}: {told}"));
            // The next run ends it, whatever happened to this one.
            let id = imported(&mut server.import(dir, via));
            let root = snapshot_of(&server.describe_image(REGION, &id), "/dev/xvda");
            is_snapshot_of(&server, &root, &dir.join("out/ecs.raw"), dir);
            is_whole(&server, &what);
            cells += 1;
        }
    }
    eprintln!("{via}: {} requests, {cells} cells", requests.len());
    server.assert_no_violations();
}

#[test]
fn every_request_of_an_import_by_blocks_fails_in_each_way() {
    matrix("ebs");
}

#[test]
fn every_request_of_an_import_through_a_bucket_fails_in_each_way() {
    matrix("s3");
}
