//! `imgasm import`, `pull` and `gc` against a server that checks what AWS checks.

use crate::support::aws;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::aws::{make_small, refused, succeed};
use crate::support::aws_server::{BUCKET, REGION};
use crate::support::aws_steps::{
    built, imported, is_snapshot_of, leftovers, nothing_left, snapshot_of,
};

const AMI: &str = r#"
ami_name = "docker-in-aws-ecs {{ timestamp }}"
tags = { Name = "Docker in AWS ECS Base Image 2018.03.a", DockerVersion = "17.12.1-ce" }
snapshot_tags = { Team = "images" }
"#;

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("out/manifest.json")).unwrap()).unwrap()
}

#[test]
fn the_example_becomes_an_ami_with_three_devices() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    for via in ["s3", "ebs"] {
        let id = imported(
            server
                .import(dir, via)
                .arg("--force")
                .env("SOURCE_DATE_EPOCH", via.len().to_string()),
        );
        let image = server.describe_image(REGION, &id);
        assert_eq!(image["Name"], format!("docker-in-aws-ecs {}", via.len()));
        assert_eq!(image["ImdsSupport"], "v2.0");
        assert_eq!(image["EnaSupport"], true);
        let shape: Vec<_> = image["BlockDeviceMappings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mapping| {
                let ebs = &mapping["Ebs"];
                json!([
                    mapping["DeviceName"],
                    ebs["VolumeSize"],
                    ebs["VolumeType"],
                    ebs["DeleteOnTermination"]
                ])
            })
            .collect();
        let expected = [
            json!(["/dev/xvda", 2, "gp3", true]),
            json!(["/dev/xvdcy", 1, "gp2", true]),
            json!(["/dev/xvdcz", 22, "gp2", true]),
        ];
        assert_eq!(shape, expected);
        let root = snapshot_of(&image, "/dev/xvda");
        is_snapshot_of(&server, &root, &dir.join("out/ecs.raw"), dir);
        let data = snapshot_of(&image, "/dev/xvdcy");
        is_snapshot_of(&server, &data, &dir.join("out/ecs-docker.raw"), dir);
        // The file is now the data volume's.
        let volume = dir.join("back.raw");
        let check = Command::new("e2fsck")
            .arg("-fn")
            .arg(&volume)
            .output()
            .unwrap();
        assert!(check.status.success(), "{check:?}");
        let blkid = Command::new("blkid")
            .args(["-o", "value", "-s", "LABEL"])
            .arg(&volume)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&blkid.stdout).trim(), "docker");
        nothing_left(&server, dir);
        let build = &manifest(dir)["builds"];
        let last = build.as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["artifact_id"], format!("{REGION}:{id}"));
        assert_eq!(last["custom_data"]["snapshots"]["/dev/xvda"], root);
        assert_eq!(manifest(dir)["last_run_uuid"], last["packer_run_uuid"]);
    }
    server.assert_no_violations();
}

#[test]
fn the_same_image_is_not_imported_twice() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    let id = imported(&mut server.import(dir, "s3"));
    let first = manifest(dir);
    let before = server.log().len();
    assert_eq!(imported(&mut server.import(dir, "s3")), id);
    assert_eq!(imported(&mut server.import(dir, "ebs")), id);
    assert_eq!(manifest(dir), first);
    let changing = [
        "RegisterImage",
        "ImportSnapshot",
        "StartSnapshot",
        "CreateMultipartUpload",
    ];
    for request in &server.log()[before..] {
        assert!(
            !changing.iter().any(|it| request["operation"] == *it),
            "{request}"
        );
    }
    assert_ne!(imported(server.import(dir, "s3").arg("--force")), id);
    nothing_left(&server, dir);
}

#[test]
fn a_name_that_is_taken_is_refused_before_the_upload_or_replaced() {
    let Some((dir, server)) = built("ami_name = \"just one\"\nforce_delete_snapshot = true\n")
    else {
        return;
    };
    let dir = dir.path();
    let id = imported(&mut server.import(dir, "s3"));
    let said = refused(server.import(dir, "s3").arg("--force"));
    assert!(
        said.contains(&id) && said.contains("--force-deregister"),
        "{said}"
    );
    assert_eq!(server.count("ImportSnapshot"), 2);
    let args = ["--force", "--force-deregister"];
    let new = imported(server.import(dir, "s3").args(args));
    assert_ne!(new, id);
    assert!(
        server
            .tell("image", &json!({"region": REGION, "id": new}))
            .is_object()
    );
    nothing_left(&server, dir);
}

#[test]
fn copies_permissions_and_the_rest_of_what_makes_it_usable() {
    let ami = r#"
ami_name = "everywhere"
ami_users = ["210987654321"]
ami_org_arns = ["arn:aws:organizations::123456789012:organization/o-abcdefghij"]
ami_regions = ["eu-central-1", "us-west-2"]
region_kms_key_ids = { us-west-2 = "alias/images" }
deprecate_at = "2030-01-31T00:00:00Z"
deregistration_protection = { enabled = true, with_cooldown = true }
ssm_parameter = "/images/ecs"
"#;
    let Some((dir, server)) = built(ami) else {
        return;
    };
    let dir = dir.path();
    let id = imported(&mut server.import(dir, "s3"));
    let builds = manifest(dir)["builds"].as_array().unwrap().clone();
    // One artifact for all regions, as Packer has it.
    assert_eq!(builds.len(), 1);
    let artifact = builds[0]["artifact_id"].as_str().unwrap();
    let mut regions: Vec<_> = artifact
        .split(',')
        .map(|part| part.split_once(':').unwrap())
        .map(|(region, id)| (region.to_owned(), id.to_owned()))
        .collect();
    assert!(regions.is_sorted(), "{artifact}");
    // The AMI's own is the first that is made.
    regions.sort_by_key(|(region, _)| region != REGION);
    let names: Vec<_> = regions.iter().map(|(region, _)| region.as_str()).collect();
    assert_eq!(names, [REGION, "eu-central-1", "us-west-2"]);
    assert_eq!(regions[0].1, id);
    for (region, id) in &regions {
        let image = server.describe_image(region, id);
        assert_eq!(
            image["permissions"].as_array().unwrap().len(),
            2,
            "{image:#}"
        );
        assert_eq!(image["DeprecationTime"], "2030-01-31T00:00:00.000Z");
        assert_eq!(image["DeregistrationProtection"], "enabled-with-cooldown");
        let encrypted = &image["BlockDeviceMappings"][0]["Ebs"]["Encrypted"];
        assert_eq!(*encrypted, json!(region == "us-west-2"));
    }
    let parameters = server.log();
    let puts = parameters
        .iter()
        .filter(|it| it["operation"] == "PutParameter");
    let values: Vec<_> = puts.map(|it| it["parameters"]["Value"].clone()).collect();
    let ids: Vec<_> = regions.iter().map(|(_, id)| json!(id)).collect();
    assert_eq!(values, ids, "{regions:?}");
    // Again, nothing is made a second time.
    let before = manifest(dir);
    assert_eq!(imported(&mut server.import(dir, "s3")), id);
    assert_eq!(manifest(dir), before);
    assert_eq!(server.count("CopyImage"), 2);
    server.assert_no_violations();
}

#[test]
fn every_disk_format_arrives() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    for (format, stamp) in [("vhd", "1"), ("raw", "2")] {
        if format == "raw" {
            // Without holes, these bytes are all sent.
            aws::make_small(dir);
            succeed(&mut server.command(dir, "build"));
        }
        let mut import = server.import(dir, "s3");
        import.args(["--force", "--disk-format", format, "--keep"]);
        let id = imported(import.env("SOURCE_DATE_EPOCH", stamp));
        let image = server.describe_image(REGION, &id);
        let root = snapshot_of(&image, "/dev/xvda");
        is_snapshot_of(&server, &root, &dir.join("out/ecs.raw"), dir);
        // What is to stay is nobody's leftover.
        nothing_left(&server, dir);
        let place = json!({"region": REGION, "bucket": BUCKET});
        let objects = server.tell("everything", &place)["objects"].clone();
        let disks = if format == "raw" { 1 } else { 2 };
        let of_format = objects.as_array().unwrap().iter();
        let of_format = of_format.filter(|key| key.as_str().unwrap().ends_with(format));
        assert_eq!(
            of_format.count(),
            disks,
            "--keep keeps the objects: {objects}"
        );
    }
}

#[test]
fn gc_touches_nothing_that_others_have_made() {
    let Some((dir, server)) = built("ami_name = \"mine\"\n") else {
        return;
    };
    let dir = dir.path();
    let place = json!({"region": REGION, "bucket": BUCKET});
    let snapshot = server.tell("strangers", &place);
    // An object of a run that was killed, and one that is to stay.
    server.tell(
        "faults",
        &json!([{"operation": "ImportSnapshot", "kind": "expired"}]),
    );
    refused(&mut server.import(dir, "s3"));
    server.tell("faults", &json!([]));
    assert!(leftovers(&server, dir).contains("imgasm/ecs/"));
    succeed(server.gc(dir).args(["--bucket", BUCKET, "--yes"]));
    let id = imported(server.import(dir, "s3").arg("--keep"));
    let image = server.describe_image(REGION, &id);
    let used = snapshot_of(&image, "/dev/xvda");
    let clean_up = ["--bucket", BUCKET, "--yes"];
    succeed(server.gc(dir).args(clean_up));
    nothing_left(&server, dir);
    // The AMI that was asked for and what it uses are nobody's leftovers.
    is_snapshot_of(&server, &used, &dir.join("out/ecs.raw"), dir);
    server.read_back(snapshot.as_str().unwrap(), &dir.join("others.raw"));
    let objects = server.tell("everything", &place)["objects"].clone();
    let objects = objects.as_array().unwrap();
    assert!(objects.contains(&json!("others/disk.vmdk")));
    assert_eq!(objects.len(), 3, "{objects:?}");
}

#[test]
fn images_of_a_recipe_are_imported_side_by_side() {
    let Some((dir, server)) = built("ami_name = \"name\"\n") else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let variables = "[variables]\nkind = \"\"\ntold = \"\"\n";
    let text = text.replace("[variables]\n", variables);
    let name = "\"{{ kind }} {{ timestamp }}\"\nami_description = \"{{ told }}\"";
    let text = text.replace("\"name\"", name);
    let images = "\n[[image]]\nname = \"one\"\nvariables = { kind = \"first\" }\n\
                  [[image]]\nname = \"two\"\nvariables = { kind = \"second\" }\n";
    fs::write(&recipe, format!("{text}{images}")).unwrap();
    succeed(&mut server.command(dir, "build"));
    let printed = succeed(&mut server.import(dir, "ebs"));
    let ids: Vec<_> = printed.lines().collect();
    let names = ids.iter().map(|id| {
        let name = server.describe_image(REGION, id)["Name"]
            .as_str()
            .unwrap()
            .to_owned();
        name.split(' ').next().unwrap().to_owned()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["first", "second"]);
    // What was built is of another recipe now.
    let long = "x".repeat(256);
    let mut again = server.import(dir, "ebs");
    again.args(["--set", &format!("told={long}")]);
    let said = refused(&mut again);
    assert!(said.contains("2 of 2 images failed: one, two"), "{said}");
    let mut file = server.import(dir, "ebs");
    assert!(refused(file.args(["--output-file", "ids.json"])).contains("one image only"));
    server.assert_no_violations();
}
