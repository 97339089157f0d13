//! How an AMI boots is read from the image, and must not contradict the recipe.

use std::fs;
use std::path::Path;
use std::process::Command;

use imgasm_testkit::need;
use serde_json::Value;

use crate::support::aws::{
    command, example, is_here, is_one_error, make_small, make_small_change, refused, set_base,
    succeed,
};
use crate::support::aws_server::REGION;

fn run(program: &str, args: &[&str], dir: &Path) {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

/// A base in `dir` with the root of a system, whose disk has a loader for UEFI and none for the BIOS;
/// its kernel has the drivers that are named.
fn make_base(dir: &Path, drivers: &str) {
    let root = dir.join("root");
    let modules = root.join("lib/modules/6.1");
    // Those of a base before this one.
    for file in ["esp", "rootfs.ext4", "base.raw"] {
        let _ = fs::remove_file(dir.join(file));
    }
    for folder in ["etc", "boot", "usr/bin"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::create_dir_all(&modules).unwrap();
    fs::write(root.join("boot/vmlinuz-6.1"), "kernel").unwrap();
    fs::write(modules.join("modules.dep"), drivers).unwrap();
    run("truncate", &["-s", "40M", "esp"], dir);
    run("mkfs.fat", &["-F", "32", "esp"], dir);
    run("mmd", &["-i", "esp", "::/EFI", "::/EFI/BOOT"], dir);
    run(
        "mcopy",
        &[
            "-i",
            "esp",
            "root/boot/vmlinuz-6.1",
            "::/EFI/BOOT/BOOTX64.EFI",
        ],
        dir,
    );
    run("truncate", &["-s", "64M", "rootfs.ext4"], dir);
    run(
        "mke2fs",
        &["-q", "-t", "ext4", "-d", "root", "rootfs.ext4"],
        dir,
    );
    run("truncate", &["-s", "128M", "base.raw"], dir);
    let table = [
        "-n",
        "1:2048:+64M",
        "-t",
        "1:8304",
        "-n",
        "15:0:+40M",
        "-t",
        "15:ef00",
        "base.raw",
    ];
    run("sgdisk", &table, dir);
    let place = |file: &str, mib: &str| {
        let (from, seek) = (format!("if={file}"), format!("seek={mib}"));
        let args = [&from, "of=base.raw", "bs=1M", &seek, "conv=notrunc"];
        run("dd", &args, dir);
    };
    place("rootfs.ext4", "1");
    place("esp", "65");
}

fn register(dir: &Path) -> Value {
    let mut shown = command(dir, "import");
    let shown = succeed(shown.args(["--via", "ebs", "--region", REGION, "--dry-run"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let requests = shown["requests"].as_array().unwrap().iter();
    let mut registered = requests.filter(|it| it["operation"] == "RegisterImage");
    registered.next().unwrap()["parameters"].clone()
}

/// A project in `dir` upon such a base.
fn project(dir: &Path, drivers: &str, ami: &str) {
    example(dir, ami);
    make_small(dir);
    make_small_change(dir);
    set_base(dir, "{ file = \"base.raw\", partition = 1 }");
    make_base(dir, drivers);
    succeed(command(dir, "build").arg("--force"));
}

const DRIVERS: &str = "kernel/drivers/net/ena.ko:\nkernel/drivers/nvme.ko:\n";

#[test]
fn an_image_that_boots_by_uefi_alone_is_registered_so_and_not_otherwise() {
    let tools = ["sgdisk", "mkfs.fat", "mmd", "mcopy", "mke2fs"];
    if !is_here() || !need::tools(&tools) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    project(dir, DRIVERS, "ami_name = \"boots\"\n");
    assert_eq!(register(dir)["BootMode"], "uefi");
    for (mode, word) in [
        ("legacy-bios", "no boot code"),
        ("uefi-preferred", "it is `uefi`"),
    ] {
        project(
            dir,
            DRIVERS,
            &format!("ami_name = \"boots\"\nboot_mode = \"{mode}\"\n"),
        );
        let told = refused(command(dir, "import").args(["--via", "ebs", "--dry-run"]));
        is_one_error(&told, &[mode, word, "imgasm verify"]);
    }
    // A network adapter that the kernel does not drive.
    project(dir, "kernel/drivers/nvme.ko:\n", "ami_name = \"boots\"\n");
    let told = refused(command(dir, "import").args(["--via", "ebs", "--dry-run"]));
    is_one_error(&told, &["ena_support", "6.1"]);
    project(
        dir,
        "kernel/drivers/nvme.ko:\n",
        "ami_name = \"boots\"\nena_support = false\n",
    );
    assert_eq!(register(dir)["EnaSupport"], false);
}
