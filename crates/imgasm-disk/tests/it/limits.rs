//! The largest, the most, the deepest, and the fullest; the kernel and the format's checker judge
//! whether it is right.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgasm_block::{Delta, InPlace};
use imgasm_fs::{Error, FileSystem, NewNode, NodeId, NodeKind};
use imgasm_testkit::content::{Content, Style};
use imgasm_testkit::edits::Stripes;
use imgasm_testkit::engine;
use imgasm_testkit::image::{Kind, Set, set};
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tree::{Comparison, Tree};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// An image that is edited by an engine in place.
struct Image {
    kind: Kind,
    path: PathBuf,
    /// Removed when dropped.
    _folder: tempfile::TempDir,
}

impl Image {
    /// An empty image of a set, of another size than the set's own. `None` if the machine lacks
    /// what is needed.
    fn new(kind: Kind, name: &str, size: u64) -> Option<Self> {
        if !need::mounts(kind.tools()) {
            return None;
        }
        let set = set(kind, name).expect("a set of this name");
        let folder = tempfile::tempdir().expect("a folder for the image");
        let path = folder.path().join("image");
        Set {
            size,
            grown_to: None,
            ..*set
        }
        .make(&path);
        Some(Self {
            kind,
            path,
            _folder: folder,
        })
    }

    /// Lets `edit` work on the filesystem, and writes what it did into the image, which must be
    /// sound then.
    fn edit<T>(&self, edit: impl FnOnce(&mut dyn FileSystem) -> T) -> T {
        let image = InPlace::open(&self.path).expect("the image can be opened");
        let delta = Arc::new(Delta::new(image.device().clone()));
        let mut fs =
            imgasm_disk::open_writable(delta.clone(), engine::OPTIONS).expect("a sound filesystem");
        let result = edit(&mut *fs);
        fs.flush().expect("there is room for what was accepted");
        drop(fs);
        image.commit(&delta).expect("the image can be written");
        judge::check(&self.path, self.kind).unwrap_or_else(|e| panic!("{e}"));
        result
    }

    /// Lets `edit` work on the filesystem, and throws away what it did.
    fn try_out<T>(&self, edit: impl FnOnce(&mut dyn FileSystem) -> T) -> T {
        let delta = Arc::new(Delta::new(engine::image(&self.path)));
        let mut fs = imgasm_disk::open_writable(delta, engine::OPTIONS).expect("sound");
        edit(&mut *fs)
    }

    /// What the kernel shows; the engine must show the same.
    fn tree(&self) -> Tree {
        let mount = self.mount(Access::ReadOnly);
        let tree = Tree::of_mount(mount.path());
        mount.finish().unwrap_or_else(|e| panic!("{e}"));
        let fs = imgasm_disk::open(engine::image(&self.path)).expect("a sound filesystem");
        Tree::of_engine(&*fs)
            .and_then(|seen| seen.compare(&tree, &Comparison::SAME_IMAGE))
            .unwrap_or_else(|e| panic!("{e}"));
        tree
    }

    fn mount(&self, access: Access) -> Mount {
        Mount::new(&self.path, self.kind, access)
    }
}

fn create(
    fs: &mut dyn FileSystem,
    directory: NodeId,
    name: &str,
    kind: NodeKind<'_>,
) -> imgasm_fs::Result<NodeId> {
    let new = NewNode {
        kind,
        permissions: 0o755,
        uid: 0,
        gid: 0,
    };
    fs.create(directory, name.as_bytes(), &new)
}

fn file(fs: &mut dyn FileSystem, name: &str) -> NodeId {
    let root = fs.root();
    create(fs, root, name, NodeKind::Regular).expect("there is room for a file")
}

/// Files of every order of magnitude up to 4 GiB, written whole.
fn sizes(kind: Kind, name: &str) {
    const KIB_4: u64 = 4096;
    let Some(image) = Image::new(kind, name, 2 * GIB) else {
        return;
    };
    let dense = [
        0,
        1,
        59,
        60,
        61,
        155,
        156,
        157,
        KIB_4 - 1,
        KIB_4,
        KIB_4 + 1,
        12 * KIB_4,
        12 * KIB_4 + 1,
        MIB,
        5 * MIB - 1,
        300 * MIB,
    ];
    let sparse = [2 * GIB - 1, 2 * GIB, 4 * GIB - 1, 4 * GIB, 4 * GIB + 1];
    image.edit(|fs| {
        for (seed, size) in (0..).zip(dense) {
            let node = file(fs, &format!("dense-{size}"));
            let content = Content::noise(seed, size);
            fs.write_content(node, size, &mut content.reader())
                .expect("there is room");
        }
        for size in sparse {
            let node = file(fs, &format!("sparse-{size}"));
            fs.set_size(node, size).expect("a size it can store");
            let last = Content::noise(size, 10);
            fs.write_at(node, size - 10, &last.bytes())
                .expect("there is room");
            fs.write_at(node, size / 2, &last.bytes())
                .expect("there is room");
        }
        let zeros = Content {
            seed: 0,
            size: 64 * MIB,
            style: Style::Zeros,
        };
        let node = file(fs, "zeros");
        fs.write_content(node, zeros.size, &mut zeros.reader())
            .expect("there is room");
    });
    image.tree();
    let mount = image.mount(Access::ReadOnly);
    for (seed, size) in (0..).zip(dense) {
        let mut seen =
            std::fs::File::open(mount.path().join(format!("dense-{size}"))).expect("it is there");
        assert!(
            same(&mut seen, &mut Content::noise(seed, size).reader()),
            "{size} bytes"
        );
    }
    for size in sparse {
        let seen =
            std::fs::File::open(mount.path().join(format!("sparse-{size}"))).expect("it is there");
        assert_eq!(seen.metadata().expect("an open file").len(), size);
        for at in [size / 2, size - 10] {
            let mut bytes = [0; 10];
            seen.read_exact_at(&mut bytes, at).expect("inside the file");
            assert_eq!(
                bytes.to_vec(),
                Content::noise(size, 10).bytes(),
                "{size} bytes, at {at}"
            );
        }
    }
}

fn same(one: &mut dyn Read, other: &mut dyn Read) -> bool {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        one.take(MIB).read_to_end(&mut a).expect("it can be read");
        other.take(MIB).read_to_end(&mut b).expect("it can be read");
        if a != b || a.is_empty() {
            return a == b;
        }
    }
}

/// A directory of 100,000 entries, of which half are removed again, and then all.
fn many_entries(kind: Kind, name: &str) {
    const ENTRIES: usize = 100_000;
    let Some(image) = Image::new(kind, name, 512 * MIB) else {
        return;
    };
    let entry = |n: usize| format!("entry-{n:06}-of-a-directory");
    image.edit(|fs| {
        let root = fs.root();
        let directory = create(fs, root, "many", NodeKind::Directory).expect("there is room");
        for n in 0..ENTRIES {
            create(fs, directory, &entry(n), NodeKind::Regular).expect("there is room");
        }
    });
    let count = || {
        let mount = image.mount(Access::ReadOnly);
        let entries = std::fs::read_dir(mount.path().join("many")).expect("a directory");
        let count = entries.count();
        mount.finish().unwrap_or_else(|e| panic!("{e}"));
        count
    };
    assert_eq!(count(), ENTRIES);
    let tree = image.tree();
    assert_eq!(
        tree.0
            .keys()
            .filter(|path| path.starts_with(b"/many/"))
            .count(),
        ENTRIES
    );
    let remove = |fs: &mut dyn FileSystem, wanted: &dyn Fn(usize) -> bool| {
        let directory = fs
            .lookup(fs.root(), b"many")
            .expect("readable")
            .expect("there");
        for n in (0..ENTRIES).filter(|&n| wanted(n)) {
            fs.remove(directory, entry(n).as_bytes())
                .expect("it is there");
        }
    };
    image.edit(|fs| remove(fs, &|n| n % 2 == 0));
    assert_eq!(count(), ENTRIES / 2);
    image.edit(|fs| {
        remove(fs, &|n| n % 2 == 1);
        let root = fs.root();
        fs.remove(root, b"many").expect("it is empty");
    });
    assert!(!image.tree().0.contains_key(&b"/many"[..]));
}

/// Extent trees three levels deep: one made by the engine, and one made by the kernel that the
/// engine then cuts and grows.
fn many_extents(kind: Kind, name: &str) {
    let Some(image) = Image::new(kind, name, 192 * MIB) else {
        return;
    };
    // With 1 KiB blocks a leaf or an index holds 84 entries, the inode 4: two levels end at 28,224.
    let stripes = Stripes {
        seed: 1,
        offset: 0,
        stride: 2048,
        len: 1024,
        count: 30_000,
    };
    let mount = image.mount(Access::ReadWrite);
    write_stripes(&mount.path().join("kernel"), stripes);
    write_stripes(&mount.path().join("reference"), stripes);
    mount.finish().unwrap_or_else(|e| panic!("{e}"));
    // Most of it in order, which is quick, and then what lies before, the last first.
    let mut pieces: Vec<_> = stripes.pieces().collect();
    pieces[..28_000].reverse();
    image.edit(|fs| {
        let engine = file(fs, "engine");
        for (offset, content) in &pieces {
            let offset = *offset;
            fs.write_at(engine, offset, &content.bytes())
                .expect("there is room");
        }
    });
    let tree = image.tree();
    let content = |path: &[u8]| (tree.0[path].size, tree.0[path].content);
    assert_eq!(content(b"/engine"), content(b"/reference"));
    assert_eq!(content(b"/kernel"), content(b"/reference"));

    // The same changes by both: cut in the middle, extended, filled in between.
    let cut = 27_000 * 2048 + 100;
    let more = Stripes {
        seed: 2,
        offset: 1024 * 1001,
        count: 1_500,
        ..stripes
    };
    image.edit(|fs| {
        for name in [&b"engine"[..], b"kernel"] {
            let node = fs
                .lookup(fs.root(), name)
                .expect("readable")
                .expect("there");
            fs.set_size(node, cut).expect("a size it can store");
            for (offset, content) in more.pieces() {
                fs.write_at(node, offset, &content.bytes())
                    .expect("there is room");
            }
        }
    });
    let mount = image.mount(Access::ReadWrite);
    let reference = mount.path().join("reference");
    let options = std::fs::OpenOptions::new().write(true).open(&reference);
    options
        .and_then(|file| file.set_len(cut))
        .expect("the kernel can");
    write_stripes(&reference, more);
    mount.finish().unwrap_or_else(|e| panic!("{e}"));
    let tree = image.tree();
    let content = |path: &[u8]| (tree.0[path].size, tree.0[path].content);
    assert_eq!(content(b"/engine"), content(b"/reference"));
    assert_eq!(content(b"/kernel"), content(b"/reference"));
    image.edit(|fs| {
        let root = fs.root();
        for name in [&b"engine"[..], b"kernel", b"reference"] {
            fs.remove(root, name).expect("it is there");
        }
    });
}

fn write_stripes(path: &Path, stripes: Stripes) {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .expect("the kernel can");
    for (offset, content) in stripes.pieces() {
        file.write_all_at(&content.bytes(), offset)
            .expect("the kernel can");
    }
}

/// Makes a file of noise, whose content is its number's.
fn numbered(fs: &mut dyn FileSystem, number: u64, size: u64) -> imgasm_fs::Result<()> {
    let root = fs.root();
    let node = create(fs, root, &format!("file-{number}"), NodeKind::Regular)?;
    fs.write_content(node, size, &mut Content::noise(number, size).reader())
}

/// After an error that is not one of the rules, nothing can be changed or flushed any more.
fn assert_spoilt(fs: &mut dyn FileSystem, error: &Error) {
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let root = fs.root();
    let spoilt = |result: imgasm_fs::Result<()>| {
        assert!(matches!(result, Err(Error::Spoilt { .. })), "{result:?}");
    };
    spoilt(create(fs, root, "further", NodeKind::Regular).map(drop));
    spoilt(fs.remove(root, b"old"));
    spoilt(fs.set_size(root, 0));
    spoilt(fs.set_xattr(root, b"user.x", None));
    spoilt(fs.flush());
}

/// Filled to the last block: the error says so and ends the work on that delta, nothing that was
/// there is lost, the filesystem is sound, and room that is freed can be used.
fn no_blocks_left(kind: Kind, name: &str) {
    let Some(image) = Image::new(kind, name, 64 * MIB) else {
        return;
    };
    let old = Content::noise(7, 200_000);
    image.edit(|fs| {
        let node = file(fs, "old");
        fs.write_content(node, old.size, &mut old.reader())
            .expect("there is room");
    });
    // Smaller and smaller, until not one block is left. How many files of a size fit is found by
    // trying.
    let mut sizes: Vec<u64> = Vec::new();
    for size in [MIB, 64 << 10, 4096, 1024, 1] {
        let more = image.try_out(|fs| {
            for (number, &size) in (0..).zip(&sizes) {
                numbered(fs, number, size).expect("there was room before");
            }
            let first = sizes.len() as u64;
            let failed = (first..).map(|number| numbered(fs, number, size).map(|()| number));
            let mut count = 0;
            for result in failed {
                match result {
                    Ok(_) => count += 1,
                    Err(error) => {
                        assert_spoilt(fs, &error);
                        break;
                    }
                }
            }
            count
        });
        sizes.extend(std::iter::repeat_n(size, more));
    }
    image.edit(|fs| {
        for (number, &size) in (0..).zip(&sizes) {
            numbered(fs, number, size).expect("there was room before");
        }
    });
    let larger = Content::noise(8, 4 * MIB);
    for whole in [true, false] {
        image.try_out(|fs| {
            let node = fs.lookup(fs.root(), b"old").expect("readable");
            let node = node.expect("there");
            let error = if whole {
                fs.write_content(node, larger.size, &mut larger.reader())
            } else {
                fs.write_at(node, old.size, &larger.bytes())
            };
            assert_spoilt(fs, &error.expect_err("there is no room"));
        });
    }
    let written: Vec<_> = (0..)
        .zip(&sizes)
        .map(|(number, &size)| Content::noise(number, size))
        .collect();
    assert!(written.len() > 40, "{} files", written.len());
    let mount = image.mount(Access::ReadOnly);
    let seen = |name: &str| std::fs::read(mount.path().join(name)).expect("it is there");
    assert!(
        seen("old") == old.bytes(),
        "what could not be replaced has changed"
    );
    for (n, content) in written.iter().enumerate() {
        assert!(
            seen(&format!("file-{n}")) == content.bytes(),
            "file {n} has changed"
        );
    }
    let free = rustix::fs::statvfs(mount.path())
        .expect("a mounted filesystem")
        .f_bfree;
    assert!(free < 64, "{free} blocks are free");
    drop(mount);
    image.tree();
    image.edit(|fs| {
        let root = fs.root();
        fs.remove(root, b"file-0").expect("it is there");
        let node = file(fs, "new");
        let half = Content::noise(9, MIB / 2);
        fs.write_content(node, half.size, &mut half.reader())
            .expect("there is room again");
    });
    image.tree();
}

/// Filled to the last inode.
fn no_inodes_left(kind: Kind, name: &str) {
    let Some(image) = Image::new(kind, name, 64 * MIB) else {
        return;
    };
    let free = |image: &Image| {
        let mount = image.mount(Access::ReadOnly);
        rustix::fs::statvfs(mount.path())
            .expect("a mounted filesystem")
            .f_ffree
    };
    let before = free(&image);
    let fill = |fs: &mut dyn FileSystem, count: u64| {
        let root = fs.root();
        let directory = create(fs, root, "all", NodeKind::Directory)?;
        (0..count)
            .try_for_each(|n| create(fs, directory, &format!("f{n}"), NodeKind::Fifo).map(drop))
    };
    image.try_out(|fs| match fill(fs, before) {
        Err(error @ Error::NoSpace { unit, .. }) => {
            assert_eq!(unit, "inodes");
            assert_spoilt(fs, &error);
        }
        other => panic!("one inode more than there are: {other:?}"),
    });
    image.edit(|fs| fill(fs, before - 1).expect("as many as are free"));
    assert_eq!(free(&image), 0);
    image.tree();
    image.edit(|fs| {
        let directory = fs
            .lookup(fs.root(), b"all")
            .expect("readable")
            .expect("there");
        fs.remove(directory, b"f17").expect("it is there");
        create(fs, directory, "again", NodeKind::Regular).expect("there is one again");
    });
    assert_eq!(free(&image), 0);
}

#[test]
fn ext4_sizes() {
    sizes(Kind::Ext, "debian12");
}

#[test]
fn ext3_sizes() {
    sizes(Kind::Ext, "ext3");
}

#[test]
fn ext4_many_entries() {
    many_entries(Kind::Ext, "1k");
}

#[test]
fn ext4_many_extents() {
    many_extents(Kind::Ext, "1k");
}

#[test]
fn xfs_sizes() {
    sizes(Kind::Xfs, "defaults");
}

#[test]
fn xfs_many_entries() {
    many_entries(Kind::Xfs, "al2023");
}

#[test]
fn xfs_many_extents() {
    many_extents(Kind::Xfs, "1k-blocks");
}

#[test]
fn ext4_no_blocks_left() {
    no_blocks_left(Kind::Ext, "debian12");
    no_blocks_left(Kind::Ext, "1k-al1");
    no_blocks_left(Kind::Ext, "ext3");
}

#[test]
fn ext4_no_inodes_left() {
    no_inodes_left(Kind::Ext, "debian12");
    no_inodes_left(Kind::Ext, "al1");
}
