//! A build that is killed, or whose disk is full, leaves nothing that looks whole.

use imgasm_testkit::mount::Mounted;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::example::{
    assert_success, copy_inputs, interruptible, same_bytes, shrink_disks,
};

const IMGASM: &str = env!("CARGO_BIN_EXE_imgasm");
const OUTPUTS: [&str; 3] = ["ecs.raw", "ecs-docker.raw", "manifest.json"];

fn build(dir: &Path, out: &Path) -> Command {
    let mut command = interruptible(IMGASM.as_ref());
    command
        .arg("build")
        .arg("-f")
        .arg(dir.join("imgasm.toml"))
        .arg("-o")
        .arg(out);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_killed_build_leaves_whole_files_or_none() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    shrink_disks(dir.path());
    let whole = dir.path().join("whole");
    assert!(build(dir.path(), &whole).status().unwrap().success());
    let (mut interrupted, mut kept) = (0, 0);
    let temporary = dir.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    for signal in ["KILL", "INT", "TERM", "HUP"] {
        for step in 0..12 {
            let out = dir.path().join(format!("out-{signal}-{step}"));
            let mut child = build(dir.path(), &out)
                .env("TMPDIR", &temporary)
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_millis(7 * step));
            let pid = child.id().to_string();
            // The child may be done already, and then there is nobody to signal.
            let _ = Command::new("kill")
                .args(["-s", signal, &pid])
                .stderr(Stdio::null())
                .status();
            interrupted += u32::from(!child.wait().unwrap().success());
            for name in OUTPUTS {
                let output = out.join(name);
                assert!(
                    !output.exists() || same_bytes(&output, &whole.join(name)),
                    "{}",
                    output.display()
                );
            }
            let left = fs::read_dir(&out).into_iter().flatten();
            let is_hidden = |entry: &fs::DirEntry| entry.file_name().as_bytes().starts_with(b".");
            if signal != "KILL" {
                let hidden = left.filter(|entry| is_hidden(entry.as_ref().unwrap()));
                assert_eq!(hidden.count(), 0, "after SIG{signal} at {} ms", 7 * step);
            }
            // Folders of a killed process stay, and nobody else looks into them.
            for entry in fs::read_dir(&temporary).unwrap() {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().mode();
                assert_eq!(mode & 0o7777, 0o700, "{}", entry.path().display());
                assert_eq!(signal, "KILL", "{}", entry.path().display());
                fs::remove_dir_all(entry.path()).unwrap();
                kept += 1;
            }
            // What was left does not hinder the next build.
            assert!(build(dir.path(), &out).status().unwrap().success());
            let names = fs::read_dir(&out).unwrap().count();
            assert_eq!(names, OUTPUTS.len(), "after SIG{signal} at {} ms", 7 * step);
        }
    }
    assert!(
        interrupted > 0 && kept > 0,
        "no build was interrupted: the delays do not fit this machine"
    );
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    shrink_disks(dir.path());
    let Some(full) = Mounted::tmpfs(dir.path(), 1 << 20) else {
        return;
    };
    let out = full.path().join("out");
    let output = build(dir.path(), &out)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("No space left"), "{message}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn a_build_that_fails_keeps_the_image_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    shrink_disks(dir.path());
    let out = dir.path().join("out");
    let mut first = build(dir.path(), &out);
    assert_success(&first.output().unwrap());
    let before = fs::metadata(out.join("ecs.raw"))
        .unwrap()
        .modified()
        .unwrap();
    let output = build(dir.path(), &out)
        .args(["--set", "timezone=Mars/Olympus"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        fs::metadata(out.join("ecs.raw"))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}

#[test]
fn a_signal_that_is_ignored_from_the_start_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    shrink_disks(dir.path());
    let out = dir.path().join("out");
    let mut command = Command::new("/usr/bin/env");
    command
        .args(["--ignore-signal=HUP,INT,TERM", IMGASM])
        .args(build(dir.path(), &out).get_args().skip(2))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let pid = child.id().to_string();
    let (mut signalled, name) = (0, format!("/proc/{pid}/comm"));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        // Before that it is `env`, which heeds them.
        if fs::read_to_string(&name).unwrap_or_default() == "imgasm\n" {
            for signal in ["INT", "TERM", "HUP"] {
                let mut kill = Command::new("kill");
                let _ = kill.args(["-s", signal, &pid]).status();
                signalled += 1;
            }
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert!(
        status.success() && signalled > 0,
        "{status}, {signalled} signals"
    );
}
