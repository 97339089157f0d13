//! Growing beside `resize2fs`: the same free space but for a group's structures, sound for `e2fsck`
//! and the kernel, which fills it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{Delta, FileDevice};
use imgasm_ext4::Ext4;
use imgasm_fs::{Error, FileSystem};
use imgasm_testkit::command::{output, run, succeeded};
use imgasm_testkit::engine;
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;

use super::image::{Image, pattern};

const MIB: u64 = 1 << 20;

/// A field of what `dumpe2fs -h` prints, as a number.
fn field(image: &Path, options: &[&str], name: &str) -> u64 {
    let output = succeeded(Command::new("dumpe2fs").arg("-h").args(options).arg(image));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.trim_start_matches(':').trim().parse().ok());
    value.unwrap_or_else(|| panic!("no number {name:?} in {text}"))
}

fn features(image: &Path) -> String {
    let output = succeeded(Command::new("dumpe2fs").arg("-h").arg(image));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("Filesystem features"));
    line.expect("it has features").to_owned()
}

fn set_len(path: &Path, len: u64) {
    let file = File::options().write(true).open(path).expect("an image");
    file.set_len(len).expect("a sparse file");
}

/// Files that must be what they were, in small pieces.
fn put_files(root: &Path) {
    for n in 0..40_u8 {
        let folder = root.join(format!("folder-{}", n % 7));
        std::fs::create_dir_all(&folder).expect("there is room");
        let content = pattern(usize::from(n) * 1111, n);
        std::fs::write(folder.join(format!("file-{n}")), content).expect("there is room");
    }
}

/// Takes every block and many inodes, then gives them back.
fn fill(root: &Path, free: u64) {
    let path = root.join("filled");
    let mut file = File::create(&path).expect("there is an inode");
    let mut len = free;
    // The kernel keeps some for itself, and for the file's own mapping.
    loop {
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => break,
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let piece = vec![0x5a; 1 << 20];
                while file.write_all(&piece).is_ok() {}
                break;
            }
            Err(_) => len -= (len / 50).max(4096),
        }
        assert!(len > free / 2, "only {len} of {free} bytes can be used");
    }
    drop(file);
    std::fs::remove_file(&path).expect("it is there");
    // What is removed is free once the journal has recorded it.
    File::open(root)
        .and_then(|root| root.sync_all())
        .expect("it can be written");
    for n in 0..300 {
        let path = root.join(format!("new-{n}"));
        // What was removed becomes free in the background.
        let made = (0..100).any(|_| {
            let made = std::fs::create_dir(&path).is_ok();
            if !made {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            made
        });
        assert!(made, "there is room for {}", path.display());
    }
    for n in 0..300 {
        std::fs::remove_dir(root.join(format!("new-{n}"))).expect("it is there");
    }
}

/// Makes a filesystem of `first` KiB, and grows it step by step.
fn grown(mke2fs: &[&str], first: u64, steps: &[u64]) -> Option<String> {
    let image = Image::new(first * 1024, mke2fs)?;
    image.kernel(put_files);
    let tree = image.compare();
    let reference = image.path.with_extension("reference");
    for &step in steps {
        let bytes = step * 1024;
        std::fs::copy(&image.path, &reference).expect("there is room for a copy");
        for path in [&image.path, &reference] {
            set_len(path, bytes);
        }
        succeeded(Command::new("e2fsck").arg("-fp").arg(&reference));
        // Without a size it would take whole pages only.
        let size = format!("{step}K");
        run(Command::new("resize2fs")
            .arg("-f")
            .arg(&reference)
            .arg(size));
        let len = image.edit(|fs| fs.grow(bytes).expect("it can grow"));

        let what = |name: &str| [&image.path, &reference].map(|path| field(path, &[], name));
        let [ours, theirs] = what("Block count");
        assert_eq!(ours, theirs, "{mke2fs:?} to {step} KiB");
        let [ours, theirs] = what("Inode count");
        assert_eq!(ours, theirs, "{mke2fs:?} to {step} KiB");
        let block_size = field(&image.path, &[], "Block size");
        assert_eq!(len, field(&image.path, &[], "Block count") * block_size);
        // A group's structures may lie elsewhere, and meta_bg reserves no room for descriptors.
        let [ours, theirs] = what("Free blocks");
        let slack = 600.max(theirs / 100);
        assert!(
            ours.abs_diff(theirs) <= slack,
            "{mke2fs:?} to {step} KiB: {ours} free blocks, resize2fs {theirs}"
        );
        backups_are_right(&image.path, block_size);

        let seen = image.compare();
        assert_eq!(seen.0.len(), tree.0.len(), "{mke2fs:?} to {step} KiB");
        image.kernel(|root| fill(root, ours * block_size));
        judge::check(&image.path, Kind::Ext).unwrap_or_else(|e| panic!("{mke2fs:?}: {e}"));
        let again = image.edit(|fs| fs.grow(bytes).expect("nothing to do"));
        assert_eq!(again, len);
    }
    Some(features(&image.path))
}

/// Each backup says what the superblock says, and its descriptors can be used.
fn backups_are_right(image: &Path, block_size: u64) {
    let text = succeeded(Command::new("dumpe2fs").arg(image)).stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let blocks = field(image, &[], "Block count");
    // Beyond a table that is followed by meta groups, a backup has no table behind it, which e2fsck
    // would take to be there.
    let table_ends = text.contains("First meta block group:");
    let places: Vec<(&str, bool)> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Backup superblock at "))
        .filter_map(|rest| {
            let place = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            Some((place, !table_ends || rest.contains("Group descriptors at ")))
        })
        .collect();
    let last = places.last().copied();
    for (place, has_table) in places.first().copied().into_iter().chain(last) {
        let (at, size) = (
            format!("superblock={place}"),
            format!("blocksize={block_size}"),
        );
        let options = ["-o", at.as_str(), "-o", size.as_str()];
        assert_eq!(
            field(image, &options, "Block count"),
            blocks,
            "backup at {place}"
        );
        if !has_table {
            continue;
        }
        // e2fsck takes the descriptors behind the backup; only what a backup never stores may
        // differ.
        let (block, size) = (place.to_owned(), block_size.to_string());
        let checked = output(
            Command::new("e2fsck")
                .args(["-fn", "-b", &block, "-B", &size])
                .arg(image),
        );
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        for bad in [
            "corrupt",
            "not in group",
            "checksum is invalid",
            "not valid",
        ] {
            assert!(!said.contains(bad), "backup at {place}: {said}");
        }
    }
}

#[test]
fn ext2_grows() {
    grown(
        &["-t", "ext2", "-b", "1024"],
        20_000,
        &[60_000, 61_440, 120_000],
    );
    grown(
        &["-t", "ext2", "-b", "4096", "-I", "128"],
        30_000,
        &[150_000],
    );
    // Each group has a backup.
    grown(
        &[
            "-t",
            "ext2",
            "-b",
            "1024",
            "-O",
            "^sparse_super,^resize_inode",
        ],
        20_000,
        &[70_000],
    );
}

#[test]
fn a_rest_that_is_too_small_for_a_group_stays_unused() {
    for rest in [0, 1, 692, 693, 8191] {
        grown(&["-t", "ext4", "-b", "1024"], 16_385, &[40_961 + rest]);
    }
}

#[test]
fn ext4_grows() {
    grown(&["-t", "ext4"], 65_536, &[400_000, 1_500_000]);
    grown(
        &[
            "-t",
            "ext4",
            "-b",
            "2048",
            "-O",
            "^metadata_csum,uninit_bg,^64bit",
        ],
        40_000,
        &[200_000, 700_000],
    );
    grown(
        &["-t", "ext4", "-b", "1024", "-O", "^flex_bg"],
        30_000,
        &[120_000],
    );
    grown(
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-G",
            "4",
            "-O",
            "metadata_csum_seed",
        ],
        30_000,
        &[90_000, 200_000],
    );
    grown(
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "^has_journal",
            "-N",
            "60000",
        ],
        40_000,
        &[200_000],
    );
}

#[test]
fn beyond_the_reserved_descriptors_they_lie_in_their_groups() {
    let cases: [(&[&str], u64, &[u64]); 4] = [
        (
            &["-t", "ext4", "-b", "1024", "-E", "resize=200000"],
            60_000,
            &[190_000, 900_000],
        ),
        (
            &["-t", "ext3", "-b", "1024", "-O", "^resize_inode"],
            20_000,
            &[300_000, 700_000],
        ),
        (
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-O",
                "^resize_inode,^metadata_csum",
            ],
            20_000,
            &[150_000],
        ),
        (
            &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
            30_000,
            &[300_000],
        ),
    ];
    for (mke2fs, first, steps) in cases {
        let Some(features) = grown(mke2fs, first, steps) else {
            return;
        };
        assert!(features.contains("meta_bg"), "{mke2fs:?}: {features}");
        assert!(!features.contains("resize_inode"), "{mke2fs:?}: {features}");
    }
}

#[test]
fn two_backups_stay_two() {
    for features in ["sparse_super2", "sparse_super2,^resize_inode"] {
        grown(
            &["-t", "ext4", "-b", "1024", "-O", features],
            8_000,
            &[20_000, 200_000],
        );
        grown(
            &["-t", "ext4", "-b", "1024", "-O", features],
            50_000,
            &[200_000],
        );
    }
}

#[test]
fn what_the_format_cannot_have_is_refused() {
    let Some(image) = Image::new(20 * MIB, &["-t", "ext4", "-b", "1024", "-O", "^64bit"]) else {
        return;
    };
    set_len(&image.path, 5 << 40);
    let refused = image.try_out(|fs| fs.grow(5 << 40));
    assert!(
        matches!(&refused, Err(Error::Unstorable { problem, .. }) if problem.contains("64bit"))
    );
    let refused = image.try_out(|fs| fs.grow(6 << 40));
    assert!(matches!(refused, Err(Error::Unstorable { .. })));
    // Nothing becomes smaller.
    let same = image.try_out(|fs| fs.grow(10 * MIB).expect("nothing to do"));
    assert_eq!(same, 20 * MIB);
}

/// The cost depends on the new groups, not on what is there.
#[test]
fn growing_to_a_tib_writes_little() {
    let Some(image) = Image::new(2048 * MIB, &["-t", "ext4"]) else {
        return;
    };
    let bytes = 1 << 40;
    set_len(&image.path, bytes);
    let device = Arc::new(Delta::new(Arc::new(
        FileDevice::open(&image.path).expect("there"),
    )));
    let mut fs = Ext4::open_writable(device.clone(), engine::OPTIONS).expect("sound");
    assert_eq!(fs.grow(bytes).expect("it can grow"), bytes);
    let changed: u64 = device
        .changes()
        .expect("readable")
        .iter()
        .map(|change| change.range.end - change.range.start)
        .sum();
    // A bitmap for each flexible group, descriptors and their backups.
    assert!(changed < 64 * MIB, "{changed} bytes");
    let mut findings = Vec::new();
    fs.check(&mut |finding| findings.push(finding))
        .expect("readable");
    assert!(findings.is_empty(), "{findings:?}");
}
