//! All stock overlays, applied by the program to the example's root filesystem on ext4 and on XFS:
//! the format's own checker finds nothing, and a second run changes not a single byte.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::example::{assert_success, imgasm, project, same_bytes};
use imgasm_testkit::command::run;
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;

/// A root filesystem, the overlays that have a meaning for it, and some of what they change.
struct Guest {
    root: &'static str,
    overlays: &'static [&'static str],
    changed: &'static [&'static str],
}

const AL1: Guest = Guest {
    root: "rootfs",
    overlays: &[
        "cloud-init",
        "timezone",
        "firstrun",
        "awslogs",
        "ecs-agent",
        "http-proxy",
        "data-volume",
        "docker-disabled",
        "cleanup",
        "seal",
    ],
    changed: &[
        "/etc/cloud/cloud.cfg",
        "/etc/localtime",
        "/etc/awslogs/awslogs.conf",
        "/etc/rc.d/rc3.d/S85awslogs",
        "/etc/rc.d/rc3.d/K05docker",
        "/etc/ecs/ecs.config",
        "/home/ec2-user/firstrun.sh",
        "/data",
    ],
};

const AL2023: Guest = Guest {
    root: "examples/al2023/rootfs",
    overlays: &[
        "ecs-optimized",
        "cloud-init",
        "timezone",
        "firstrun",
        "cloudwatch-agent",
        "ecs-agent",
        "http-proxy",
        "data-volume",
        "docker-disabled",
        "cleanup",
        "seal",
    ],
    changed: &[
        "/etc/cloud/cloud.cfg",
        "/etc/hostname",
        "/etc/locale.conf",
        "/etc/motd.d/31-banner",
        "/etc/systemd/system/ecs.service",
        "/home/ec2-user/firstrun.sh",
        "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json",
        "/data",
    ],
};

#[test]
fn al1_on_ext4() {
    twice(&AL1, Kind::Ext, &["mke2fs", "-q", "-t", "ext4"]);
}

#[test]
fn al1_on_xfs() {
    twice(&AL1, Kind::Xfs, &["mkfs.xfs", "-q"]);
}

#[test]
fn al2023_on_ext4() {
    twice(&AL2023, Kind::Ext, &["mke2fs", "-q", "-t", "ext4"]);
}

#[test]
fn al2023_on_xfs() {
    twice(&AL2023, Kind::Xfs, &["mkfs.xfs", "-q"]);
}

fn twice(guest: &Guest, kind: Kind, mkfs: &[&str]) {
    if !need::mounts(kind.tools()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::File::create(&image)
        .unwrap()
        .set_len(512 << 20)
        .unwrap();
    run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
    fill(guest, &image, kind);

    let changed = apply(guest, &image);
    for path in guest.changed {
        let is_listed = changed
            .lines()
            .any(|line| line.contains(&format!(" {path}  (")));
        assert!(is_listed, "{path} is not in\n{changed}");
    }
    judge::check(&image, kind).unwrap();

    let before = folder.path().join("before");
    run(Command::new("cp")
        .arg("--sparse=always")
        .arg(&image)
        .arg(&before));
    assert_eq!(apply(guest, &image), "");
    assert!(same_bytes(&image, &before));
}

/// Copies the root in, with an init script of the package that `awslogs` configures.
fn fill(guest: &Guest, image: &Path, kind: Kind) {
    let mount = Mount::new(image, kind, Access::ReadWrite);
    run(Command::new("cp")
        .args(["-R", "--preserve=mode,links"])
        .arg(project().join(guest.root).join("."))
        .arg(mount.path()));
    if guest.overlays.contains(&"awslogs") {
        let script = mount.path().join("etc/rc.d/init.d/awslogs");
        fs::write(&script, "#!/bin/sh\n# chkconfig: 2345 85 15\n").unwrap();
        run(Command::new("chmod").arg("755").arg(&script));
    }
    mount.finish().unwrap();
}

/// Applies all of them; gives what was changed.
fn apply(guest: &Guest, image: &Path) -> String {
    let overlays = guest.overlays.iter();
    let output = imgasm()
        .arg("apply")
        .arg(image)
        .args(overlays.map(|name| project().join("overlays").join(name)))
        .args(["--set", "proxy_url=http://proxy.example:3128"])
        // Zones that are other names of a zone are made when a base is assembled.
        .args(["--set", "timezone=Europe/Berlin"])
        .output()
        .unwrap();
    assert_success(&output);
    String::from_utf8(output.stdout).unwrap()
}
