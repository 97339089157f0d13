//! `imgasm import --dry-run`: the requests, judged by botocore's own service models.

use crate::support::aws;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::aws::{checked_by, command, example, python, refused, succeed};

/// Everything that `[ami]` can have.
const FULL: &str = r#"
ami_name = "docker-in-aws-ecs {{ timestamp }} {{ digest[:8] }}"
ami_description = "as of {{ date }}, zone {{ timezone }}"
architecture = "x86_64"
boot_mode = "uefi-preferred"
sriov_support = true
tpm_support = "v2.0"
uefi_data = "QU1aTlVFRkkf"
ami_root_device = { device_name = "/dev/xvda", volume_type = "gp3", volume_size = 8, iops = 4000, throughput = 250 }
tags = { Name = "Docker in AWS ECS Base Image 2018.03.a", DockerVersion = "17.12.1-ce" }
snapshot_tags = { Team = "images" }
ami_users = ["123456789012"]
ami_org_arns = ["arn:aws:organizations::123456789012:organization/o-abcdefghij"]
ami_ou_arns = ["arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-abcd-efghijkl"]
ami_regions = ["eu-central-1", "us-west-2"]
region_kms_key_ids = { us-west-2 = "alias/images" }
deprecate_at = "2030-01-31T00:00:00Z"
deregistration_protection = { enabled = true, with_cooldown = true }
ssm_parameter = "/images/ecs"
s3_bucket_name = "images"
s3_bucket_owner = "123456789012"
s3_kms_key_id = "alias/objects"
snapshot_users = ["210987654321"]
fast_snapshot_restore = ["us-east-1a", "us-west-2b"]
snapshot_copy_duration_minutes = 60
"#;

fn dry_run(dir: &Path, args: &[&str]) -> Value {
    let json = succeed(
        command(dir, "import")
            .args(args)
            .arg("--dry-run")
            .env("SOURCE_DATE_EPOCH", "1600000000"),
    );
    serde_json::from_str(&json).unwrap()
}

/// Gives the kernel of the example in `dir` the driver that `tpm_support` needs.
fn add_tpm_driver(dir: &Path) {
    let modules = dir.join("rootfs/lib/modules/4.14.33-51.34.amzn1.x86_64/modules.dep");
    let mut text = fs::read_to_string(&modules).unwrap();
    text.push_str("kernel/drivers/char/tpm/tpm_crb.ko:\n");
    fs::write(&modules, text).unwrap();
}

fn built(ami: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    example(dir.path(), ami);
    add_tpm_driver(dir.path());
    succeed(&mut command(dir.path(), "build"));
    dir
}

/// The parameters of the first request of an operation that is sent in any case.
fn request<'a>(preview: &'a Value, operation: &str) -> &'a Value {
    let requests = preview["requests"].as_array().unwrap();
    let is_it = |it: &&Value| it["operation"] == operation && it["when"].is_null();
    let mut found = requests.iter().filter(is_it);
    &found
        .next()
        .unwrap_or_else(|| panic!("{operation}: {preview:#}"))["parameters"]
}

#[test]
fn the_requests_are_what_the_services_take() {
    let Some(python) = python() else { return };
    for ami in ["ami_name = \"small\"\n", FULL] {
        let dir = built(ami);
        for via in ["s3", "ebs"] {
            let args = ["--via", via, "--bucket", "images", "--region", "us-east-1"];
            let preview = dry_run(dir.path(), &args);
            checked_by(&python, "check_requests.py", &preview);
        }
    }
}

#[test]
fn the_ami_has_all_that_the_recipe_says() {
    if !aws::is_here() {
        return;
    }
    let dir = built(FULL);
    let preview = dry_run(dir.path(), &["--region", "us-east-1"]);
    let image = request(&preview, "RegisterImage");
    let manifest = fs::read(dir.path().join("out/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let digest = manifest["image"]["digest"].as_str().unwrap();
    assert_eq!(
        image["Name"],
        format!("docker-in-aws-ecs 1600000000 {}", &digest[..8])
    );
    assert_eq!(image["Description"], "as of 2020-09-13, zone US/Eastern");
    for (key, value) in [
        ("Architecture", json!("x86_64")),
        ("BootMode", json!("uefi-preferred")),
        ("EnaSupport", json!(true)),
        ("SriovNetSupport", json!("simple")),
        ("TpmSupport", json!("v2.0")),
        ("UefiData", json!("QU1aTlVFRkkf")),
        ("ImdsSupport", json!("v2.0")),
        ("RootDeviceName", json!("/dev/xvda")),
        ("VirtualizationType", json!("hvm")),
    ] {
        assert_eq!(image[key], value, "{key}");
    }
    // The three block devices of the reference image.
    let expected = json!([
        {"DeviceName": "/dev/xvda", "Ebs": {
            "SnapshotId": "{{ecs.raw}}", "VolumeSize": 8, "VolumeType": "gp3", "Iops": 4000,
            "Throughput": 250, "DeleteOnTermination": true}},
        {"DeviceName": "/dev/xvdcy", "Ebs": {
            "SnapshotId": "{{ecs-docker.raw}}", "VolumeSize": 1, "VolumeType": "gp2",
            "DeleteOnTermination": true}},
        {"DeviceName": "/dev/xvdcz", "Ebs": {
            "VolumeSize": 22, "VolumeType": "gp2", "DeleteOnTermination": true}},
    ]);
    assert_eq!(image["BlockDeviceMappings"], expected);
    let tags = image["TagSpecifications"][0]["Tags"].as_array().unwrap();
    let tag = |key: &str| tags.iter().find(|tag| tag["Key"] == key).unwrap()["Value"].clone();
    assert_eq!(tag("Name"), "Docker in AWS ECS Base Image 2018.03.a");
    assert_eq!(tag("imgasm:image"), digest);
    assert_eq!(tag("imgasm:recipe"), manifest["recipe_sha256"]);
    let import = request(&preview, "ImportSnapshot");
    assert_eq!(import["RoleName"], "vmimport");
    assert_eq!(import["DiskContainer"]["Format"], "VMDK");
    let key = format!("imgasm/ecs/{digest}.vmdk");
    let place = json!({"S3Bucket": "images", "S3Key": key});
    assert_eq!(import["DiskContainer"]["UserBucket"], place);
    let permissions = &request(&preview, "ModifyImageAttribute")["LaunchPermission"]["Add"];
    assert_eq!(permissions.as_array().unwrap().len(), 3);
    assert_eq!(request(&preview, "PutParameter")["Name"], "/images/ecs");
    let actions = preview["policy"].to_string();
    for action in [
        "ec2:ImportSnapshot",
        "ec2:CopyImage",
        "ec2:EnableImageDeregistrationProtection",
        "s3:PutObject",
        "ssm:PutParameter",
        "kms:CreateGrant",
    ] {
        assert!(actions.contains(action), "{action}: {actions}");
    }
    assert!(!actions.contains("ebs:PutSnapshotBlock"), "{actions}");
    // What is not read back need not be allowed.
    let unread = dry_run(
        dir.path(),
        &["--region", "us-east-1", "--verify-snapshot", "off"],
    );
    assert!(!unread["policy"].to_string().contains("ebs:"));
}

#[test]
fn devices_can_be_left_out_or_come_from_snapshots() {
    if !aws::is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    example(dir.path(), "ami_name = \"devices\"\n");
    aws::make_small(dir.path());
    let recipe = dir.path().join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let volumes = r#"
[[volume]]
device_name = "/dev/sdb"
no_device = true

[[volume]]
device_name = "/dev/sdf"
snapshot_id = "snap-0123456789abcdef0"
volume_type = "io2"
iops = 500

[[volume]]
device_name = "/dev/sdg"
volume_size = 10
encrypted = true
"#;
    fs::write(
        &recipe,
        text.replacen("\n[ami]", &format!("{volumes}\n[ami]"), 1),
    )
    .unwrap();
    succeed(&mut command(dir.path(), "build"));
    let preview = dry_run(dir.path(), &["--via", "ebs", "--region", "us-east-1"]);
    let mappings = &request(&preview, "RegisterImage")["BlockDeviceMappings"];
    let expected = json!([
        {"DeviceName": "/dev/sdb", "NoDevice": ""},
        {"DeviceName": "/dev/sdf", "Ebs": {
            "SnapshotId": "snap-0123456789abcdef0", "VolumeType": "io2", "Iops": 500,
            "DeleteOnTermination": true}},
        {"DeviceName": "/dev/sdg", "Ebs": {
            "VolumeSize": 10, "VolumeType": "gp3", "DeleteOnTermination": true,
            "Encrypted": true}},
    ]);
    assert_eq!(
        mappings.as_array().unwrap()[1..],
        *expected.as_array().unwrap()
    );
    if let Some(python) = python() {
        checked_by(&python, "check_requests.py", &preview);
    }
}

#[test]
fn the_architecture_is_that_of_the_images_programs() {
    if !aws::is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    example(dir.path(), "ami_name = \"arm\"\narchitecture = \"arm64\"\n");
    aws::make_small(dir.path());
    // The beginning of a program for AArch64: 64 bits, little-endian, machine 183.
    let mut program = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";
    let path = dir.path().join("rootfs/bin");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("ls"), program).unwrap();
    let architecture = || {
        succeed(command(dir.path(), "build").arg("--force"));
        let preview = dry_run(dir.path(), &["--via", "ebs"]);
        request(&preview, "RegisterImage")["Architecture"].clone()
    };
    assert_eq!(architecture(), "arm64");
    // One for a processor that EC2 does not have.
    program[18] = 243;
    fs::write(path.join("ls"), program).unwrap();
    succeed(command(dir.path(), "build").arg("--force"));
    let said = refused(command(dir.path(), "import").args(["--via", "ebs", "--dry-run"]));
    assert!(said.contains("riscv64") && said.contains("arm64"), "{said}");
}

#[test]
fn bytes_to_send_are_those_of_the_converted_image_and_of_its_chunks() {
    if !aws::is_here() {
        return;
    }
    let dir = built("ami_name = \"small\"\ns3_bucket_name = \"images\"\n");
    let preview = dry_run(dir.path(), &[]);
    succeed(command(dir.path(), "convert").args(["out/ecs.raw", "ecs.vmdk"]));
    let len = fs::metadata(dir.path().join("ecs.vmdk")).unwrap().len();
    assert_eq!(preview["disks"][0]["upload_bytes"], len);
    let preview = dry_run(dir.path(), &["--via", "ebs"]);
    let plan = succeed(command(dir.path(), "plan").arg("--json"));
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let sum: u64 = preview["disks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|disk| disk["upload_bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(plan["full_upload_bytes"], sum);
}

#[test]
fn the_identity_is_that_of_the_image_and_not_of_its_name() {
    if !aws::is_here() {
        return;
    }
    let one = built("ami_name = \"one\"\ns3_bucket_name = \"images\"\n");
    let two = built("ami_name = \"two\"\ns3_bucket_name = \"other\"\ntags = { a = \"b\" }\n");
    let three = built("ami_name = \"one\"\nena_support = false\ns3_bucket_name = \"images\"\n");
    let identity = |dir: &tempfile::TempDir| dry_run(dir.path(), &[])["identity"].clone();
    assert_eq!(identity(&one), identity(&two));
    assert_ne!(identity(&one), identity(&three));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_asked() {
    if !aws::is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bad = |ami: &str, words: &[&str]| {
        example(dir.path(), ami);
        let said = refused(&mut command(dir.path(), "build"));
        for word in words {
            assert!(said.contains(word), "{ami}: {word}: {said}");
        }
    };
    bad("ami_nam = \"x\"\n", &["ami_nam", "did you mean `ami_name`"]);
    bad("ami_name = \"a:b\"\n", &["a:b", "imgasm.toml:"]);
    bad(
        "ami_name = \"{{ colour }}\"\n",
        &["`colour` is not defined"],
    );
    bad("ami_name = \"abc\"\nami_users = [\"12\"]\n", &["12 digits"]);
    bad(
        "ami_name = \"abc\"\ntags = { \"aws:x\" = \"\" }\n",
        &["aws:x", "reserved"],
    );
    bad(
        "ami_name = \"abc\"\nboot_mode = \"legacy-bios\"\ntpm_support = \"v2.0\"\n",
        &["tpm_support", "UEFI"],
    );
    bad(
        "ami_name = \"abc\"\nami_root_device = { volume_type = \"gp2\", iops = 3 }\n",
        &["gp2", "iops"],
    );
    bad(
        "ami_name = \"abc\"\nregion_kms_key_ids = { eu-west-1 = \"k\" }\n",
        &["eu-west-1", "ami_regions"],
    );

    example(dir.path(), "ami_name = \"abc\"\narchitecture = \"arm64\"\n");
    let import = |args: &[&str]| refused(command(dir.path(), "import").args(args).arg("--dry-run"));
    assert!(import(&["--bucket", "images"]).contains("imgasm build"));
    succeed(&mut command(dir.path(), "build"));
    assert!(import(&[]).contains("--bucket"));
    let said = import(&["--bucket", "images"]);
    assert!(said.contains("arm64") && said.contains("x86_64"), "{said}");
    let said = import(&["--bucket", "images", "--set", "timezone=Asia/Tokyo"]);
    assert!(said.contains("out of date"), "{said}");
}
