//! What can be tested of `imgasm boot` without a machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{imgasm, write};
use crate::support::example;

#[test]
fn a_host_without_qemu_is_told_the_package() {
    let folder = tempfile::tempdir().expect("a folder for the image");
    let dir = folder.path();
    write(dir, "root/etc/os-release", "ID=amzn\n");
    write(
        dir,
        "imgasm.toml",
        "name = \"small\"\nbase = { rootfs = \"root\", size = \"64MiB\" }\n",
    );
    let output = example::imgasm()
        .arg("boot")
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .env("PATH", dir)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: there is no qemu-system-x86_64 on this host\n\
         hint: Debian's package qemu-system-x86 contains it\n"
    );
}

#[test]
fn live_expectations_are_checked_when_the_recipe_is_read() {
    let folder = tempfile::tempdir().expect("a folder for the recipe");
    let dir = folder.path();
    write(dir, "root/etc/os-release", "ID=amzn\n");
    for (live, said) in [
        (
            "service = \"a\"\nport = 80",
            "a live expectation is about one of",
        ),
        (
            "service = \"a\"\nstdout = \"x\"",
            "`stdout` does not belong to that",
        ),
        ("service = \"-x\"", "\"-x\" is not the name of a service"),
        ("mount = \"data\"", "\"data\" is not an absolute path"),
        (
            "command = \"x\"\nmatches = \"(\"",
            "\"(\" is not a regular expression",
        ),
        (
            "port = 80\nhttp = { path = \"x\" }",
            "the `path` of a request begins with `/`",
        ),
        (
            "port = 80\nwithin = 9999",
            "`within` is at most 3600 seconds",
        ),
        ("servise = \"a\"", "unknown key `servise`"),
    ] {
        let recipe = format!(
            "name = \"x\"\nbase = {{ rootfs = \"root\" }}\n[[expect]]\npath = \"/etc\"\n\
             [[expect.live]]\n{live}\n"
        );
        write(dir, "imgasm.toml", &recipe);
        let output = imgasm(dir, &["check"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{live}: {stderr}");
        assert!(stderr.contains(said), "{live}: {stderr}");
    }
    let alone = "name = \"x\"\nbase = { rootfs = \"root\" }\n[[expect.live]]\nport = 80\n\
                 http = { path = \"/a\", status = 204 }\n";
    write(dir, "imgasm.toml", alone);
    let output = imgasm(dir, &["check"]);
    assert!(output.status.success(), "{output:?}");
}

/// What stands for QEMU or swtpm: it writes its number down, makes its socket if it has one, and waits.
const STAND_IN: &str = "#!/bin/sh
[ \"$1\" != --version ] || exit 0
echo $$ >>\"$PIDS\"
for word; do
    case \"$word\" in type=unixio,path=*) : >\"${word#type=unixio,path=}\" ;; esac
done
exec sleep 600
";

/// A folder with an image's recipe and programs that stand for those of a machine.
fn with_stand_ins(programs: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the image");
    let dir = folder.path();
    write(dir, "root/etc/os-release", "ID=amzn\n");
    let recipe = "name = \"small\"\nbase = { rootfs = \"root\", size = \"64MiB\" }\n\
                  [ami]\nami_name = \"small\"\nboot_mode = \"legacy-bios\"\n";
    write(dir, "imgasm.toml", recipe);
    for program in programs {
        write(dir, &format!("bin/{program}"), STAND_IN);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.join("bin").join(program), mode).expect("it is ours");
    }
    std::fs::create_dir(dir.join("tmp")).expect("it is new");
    folder
}

fn boot_with_tpm(dir: &Path, path: &str) -> Command {
    let mut command = example::interruptible(env!("CARGO_BIN_EXE_imgasm").as_ref());
    command
        .args(["boot", "--accel", "tcg", "--tpm"])
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .env("TMPDIR", dir.join("tmp"))
        .env("PIDS", dir.join("pids"))
        .env("PATH", path);
    command
}

#[test]
fn a_host_without_a_tpm_is_told_the_package() {
    let folder = with_stand_ins(&["qemu-system-x86_64"]);
    let dir = folder.path();
    let programs = dir.join("bin").display().to_string();
    let output = boot_with_tpm(dir, &programs)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: there is no swtpm on this host\nhint: Debian's package swtpm contains it\n"
    );
    assert_eq!(
        std::fs::read_dir(dir.join("tmp"))
            .expect("it is there")
            .count(),
        0
    );
}

/// The threads with a name of their own that have more filters of calls than the main one (`proc(5)`,
/// `/proc/pid/status`): they read the bytes of the image and of the machine.
fn shut_off(process: u32) -> Vec<String> {
    let filters = |task: &Path| {
        let status = std::fs::read_to_string(task.join("status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp_filters:"));
        line.expect("the kernel has them")
            .trim()
            .parse::<u32>()
            .expect("it is a number")
    };
    let tasks = Path::new("/proc").join(process.to_string()).join("task");
    let main = filters(&tasks.join(process.to_string()));
    let tasks = std::fs::read_dir(tasks).expect("it runs");
    let tasks = tasks.map(|task| task.expect("it can be read").path());
    let names = tasks.filter(|task| filters(task) > main).map(|task| {
        let name = std::fs::read_to_string(task.join("comm")).expect("it runs");
        name.trim().to_owned()
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn nothing_is_left_of_a_machine_that_is_interrupted() {
    let folder = with_stand_ins(&["qemu-system-x86_64", "swtpm"]);
    let dir = folder.path();
    let path = format!("{}:/usr/bin:/bin", dir.join("bin").display());
    let mut boot = boot_with_tpm(dir, &path)
        .spawn()
        .expect("the program starts");
    let pids = || {
        let text = std::fs::read_to_string(dir.join("pids")).unwrap_or_default();
        let pids: Vec<String> = text.lines().map(str::to_owned).collect();
        pids
    };
    let begun = Instant::now();
    while pids().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", pids());
        std::thread::sleep(Duration::from_millis(20));
    }
    let made = std::fs::read_dir(dir.join("tmp"))
        .expect("it is there")
        .count();
    assert!(made > 0);
    assert_eq!(shut_off(boot.id()), ["disk", "metadata"]);
    let id = boot.id().to_string();
    imgasm_testkit::command::run(Command::new("kill").args(["-INT", &id]));
    let status = boot.wait().expect("it ends");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(2)
    );
    // What was killed is gone in a moment, or waits for init to read its status.
    let is_gone = |id: &String| {
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    let ended = Instant::now();
    while !pids().iter().all(is_gone) {
        assert!(ended.elapsed() < Duration::from_secs(10), "{:?}", pids());
        std::thread::sleep(Duration::from_millis(20));
    }
    let left: Vec<_> = std::fs::read_dir(dir.join("tmp"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
