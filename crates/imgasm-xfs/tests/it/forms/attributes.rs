//! Attributes whose number and lengths just fit each form.

use std::collections::{BTreeMap, BTreeSet};

use imgasm_fs::FileSystem;
use imgasm_testkit::apply::set_xattr;
use imgasm_testkit::kernel::Access;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::tree::mounted_xattrs;

use super::{Geometry, around, rounds};
use crate::image::Image;

/// A file with `count` attributes whose values have `len` bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    count: usize,
    len: usize,
}

/// Bytes of a stored name, which is shown with `user.` before it.
const NAME_LEN: usize = 6;

fn name(n: usize) -> Vec<u8> {
    format!("user.n{n:05}").into_bytes()
}

impl Case {
    fn file(self, way: &str) -> String {
        format!("{way}-{}-{}", self.count, self.len)
    }

    fn value(self, n: usize) -> Vec<u8> {
        vec![u8::try_from(n % 251).expect("a byte"); self.len]
    }
}

/// The cases around each change of form.
fn cases(geometry: &Geometry) -> BTreeSet<Case> {
    let block = geometry.block;
    let mut cases = BTreeSet::new();
    // In the inode or in a leaf: how many there is room for depends on the other fork, too.
    for len in [0, 30] {
        let most = (geometry.literal() - 4) / (3 + NAME_LEN + len);
        cases.extend((most / 3..=most + 2).map(|count| Case { count, len }));
    }
    // One leaf or several.
    for len in [10, block / 5] {
        let stored = 8 + (3 + NAME_LEN + len).next_multiple_of(4);
        cases.extend(around((block - 80) / stored).map(|count| Case { count, len }));
    }
    // Beside the name or in blocks of its own, of one block or of several.
    let longest_local = block / 2 + block / 4 - 4 - 3 - NAME_LEN;
    let payload = block - 56;
    for last in [255, longest_local, payload, 2 * payload, 65536 - 2] {
        let lens = around(last).filter(|len| *len <= 65536);
        cases.extend(lens.map(|len| Case { count: 2, len }));
    }
    cases
}

/// The cases around the last leaf of a lone node: each leaf has one attribute.
fn large_cases(geometry: &Geometry) -> BTreeSet<Case> {
    let children = (geometry.block - 64) / 8;
    let len = geometry.block * 7 / 10;
    // The kernel lists no more than 64 KiB of names.
    let counts = around(children).filter(|count| count * 12 < 65536);
    counts.map(|count| Case { count, len }).collect()
}

fn run(geometry: &Geometry, cases: &BTreeSet<Case>, rng: &mut Rng) {
    let mkfs = geometry.mkfs("rmapbt=1");
    let mkfs: Vec<&str> = mkfs.iter().map(String::as_str).collect();
    let Some(image) = Image::new(&mkfs) else {
        return;
    };
    // What the kernel sets before it is the engine's turn.
    let before = |way: &str, case: &Case| match way {
        "grown" => case.count.saturating_sub(1),
        "cut" => case.count + 3,
        _ => 0,
    };
    let ways = ["made", "grown", "cut"];
    image.kernel(Access::ReadWrite, |root| {
        for case in cases {
            for way in ways {
                let path = root.join(case.file(way));
                std::fs::write(&path, b"content").expect("room");
                for n in 0..before(way, case) {
                    set_xattr(&path, &name(n), &case.value(n)).expect("room");
                }
            }
        }
    });
    image.edit(|fs| {
        for case in cases {
            for way in ways {
                let found = fs.lookup(fs.root(), case.file(way).as_bytes());
                let node = found.expect("readable").expect("it is there");
                for n in before(way, case)..case.count {
                    let value = case.value(n);
                    fs.set_xattr(node, &name(n), Some(&value)).expect("room");
                }
                for n in case.count..before(way, case) {
                    fs.set_xattr(node, &name(n), None).expect("there");
                }
            }
        }
    });
    image.kernel(Access::ReadWrite, |root| {
        for case in cases {
            let expected: BTreeMap<_, _> =
                (0..case.count).map(|n| (name(n), case.value(n))).collect();
            for way in ways {
                let path = root.join(case.file(way));
                assert!(mounted_xattrs(&path) == expected, "{way} of {case:?}");
                let mut left: Vec<usize> = (0..case.count + rng.index(3)).collect();
                for &n in &left[case.count..] {
                    set_xattr(&path, &name(n), &case.value(n)).expect("room");
                }
                for n in 1..left.len() {
                    left.swap(n, rng.index(n + 1));
                }
                for n in left {
                    let name = name(n);
                    rustix::fs::lremovexattr(&path, &*name)
                        .unwrap_or_else(|e| panic!("{way} of {case:?}: {e}"));
                }
                assert_eq!(std::fs::read(&path).expect("it is there"), b"content");
                std::fs::remove_file(&path).expect("it is there");
            }
        }
    });
    image.check();
}

#[test]
fn each_form_up_to_its_last_attribute() {
    for (seed, block) in [(1, 1024), (2, 4096)] {
        let geometry = Geometry::new(block, 4096, 512);
        run(&geometry, &cases(&geometry), &mut Rng::new(seed));
    }
}

#[test]
fn as_many_leaves_as_a_node_has_room_for() {
    let geometry = Geometry::new(1024, 4096, 512);
    run(&geometry, &large_cases(&geometry), &mut Rng::new(1));
}

#[test]
fn any_geometry() {
    for mut rng in rounds() {
        let geometry = Geometry::random(&mut rng);
        eprintln!("{geometry:?}");
        let mut cases = cases(&geometry);
        cases.extend(large_cases(&geometry));
        run(&geometry, &cases, &mut rng);
    }
}
