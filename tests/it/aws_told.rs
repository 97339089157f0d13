//! Told is done: the list that `imgasm import --dry-run` prints is the list that an import sends, in
//! that order, and what a service would refuse is found before anything is sent.

use serde_json::{Value, json};

use crate::support::aws::{command, example, is_one_error, make_small, refused, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::{built, imported, snapshot_of};

const AMI: &str = r#"
ami_name = "told"
ami_users = ["210987654321"]
ami_regions = ["eu-central-1"]
deprecate_at = "2030-01-31T00:00:00Z"
deregistration_protection = { enabled = false }
ssm_parameter = "/images/ecs"
force_delete_snapshot = true
snapshot_users = ["210987654321"]
fast_snapshot_restore = ["us-east-1a", "eu-central-1b"]
snapshot_copy_duration_minutes = 30
"#;

/// The operations that change something.
const CHANGING: [&str; 21] = [
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "PutObject",
    "DeleteObject",
    "ImportSnapshot",
    "StartSnapshot",
    "PutSnapshotBlock",
    "CompleteSnapshot",
    "CreateTags",
    "RegisterImage",
    "CopyImage",
    "ModifyImageAttribute",
    "ModifySnapshotAttribute",
    "EnableFastSnapshotRestores",
    "EnableImageDeprecation",
    "DisableImageDeprecation",
    "PutParameter",
    "DeregisterImage",
    "DeleteSnapshot",
];

/// Whether what was sent has all that was shown. S3's requests are logged by their paths.
fn is_same(shown: &Value, sent: &Value) -> bool {
    if sent["service"] == "s3" {
        let place = format!(
            "/{}/{}",
            shown["Bucket"].as_str().unwrap(),
            shown["Key"].as_str().unwrap()
        );
        return sent["parameters"]["path"] == place;
    }
    let sent = &sent["parameters"];
    shown.as_object().unwrap().iter().all(|(key, value)| {
        let is_time = key == "DeprecateAt";
        is_time && !sent[key].is_null() || sent[key] == *value
    })
}

#[test]
fn what_was_shown_is_what_is_sent_in_that_order() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    let mut old: Option<(String, Value)> = None;
    for via in ["s3", "ebs"] {
        let args = ["--force", "--force-deregister"];
        let mut shown = server.import(dir, via);
        shown.args(args).arg("--dry-run");
        let before = server.log().len();
        let shown: Value = serde_json::from_str(&succeed(&mut shown)).unwrap();
        assert_eq!(server.log().len(), before, "a dry run asks nobody");
        let id = imported(server.import(dir, via).args(args));
        let image = server.describe_image(REGION, &id);
        let log = server.log();
        let mut sent: Vec<&Value> = log[before..]
            .iter()
            .filter(|it| CHANGING.iter().any(|name| it["operation"] == **name))
            .collect();
        sent.dedup_by(|one, other| {
            let bulk = ["UploadPart", "PutSnapshotBlock"];
            one["operation"] == other["operation"] && bulk.iter().any(|it| one["operation"] == *it)
        });
        let copies = &server.tell(
            "everything",
            &json!({"region": "eu-central-1", "bucket": BUCKET}),
        );
        let copy = copies["images"].as_array().unwrap().last().unwrap();
        let mut sent = sent.into_iter().peekable();
        for request in shown["requests"].as_array().unwrap() {
            // No AMI of the same image is looked for.
            let is_for_found = request["when"]
                .as_str()
                .is_some_and(|it| it.contains("found"));
            if is_for_found || request["when"] != Value::Null && old.is_none() {
                continue;
            }
            let mut text = request["parameters"].to_string();
            let of_copy = server.describe_image("eu-central-1", copy.as_str().unwrap());
            for (stands, for_it) in [
                (
                    "{{ecs.raw}}@eu-central-1",
                    snapshot_of(&of_copy, "/dev/xvda"),
                ),
                (
                    "{{ecs-docker.raw}}@eu-central-1",
                    snapshot_of(&of_copy, "/dev/xvdcy"),
                ),
                ("{{ecs.raw}}", snapshot_of(&image, "/dev/xvda")),
                ("{{ecs-docker.raw}}", snapshot_of(&image, "/dev/xvdcy")),
                ("{{ami}}@eu-central-1", copy.as_str().unwrap().to_owned()),
                ("{{ami}}", id.clone()),
            ] {
                text = text.replace(stands, &for_it);
            }
            let expected: Value = serde_json::from_str(&text).unwrap();
            let operation = &request["operation"];
            // One request on the list for all snapshots of an AMI, or blocks that have no order.
            let is_many = operation == "DeleteSnapshot";
            let is_unordered = operation == "PutSnapshotBlock" || text.contains("{{old");
            let region = request["region"].as_str().unwrap_or(REGION);
            let mut count = 0;
            while let Some(it) = sent.peek()
                && it["operation"] == *operation
                && (count == 0 || is_many)
                && it["region"] == region
            {
                let same = is_unordered || is_same(&expected, it);
                assert!(same, "{via}: {expected:#} is not {it:#}");
                sent.next();
                count += 1;
            }
            assert!(
                count > 0,
                "{via}: {request:#} is not sent, but {:#?}",
                sent.peek()
            );
        }
        assert_eq!(sent.next(), None, "{via}: it is not on the list");
        old = Some((id, image));
    }
    server.assert_no_violations();
}

#[test]
fn what_a_service_would_refuse_is_found_before_a_byte_is_sent() {
    let Some(server) = Server::start() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let long = "x".repeat(256);
    let cases = [
        (
            "ami_regions = [\"eu-west-1\"]\nsnapshot_copy_duration_minutes = 20\n".to_owned(),
            "s3",
            "steps of 15",
        ),
        (
            "fast_snapshot_restore = [\"eu-west-1a\"]\n".to_owned(),
            "s3",
            "eu-west-1a",
        ),
        (
            "ami_groups = [\"all\"]\nami_root_device = { encrypted = true }\n".to_owned(),
            "s3",
            "everybody",
        ),
        (
            "fast_launch = { enable_fast_launch = true }\n".to_owned(),
            "s3",
            "Windows",
        ),
        (
            "ami_product_codes = [\"x\"]\n".to_owned(),
            "s3",
            "Marketplace",
        ),
        (
            "skip_save_build_region = true\n".to_owned(),
            "s3",
            "ami_regions",
        ),
        (format!("ami_description = {long:?}\n"), "s3", "255"),
        (
            format!("tags = {{ a = {:?} }}\n", "x".repeat(257)),
            "s3",
            "256",
        ),
        (
            format!("snapshot_tags = {{ a = {long:?} }}\n"),
            "ebs",
            "255",
        ),
        (
            "uefi_data = \"QU1aTlVFRkkf\"\n".to_owned(),
            "s3",
            "boot_mode",
        ),
        (
            "boot_mode = \"uefi\"\nuefi_data = \"no base64!\"\n".to_owned(),
            "s3",
            "base64",
        ),
        (
            "deprecate_at = \"2020-01-01T00:00:00Z\"\n".to_owned(),
            "s3",
            "past",
        ),
        (
            "deprecate_at = \"2099-01-01T00:00:00Z\"\n".to_owned(),
            "s3",
            "ten years",
        ),
        ("ssm_parameter = \"/aws/x\"\n".to_owned(), "s3", "/aws/x"),
        (
            "ami_root_device = { volume_size = 500, volume_type = \"st1\" }\n".to_owned(),
            "s3",
            "root",
        ),
        (
            "ami_root_device = { volume_size = 8, volume_type = \"gp3\", iops = 5000 }\n"
                .to_owned(),
            "s3",
            "4000 at most",
        ),
    ];
    for (ami, via, word) in cases {
        example(dir, &format!("ami_name = \"checked\"\n{ami}"));
        make_small(dir);
        // Some of these are refused when the recipe is read.
        let output = command(dir, "build").output().unwrap();
        let told = if output.status.success() {
            let before = server.log().len();
            let told = refused(&mut server.import(dir, via));
            assert_eq!(server.log().len(), before, "{ami}");
            told
        } else {
            crate::support::aws::said(&output)
        };
        is_one_error(&told, &[word]);
    }
}
