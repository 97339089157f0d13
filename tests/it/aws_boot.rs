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

/// The error of an import of such a base.
fn contradiction(dir: &Path, drivers: &str, ami: &str) -> String {
    project(dir, drivers, &format!("ami_name = \"boots\"\n{ami}"));
    refused(command(dir, "import").args(["--via", "ebs", "--dry-run"]))
}

fn has_tools() -> bool {
    let tools = ["sgdisk", "mkfs.fat", "mmd", "mcopy", "mke2fs"];
    is_here() && need::tools(&tools)
}

#[test]
fn an_image_that_boots_by_uefi_alone_is_registered_so_and_not_otherwise() {
    if !has_tools() {
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
        let told = contradiction(dir, DRIVERS, &format!("boot_mode = \"{mode}\"\n"));
        is_one_error(&told, &[mode, word, "imgasm verify"]);
    }
}

#[test]
fn an_image_has_what_its_machine_needs_or_the_recipe_says_that_it_has_not() {
    if !has_tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (ena, nvme) = ("kernel/drivers/net/ena.ko:\n", "kernel/drivers/nvme.ko:\n");
    is_one_error(
        &contradiction(dir, nvme, ""),
        &["ena_support", "`ena`", "6.1"],
    );
    is_one_error(
        &contradiction(dir, ena, ""),
        &["ena_support", "`nvme`", "6.1"],
    );
    project(dir, "", "ami_name = \"boots\"\nena_support = false\n");
    assert_eq!(register(dir)["EnaSupport"], false);

    let tpm = "tpm_support = \"v2.0\"\n";
    is_one_error(
        &contradiction(dir, DRIVERS, tpm),
        &["tpm_support", "tpm_crb"],
    );
    let with_tpm = format!("{DRIVERS}kernel/drivers/char/tpm/tpm_crb.ko.xz:\n");
    project(dir, &with_tpm, &format!("ami_name = \"boots\"\n{tpm}"));
    let registered = register(dir);
    assert_eq!(
        (&registered["TpmSupport"], &registered["BootMode"]),
        (&"v2.0".into(), &"uefi".into())
    );

    let source = "root/usr/lib/python3.9/site-packages/cloudinit/sources/DataSourceEc2.py";
    fs::create_dir_all(dir.join(source).parent().unwrap()).unwrap();
    fs::write(dir.join(source), "class DataSourceEc2:\n    pass\n").unwrap();
    let told = contradiction(dir, DRIVERS, "");
    is_one_error(&told, &["imds_support", "DataSourceEc2.py", "\"none\""]);
    project(
        dir,
        DRIVERS,
        "ami_name = \"boots\"\nimds_support = \"none\"\n",
    );
    assert_eq!(register(dir)["ImdsSupport"], Value::Null);
    fs::write(dir.join(source), "API_TOKEN_ROUTE = \"latest/api/token\"\n").unwrap();
    project(dir, DRIVERS, "ami_name = \"boots\"\n");
    assert_eq!(register(dir)["ImdsSupport"], "v2.0");
}
