//! An image on which the engine and the kernel take turns, and what both must leave sound.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{Delta, FileDevice};
use imgasm_fs::{Error, FileSystem, NewNode, NodeKind};
use imgasm_testkit::command::run;
use imgasm_testkit::engine::OPTIONS;
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tree::{Comparison, Tree};
use imgasm_xfs::Xfs;
use rustix::fs::{FallocateFlags, fallocate};

pub const MIB: u64 = 1 << 20;

/// An image, removed when dropped.
pub struct Image {
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Image {
    /// An empty filesystem; `None` if the machine lacks what is needed.
    pub fn new(mkfs: &[&str]) -> Option<Self> {
        if !need::mounts(Kind::Xfs.tools()) {
            return None;
        }
        let image = Self::sparse(320 * MIB);
        run(Command::new("mkfs.xfs")
            .arg("-q")
            .args(mkfs)
            .arg(&image.path));
        Some(image)
    }

    /// An image of zeros.
    pub fn sparse(len: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the image");
        let path = folder.path().join("image");
        let file = File::create(&path).expect("an image");
        file.set_len(len).expect("a sparse file");
        Self {
            path,
            _folder: folder,
        }
    }

    pub fn open(&self) -> Result<Xfs, Error> {
        let device = FileDevice::open_writable(&self.path).expect("the image can be opened");
        Xfs::open_writable(Arc::new(device), OPTIONS)
    }

    /// Lets `edit` work on the filesystem, which must be sound then.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut Xfs) -> T) -> T {
        let mut fs = self.open().expect("a sound filesystem");
        let result = edit(&mut fs);
        fs.flush().expect("there is room for what was accepted");
        self.check();
        result
    }

    /// Lets `edit` work on the filesystem, and throws away what it did.
    pub fn try_out<T>(&self, edit: impl FnOnce(&mut Xfs) -> T) -> T {
        let delta = Delta::new(imgasm_testkit::engine::image(&self.path));
        edit(&mut Xfs::open_writable(Arc::new(delta), OPTIONS).expect("a sound filesystem"))
    }

    /// Neither `xfs_repair` nor our own checker finds anything.
    pub fn check(&self) {
        judge::check(&self.path, Kind::Xfs).unwrap_or_else(|e| panic!("{e}"));
        let fs = Xfs::open(imgasm_testkit::engine::image(&self.path)).expect("a sound filesystem");
        fs.check(&mut |finding| panic!("{}: {}", finding.at, finding.problem))
            .expect("readable");
    }

    /// Lets the kernel work on the filesystem, about which it must not complain.
    pub fn kernel<T>(&self, access: Access, work: impl FnOnce(&Path) -> T) -> T {
        let mount = Mount::new(&self.path, Kind::Xfs, access);
        let result = work(mount.path());
        mount.finish().unwrap_or_else(|e| panic!("{e}"));
        result
    }

    /// The kernel's tree, which must be ours too.
    pub fn tree(&self) -> Tree {
        let tree = self.kernel(Access::ReadOnly, Tree::of_mount);
        let fs = Xfs::open(imgasm_testkit::engine::image(&self.path)).expect("a sound filesystem");
        Tree::of_engine(&fs)
            .and_then(|seen| seen.compare(&tree, &Comparison::SAME_IMAGE))
            .unwrap_or_else(|e| panic!("{e}"));
        tree
    }
}

/// A regular file of root.
pub const NEW: NewNode<'_> = NewNode {
    kind: NodeKind::Regular,
    permissions: 0o644,
    uid: 0,
    gid: 0,
};

/// Fills a mounted filesystem with one file, and then punches `count` holes of `hole` bytes into it,
/// `step` bytes from one to the next.
pub fn leave_holes(root: &Path, hole: u64, step: u64, count: u64) {
    let file = File::create(root.join("filler")).expect("room");
    let mut end = 0;
    let mut piece = 64 * MIB;
    while piece >= 1024 {
        match fallocate(&file, FallocateFlags::empty(), end, piece) {
            Ok(()) => end += piece,
            Err(_) => piece /= 2,
        }
    }
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for n in 0..count {
        fallocate(&file, punch, n * step, hole).expect("room for the hole's record");
    }
}
