//! An image of its own for a test, and what is done to it again and again.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{Delta, FileDevice};
use imgasm_ext4::Ext4;
use imgasm_fs::{Error, FileSystem, NewNode, NodeId, NodeKind};
use imgasm_testkit::command::run;
use imgasm_testkit::engine;
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tree::{Comparison, Tree};

/// An image in a folder that is removed with it.
pub struct Image {
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Image {
    /// A fresh filesystem; `None` if the machine lacks what is needed.
    pub fn new(size: u64, mke2fs: &[&str]) -> Option<Self> {
        if !need::mounts(Kind::Ext.tools()) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder for the image");
        let path = folder.path().join("image");
        let file = std::fs::File::create(&path).expect("a file can be made");
        file.set_len(size).expect("a file can be sparse");
        run(Command::new("mke2fs")
            .args(["-q", "-F"])
            .args(mke2fs)
            .arg(&path));
        Some(Self {
            path,
            _folder: folder,
        })
    }

    pub fn open(&self) -> Ext4 {
        let device = FileDevice::open_writable(&self.path).expect("the image is a file");
        Ext4::open_writable(Arc::new(device), engine::OPTIONS).expect("a sound filesystem")
    }

    /// Lets `edit` change the filesystem, which must be sound then.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut Ext4) -> T) -> T {
        let mut fs = self.open();
        let result = edit(&mut fs);
        fs.flush().expect("there is room for what was accepted");
        drop(fs);
        judge::check(&self.path, Kind::Ext).unwrap_or_else(|e| panic!("{e}"));
        let mut findings = Vec::new();
        self.open()
            .check(&mut |finding| findings.push(finding))
            .expect("it can be read");
        assert!(findings.is_empty(), "{findings:?}");
        result
    }

    /// Lets `edit` work on the filesystem, and throws away what it did.
    pub fn try_out<T>(&self, edit: impl FnOnce(&mut Ext4) -> T) -> T {
        let delta = Delta::new(engine::image(&self.path));
        let fs = Ext4::open_writable(Arc::new(delta), engine::OPTIONS);
        edit(&mut fs.expect("a sound filesystem"))
    }

    /// The error of an edit that must fail; nothing can be changed or flushed after it.
    pub fn error<T>(&self, edit: impl FnOnce(&mut Ext4) -> Result<T, Error>) -> Error {
        self.try_out(|fs| {
            let error = edit(fs).err().expect("this must fail");
            let root = fs.root();
            let later = fs.set_xattr(root, b"user.later", None);
            assert!(matches!(later, Err(Error::Spoilt { .. })), "{later:?}");
            assert!(matches!(fs.flush(), Err(Error::Spoilt { .. })));
            error
        })
    }

    /// Lets the kernel change or look at the filesystem.
    pub fn kernel<T>(&self, look: impl FnOnce(&std::path::Path) -> T) -> T {
        let mount = Mount::new(&self.path, Kind::Ext, Access::ReadWrite);
        let result = look(mount.path());
        mount.finish().unwrap_or_else(|e| panic!("{e}"));
        result
    }

    /// The kernel and the engine must show the same.
    pub fn compare(&self) -> Tree {
        let mount = Mount::new(&self.path, Kind::Ext, Access::ReadOnly);
        let tree = Tree::of_mount(mount.path());
        mount.finish().unwrap_or_else(|e| panic!("{e}"));
        let device = FileDevice::open(&self.path).expect("the image is a file");
        let fs = Ext4::open(Arc::new(device)).expect("a sound filesystem");
        Tree::of_engine(&fs)
            .and_then(|seen| seen.compare(&tree, &Comparison::SAME_IMAGE))
            .unwrap_or_else(|e| panic!("{e}"));
        tree
    }
}

pub fn create(fs: &mut Ext4, directory: NodeId, name: &str, kind: NodeKind<'_>) -> NodeId {
    try_create(fs, directory, name, kind).expect("there is room")
}

pub fn try_create(
    fs: &mut Ext4,
    directory: NodeId,
    name: &str,
    kind: NodeKind<'_>,
) -> Result<NodeId, Error> {
    let new = NewNode {
        kind,
        permissions: 0o755,
        uid: 0,
        gid: 0,
    };
    fs.create(directory, name.as_bytes(), &new)
}

pub fn lookup(fs: &Ext4, name: &str) -> NodeId {
    fs.lookup(fs.root(), name.as_bytes())
        .expect("readable")
        .expect("there")
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|n| u8::try_from(n * 31 % 251).expect("below 251") ^ seed)
        .collect()
}

pub fn names_in(fs: &Ext4, directory: NodeId) -> usize {
    fs.read_dir(directory).expect("readable").len()
}
