//! Creating very many files in one directory: whether the time is linear, and the rate.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use imgasm_block::{BlockDevice, Delta, FileDevice};
use imgasm_fs::{FileSystem, NewNode, NodeKind, Timestamp, WriteOptions};

const OPTIONS: WriteOptions = WriteOptions {
    now: Timestamp {
        seconds: 1_500_000_000,
        nanoseconds: 0,
    },
    seed: [7; 16],
};

/// Prints how many files per second are made in one directory, for two numbers of files.
pub fn report() {
    println!("empty files in one directory, with the flush");
    for (format, mkfs) in [
        ("ext4", "mke2fs -q -t ext4 -N 250000"),
        ("xfs", "mkfs.xfs -q"),
    ] {
        let folder = tempfile::tempdir().expect("a folder for an image");
        let image = folder.path().join("image");
        let made = Command::new("sh")
            .args([
                "-ec",
                &format!("truncate -s 1G {0}; {mkfs} {0}", image.display()),
            ])
            .status();
        assert!(made.is_ok_and(|status| status.success()), "{mkfs}");
        for files in [10_000, 100_000] {
            match create(&image, files) {
                Ok(seconds) => println!(
                    "  {:<42} {:>8} {seconds:>8.3} {:>15.0} files/s",
                    format!("{format}, {files} files"),
                    "",
                    f64::from(files) / seconds
                ),
                Err(e) => println!("  {format}: {e}"),
            }
        }
    }
}

fn create(image: &Path, files: u32) -> imgasm_fs::Result<f64> {
    let device: Arc<dyn BlockDevice> = Arc::new(FileDevice::open(image).expect("just made"));
    let start = Instant::now();
    let mut fs = imgasm_disk::open_writable(Arc::new(Delta::new(device)), OPTIONS)?;
    make(&mut *fs, files)?;
    fs.flush()?;
    Ok(start.elapsed().as_secs_f64())
}

fn make(fs: &mut dyn FileSystem, files: u32) -> imgasm_fs::Result<()> {
    let new = |kind| NewNode {
        kind,
        permissions: 0o755,
        uid: 0,
        gid: 0,
    };
    let directory = fs.create(fs.root(), b"many", &new(NodeKind::Directory))?;
    for n in 0..files {
        fs.create(
            directory,
            format!("file-{n}").as_bytes(),
            &new(NodeKind::Regular),
        )?;
    }
    Ok(())
}
