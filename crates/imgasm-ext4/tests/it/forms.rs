//! Every transition between two forms on the disk, from two below it to two above, growing and
//! shrinking: `e2fsck` finds nothing, a kernel shows what the engine shows, a kernel removes
//! everything, and `e2fsck` finds nothing again.
//!
//! `IMGASM_TEST_FORMS=all` tries all block sizes and the largest forms, which takes minutes.
//! `IMGASM_FORMS_ROUNDS` is how many further profiles are drawn (default 0), from the seed
//! `IMGASM_FORMS_SEED` (1) on.

use imgasm_ext4::Ext4;
use imgasm_fs::{Error, FileSystem, NodeId, NodeKind};
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;
use imgasm_testkit::rng::{self, Rng};

use super::image::{Image, create, lookup, pattern, try_create};

const MIB: u64 = 1 << 20;
/// Blocks between two pieces of a file, so that each is an extent of its own.
const STEP: u64 = 2;

fn is_thorough() -> bool {
    std::env::var_os("IMGASM_TEST_FORMS").is_some_and(|value| value == "all")
}

/// What changes how structures look.
struct Profile {
    block_size: u32,
    features: String,
    /// The length of the names in a directory.
    name_len: usize,
}

impl Profile {
    fn new(block_size: u32, features: &str) -> Self {
        Self {
            block_size,
            features: features.to_owned(),
            // Names of 200 bytes fill blocks fast: with 1 KiB the index gets a second level.
            name_len: if block_size == 1024 { 200 } else { 40 },
        }
    }

    fn drawn(rng: &mut Rng) -> Self {
        const FEATURES: [&str; 5] = [
            "metadata_csum",
            "64bit",
            "flex_bg",
            "dir_index",
            "large_dir",
        ];
        let features = FEATURES.map(|feature| {
            let off = if rng.chance(50) { "^" } else { "" };
            format!("{off}{feature}")
        });
        Self {
            block_size: *rng.pick(&[1024, 2048, 4096]),
            features: features.join(","),
            name_len: 8 + rng.index(248),
        }
    }
}

fn profiles() -> Vec<Profile> {
    let mut profiles = vec![(1024, "metadata_csum"), (4096, "^metadata_csum")];
    if is_thorough() {
        profiles.extend([
            (1024, "^metadata_csum"),
            (2048, "metadata_csum"),
            (2048, "^metadata_csum"),
            (4096, "metadata_csum"),
        ]);
    }
    let profiles = profiles
        .iter()
        .map(|(size, features)| Profile::new(*size, features));
    profiles
        .chain(rounds().map(|mut rng| Profile::drawn(&mut rng)))
        .collect()
}

/// The generators of the further rounds that are asked for.
fn rounds() -> impl Iterator<Item = Rng> {
    rng::rounds("IMGASM_FORMS_SEED", "IMGASM_FORMS_ROUNDS")
}

/// A fresh image; `None` if the machine lacks what is needed.
fn image(block_size: u32, kind: &str, features: &str) -> Option<Image> {
    let block_size = block_size.to_string();
    Image::new(
        96 * MIB,
        &["-t", kind, "-b", &block_size, "-N", "8192", "-O", features],
    )
}

/// The kernel shows what the engine shows, and can remove it all.
fn ends_well(image: &Image) {
    image.compare();
    image.kernel(|mount| {
        for entry in std::fs::read_dir(mount).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() && !path.is_symlink() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            }
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    });
    judge::check(&image.path, Kind::Ext).unwrap_or_else(|error| panic!("{error}"));
}

/// From two below each transition to two above.
fn around(transitions: &[u64]) -> Vec<u64> {
    let mut all: Vec<u64> = transitions
        .iter()
        .flat_map(|&n| n.saturating_sub(2).max(1)..=n + 2)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn name(number: u64, len: usize) -> String {
    format!("{number:0len$}")
}

/// The counts of names at which a directory changes its form: those at which it gains more than one
/// block at once, and the first at which it gains one at all.
fn directory_transitions(image: &Image, len: usize, most: u64) -> Vec<u64> {
    image.edit(|fs| {
        let root = fs.root();
        let directory = create(fs, root, "trial", NodeKind::Directory);
        let block_size = fs.info().expect("readable").block_size;
        let mut before = fs.metadata(directory).expect("readable").size;
        let mut found = Vec::new();
        for number in 0..most {
            create(fs, directory, &name(number, len), NodeKind::Fifo);
            let size = fs.metadata(directory).expect("readable").size;
            if size > before + u64::from(block_size) || found.is_empty() && size > before {
                found.push(number + 1);
            }
            before = size;
        }
        for number in 0..most {
            fs.remove(directory, name(number, len).as_bytes())
                .expect("there");
        }
        fs.remove(root, b"trial").expect("empty");
        found
    })
}

#[test]
fn directories_take_every_form() {
    for profile in profiles() {
        let (block_size, len) = (profile.block_size, profile.name_len);
        let most = if block_size == 1024 { 900 } else { 400 };
        let Some(image) = image(block_size, "ext4", &profile.features) else {
            return;
        };
        let transitions = directory_transitions(&image, len, most);
        assert!(!transitions.is_empty(), "{block_size}: no transition found");
        // With an index, those of the first profile make it grow a second level.
        let is_indexed = !profile.features.contains("^dir_index");
        let levels = 1 + usize::from(is_indexed && (block_size, len) == (1024, 200));
        assert!(transitions.len() >= levels, "{block_size}: {transitions:?}");
        for count in around(&transitions) {
            image.edit(|fs| {
                let root = fs.root();
                let directory = create(fs, root, "names", NodeKind::Directory);
                for number in 0..count {
                    create(fs, directory, &name(number, len), NodeKind::Fifo);
                }
            });
            // Back over the transition, from the front, where the index is densest.
            image.edit(|fs| {
                let directory = lookup(fs, "names");
                for number in 0..count.min(4) {
                    fs.remove(directory, name(number, len).as_bytes())
                        .expect("there");
                }
            });
            ends_well(&image);
        }
    }
}

/// Writes one block of a file after the other, with gaps, up to a number of pieces.
fn write_pieces(fs: &mut Ext4, file: NodeId, block_size: u32, pieces: std::ops::Range<u64>) {
    let len = usize::try_from(block_size).expect("small");
    for piece in pieces {
        let seed = u8::try_from(piece % 251).expect("below 251");
        let at = piece * STEP * u64::from(block_size);
        fs.write_at(file, at, &pattern(len, seed | 1))
            .expect("room");
    }
}

#[test]
fn extent_trees_take_every_form() {
    for profile in profiles() {
        let block_size = profile.block_size;
        let Some(image) = image(block_size, "ext4", &profile.features) else {
            return;
        };
        // Four extents fit the inode, then come one leaf, several, and a level above them.
        let leaf = u64::from(block_size / 12 - 1);
        let mut transitions = vec![4, leaf];
        if block_size == 1024 || is_thorough() {
            transitions.extend([2 * leaf, 4 * leaf]);
        }
        for count in around(&transitions) {
            image.edit(|fs| {
                let root = fs.root();
                let file = create(fs, root, "pieces", NodeKind::Regular);
                write_pieces(fs, file, block_size, 0..count);
            });
            image.compare();
            // A hole where a leaf begins, so that its parents must follow.
            image.edit(|fs| {
                let file = lookup(fs, "pieces");
                let at = leaf.min(count - 1) * STEP * u64::from(block_size);
                let len = usize::try_from(block_size).expect("small");
                fs.write_at(file, at, &vec![0; len]).expect("room");
            });
            image.edit(|fs| {
                let file = lookup(fs, "pieces");
                let size = count.saturating_sub(4) * STEP * u64::from(block_size) + 1;
                fs.set_size(file, size).expect("smaller");
            });
            ends_well(&image);
        }
    }
}

#[test]
fn block_maps_take_every_form() {
    let sizes: &[u32] = if is_thorough() {
        &[1024, 2048, 4096]
    } else {
        &[1024]
    };
    for &block_size in sizes {
        let Some(image) = image(block_size, "ext3", "none,has_journal,filetype") else {
            return;
        };
        let per_node = u64::from(block_size / 4);
        let mut transitions = vec![12, 12 + per_node, 12 + 2 * per_node];
        if block_size == 1024 {
            transitions.push(12 + per_node + per_node * per_node);
        }
        for blocks in around(&transitions) {
            let at = (blocks - 1) * u64::from(block_size);
            image.edit(|fs| {
                let root = fs.root();
                // One with the last block only, and one with the last eight, in two writes.
                let sparse = create(fs, root, "sparse", NodeKind::Regular);
                fs.write_at(sparse, at, &pattern(100, 1)).expect("room");
                let dense = create(fs, root, "dense", NodeKind::Regular);
                let from = at.saturating_sub(7 * u64::from(block_size));
                let len = usize::try_from(at - from).expect("small") + 100;
                fs.write_at(dense, from, &pattern(len, 2)).expect("room");
                fs.write_at(dense, 0, &pattern(5, 3)).expect("room");
            });
            image.compare();
            image.edit(|fs| {
                let dense = lookup(fs, "dense");
                fs.set_size(dense, at.saturating_sub(3 * u64::from(block_size)))
                    .expect("smaller");
            });
            ends_well(&image);
        }
    }
}

#[test]
fn attributes_fill_inode_and_block_to_the_last_byte() {
    for profile in profiles() {
        let block_size = profile.block_size;
        let Some(image) = image(block_size, "ext4", &profile.features) else {
            return;
        };
        let block = usize::try_from(block_size).expect("small");
        // The room in an inode of 256 bytes and in a block, less headers and entry.
        let lens = (60..84).chain(block - 64..block - 40);
        let fits = |len: &usize| {
            image.try_out(|fs| {
                let root = fs.root();
                let file = create(fs, root, "trial", NodeKind::Regular);
                match fs.set_xattr(file, b"user.v", Some(&pattern(*len, 9))) {
                    Ok(()) => true,
                    Err(Error::NoSpace { .. } | Error::Unstorable { .. }) => false,
                    Err(error) => panic!("{len}: {error}"),
                }
            })
        };
        let kept: Vec<usize> = lens.clone().filter(fits).collect();
        image.edit(|fs| {
            let root = fs.root();
            for len in lens {
                let file = create(fs, root, &len.to_string(), NodeKind::Regular);
                if kept.contains(&len) {
                    fs.set_xattr(file, b"user.v", Some(&pattern(len, 9)))
                        .expect("it fitted");
                }
            }
        });
        // The kernel takes what the engine took, and refuses what it refused.
        image.kernel(|mount| {
            for entry in std::fs::read_dir(mount).expect("readable") {
                let path = entry.expect("readable").path();
                let name = path.file_name().and_then(|name| name.to_str());
                let Some(len) = name.and_then(|name| name.parse::<usize>().ok()) else {
                    continue;
                };
                let value = format!("0s{}", "QUJD".repeat(len / 3 + 1));
                let value = &value[..2 + len.div_ceil(3) * 4];
                let is_kept = kept.contains(&len);
                // A value of whole groups of three bytes, cut to the group.
                if len % 3 == 0 {
                    let taken = std::process::Command::new("setfattr")
                        .args(["-n", "user.v", "-v", value])
                        .arg(&path)
                        .output()
                        .expect("setfattr")
                        .status
                        .success();
                    assert_eq!(taken, is_kept, "{block_size}: {len} bytes");
                }
            }
        });
        image.edit(|fs| {
            for len in kept.iter().step_by(2) {
                let file = lookup(fs, &len.to_string());
                // From the block into the inode, and out of both.
                fs.set_xattr(file, b"user.v", Some(b"short")).expect("room");
                fs.set_xattr(file, b"user.w", Some(&pattern(30, 4)))
                    .expect("room");
                fs.set_xattr(file, b"user.v", None).expect("there");
            }
            let root = fs.root();
            let made = try_create(fs, root, "last", NodeKind::Fifo);
            assert!(made.is_ok(), "{made:?}");
        });
        ends_well(&image);
    }
}
