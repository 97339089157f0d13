//! Changing an image in place while the process may be killed, and while others use the image.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use imgasm_block::{BlockDevice, Delta, Error, FileDevice, InPlace};
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::tools::run;

const LEN: u64 = 24 << 20;

/// The variable that passes the image to the child process.
const IMAGE: &str = "IMGASM_TEST_IMAGE";

fn image_in(dir: &Path) -> (PathBuf, Vec<u8>) {
    let path = dir.join("disk.raw");
    let mut bytes = vec![0; usize::try_from(LEN).unwrap()];
    for (block, piece) in bytes.chunks_mut(4096).enumerate() {
        if block % 3 != 0 {
            piece.fill(u8::try_from(block % 250).unwrap() + 1);
        }
    }
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn change(path: &Path) -> Result<Vec<u8>, Error> {
    let image = InPlace::open(path)?;
    let delta = Delta::grown(image.device().clone() as Arc<dyn BlockDevice>, LEN + 4096);
    for block in (0..LEN / 4096).step_by(2) {
        delta.write_at(block * 4096 + 7, &[0xee; 3000])?;
    }
    delta.write_zeros(LEN / 2, 1 << 20)?;
    delta.write_at(LEN, b"more")?;
    let mut new = vec![0; usize::try_from(LEN + 4096).unwrap()];
    delta.read_at(0, &mut new)?;
    println!("about to commit");
    image.commit(&delta)?;
    Ok(new)
}

/// Not a test of its own: what `killed_at_any_moment` kills.
#[test]
#[ignore = "is run by another test"]
fn child_that_is_killed() {
    if let Some(path) = std::env::var_os(IMAGE) {
        change(Path::new(&path)).unwrap();
    }
}

#[test]
fn killed_at_any_moment() {
    let rounds = std::env::var("IMGASM_TEST_ROUNDS").map_or(25, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = image_in(dir.path());
    let new = change(&path).unwrap();
    let mut random = Rng::new(1);
    let mut undone = 0;
    for round in 0..rounds {
        fs::write(&path, &old).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "in_place::child_that_is_killed",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(IMAGE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = child.stdout.take().unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"commit\n") {
            let mut byte = [0];
            assert_eq!(said.read(&mut byte).unwrap(), 1, "the child has failed");
            seen.extend(byte);
        }
        thread::sleep(Duration::from_micros(random.below(150_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.success() || status.signal() == Some(9), "{status}");

        let found = fs::read(&path).unwrap();
        let readable = InPlace::check(&FileDevice::open(&path).unwrap());
        assert!(fs::read(&path).unwrap() == found, "reading has written");
        if readable.is_ok() {
            assert!(
                found == old || found == new,
                "round {round}: read although half-changed"
            );
        }
        if round % 5 == 4 && readable.is_err() {
            // A fresh image copied over the half-changed one.
            let fresh = vec![0x77; usize::try_from(LEN).unwrap()];
            fs::write(&path, &fresh).unwrap();
            let refused = InPlace::open(&path).unwrap_err();
            assert!(matches!(refused, Error::UndoMismatch { .. }), "{refused}");
            assert!(
                fs::read(&path).unwrap() == fresh,
                "the fresh image was written"
            );
            fs::remove_file(dir.path().join("disk.raw.imgasm-undo")).unwrap();
            continue;
        }
        undone += usize::from(InPlace::open(&path).unwrap().recovery().is_some());
        let now = fs::read(&path).unwrap();
        assert!(
            now == old || now == new,
            "round {round}: neither old nor new"
        );
    }
    assert!(undone > 0, "no round hit a change under way");
}

#[test]
fn what_qemu_has_open_is_refused() {
    if !need::tools(&["qemu-io"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = image_in(dir.path());
    let mut qemu = Command::new("qemu-io")
        .args(["-f", "raw", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = qemu.stdin.take().unwrap();
    input.write_all(b"read 0 512\n").unwrap();
    let mut said = [0; 4];
    qemu.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    let refused = change(&path).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    drop(input);
    qemu.wait().unwrap();
    assert!(fs::read(&path).unwrap() == old);
    change(&path).unwrap();
}

#[test]
fn what_is_mounted_is_refused_and_a_block_device_is_an_image() {
    if !need::mounts(&["mke2fs", "losetup"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    fs::File::create(&path).unwrap().set_len(LEN).unwrap();
    run("mke2fs", ["-q", "-F", "-t", "ext2", path.to_str().unwrap()]);
    let old = fs::read(&path).unwrap();
    let mount = dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let (image, folder) = (path.to_str().unwrap(), mount.to_str().unwrap());
    run("mount", ["-o", "loop,ro", image, folder]);
    let refused = InPlace::open(&path).map(|_| ());
    run("umount", [folder]);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");

    let device = Command::new("losetup")
        .args(["-f", "--show", image])
        .output();
    let device = String::from_utf8(device.unwrap().stdout).unwrap();
    let device = Path::new(device.trim());
    let edited = (|| {
        run("mount", ["-o", "ro", device.to_str().unwrap(), folder]);
        let refused = InPlace::open(device).map(|_| ());
        run("umount", [folder]);
        let image = InPlace::open(device)?;
        let delta = Delta::new(image.device().clone());
        delta.write_at(100, b"changed")?;
        image.commit(&delta)?;
        Ok::<_, Error>(refused)
    })();
    run("losetup", ["-d", device.to_str().unwrap()]);
    let refused = edited.unwrap().unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    let now = fs::read(&path).unwrap();
    assert_eq!(now[100..107], *b"changed");
    assert!(now[107..] == old[107..]);
}
