//! A customised machine: what was edited into the image is what the running system has.

use imgasm_testkit::image::Kind;

use super::{amiss, base, boot, write};

const RECIPE: &str = r#"
name = "machine"
base = { file = "base.raw" }
overlays = ["overlay"]

[ami]
ami_name = "machine"
BOOT_MODE

[[volume]]
device_name = "/dev/xvdcy"
volume_size = 1
filesystem = "ext4"
label = "docker"
mount = "/data"
options = "defaults,noatime"
files = "data"

[[expect]]
service = "greeting.service"
state = "enabled"

[[expect.live]]
service = "greeting"

[[expect.live]]
service = "apt-daily.timer"
state = "inactive"

[[expect.live]]
mount = "/data"
type = "ext4"
options = "rw,noatime"
label = "docker"

[[expect.live]]
command = "date +%Z -d 2020-01-01; date +%Z -d 2020-07-01; cat /proc/sys/kernel/hostname"
stdout = "EST\nEDT\nip-172-31-16-10"

[[expect.live]]
command = "cat /data/from-the-recipe; cat /run/greeting; id -un 1234; cat /run/from-user-data"
stdout = "of the volume\nhello\ndeploy\nran"

[[expect.live]]
command = "cat /sys/class/dmi/id/sys_vendor; cat /sys/block/nvme1n1/device/serial"
matches = '^Amazon EC2\nvol0'

[[expect.live]]
command = "ls /root/.ssh/nothing"
status = 2
"#;

const OVERLAY: &str = r#"
description = "What the machine is to show"

[[step]]
timezone = { zone = "US/Eastern" }

[[step]]
user = { name = "deploy", uid = 1234, home = "/home/deploy", shell = "/bin/sh" }

[[step]]
write = { path = "/etc/systemd/system/greeting.service", content = """
[Unit]
Description=Says hello

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo hello >/run/greeting'

[Install]
WantedBy=multi-user.target
""" }

[[step]]
service = { name = "greeting", enabled = true }

[[step]]
service = { name = "apt-daily.timer", masked = true }
"#;

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn ext4_by_bios() {
    start(Kind::Ext, "boot_mode = \"legacy-bios\"");
}

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn xfs_by_uefi() {
    let tpm = "boot_mode = \"uefi\"\ntpm_support = \"v2.0\"";
    let report = start(Kind::Xfs, tpm);
    let results = report["results"].as_array().expect("there are results");
    let mut checks = results.iter().map(|result| &result["check"]);
    assert!(checks.any(|check| check == "the machine has a TPM 2.0"));
}

/// Starts a machine with these lines in `[ami]`; gives the report.
fn start(kind: Kind, ami: &str) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder for the images");
    let dir = folder.path();
    base::make(kind, &dir.join("base.raw"));
    write(dir, "imgasm.toml", &RECIPE.replace("BOOT_MODE", ami));
    write(dir, "overlay/overlay.toml", OVERLAY);
    write(dir, "data/from-the-recipe", "of the volume\n");
    write(
        dir,
        "user-data",
        "#!/bin/sh\necho ran >/run/from-user-data\n",
    );
    let before = imgasm_testkit::command::run(
        std::process::Command::new("sha256sum").arg(dir.join("base.raw")),
    );

    let (report, status) = boot(dir, &["--user-data", "user-data", "--junit", "junit.xml"]);

    assert_eq!(amiss(&report), [""; 0]);
    assert_eq!(status, Some(0));
    assert_eq!(report["emulated"], true);
    let junit = std::fs::read_to_string(dir.join("junit.xml")).expect("it was written");
    assert!(junit.contains("failures=\"0\""), "{junit}");
    // cloud-init sent a token, as the AMI's default demands.
    let asked = report["metadata"].as_array().expect("requests");
    let is_user_data = |request: &&serde_json::Value| {
        request["request"]
            .as_str()
            .is_some_and(|r| r.ends_with("/user-data"))
    };
    let asked = asked
        .iter()
        .find(is_user_data)
        .expect("cloud-init asks for it");
    assert_eq!(
        (&asked["has_token"], &asked["status"]),
        (&true.into(), &200.into())
    );
    let after = imgasm_testkit::command::run(
        std::process::Command::new("sha256sum").arg(dir.join("base.raw")),
    );
    assert_eq!(before, after, "nothing was written");
    assert!(!dir.join("out").exists());
    report
}
