//! Damaged images: whatever is on a disk, opening, reading, editing and checking it gives an error or
//! succeeds. It never panics, never hangs, and never needs more than 1 GiB of memory.
//!
//! Each format's cases run in a process of their own, whose address space is limited and whose
//! cases are watched. `IMGASM_MUTATION_COUNT` and `IMGASM_MUTATION_SEED` choose how many cases and
//! which.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imgasm::block::{BlockDevice, Delta, MemoryDevice, Slice};
use imgasm::fs::{self, FileSystem, FileType, NodeId};
use rustix::process::{Resource, Rlimit};
use support::apply::by_engine;
use support::command::{can_mount, output, text};
use support::edits::{Budget, generate};
use support::engine;
use support::image::{Kind, Limits, Set};
use support::kernel::{Access, Mount};
use support::model::Model;
use support::mutate::{Places, damage, reseal_xfs};
use support::populate::populate_small;
use support::rng::Rng;
use support::tree::Tree;

const MEMORY: u64 = 1 << 30;
const CASE_SECONDS: u64 = 20;

const SEED: &str = "IMGASM_MUTATION_SEED";
const COUNT: &str = "IMGASM_MUTATION_COUNT";
/// Set for the process that runs the cases: the image.
const IMAGE: &str = "IMGASM_MUTATION_IMAGE";
/// Set for the process that runs the cases: the set's name.
const SET: &str = "IMGASM_MUTATION_SET";

/// Small images with as much in them as fits.
const SMALL: [Set; 5] = [
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
];

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

/// Makes an image of a set, and has its damaged copies handled by a child process.
fn mutate(name: &str, count: u64) {
    let set = small(name);
    if !can_mount(set.kind.tools()) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the image");
    let image = folder.path().join("small.img");
    set.make(&image);
    let mount = Mount::new(&image, set.kind, Access::ReadWrite);
    populate_small(mount.path(), set, 1);
    mount.finish().unwrap_or_else(|e| panic!("{e}"));

    let number =
        |name, default| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let tests = std::env::current_exe().expect("this program has a path");
    let result = output(
        Command::new(tests)
            .args(["--exact", "cases", "--ignored", "--nocapture"])
            .env(IMAGE, &image)
            .env(SET, name)
            .env(SEED, number(SEED, 1_u64).to_string())
            .env(COUNT, number(COUNT, count).to_string()),
    );
    let text = text(&result);
    let last = std::fs::read_to_string(note(&image)).unwrap_or_default();
    let ended = result.status;
    assert!(ended.success(), "{ended}, at seed {last} of {name}\n{text}");
    println!("{text}");
}

/// Where the child process notes which case it is at.
fn note(image: &Path) -> PathBuf {
    image.with_extension("seed")
}

fn small(name: &str) -> &'static Set {
    let set = SMALL.iter().find(|set| set.name == name);
    set.unwrap_or_else(|| panic!("no set {name}"))
}

/// Run by [`mutate`] in a process of its own.
#[test]
#[ignore = "the part of the other tests that runs in a process of its own"]
fn cases() {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        return;
    };
    let number = |name| -> u64 {
        let value = std::env::var(name).expect("set by the parent");
        value.parse().expect("a number")
    };
    let set = small(&std::env::var(SET).expect("set by the parent"));
    let limit = Rlimit {
        current: Some(MEMORY),
        maximum: Some(MEMORY),
    };
    rustix::process::setrlimit(Resource::As, limit).expect("a limit may be lowered");
    let sound = Sound::new(set, &image);
    let watch = Watch::start(note(&image));
    let mut outcomes = Outcomes::default();
    for seed in number(SEED)..number(SEED) + number(COUNT) {
        watch.begin(seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| sound.case(seed)));
        outcomes.count(seed, outcome.ok());
    }
    println!("{outcomes:?}");
    let again = format!("{SEED}=<seed> {COUNT}=1 cargo test --test mutation");
    assert!(outcomes.panicked.is_empty(), "to see one again: {again}");
    // Damage that is never noticed, or that nothing survives, would test nothing.
    let all = number(COUNT);
    assert!(all < 100 || (outcomes.refused > 0 && outcomes.written > all / 20));
}

/// How far the cases came.
#[derive(Debug, Default)]
struct Outcomes {
    /// Not opened for writing.
    refused: u64,
    /// Opened, and an edit or the flush failed for another reason than a missing name.
    failed: u64,
    /// Flushed.
    written: u64,
    panicked: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Outcome {
    Refused,
    Failed,
    Written,
}

impl Outcomes {
    fn count(&mut self, seed: u64, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Refused) => self.refused += 1,
            Some(Outcome::Failed) => self.failed += 1,
            Some(Outcome::Written) => self.written += 1,
            None => {
                println!("seed {seed} panicked");
                self.panicked.push(seed);
            }
        }
    }
}

/// Ends the process when one case takes too long.
struct Watch {
    current: Arc<AtomicU64>,
    note: PathBuf,
}

impl Watch {
    fn start(note: PathBuf) -> Self {
        let current = Arc::new(AtomicU64::new(0));
        let watched = Arc::clone(&current);
        std::thread::spawn(move || {
            let mut last = (0, 0);
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let seed = watched.load(Ordering::Relaxed);
                last = if last.0 == seed {
                    (seed, last.1 + 1)
                } else {
                    (seed, 0)
                };
                if last.1 > CASE_SECONDS {
                    println!("seed {seed} takes more than {CASE_SECONDS} s");
                    std::process::abort();
                }
            }
        });
        Self { current, note }
    }

    fn begin(&self, seed: u64) {
        self.current.store(seed, Ordering::Relaxed);
        // Where the process dies of a failed allocation, this is what tells of which.
        std::fs::write(&self.note, seed.to_string()).expect("room for a number");
    }
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
        let fs = fs::open(Arc::clone(&device)).expect("it is sound");
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
            }
        }
        let delta = if rng.chance(3) {
            let len = rng.range(0..delta.len());
            Arc::new(Slice::new(delta, 0..len).expect("inside the device"))
        } else {
            delta
        };
        if let Ok(fs) = fs::open(Arc::clone(&delta)) {
            look_at_all(&*fs);
        }
        let Ok(mut fs) = fs::open_writable(Arc::clone(&delta), engine::OPTIONS) else {
            return Outcome::Refused;
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
        if let Ok(fs) = fs::open(delta) {
            look_at_all(&*fs);
        }
        if failed == 0 {
            Outcome::Written
        } else {
            Outcome::Failed
        }
    }
}

/// Asks a filesystem everything there is to ask, as far as a broken one may claim to go.
fn look_at_all(fs: &dyn FileSystem) {
    const NODES: usize = 5000;
    let _ = fs.info();
    let _ = fs.used_extents();
    let _ = fs.check(&mut |_| {});
    let mut seen = std::collections::BTreeSet::new();
    let mut pending = vec![fs.root()];
    while let Some(node) = pending.pop() {
        if !seen.insert(node) || seen.len() > NODES {
            continue;
        }
        let _ = fs.xattrs(node);
        match fs.metadata(node) {
            Ok(stat) if stat.file_type == FileType::Regular => {
                let _ = read_some(fs, node, stat.size);
            }
            _ => {
                let _ = fs.read_link(node);
            }
        }
        if let Ok(entries) = fs.read_dir(node) {
            for entry in entries {
                let _ = fs.lookup(node, &entry.name);
                pending.push(entry.node);
            }
        }
    }
}

/// Reads at both ends of a file and of its first extents.
fn read_some(fs: &dyn FileSystem, node: NodeId, size: u64) -> fs::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut places = vec![0, size.saturating_sub(1 << 15), size / 2];
    let extents = fs.extents(node).unwrap_or_default();
    for extent in extents.iter().take(50) {
        places.extend([
            extent.file_offset,
            extent.file_offset.saturating_add(extent.len),
        ]);
    }
    for place in places {
        fs.read_at(node, place, &mut buffer)?;
    }
    Ok(())
}
