//! Directories whose number of names just fits each form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imgasm_fs::FileSystem;
use imgasm_testkit::kernel::Access;
use imgasm_testkit::rng::Rng;
use imgasm_xfs::Xfs;

use super::{Geometry, around, rounds};
use crate::image::{Image, leave_holes};

/// The geometry with the length of all names.
struct Names {
    geometry: Geometry,
    len: usize,
}

impl Names {
    /// The last count of each form, smallest first: in the inode, in one block, with one leaf that
    /// also has the rooms of the blocks, with one leaf.
    fn lasts(&self) -> [usize; 4] {
        let block = self.geometry.directory_block;
        let entry = (8 + 1 + self.len + 1 + 2usize).next_multiple_of(8);
        let inode = (self.geometry.literal() - 6) / (3 + 1 + 4 + self.len);
        let whole = (block - 96 - 2 * 8 - 8) / (entry + 8);
        let one_leaf = (block - 64) / 8 - 2;
        let rooms = |names: usize| {
            let first = (block - 96) / entry;
            1 + names.saturating_sub(first).div_ceil((block - 64) / entry)
        };
        let lone_leaf = (0..=one_leaf)
            .rfind(|names| 64 + (names + 2) * 8 + rooms(*names) * 2 + 4 <= block)
            .expect("an empty directory fits");
        [inode, whole, lone_leaf, one_leaf]
    }

    /// The last counts of forms that take thousands of names: one node above the leaves, one block
    /// of rooms.
    fn large_lasts(&self) -> [usize; 2] {
        let block = self.geometry.directory_block;
        let entry = (8 + 1 + self.len + 1 + 2usize).next_multiple_of(8);
        let one_node = (block - 64) / 8 * ((block - 64) / 8) - 2;
        let one_free = (block - 96) / entry + ((block - 64) / 2 - 1) * ((block - 64) / entry);
        [one_node, one_free]
    }

    fn name(&self, n: usize) -> String {
        let mut name = format!("{n:06}");
        name.extend(std::iter::repeat_n('x', self.len - name.len()));
        name
    }
}

/// How a directory gets its number of names.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The engine makes it at once.
    Made,
    /// The kernel makes it with one name less.
    Grown,
    /// The kernel makes it with three names more.
    Cut,
    /// The engine makes it from one of twice the names, in another run.
    Halved,
}

struct Case {
    name: String,
    way: Way,
    count: usize,
}

impl Case {
    fn all(counts: &BTreeSet<usize>, ways: &[Way]) -> Vec<Self> {
        let each = |count: usize| {
            ways.iter().map(move |&way| Self {
                name: format!("{way:?}-{count}"),
                way,
                count,
            })
        };
        counts.iter().copied().flat_map(each).collect()
    }

    /// The number of names before it is the engine's turn.
    fn before(&self) -> usize {
        match self.way {
            Way::Made => 0,
            Way::Grown => self.count.saturating_sub(1),
            Way::Cut => self.count + 3,
            Way::Halved => self.count * 2,
        }
    }
}

/// Adds the names `from..to` to a directory, or removes them if `to` is less than `from`.
fn by_engine(fs: &mut Xfs, names: &Names, directory: &str, from: usize, to: usize) {
    let root = fs.root();
    let found = |fs: &Xfs, name: &str| {
        let node = fs.lookup(root, name.as_bytes()).expect("readable");
        node.expect("it is there")
    };
    let file = found(fs, "file");
    let directory = found(fs, directory);
    for n in from..to {
        let name = names.name(n);
        fs.link(file, directory, name.as_bytes()).expect("room");
    }
    for n in to..from {
        let name = names.name(n);
        fs.remove(directory, name.as_bytes()).expect("it is there");
    }
}

/// The kernel finds every name, by the list and by the index.
fn look(root: &Path, names: &Names, case: &Case) {
    let folder = root.join(&case.name);
    let listed = std::fs::read_dir(&folder).expect("a directory");
    let seen: BTreeSet<String> = listed
        .map(|entry| entry.expect("readable").file_name().into_string().unwrap())
        .collect();
    let expected: BTreeSet<String> = (0..case.count).map(|n| names.name(n)).collect();
    assert!(seen == expected, "{} lists {} names", case.name, seen.len());
    for name in &expected {
        let found = folder.join(name).symlink_metadata();
        assert!(found.is_ok(), "{name} of {} is not found", case.name);
    }
    let none = folder.join(names.name(case.count)).symlink_metadata();
    assert!(none.is_err(), "{} finds what it has not", case.name);
}

/// The kernel adds some names, and removes all in an order of its own.
fn empty(root: &Path, names: &Names, case: &Case, rng: &mut Rng) {
    let folder = root.join(&case.name);
    let more = usize::try_from(rng.range(0..6)).expect("small");
    for n in case.count..case.count + more {
        std::fs::hard_link(root.join("file"), folder.join(names.name(n))).expect("room");
    }
    let mut left: Vec<usize> = (0..case.count + more).collect();
    match rng.index(3) {
        0 => {}
        1 => left.reverse(),
        _ => {
            for n in 1..left.len() {
                left.swap(n, rng.index(n + 1));
            }
        }
    }
    for n in left {
        std::fs::remove_file(folder.join(names.name(n))).expect("it is there");
    }
    std::fs::remove_dir(&folder).unwrap_or_else(|e| panic!("{} cannot go: {e}", case.name));
}

fn run(names: &Names, cases: &[Case], rng: &mut Rng) {
    let mkfs = names.geometry.mkfs("rmapbt=1");
    let mkfs: Vec<&str> = mkfs.iter().map(String::as_str).collect();
    let Some(image) = Image::new(&mkfs) else {
        return;
    };
    image.kernel(Access::ReadWrite, |root| {
        std::fs::write(root.join("file"), b"").expect("room");
        for case in cases {
            let folder = root.join(&case.name);
            std::fs::create_dir(&folder).expect("room");
            if matches!(case.way, Way::Grown | Way::Cut) {
                for n in 0..case.before() {
                    let name = folder.join(names.name(n));
                    std::fs::hard_link(root.join("file"), name).expect("room");
                }
            }
        }
    });
    image.edit(|fs| {
        for case in cases.iter().filter(|case| matches!(case.way, Way::Halved)) {
            by_engine(fs, names, &case.name, 0, case.before());
        }
    });
    image.edit(|fs| {
        for case in cases {
            by_engine(fs, names, &case.name, case.before(), case.count);
        }
    });
    image.kernel(Access::ReadWrite, |root| {
        for case in cases {
            look(root, names, case);
        }
        for case in cases {
            empty(root, names, case, rng);
        }
    });
    image.check();
}

const ALL_WAYS: [Way; 4] = [Way::Made, Way::Grown, Way::Cut, Way::Halved];

#[test]
fn each_form_up_to_its_last_name() {
    let fixed = [
        (Geometry::new(4096, 4096, 512), 12),
        (Geometry::new(1024, 4096, 512), 30),
        (Geometry::new(1024, 4096, 512), 200),
        (Geometry::new(2048, 8192, 1024), 255),
        (Geometry::new(4096, 16384, 512), 12),
    ];
    for (seed, (geometry, len)) in (0..).zip(fixed) {
        let names = Names { geometry, len };
        let counts = names.lasts().into_iter().flat_map(around).collect();
        run(&names, &Case::all(&counts, &ALL_WAYS), &mut Rng::new(seed));
    }
}

#[test]
fn as_many_blocks_as_a_block_of_rooms_counts() {
    let names = Names {
        geometry: Geometry::new(1024, 4096, 512),
        len: 255,
    };
    let [_, last] = names.large_lasts();
    let cases = Case::all(&BTreeSet::from([last, last + 1]), &[Way::Made]);
    run(&names, &cases, &mut Rng::new(1));
}

#[test]
fn any_geometry() {
    for mut rng in rounds() {
        let names = Names {
            geometry: Geometry::random(&mut rng),
            len: usize::try_from(rng.range(6..256)).expect("small"),
        };
        eprintln!("{:?}, names of {} bytes", names.geometry, names.len);
        let counts = names.lasts().into_iter().flat_map(around).collect();
        run(&names, &Case::all(&counts, &ALL_WAYS), &mut rng);
        let lasts = names.large_lasts().into_iter();
        let counts = lasts.filter(|last| *last < 300_000).flat_map(around);
        run(
            &names,
            &Case::all(&counts.collect(), &[Way::Made]),
            &mut rng,
        );
    }
}

#[test]
fn a_fork_of_many_extents() {
    // Every second block of the filesystem is in use, so that no two of the directory's blocks lie
    // together: its extents outgrow the inode.
    for (block, counts) in [(1024, 4..=8), (4096, 18..=24)] {
        let names = Names {
            geometry: Geometry::new(block, 4096, 512),
            len: 200,
        };
        let mkfs = names.geometry.mkfs("rmapbt=1");
        let mkfs: Vec<&str> = mkfs.iter().map(String::as_str).collect();
        let Some(image) = Image::new(&mkfs) else {
            return;
        };
        let per_block = (4096 - 64) / 216;
        let cases: BTreeMap<usize, Case> = counts
            .map(|blocks| {
                let case = Case {
                    name: format!("blocks-{blocks}"),
                    way: Way::Grown,
                    count: blocks * per_block,
                };
                (blocks, case)
            })
            .collect();
        image.kernel(Access::ReadWrite, |root| {
            std::fs::write(root.join("file"), b"").expect("room");
            for case in cases.values() {
                std::fs::create_dir(root.join(&case.name)).expect("room");
            }
            let block = block as u64;
            leave_holes(root, block, 2 * block, 6000);
        });
        image.edit(|fs| {
            for case in cases.values() {
                by_engine(fs, &names, &case.name, 0, case.count);
            }
        });
        image.edit(|fs| {
            for case in cases.values() {
                by_engine(fs, &names, &case.name, case.count, case.count / 2);
                by_engine(fs, &names, &case.name, case.count / 2, case.count);
            }
        });
        image.kernel(Access::ReadWrite, |root| {
            let mut rng = Rng::new(3);
            for case in cases.values() {
                look(root, &names, case);
                empty(root, &names, case, &mut rng);
            }
        });
        image.check();
    }
}
