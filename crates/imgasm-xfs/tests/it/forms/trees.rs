//! Trees whose number of records just fits a list, a leaf and a root.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use imgasm_fs::{FileSystem, NodeId};
use imgasm_testkit::command::run;
use imgasm_testkit::kernel::Access;
use imgasm_xfs::Xfs;

use super::{Geometry, around};
use crate::image::{Image, NEW};

const GEOMETRY: Geometry = Geometry::new(1024, 4096, 512);
const BLOCK: u64 = 1024;

fn image(features: &str) -> Option<Image> {
    let mkfs = GEOMETRY.mkfs(features);
    let mkfs: Vec<&str> = mkfs.iter().map(String::as_str).collect();
    Image::new(&mkfs)
}

fn find(fs: &Xfs, name: &str) -> NodeId {
    let found = fs.lookup(fs.root(), name.as_bytes()).expect("readable");
    found.expect("it is there")
}

/// How many records a leaf has room for, and how many children a node.
fn capacity(header: usize, record: usize, key_and_pointer: usize) -> (usize, usize) {
    let room = GEOMETRY.block - header;
    (room / record, room / key_and_pointer)
}

/// The file's pieces: each one block, followed by a hole.
fn pieces(count: usize) -> impl Iterator<Item = (u64, [u8; 8])> {
    (0..count as u64).map(|n| (n * 2 * BLOCK, n.to_le_bytes()))
}

#[test]
fn extents_of_a_file() {
    let list = GEOMETRY.literal() / 16;
    let root = (GEOMETRY.literal() - 4) / 16;
    let (leaf, node) = capacity(72, 16, 16);
    // A leaf is filled to three quarters if there are many.
    let filled = leaf * 3 / 4;
    let lasts = [list, leaf, root * filled, root * leaf, 2 * node * filled];
    let counts: BTreeSet<usize> = lasts.into_iter().flat_map(around).collect();
    for features in ["rmapbt=1", "rmapbt=0,reflink=0"] {
        let Some(image) = image(features) else {
            return;
        };
        image.edit(|fs| {
            let root = fs.root();
            for count in &counts {
                for way in ["made", "cut"] {
                    let name = format!("{way}-{count}");
                    let node = fs.create(root, name.as_bytes(), &NEW).expect("room");
                    let more = if way == "cut" { 3 } else { 0 };
                    for (offset, piece) in pieces(count + more) {
                        fs.write_at(node, offset, &piece).expect("room");
                    }
                }
            }
        });
        image.edit(|fs| {
            for &count in &counts {
                let node = find(fs, &format!("cut-{count}"));
                fs.set_size(node, count as u64 * 2 * BLOCK).expect("room");
            }
        });
        image.kernel(Access::ReadWrite, |root| {
            for &count in &counts {
                for way in ["made", "cut"] {
                    let path = root.join(format!("{way}-{count}"));
                    let file = File::options().read(true).write(true).open(&path);
                    let file = file.expect("it is there");
                    for (offset, expected) in pieces(count) {
                        let mut piece = [0; 8];
                        file.read_exact_at(&mut piece, offset).expect("readable");
                        assert_eq!(piece, expected, "{way} of {count}");
                    }
                    for (offset, piece) in pieces(count + 3).skip(count) {
                        file.write_all_at(&piece, offset).expect("room");
                    }
                    file.sync_all().expect("a sound device");
                    file.set_len(5 * BLOCK).expect("a sound filesystem");
                    drop(file);
                    std::fs::remove_file(path).expect("it is there");
                }
            }
        });
        image.check();
    }
}

#[test]
fn free_space() {
    let (leaf, _) = capacity(56, 8, 12);
    let Some(image) = image("rmapbt=1,reflink=0") else {
        return;
    };
    // Files of one block lie together. Removing every second one leaves a free run for each, beside
    // the few that a fresh filesystem has.
    let name = |n: usize| format!("file-{n}");
    let most = 3 * leaf + 4;
    image.kernel(Access::ReadWrite, |root| {
        for n in 0..2 * most {
            std::fs::write(root.join(name(n)), b"x").expect("room");
        }
    });
    let moments: BTreeSet<usize> = [leaf, 2 * leaf, 3 * leaf]
        .into_iter()
        .flat_map(|last| last - 7..=last + 2)
        .collect();
    let mut gone = 0;
    for &moment in &moments {
        image.edit(|fs| {
            let root = fs.root();
            for n in gone..moment {
                fs.remove(root, name(2 * n).as_bytes()).expect("there");
            }
        });
        gone = moment;
    }
    for &moment in moments.iter().rev().step_by(2) {
        image.edit(|fs| {
            let root = fs.root();
            for n in moment..gone {
                let name = name(2 * n);
                let node = fs.create(root, name.as_bytes(), &NEW).expect("room");
                fs.write_at(node, 0, b"x").expect("room");
            }
        });
        gone = moment;
    }
    image.kernel(Access::ReadWrite, |root| {
        for n in (0..2 * most).filter(|n| n % 2 == 1 || n / 2 >= gone) {
            std::fs::remove_file(root.join(name(n))).expect("it is there");
        }
    });
    image.check();
}

#[test]
fn chunks_of_inodes() {
    const CHUNK: usize = 64;
    let (leaf, _) = capacity(56, 16, 8);
    let Some(image) = image("finobt=1,rmapbt=0") else {
        return;
    };
    let mut now = 0;
    let counts: Vec<usize> = around(leaf).map(|chunks| chunks * CHUNK).collect();
    let all = counts.iter().copied().chain(counts.iter().rev().copied());
    for count in all.chain([CHUNK * 5, 0]) {
        image.edit(|fs| {
            let root = fs.root();
            for n in now..count {
                let name = format!("file-{n}");
                fs.create(root, name.as_bytes(), &NEW).expect("room");
            }
            for n in count..now {
                let name = format!("file-{n}");
                fs.remove(root, name.as_bytes()).expect("it is there");
            }
        });
        now = count;
    }
    // One free inode in each chunk makes the tree of free inodes as large as the other.
    let most = counts.last().copied().expect("there are some");
    image.edit(|fs| {
        let root = fs.root();
        for n in 0..most {
            let name = format!("file-{n}");
            fs.create(root, name.as_bytes(), &NEW).expect("room");
        }
    });
    image.edit(|fs| {
        let root = fs.root();
        for n in (0..most).step_by(CHUNK) {
            let name = format!("file-{n}");
            fs.remove(root, name.as_bytes()).expect("it is there");
        }
    });
    image.kernel(Access::ReadWrite, |root| {
        for n in (0..most).filter(|n| n % CHUNK != 0) {
            std::fs::remove_file(root.join(format!("file-{n}"))).expect("it is there");
        }
    });
    image.check();
}

#[test]
fn shares_of_blocks() {
    let (leaf, _) = capacity(56, 12, 8);
    let Some(image) = image("rmapbt=1,reflink=1") else {
        return;
    };
    let most = 2 * leaf + 5;
    image.kernel(Access::ReadWrite, |root| {
        let file = File::create(root.join("file")).expect("room");
        for (offset, piece) in pieces(most) {
            file.write_all_at(&piece, offset).expect("room");
        }
        drop(file);
        run(Command::new("cp")
            .arg("--reflink=always")
            .args([root.join("file"), root.join("copy")]));
    });
    let mut shared = most;
    for last in [2 * leaf, leaf] {
        for left in around(last).rev() {
            image.edit(|fs| {
                let node = find(fs, "copy");
                while shared > left {
                    shared -= 1;
                    let offset = shared as u64 * 2 * BLOCK;
                    fs.write_at(node, offset, b"another").expect("room");
                }
            });
        }
    }
    image.kernel(Access::ReadWrite, |root| {
        let file = File::open(root.join("file")).expect("it is there");
        let copy = File::open(root.join("copy")).expect("it is there");
        for (n, (offset, expected)) in pieces(most).enumerate() {
            let mut piece = [0; 8];
            file.read_exact_at(&mut piece, offset).expect("readable");
            assert_eq!(piece, expected);
            copy.read_exact_at(&mut piece, offset).expect("readable");
            assert_eq!(piece == expected, n < shared, "piece {n}");
        }
        std::fs::remove_file(root.join("file")).expect("it is there");
        std::fs::remove_file(root.join("copy")).expect("it is there");
    });
    image.check();
}
