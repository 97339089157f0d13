//! Damaged images: whatever is on a disk, opening, reading, editing and checking it gives an error or
//! succeeds. It never panics, never hangs, and never needs more than 1 GiB of memory.
//!
//! `IMGASM_MUTATION_COUNT` and `IMGASM_MUTATION_SEED` choose how many cases and which.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{BlockDevice, Delta, FileDevice, MemoryDevice, Slice};
use imgasm_testkit::apply::by_engine;
use imgasm_testkit::command::run;
use imgasm_testkit::edits::{Budget, generate};
use imgasm_testkit::engine;
use imgasm_testkit::image::{Kind, Limits, Set};
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::look::look_at_all;
use imgasm_testkit::model::Model;
use imgasm_testkit::mutate::{Places, damage, reseal_xfs, reseal_xfs_log};
use imgasm_testkit::need;
use imgasm_testkit::populate::populate_small;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::sandbox::{self, Outcome};
use imgasm_testkit::tree::Tree;

/// Small images with as much in them as fits.
const SMALL: [Set; 6] = [
    Set {
        name: "small-al1",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-N",
            "512",
            "-I",
            "256",
            "-J",
            "size=1",
            "-O",
            "^metadata_csum,^64bit,uninit_bg",
        ],
        ..EXT4
    },
    Set {
        name: "small-checksums",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-N",
            "512",
            "-I",
            "256",
            "-J",
            "size=1",
            "-O",
            "metadata_csum_seed,orphan_file",
        ],
        ..EXT4
    },
    Set {
        name: "small-ext3",
        mkfs: &[
            "-t", "ext3", "-b", "1024", "-N", "512", "-I", "128", "-J", "size=1",
        ],
        ..EXT4
    },
    Set {
        name: "small-4k",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-N",
            "512",
            "-O",
            "^metadata_csum,^has_journal",
        ],
        ..EXT4
    },
    Set {
        name: "small-xfs",
        kind: Kind::Xfs,
        size: 32 << 20,
        mkfs: &["-d", "agcount=2", "-m", "rmapbt=1"],
        ..EXT4
    },
    Set {
        name: CRASHED,
        kind: Kind::Xfs,
        size: 32 << 20,
        mkfs: &["-d", "agcount=2", "-m", "rmapbt=1,reflink=1"],
        ..EXT4
    },
];

/// An image that is not unmounted, so that its log is replayed.
const CRASHED: &str = "small-xfs-log";

const EXT4: Set = Set {
    name: "",
    kind: Kind::Ext,
    size: 4 << 20,
    grown_to: None,
    mkfs: &[],
    then: &[],
    limits: Limits {
        xattr_bytes: 600,
        symlink_len: 1000,
        last_device: (255, 255),
        last_second: 1 << 30,
        nanoseconds: false,
    },
};

#[test]
fn ext4_without_checksums() {
    mutate("small-al1", 1200);
}

#[test]
fn ext4_with_checksums() {
    mutate("small-checksums", 600);
}

#[test]
fn ext3_block_maps() {
    mutate("small-ext3", 800);
}

#[test]
fn ext4_of_large_blocks() {
    mutate("small-4k", 800);
}

#[test]
fn xfs() {
    mutate("small-xfs", 800);
}

#[test]
fn xfs_log() {
    mutate(CRASHED, 600);
}

/// The engine fills it: the kernel does not populate FAT here.
#[test]
fn fat() {
    if !need::tools(&["mkfs.vfat"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the image");
    let image = folder.path().join("image");
    run(Command::new("mkfs.vfat")
        .args(["-s", "1", "-C"])
        .arg(&image)
        .arg("4096"));
    let device = FileDevice::open_writable(&image).expect("just made");
    let mut fs = imgasm_disk::open_writable(Arc::new(device), engine::OPTIONS).expect("just made");
    let budget = Budget {
        bytes: 1 << 20,
        nodes: 200,
    };
    let tree = Tree::of_engine(&*fs).expect("just made");
    for edit in generate(Model::new(&tree), 3, 300, EXT4.limits, budget) {
        // FAT cannot store most kinds of edits.
        let _ = by_engine(&mut *fs, &edit);
    }
    fs.flush().expect("there is room");
    sandbox::run(module_path!(), "fat", folder.path(), 800);
}

/// Makes an image of a set, and lets a child process handle damaged copies of it.
fn mutate(name: &str, count: u64) {
    let set = small(name).expect("a set of this name");
    if !need::mounts(set.kind.tools()) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the image");
    let image = folder.path().join("image");
    set.make(&image);
    let mount = Mount::new(&image, set.kind, Access::ReadWrite);
    populate_small(mount.path(), set, 1);
    if set.name == CRASHED {
        run(Command::new("xfs_io")
            .args(["-x", "-c", "shutdown -f"])
            .arg(mount.path()));
        drop(mount);
    } else {
        mount.finish().unwrap_or_else(|e| panic!("{e}"));
    }
    sandbox::run(module_path!(), name, folder.path(), count);
}

fn small(name: &str) -> Option<&'static Set> {
    SMALL.iter().find(|set| set.name == name)
}

#[test]
#[ignore = "the part of the other tests that runs in a process of its own"]
fn cases() {
    let Some((subject, folder)) = sandbox::subject() else {
        return;
    };
    let set = small(&subject).unwrap_or(&EXT4);
    let sound = Sound::new(set, &folder.join("image"));
    sandbox::cases(&folder, |seed| sound.case(seed));
}

/// A sound image in memory and edits that are valid on it.
struct Sound {
    set: &'static Set,
    device: Arc<dyn BlockDevice>,
    places: Places,
    tree: Tree,
}

impl Sound {
    fn new(set: &'static Set, image: &Path) -> Self {
        let bytes = std::fs::read(image).expect("the parent made it");
        let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(bytes));
        let fs = imgasm_disk::open(Arc::clone(&device)).expect("it is sound");
        let places = Places::of_filesystem(&*fs, &*device).expect("it is sound");
        let tree = Tree::of_engine(&*fs).expect("it is sound");
        Self {
            set,
            device,
            places,
            tree,
        }
    }

    fn case(&self, seed: u64) -> Outcome {
        let mut rng = Rng::new(seed);
        let delta: Arc<dyn BlockDevice> = Arc::new(Delta::new(Arc::clone(&self.device)));
        let damaged = damage(&mut rng, &*delta, &self.places);
        if self.set.kind == Kind::Xfs && rng.chance(80) {
            for at in damaged.expect("a device in memory does not fail") {
                reseal_xfs(&*delta, at).expect("a device in memory does not fail");
                reseal_xfs_log(&*delta, at).expect("a device in memory does not fail");
            }
        }
        let delta = if rng.chance(3) {
            let len = rng.range(0..delta.len());
            Arc::new(Slice::new(delta, 0..len).expect("inside the device"))
        } else {
            delta
        };
        let Ok(fs) = imgasm_disk::open(Arc::clone(&delta)) else {
            return Outcome::Refused;
        };
        look_at_all(&*fs);
        drop(fs);
        let Ok(mut fs) = imgasm_disk::open_writable(Arc::clone(&delta), engine::OPTIONS) else {
            return Outcome::Failed;
        };
        let budget = Budget {
            bytes: 1 << 19,
            nodes: 60,
        };
        let edits = generate(Model::new(&self.tree), seed, 40, self.set.limits, budget);
        let failed = edits
            .iter()
            .filter(|edit| by_engine(&mut *fs, edit).is_err())
            .count();
        if fs.flush().is_err() {
            return Outcome::Failed;
        }
        drop(fs);
        if let Ok(fs) = imgasm_disk::open(delta) {
            look_at_all(&*fs);
        }
        if failed == 0 {
            Outcome::Accepted
        } else {
            Outcome::Failed
        }
    }
}
