//! A real machine: a Debian root that debootstrap made, customised by imgasm, started by QEMU's
//! software emulation until its first-boot script tells what it sees. `make test-boot`: it takes
//! minutes, and so is left out of the default run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use imgasm_testkit::command::run;
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};

const SUITE: &str = "bookworm";
const PACKAGES: &str = "systemd-sysv,dbus,linux-image-cloud-amd64";

const RECIPE: &str = r#"
name = "boot"
base = { file = "base.raw" }
overlays = ["overlay"]

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

[[expect]]
service = "apt-daily.timer"
state = "masked"

[[expect]]
path = "/home/deploy/.ssh/authorized_keys"
mode = "0600"
owner = "deploy"
"#;

const OVERLAY: &str = r#"
description = "What the machine is to show"

[[step]]
hostname = { name = "assembled" }

[[step]]
timezone = { zone = "US/Eastern" }

[[step]]
user = { name = "deploy", uid = 1234, home = "/home/deploy", shell = "/bin/sh" }

[[step]]
ssh_key = { user = "deploy", key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJvb3R0ZXN0Ym9vdHRlc3Rib290dGVzdGJvb3R0 test" }

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

[[step]]
firstboot = { name = "probe", from = "probe.sh" }

# Ends the machine when the script is done and gone.
[[step]]
write = { path = "/etc/systemd/system/machine-end.service", content = """
[Unit]
After=firstboot-probe.service greeting.service

[Service]
Type=oneshot
ExecStart=/bin/systemctl --no-block poweroff

[Install]
WantedBy=multi-user.target
""" }

[[step]]
service = { name = "machine-end", enabled = true }
"#;

const PROBE: &str = r#"#!/bin/sh
exec >/dev/console 2>&1
say() { echo "probe: $*"; }
say zone "$(date +%Z -d 2020-01-01)" "$(date +%Z -d 2020-07-01)"
say host "$(cat /proc/sys/kernel/hostname)"
say root "$(awk '$2 == "/" { print $3 }' /proc/mounts | tail -1)"
say data "$(awk '$2 == "/data" { print $1, $3, $4 }' /proc/mounts)"
say file "$(cat /data/from-the-recipe)"
say user "$(id deploy)"
say greeting "$(systemctl is-enabled greeting)" "$(systemctl is-active greeting)"
say timer "$(systemctl is-enabled apt-daily.timer)"
say failed "$(systemctl --failed --no-legend --plain | tr '\n' ' ')"
say end
"#;

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn an_ext4_root() {
    boot(Kind::Ext);
}

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn an_xfs_root() {
    boot(Kind::Xfs);
}

fn boot(kind: Kind) {
    let root = debian();
    let folder = tempfile::tempdir().expect("a folder for the images");
    let dir = folder.path();
    write_recipe(dir);
    make_base(&root, kind, &dir.join("base.raw"));

    let image = dir.join("out/boot.raw");
    imgasm(dir, &["build"]);
    imgasm(dir, &["verify", "out/boot.raw", "-f", "imgasm.toml"]);

    let console = start(&root, dir, kind);
    let said: Vec<_> = console
        .lines()
        .filter_map(|line| line.split_once("probe: "))
        .map(|(_, said)| said.trim_end())
        .collect();
    let expected = [
        "zone EST EDT",
        "host assembled",
        &format!("root {}", kind.driver()),
        "data /dev/nvme1n1 ext4 rw,noatime",
        "file of the volume",
        "user uid=1234(deploy) gid=1234(deploy) groups=1234(deploy)",
        "greeting enabled active",
        "timer masked",
        "failed",
        "end",
    ];
    assert_eq!(said, expected, "{console}");
    // It ran once, and is gone.
    let left = imgasm(
        dir,
        &[
            "ls",
            "-R",
            image.to_str().expect("text"),
            "/etc/systemd/system",
        ],
    );
    assert!(left.contains("machine-end.service"), "{left}");
    assert!(!left.contains("firstboot"), "{left}");
}

/// The root that debootstrap makes, kept for the next run.
fn debian() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/boot");
    let (root, done) = (folder.join(SUITE), folder.join("done"));
    if !done.exists() {
        fs::create_dir_all(&folder).expect("target can be written");
        run(Command::new("rm").arg("-rf").arg(&root));
        run(Command::new("debootstrap")
            .arg("--variant=minbase")
            .arg(format!("--include={PACKAGES}"))
            .arg(SUITE)
            .arg(&root));
        fs::write(done, "").expect("target can be written");
    }
    root
}

fn write_recipe(dir: &Path) {
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder"))
            .and_then(|()| fs::write(path, text))
            .expect("there is room for it");
    };
    write("imgasm.toml", RECIPE);
    write("overlay/overlay.toml", OVERLAY);
    write("overlay/probe.sh", PROBE);
    write("data/from-the-recipe", "of the volume\n");
}

/// A disk with a GPT, a BIOS boot partition, and the root in partition 1.
fn make_base(root: &Path, kind: Kind, base: &Path) {
    const START: u64 = 1 << 20;
    const SIZE: u64 = 3 << 30;
    let partition = base.with_extension("partition");
    let file = fs::File::create(&partition).expect("there is room for it");
    file.set_len(SIZE).expect("there is room for it");
    match kind {
        Kind::Ext => run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4"])
            .arg(&partition)),
        Kind::Xfs => run(Command::new("mkfs.xfs").arg("-q").arg(&partition)),
    };
    let mount = Mount::new(&partition, kind, Access::ReadWrite);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(root.join("."))
        .arg(mount.path())
        .status();
    assert!(copied.expect("cp starts").success());
    mount.finish().expect("the kernel has nothing to say");
    let disk = fs::File::create(base).expect("there is room for it");
    disk.set_len(START + SIZE + START)
        .expect("there is room for it");
    run(Command::new("sgdisk")
        .args(["-n", "1:2048:+3G", "-t", "1:8300", "-c", "1:Linux"])
        .args(["-a", "1", "-n", "128:34:2047", "-t", "128:ef02"])
        .arg(base));
    run(Command::new("dd")
        .arg(format!("if={}", partition.display()))
        .arg(format!("of={}", base.display()))
        .args(["bs=1M", "seek=1", "conv=sparse,notrunc", "status=none"]));
    fs::remove_file(partition).expect("it is there");
}

fn imgasm(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_imgasm"))
        .args(args)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}{stderr}");
    println!("{text}{stderr}");
    text
}

/// Runs the machine until it powers off; gives what it wrote to its serial console.
fn start(root: &Path, dir: &Path, kind: Kind) -> String {
    const PATIENCE: Duration = Duration::from_mins(10);
    let kernel = |name: &str| {
        let link = root.join(name);
        let target = fs::read_link(&link).unwrap_or_else(|e| panic!("{}: {e}", link.display()));
        root.join(target.strip_prefix("/").unwrap_or(&target))
    };
    let console = dir.join("console");
    let mut machine = Command::new("timeout");
    machine
        .arg(PATIENCE.as_secs().to_string())
        .arg("qemu-system-x86_64")
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
        .args([
            "-display",
            "none",
            "-monitor",
            "none",
            "-no-reboot",
            "-nic",
            "none",
        ])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-kernel")
        .arg(kernel("vmlinuz"));
    if kind == Kind::Xfs {
        // Debian's kernel has ext4 built in, XFS it loads.
        machine.arg("-initrd").arg(kernel("initrd.img"));
    }
    machine.arg("-append").arg(format!(
        "root=/dev/nvme0n1p1 rootfstype={} rw console=ttyS0 quiet",
        kind.driver()
    ));
    for (number, file) in ["boot.raw", "boot-docker.raw"].into_iter().enumerate() {
        let path = dir.join("out").join(file);
        machine
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=none,id=disk{number}",
                path.display()
            ))
            .arg("-device")
            .arg(format!("nvme,serial=disk{number},drive=disk{number}"));
    }
    let status = machine.status().expect("QEMU starts");
    let console = fs::read(console).expect("QEMU wrote it");
    let console = String::from_utf8_lossy(&console).into_owned();
    assert!(status.success(), "{status}\n{console}");
    console
}
