//! Which partition holds the root filesystem, on disks with filesystems that mke2fs and mkfs.vfat
//! made.

use std::path::{Path, PathBuf};

use imgasm_disk::partition::{EFI_SYSTEM, LINUX_DATA, LINUX_ROOTS};
use imgasm_disk::{Disk, Error, Gpt, NewPartition, Place, SectorSize};
use imgasm_testkit::images::{arg, device, sparse};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use uuid::Uuid;

const MIB: u64 = 1 << 20;

/// A partition of 8 MiB: its type, name, and the label and directories of its ext4 filesystem.
struct Part {
    kind: Uuid,
    name: &'static str,
    label: &'static str,
    directories: &'static [&'static str],
}

const DATA: Part = Part {
    kind: LINUX_DATA,
    name: "",
    label: "",
    directories: &[],
};
const TREE: Part = Part {
    directories: &["etc", "usr"],
    ..DATA
};

fn disk(dir: &Path, parts: &[Part]) -> PathBuf {
    let image = dir.join("disk.raw");
    sparse(&image, 64 * MIB);
    let partitions: Vec<NewPartition> = (1..)
        .zip(parts)
        .map(|(number, part)| NewPartition {
            number,
            kind: part.kind,
            guid: Uuid::from_u128(number.into()),
            name: part.name.to_owned(),
            attributes: 0,
            first_lba: u64::from(number) * 16384,
            last_lba: u64::from(number) * 16384 + 16383,
        })
        .collect();
    let target = device(&image);
    Gpt::new(64 * MIB, SectorSize::B512, Uuid::max(), &partitions)
        .expect("lay out")
        .write(&target)
        .expect("write");
    for (part, partition) in parts.iter().zip(&partitions) {
        let tree = dir.join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        for directory in part.directories {
            std::fs::create_dir_all(tree.join(directory)).expect("mkdir");
        }
        let filesystem = dir.join("filesystem.raw");
        sparse(&filesystem, 8 * MIB);
        if part.kind == EFI_SYSTEM {
            run("mkfs.vfat", ["-n", "EFI", arg(&filesystem)]);
        } else {
            let label = part.label;
            run(
                "mke2fs",
                [
                    "-q",
                    "-t",
                    "ext4",
                    "-L",
                    label,
                    "-d",
                    arg(&tree),
                    arg(&filesystem),
                ],
            );
        }
        let bytes = std::fs::read(&filesystem).expect("read");
        target
            .write_at(partition.first_lba * 512, &bytes)
            .expect("write");
        std::fs::remove_dir_all(&tree).expect("remove");
    }
    image
}

fn root(parts: &[Part]) -> Result<Place, Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let image = disk(dir.path(), parts);
    Disk::open(device(&image)).expect("open").root(None)
}

#[test]
fn each_sign_is_enough() {
    if !need::tools(&["mke2fs", "mkfs.vfat"]) {
        return;
    }
    let efi = || Part {
        kind: EFI_SYSTEM,
        ..DATA
    };
    let typed = Part {
        kind: LINUX_ROOTS[1].0,
        ..DATA
    };
    assert_eq!(
        root(&[efi(), TREE, typed]).expect("by type"),
        Place::Partition(3)
    );
    for label in ["/", "root", "cloudimg-rootfs"] {
        let labelled = Part { label, ..DATA };
        assert_eq!(
            root(&[efi(), TREE, labelled]).expect("by label"),
            Place::Partition(3)
        );
    }
    let named = Part {
        name: "Linux",
        ..DATA
    };
    assert_eq!(
        root(&[efi(), TREE, named]).expect("by name"),
        Place::Partition(3)
    );
    assert_eq!(
        root(&[efi(), DATA, TREE]).expect("by content"),
        Place::Partition(3)
    );
    let small = Part {
        directories: &["etc", "sbin/init"],
        ..DATA
    };
    assert_eq!(
        root(&[DATA, small]).expect("by content"),
        Place::Partition(2)
    );
}

#[test]
fn a_choice_is_left_to_the_user_with_the_candidates() {
    if !need::tools(&["mke2fs", "mkfs.vfat"]) {
        return;
    }
    let other = Part {
        label: "spare",
        name: "B side",
        ..TREE
    };
    let error = root(&[TREE, DATA, other]).expect_err("two look like one");
    assert_eq!(
        error.to_string(),
        "which partition is the root filesystem? Name one of these:\n  \
         partition 1: type \"Linux filesystem\", ext4\n  \
         partition 3: type \"Linux filesystem\", name \"B side\", ext4, label \"spare\""
    );
    let efi = Part {
        kind: EFI_SYSTEM,
        ..DATA
    };
    let error = root(&[efi, DATA]).expect_err("none looks like one");
    assert_eq!(
        error.to_string(),
        "no root filesystem was found; name its partition. The disk has:\n  \
         partition 1: type \"EFI system\", vfat, label \"EFI\"\n  \
         partition 2: type \"Linux filesystem\", ext4"
    );
}

#[test]
fn a_number_overrides_and_an_unreadable_place_is_described() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = disk(dir.path(), &[TREE, TREE]);
    // A superblock that no engine accepts, with its magic number intact.
    let superblock = 2 * 16384 * 512 + 1024;
    device(&image)
        .write_at(superblock, &[0xff; 48])
        .expect("damage");
    let disk = Disk::open(device(&image)).expect("open");
    assert_eq!(disk.root(None).expect("the sound one"), Place::Partition(1));
    assert_eq!(disk.root(Some(2)).expect("as asked"), Place::Partition(2));
    assert!(matches!(
        disk.root(Some(3)),
        Err(Error::NoPartition { number: 3, .. })
    ));
    device(&image)
        .write_at(16384 * 512 + 1024, &[0xff; 48])
        .expect("damage");
    let error = disk
        .root(None)
        .expect_err("neither can be read")
        .to_string();
    assert!(
        error.contains("partition 2: type \"Linux filesystem\", ext"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 3, "{error}");
}
