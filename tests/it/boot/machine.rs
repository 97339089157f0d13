//! A customised machine: what was edited into the image is what the running system has.

use imgasm_testkit::image::Kind;

use super::{amiss, base, login, write};

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

# The metadata service, which the AMI's default lets answer to session tokens only.
[[expect.live]]
command = """
at=http://169.254.169.254/latest
get() { curl -sf -H "x-aws-ec2-metadata-token: $token" $at/$1; echo; }
curl -s -o /dev/null -w '%{http_code}\\n' $at/meta-data/instance-id
curl -s -o /dev/null -w '%{http_code}\\n' -X PUT -H 'x-aws-ec2-metadata-token-ttl-seconds: 60' -H 'x-forwarded-for: 10.0.0.1' $at/api/token
token=$(curl -sf -X PUT -H 'x-aws-ec2-metadata-token-ttl-seconds: 60' $at/api/token)
get meta-data/tags/instance/Name
get meta-data/block-device-mapping/ebs1
get dynamic/instance-identity/document | jq -r '.region, .architecture, .instanceId'
get meta-data/iam/security-credentials/imgasm-boot | jq -r .AccessKeyId
get user-data | head -n 1
"""
stdout = """401
403
machine
/dev/xvdcy
us-east-1
x86_64
i-0000000000000b007
ASIAIMGASMBOOTNOTREAL
#!/bin/sh"""

[[expect.live]]
port = 22

[[expect.live]]
failed_units = []

[[expect.live]]
boot_seconds = 60

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

/// Root gets the key that the metadata service gave for Debian's own user.
const USER_DATA: &str = "#!/bin/sh
echo ran >/run/from-user-data
install -D -m 600 /home/debian/.ssh/authorized_keys /root/.ssh/authorized_keys
";

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
    write(dir, "user-data", USER_DATA);
    let before = imgasm_testkit::command::run(
        std::process::Command::new("sha256sum").arg(dir.join("base.raw")),
    );

    let args = ["--user-data", "user-data", "--junit", "junit.xml"];
    let (printed, report, status) = login::boot(dir, &args, "debian", "id -un; hostname");

    assert_eq!(printed, "debian\nip-172-31-16-10\n");
    // Only a processor that is not emulated shows how long it takes.
    let amiss = amiss(&report);
    let is_slow = |line: &String| line.starts_with("skipped: ") && line.ends_with("by emulation");
    assert!(amiss.len() == 1 && amiss.iter().all(is_slow), "{amiss:?}");
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
