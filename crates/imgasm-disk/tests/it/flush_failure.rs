//! A device that fails in the middle of a flush: the engine reports it, and refuses to go on.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use imgasm_block::{BlockDevice, Delta};
use imgasm_fs::{Error, NewNode, NodeKind};
use imgasm_testkit::command::run;
use imgasm_testkit::engine::{OPTIONS, image};
use imgasm_testkit::need;

/// A device that fails from some write on.
struct Failing {
    below: Delta,
    writes_left: AtomicI64,
}

impl BlockDevice for Failing {
    fn len(&self) -> u64 {
        self.below.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> imgasm_block::Result<()> {
        self.below.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> imgasm_block::Result<()> {
        if self.writes_left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(imgasm_block::Error::ReadOnly);
        }
        self.below.write_at(offset, buf)
    }
    fn write_zeros(&self, offset: u64, len: u64) -> imgasm_block::Result<()> {
        self.below.write_zeros(offset, len)
    }
    fn next_data(&self, from: u64) -> imgasm_block::Result<Option<Range<u64>>> {
        self.below.next_data(from)
    }
}

fn check(mkfs: &str, args: &[&str]) {
    if !need::tools(&[mkfs]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the image");
    let path: PathBuf = folder.path().join("image");
    let file = std::fs::File::create(&path).expect("an image");
    file.set_len(320 << 20).expect("a sparse file");
    run(Command::new(mkfs).args(args).arg(&path));

    let new = NewNode {
        kind: NodeKind::Regular,
        permissions: 0o644,
        uid: 0,
        gid: 0,
    };
    let mut failed = 0;
    for writes in 0.. {
        let device = Arc::new(Failing {
            below: Delta::new(image(&path)),
            writes_left: AtomicI64::new(i64::MAX),
        });
        let mut fs =
            imgasm_disk::open_writable(device.clone(), OPTIONS).expect("a sound filesystem");
        let root = fs.root();
        for n in 0..200 {
            let name = format!("file-{n}");
            fs.create(root, name.as_bytes(), &new).expect("room");
        }
        device.writes_left.store(writes, Ordering::Relaxed);
        let Err(error) = fs.flush() else {
            break;
        };
        assert!(matches!(error, Error::Block(_)), "{error}");
        failed += 1;
        // Even if the device works again, what reached it is unknown.
        device.writes_left.store(i64::MAX, Ordering::Relaxed);
        let refused = |result: imgasm_fs::Result<()>| match result {
            Err(Error::Spoilt { .. }) => {}
            other => panic!("after {writes} writes: {other:?}"),
        };
        refused(fs.create(root, b"more", &new).map(drop));
        refused(fs.remove(root, b"file-1"));
        refused(fs.flush());
    }
    assert!(failed > 1, "a flush takes several writes");
}

#[test]
fn ext4() {
    check("mke2fs", &["-q", "-F", "-t", "ext4"]);
}

#[test]
fn xfs() {
    check("mkfs.xfs", &["-q"]);
}
