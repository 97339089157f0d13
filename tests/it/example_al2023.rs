//! The example that is shaped like AL2023, and the recipes that `imgasm init` writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use imgasm_testkit::images::arg;
use imgasm_testkit::mount::{Loop, Mounted};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

use crate::assemble::extract;
use crate::support::example::{imgasm, project};
use crate::support::rpms::rpm;

/// A copy of the example and the stock overlays, as a checkout has them; gives the example's folder.
fn checkout(dir: &Path) -> std::path::PathBuf {
    fs::write(dir.join("imgasm.root"), "").unwrap();
    fs::create_dir(dir.join("examples")).unwrap();
    let copy = |from: &str, to: &Path| run("cp", ["-R", arg(&project().join(from)), arg(to)]);
    if !dir.join("overlays").exists() {
        copy("overlays", dir);
    }
    copy("examples/al2023", &dir.join("examples"));
    dir.join("examples/al2023")
}

fn said(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = imgasm();
    command
        .args(arguments)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"));
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn succeed(dir: &Path, arguments: &[&str]) -> String {
    let (status, said) = said(dir, arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {said}");
    said
}

#[test]
fn it_is_shaped_like_al2023_and_passes_its_own_checks() {
    if !need::mounts(&["sgdisk", "xfs_repair", "rpm", "getfattr"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let example = checkout(folder.path());
    // The packages of a base, of which no text can be a stand-in.
    let database = example.join("rootfs/usr/lib/sysimage/rpm");
    fs::create_dir_all(&database).unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir_all(&empty).unwrap();
    rpm(&empty, &["--dbpath", "/usr/lib/sysimage/rpm", "--initdb"]);
    let made = empty.join("usr/lib/sysimage/rpm/rpmdb.sqlite");
    fs::copy(&made, database.join("rpmdb.sqlite")).unwrap();

    succeed(&example, &["build"]);
    let verdict = succeed(
        &example,
        &["verify", "out/ecs-al2023.raw", "-f", "imgasm.toml"],
    );
    assert!(verdict.contains(" 0 failed, 0 warned"), "{verdict}");
    let image = example.join("out/ecs-al2023.raw");
    let table = run("sgdisk", ["--verify", "--print", arg(&image)]);
    assert!(table.contains("No problems found"), "{table}");
    let root = folder.path().join("root");
    extract(&image, 1, &root);
    run("xfs_repair", ["-n", arg(&root)]);

    let attached = Loop::attach(&root, &["--read-only"]);
    let mount = Mounted::new(attached.path(), &folder.path().join("mnt"), "ro,norecovery");
    let at = |path: &str| mount.path().join(path);
    // What overlays made is labelled by the policy of the image.
    for (path, label) in [
        ("etc/systemd/system/ecs.service", "systemd_unit_file_t"),
        ("home/ec2-user/firstrun.sh", "user_home_t"),
        ("etc/localtime", "etc_t"),
        ("data", "default_t"),
    ] {
        let found = run(
            "getfattr",
            [
                "-h",
                "--only-values",
                "-n",
                "security.selinux",
                arg(&at(path)),
            ],
        );
        assert!(found.contains(label), "{path}: {found}");
    }
    let unit = fs::read_to_string(at("etc/systemd/system/ecs.service")).unwrap();
    assert!(!unit.contains("cloud-final"), "{unit}");
    assert!(unit.contains("After=docker.service"), "{unit}");
    let enabled = Command::new("systemctl")
        .arg("--root")
        .arg(mount.path())
        .args([
            "is-enabled",
            "docker.service",
            "ecs.service",
            "chronyd.service",
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&enabled.stdout),
        "disabled\ndisabled\nenabled\n"
    );
}

#[test]
fn each_recipe_of_init_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for template in ["ecs", "ecs-al1", "debian", "minimal"] {
        let arguments = ["init", template, "--template", template];
        succeed(dir, &arguments);
        let project = dir.join(template);
        assert!(project.join("overlays/firstrun/firstrun.sh").exists());
        let checked = succeed(&project, &["check"]);
        assert!(!checked.contains("warning"), "{template}: {checked}");
        let (status, again) = said(dir, &arguments);
        assert_eq!(status, Some(2), "{again}");
        assert!(again.contains("is there already"), "{again}");
    }
    succeed(dir, &["init", "usual"]);
    let written = |name: &str| fs::read(dir.join(name).join("imgasm.toml")).unwrap();
    assert_eq!(written("usual"), written("ecs"));

    // Today's recipe, on a base like today's.
    let example = checkout(&dir.join("usual"));
    succeed(&example, &["build"]);
    fs::copy(
        example.join("out/ecs-al2023.raw"),
        dir.join("usual/base.raw"),
    )
    .unwrap();
    let usual = dir.join("usual");
    succeed(&usual, &["build"]);
    let verdict = succeed(&usual, &["verify", "out/ecs.raw", "-f", "imgasm.toml"]);
    assert!(verdict.contains(" 0 failed"), "{verdict}");
}
