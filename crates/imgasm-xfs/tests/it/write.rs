//! Writing XFS, form by form: every form of directories, attributes and extents grown and shrunk,
//! shared blocks, full filesystems, and what must not be written at all. `xfs_repair` and the
//! kernel say whether it is right.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use imgasm_fs::{DeviceNumber, Error, FileSystem, NewNode, NodeId, NodeKind};
use imgasm_testkit::apply::set_xattr;
use imgasm_testkit::command::run;
use imgasm_testkit::content::Content;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::Access;
use imgasm_testkit::need;
use imgasm_testkit::tree::mounted_xattrs;
use imgasm_xfs::Xfs;

use crate::image::{Image, MIB, NEW, leave_holes};

fn file(fs: &mut Xfs, name: &str) -> NodeId {
    let root = fs.root();
    fs.create(root, name.as_bytes(), &NEW)
        .expect("there is room")
}

fn find(fs: &Xfs, name: &str) -> NodeId {
    let found = fs.lookup(fs.root(), name.as_bytes()).expect("readable");
    found.expect("it is there")
}

fn write(fs: &mut Xfs, node: NodeId, content: &Content) {
    fs.write_content(node, content.size, &mut content.reader())
        .expect("there is room");
}

const SHARED: [&[&str]; 2] = [&["-m", "reflink=1"], &["-m", "reflink=1,rmapbt=1"]];

#[test]
fn copies_that_share_blocks_stay_as_they_are() {
    for mkfs in SHARED {
        let Some(image) = Image::new(mkfs) else {
            return;
        };
        let content = Content::noise(1, 3 * MIB + 777);
        let edits = ["kept", "part", "whole", "cut", "grown", "gone", "kept-too"];
        image.kernel(Access::ReadWrite, |root| {
            std::fs::write(root.join("kept"), content.bytes()).expect("there is room");
            for name in &edits[1..] {
                run(Command::new("cp")
                    .arg("--reflink=always")
                    .arg(root.join("kept"))
                    .arg(root.join(name)));
            }
        });
        let patch = Content::noise(2, 70_001);
        let mut expected: BTreeMap<&str, Vec<u8>> =
            edits.iter().map(|name| (*name, content.bytes())).collect();
        image.edit(|fs| {
            let node = find(fs, "part");
            fs.write_at(node, 1_000_001, &patch.bytes()).expect("room");
            let node = find(fs, "whole");
            write(fs, node, &patch);
            let node = find(fs, "cut");
            fs.set_size(node, 500_001).expect("room");
            let node = find(fs, "grown");
            fs.write_at(node, content.size + 5000, b"end")
                .expect("room");
            let root = fs.root();
            fs.remove(root, b"gone").expect("it is there");
        });
        expected.get_mut("part").unwrap()[1_000_001..1_070_002].copy_from_slice(&patch.bytes());
        expected.insert("whole", patch.bytes());
        expected.get_mut("cut").unwrap().truncate(500_001);
        let grown = expected.get_mut("grown").unwrap();
        grown.resize(grown.len() + 5000, 0);
        grown.extend_from_slice(b"end");
        expected.remove("gone");
        image.kernel(Access::ReadWrite, |root| {
            for (name, content) in &expected {
                let seen = std::fs::read(root.join(name)).expect("it is there");
                assert!(seen == *content, "{name} has another content");
            }
            std::fs::write(root.join("part"), b"by the kernel").expect("there is room");
        });
        image.check();
        image.edit(|fs| {
            for name in expected.keys() {
                let root = fs.root();
                fs.remove(root, name.as_bytes()).expect("it is there");
            }
        });
        image.tree();
    }
}

#[test]
fn directories_of_every_form() {
    let geometries: [&[&str]; 3] = [
        &["-n", "size=16384", "-s", "size=4096"],
        &["-b", "size=1024", "-m", "rmapbt=1"],
        &["-i", "size=2048"],
    ];
    for mkfs in geometries {
        let Some(image) = Image::new(mkfs) else {
            return;
        };
        let name = |n: usize| format!("{n}-{}", "long-name-of-an-entry".repeat(n % 7));
        image.edit(|fs| {
            let root = fs.root();
            let kind = NodeKind::Directory;
            fs.create(root, b"dir", &NewNode { kind, ..NEW })
                .expect("room");
        });
        let counts = [
            1, 4, 6, 12, 25, 60, 130, 400, 1500, 6000, 5999, 2000, 800, 150, 70, 30, 11, 5, 2, 0,
        ];
        let mut now = 0;
        for count in counts {
            image.edit(|fs| {
                let directory = find(fs, "dir");
                for n in now..count {
                    fs.create(directory, name(n).as_bytes(), &NEW)
                        .expect("room");
                }
                for n in count..now {
                    fs.remove(directory, name(n).as_bytes()).expect("there");
                }
            });
            now = count;
            let mut seen = image.kernel(Access::ReadOnly, |root| {
                // Looks each name up by way of the index, too.
                for n in 0..count {
                    let path = root.join("dir").join(name(n));
                    assert!(path.symlink_metadata().is_ok(), "{n} of {count} is missing");
                }
                std::fs::read_dir(root.join("dir"))
                    .expect("a directory")
                    .map(|entry| entry.expect("readable").file_name().into_string().unwrap())
                    .collect::<Vec<_>>()
            });
            let mut expected: Vec<_> = (0..count).map(name).collect();
            seen.sort_unstable();
            expected.sort_unstable();
            assert_eq!(seen, expected);
        }
    }
}

#[test]
fn attributes_of_every_form() {
    let geometries: [&[&str]; 3] = [&[], &["-b", "size=1024"], &["-i", "nrext64=1,size=1024"]];
    for mkfs in geometries {
        let Some(image) = Image::new(mkfs) else {
            return;
        };
        // Names of a regular file, a directory, a device and a link, each dressed alike.
        image.edit(|fs| {
            let root = fs.root();
            let device = NodeKind::CharDevice(DeviceNumber { major: 8, minor: 1 });
            let link = NodeKind::Symlink(&[b't'; 150]);
            for (name, kind) in [
                ("file", NodeKind::Regular),
                ("dir", NodeKind::Directory),
                ("device", device),
                ("link", link),
            ] {
                fs.create(root, name.as_bytes(), &NewNode { kind, ..NEW })
                    .expect("room");
            }
            let directory = find(fs, "dir");
            for n in 0..9 {
                fs.create(directory, format!("entry-{n}").as_bytes(), &NEW)
                    .expect("room");
            }
        });
        let value = |n: usize, len: usize| vec![u8::try_from(n % 251).unwrap(); len];
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let steps: [(usize, usize); 12] = [
            (1, 30),
            (2, 60),
            (3, 200),
            (4, 256),
            (5, 900),
            (40, 50),
            (6, 4000),
            (7, 65536),
            (300, 100),
            (8, 20_000),
            (1, 0),
            (2, 3000),
        ];
        let mut compare = |add: &BTreeMap<Vec<u8>, Option<Vec<u8>>>| {
            image.edit(|fs| {
                for name in ["file", "dir", "device", "link"] {
                    let node = find(fs, name);
                    for (name, value) in add {
                        fs.set_xattr(node, name, value.as_deref()).expect("room");
                    }
                }
            });
            for (name, value) in add {
                match value {
                    Some(value) => expected.insert(name.clone(), value.clone()),
                    None => expected.remove(name),
                };
            }
            image.kernel(Access::ReadOnly, |root| {
                for name in ["file", "dir", "device", "link"] {
                    assert_eq!(mounted_xattrs(&root.join(name)), expected, "of {name}");
                }
                let target = std::fs::read_link(root.join("link")).expect("a link");
                assert_eq!(target.as_os_str().len(), 150);
                let names = std::fs::read_dir(root.join("dir")).expect("a directory");
                assert_eq!(names.count(), 9);
            });
            image.tree();
        };
        let name = |n: usize, i: usize| format!("trusted.set-{n}-{i}").into_bytes();
        for (step, (count, len)) in steps.into_iter().enumerate() {
            let add = (0..count).map(|i| (name(step, i), Some(value(i, len))));
            compare(&add.collect());
        }
        for (step, (count, _)) in steps.into_iter().enumerate() {
            compare(&(0..count).map(|i| (name(step, i), None)).collect());
        }
    }
}

/// A crash can leave an attribute leaf without attributes, which the kernel uses further.
#[test]
fn a_leaf_without_attributes() {
    let Some(image) = Image::new(&[]) else {
        return;
    };
    let inodes = image.edit(|fs| {
        ["ours", "theirs", "dropped"].map(|name| {
            let node = file(fs, name);
            fs.set_xattr(node, b"user.a", Some(&[7; 900]))
                .expect("room");
            node
        })
    });
    for node in inodes {
        let empty = [
            "hdr.count 0",
            "hdr.usedbytes 0",
            "hdr.firstused 4096",
            "hdr.freemap[0].base 80",
            "hdr.freemap[0].size 4016",
        ];
        let mut db = Command::new("xfs_db");
        db.args(["-x", "-c", &format!("inode {}", node.0), "-c", "ablock 0"]);
        for field in empty {
            db.args(["-c", &format!("write -d {field}")]);
        }
        run(db.arg(&image.path));
    }
    let remarks = judge::xfs_remarks(&image.path).expect("no error");
    assert_eq!(remarks.len(), 3, "{remarks:?}");

    let mut fs = image.open().expect("a sound filesystem");
    fs.check(&mut |finding| panic!("{}: {}", finding.at, finding.problem))
        .expect("readable");
    for node in inodes {
        assert!(fs.xattrs(node).expect("readable").is_empty());
    }
    fs.set_xattr(inodes[0], b"user.b", Some(b"new"))
        .expect("room");
    let root = fs.root();
    fs.remove(root, b"dropped").expect("it is there");
    fs.flush().expect("room");
    drop(fs);
    image.kernel(Access::ReadWrite, |root| {
        set_xattr(&root.join("theirs"), b"user.b", b"new").expect("room");
        for name in ["ours", "theirs"] {
            let expected = BTreeMap::from([(b"user.b".to_vec(), b"new".to_vec())]);
            assert_eq!(mounted_xattrs(&root.join(name)), expected, "of {name}");
        }
    });
    image.check();
    image.tree();
}

#[test]
fn trees_of_extents_grow_and_shrink() {
    const PIECES: u64 = 12_000;
    for mkfs in [&["-b", "size=1024", "-m", "rmapbt=1"][..], &[]] {
        let Some(image) = Image::new(mkfs) else {
            return;
        };
        let at = |n: u64| n * 8192 + 100;
        image.edit(|fs| {
            let node = file(fs, "pieces");
            for n in 0..PIECES {
                fs.write_at(node, at(n), &n.to_le_bytes()).expect("room");
            }
        });
        let read = |image: &Image, count: u64| {
            image.kernel(Access::ReadOnly, |root| {
                let file = File::open(root.join("pieces")).expect("it is there");
                let mut piece = [0; 8];
                for n in 0..count {
                    file.read_exact_at(&mut piece, at(n)).expect("readable");
                    assert_eq!(u64::from_le_bytes(piece), n);
                    file.read_exact_at(&mut piece, at(n) - 8).expect("readable");
                    assert_eq!(piece, [0; 8]);
                }
            });
        };
        read(&image, PIECES);
        for count in [PIECES / 3, 30, 5] {
            image.edit(|fs| {
                let node = find(fs, "pieces");
                fs.set_size(node, at(count)).expect("room");
            });
            read(&image, count);
        }
        image.edit(|fs| {
            let root = fs.root();
            fs.remove(root, b"pieces").expect("it is there");
        });
    }
}

#[test]
fn blocks_that_are_not_written_yet() {
    let Some(image) = Image::new(&["-m", "rmapbt=1"]) else {
        return;
    };
    image.kernel(Access::ReadWrite, |root| {
        let file = File::create(root.join("ahead")).expect("there is room");
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, 10 * MIB).expect("there is room");
        file.write_all_at(b"by the kernel", 5 * MIB).expect("room");
        let beyond = rustix::fs::FallocateFlags::KEEP_SIZE;
        let file = File::create(root.join("behind")).expect("there is room");
        file.write_all_at(b"short", 0).expect("room");
        rustix::fs::fallocate(&file, beyond, 0, MIB).expect("there is room");
    });
    image.edit(|fs| {
        let node = find(fs, "ahead");
        fs.write_at(node, 70_000, b"by us").expect("room");
        fs.write_at(node, 10 * MIB - 2, b"over the end")
            .expect("room");
        let node = find(fs, "behind");
        fs.write_at(node, 500_000, b"far").expect("room");
    });
    image.kernel(Access::ReadOnly, |root| {
        let mut expected = vec![0; 10 * 1024 * 1024 - 2];
        expected[70_000..70_005].copy_from_slice(b"by us");
        expected[5 * 1024 * 1024..][..13].copy_from_slice(b"by the kernel");
        expected.extend_from_slice(b"over the end");
        assert!(std::fs::read(root.join("ahead")).expect("it is there") == expected);
        let mut expected = vec![0; 500_000];
        expected[..5].copy_from_slice(b"short");
        expected.extend_from_slice(b"far");
        assert!(std::fs::read(root.join("behind")).expect("it is there") == expected);
    });
    image.tree();
}

#[test]
fn a_full_filesystem_says_so_and_stays_sound() {
    for mkfs in [&["-m", "reflink=1,rmapbt=1"][..], &["-m", "reflink=0"]] {
        let Some(image) = Image::new(mkfs) else {
            return;
        };
        let old = Content::noise(7, 200_000);
        image.edit(|fs| {
            let node = file(fs, "old");
            write(fs, node, &old);
        });
        let numbered = |fs: &mut Xfs, number: usize, size: u64| {
            let root = fs.root();
            let content = Content::noise(number as u64, size);
            fs.create(root, format!("file-{number}").as_bytes(), &NEW)
                .and_then(|node| fs.write_content(node, size, &mut content.reader()))
        };
        let fill = |fs: &mut Xfs, sizes: &[u64]| {
            for (number, &size) in sizes.iter().enumerate() {
                numbered(fs, number, size).expect("there was room before");
            }
        };
        let spoilt = |fs: &mut Xfs, error: Error| {
            assert!(matches!(error, Error::NoSpace { .. }), "{error}");
            assert!(matches!(fs.flush(), Err(Error::Spoilt { .. })));
        };
        // How many files of a size fit is found by trying.
        let mut sizes = Vec::new();
        for size in [16 * MIB, MIB, 4096, 1] {
            let more = image.try_out(|fs| {
                fill(fs, &sizes);
                for more in 0.. {
                    if let Err(error) = numbered(fs, sizes.len() + more, size) {
                        spoilt(fs, error);
                        return more;
                    }
                }
                unreachable!("room is finite")
            });
            sizes.extend(std::iter::repeat_n(size, more));
        }
        image.edit(|fs| fill(fs, &sizes));
        let larger = Content::noise(8, 4 * MIB);
        image.try_out(|fs| {
            let node = find(fs, "old");
            let error = fs.write_content(node, larger.size, &mut larger.reader());
            spoilt(fs, error.expect_err("there is no room"));
        });
        image.try_out(|fs| {
            let node = find(fs, "old");
            let error = fs.write_at(node, old.size, &larger.bytes());
            spoilt(fs, error.expect_err("there is no room"));
        });
        let written: Vec<_> = (0..)
            .zip(&sizes)
            .map(|(number, &size)| Content::noise(number, size))
            .collect();
        assert!(written.len() > 14, "{} files", written.len());
        // A mount for writing makes the kernel's own reserves, and complains if they fail.
        image.kernel(Access::ReadWrite, |root| {
            let seen = |name: &str| std::fs::read(root.join(name)).expect("it is there");
            assert!(seen("old") == old.bytes(), "what could not be replaced");
            for (n, content) in written.iter().enumerate() {
                assert!(seen(&format!("file-{n}")) == content.bytes(), "file {n}");
            }
            let free = rustix::fs::statvfs(root).expect("statistics").f_bavail;
            assert!(free < 2000, "{free} blocks are free");
        });
        image.edit(|fs| {
            let root = fs.root();
            fs.remove(root, b"file-0").expect("it is there");
            let node = file(fs, "new");
            write(fs, node, &Content::noise(9, MIB));
        });
        image.tree();
    }
}

#[test]
fn tens_of_thousands_of_entries() {
    let Some(image) = Image::new(&["-n", "size=16384"]) else {
        return;
    };
    let count = 60_000;
    let name = |n: u32| format!("entry-{n:06}-of-a-directory");
    image.edit(|fs| {
        let root = fs.root();
        let kind = NodeKind::Directory;
        let directory = fs
            .create(root, b"many", &NewNode { kind, ..NEW })
            .expect("room");
        for n in 0..count {
            fs.create(directory, name(n).as_bytes(), &NEW)
                .expect("room");
        }
    });
    image.kernel(Access::ReadOnly, |root| {
        let entries = std::fs::read_dir(root.join("many")).expect("a directory");
        assert_eq!(entries.count(), count as usize);
        assert!(root.join("many").join(name(count / 2)).is_file());
    });
    let before = image.edit(|fs| {
        let directory = find(fs, "many");
        for n in (0..count).filter(|n| n % 100 != 7) {
            fs.remove(directory, name(n).as_bytes())
                .expect("it is there");
        }
        fs.info().expect("readable").free_bytes
    });
    let after = Xfs::open(imgasm_testkit::engine::image(&image.path)).expect("sound");
    let after = after.info().expect("readable").free_bytes;
    assert!(
        after > before,
        "the chunks of the removed inodes are given back"
    );
    image.tree();
}

#[test]
fn inodes_if_no_whole_chunk_has_room() {
    // These features would make the kernel reserve room for their trees, which everybody else
    // counts as free.
    const PLAIN: &str = "finobt=0,rmapbt=0,reflink=0,inobtcount=0";
    for block in [4096, 1024] {
        let size = format!("size={block}");
        let Some(image) = Image::new(&["-m", PLAIN, "-b", &size]) else {
            return;
        };
        // A chunk of 64 inodes has 32 KiB and begins at a multiple of that; half a chunk fits.
        let chunk = 32 * 1024;
        image.kernel(Access::ReadWrite, |root| {
            // Otherwise the kernel keeps a reserve, which everybody else counts as free space in
            // one piece.
            run(Command::new("xfs_io")
                .args(["-x", "-c", "resblks 0"])
                .arg(root));
            leave_holes(root, chunk - block, chunk, 6000);
        });
        let name = |n: usize| format!("file-{n}");
        image.edit(|fs| {
            for n in 0..1500 {
                file(fs, &name(n));
            }
        });
        image.edit(|fs| {
            let root = fs.root();
            for n in 300..900 {
                fs.remove(root, name(n).as_bytes()).expect("it is there");
            }
        });
        image.edit(|fs| {
            for n in 300..1000 {
                let known = fs.lookup(fs.root(), name(n).as_bytes());
                if known.expect("readable").is_none() {
                    file(fs, &name(n));
                }
            }
        });
        image.tree();
        image.kernel(Access::ReadWrite, |root| {
            for n in 1500..1700 {
                std::fs::write(root.join(name(n)), b"x").expect("room");
            }
            for n in (0..1700).rev() {
                std::fs::remove_file(root.join(name(n))).expect("it is there");
            }
        });
        image.check();
    }
}

#[test]
fn quotas_are_to_be_counted_anew() {
    let Some(image) = Image::new(&[]) else {
        return;
    };
    let superblock = |command: &str| {
        run(Command::new("xfs_db")
            .args(["-x", "-c", "sb 0", "-c", command])
            .arg(&image.path))
    };
    // The quotas of users, groups and projects: kept, enforced, counted.
    superblock("write -d qflags 0x7cf");
    let mut fs = image.open().expect("quotas do not matter");
    file(&mut fs, "new");
    fs.flush().expect("room");
    let seen = superblock("print qflags");
    assert_eq!(
        seen.trim(),
        "qflags = 0x2cb",
        "only what is counted has changed"
    );
}

#[test]
fn what_must_not_be_written() {
    let Some(image) = Image::new(&["-m", "crc=0"]) else {
        return;
    };
    let error = image.open().map(drop).expect_err("version 4");
    assert!(error.to_string().contains("version 4"), "{error}");
}

/// Kernels no longer have to mount version 4, so the format's own tools make the image.
#[test]
fn version_4_is_read() {
    if !need::tools(&["mkfs.xfs", "xfs_db"]) {
        return;
    }
    let folder = imgasm_testkit::scratch::folder();
    let path = folder.path().join("image");
    File::create(&path)
        .and_then(|file| file.set_len(300 * MIB))
        .expect("room for an image");
    let target = "t".repeat(1000);
    let mut prototype = String::from("/unused\n0 0\nd--755 0 0\n");
    let mut expected = BTreeMap::new();
    for directory in 0..3_usize {
        let name = format!("d{directory}").repeat(1 + directory);
        writeln!(prototype, "{name} d--750 5 6").expect("a text grows");
        for n in 0..1000 {
            let content = folder.path().join(n.to_string());
            if directory == 0 {
                std::fs::write(&content, n.to_string()).expect("room");
            }
            writeln!(prototype, "file-{n} ---640 7 {n} {}", content.display())
                .expect("a text grows");
            expected.insert((name.clone(), format!("file-{n}")), n);
        }
        prototype.push_str("$\n");
    }
    writeln!(prototype, "link l--777 0 0 {target}\n$").expect("a text grows");
    let list = folder.path().join("prototype");
    std::fs::write(&list, prototype).expect("room");
    run(Command::new("mkfs.xfs")
        .args(["-q", "-m", "crc=0", "-n", "size=8192", "-p"])
        .arg(&list)
        .arg(&path));
    let root = Xfs::open(imgasm_testkit::engine::image(&path))
        .expect("a sound filesystem")
        .root();
    let mut editor = Command::new("xfs_db");
    editor.args(["-x", "-c", &format!("inode {}", root.0)]);
    for n in 1..100 {
        editor.args(["-c", &format!("attr_set -r -v {} a{n}", n * 90)]);
    }
    run(editor.arg(&path));
    run(Command::new("xfs_repair").args(["-n", "-f"]).arg(&path));

    let fs = Xfs::open(imgasm_testkit::engine::image(&path)).expect("a sound filesystem");
    let link = find(&fs, "link");
    assert_eq!(fs.read_link(link).expect("readable"), target.as_bytes());
    let xattrs = fs.xattrs(root).expect("readable");
    assert_eq!(xattrs.len(), 99);
    for n in 1..100 {
        assert_eq!(xattrs[format!("trusted.a{n}").as_bytes()].len(), n * 90);
    }
    let mut seen = BTreeMap::new();
    for directory in fs.read_dir(root).expect("readable") {
        if directory.name == b"link" {
            continue;
        }
        for entry in fs.read_dir(directory.node).expect("readable") {
            let metadata = fs.metadata(entry.node).expect("readable");
            let mut content = [0; 8];
            let len = fs.read_at(entry.node, 0, &mut content).expect("readable");
            let text = String::from_utf8_lossy(&content[..len]).into_owned();
            assert_eq!((metadata.permissions, metadata.uid), (0o640, 7));
            assert_eq!(metadata.gid.to_string(), text);
            let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            seen.insert(
                (name(&directory.name), name(&entry.name)),
                text.parse().expect("a number"),
            );
        }
    }
    assert!(
        seen == expected,
        "{} files of {}",
        seen.len(),
        expected.len()
    );
    let mut findings = Vec::new();
    fs.check(&mut |finding| findings.push(finding))
        .expect("checked");
    assert!(findings.is_empty(), "{findings:?}");
}
