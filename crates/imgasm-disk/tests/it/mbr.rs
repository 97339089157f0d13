//! Master boot records, made and judged by sfdisk, and disks without a table.

use imgasm_testkit::mount::Loop;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use imgasm_block::{BlockDevice, MemoryDevice};
use imgasm_disk::{Disk, Error, Partition, PartitionTable, Place, SectorSize, TableKind};
use imgasm_testkit::images::{arg, device, sparse};

const MIB: u64 = 1 << 20;

/// Makes a disk with the table that `script` tells sfdisk to make.
fn disk(dir: &Path, script: &str) -> PathBuf {
    let image = dir.join("disk.raw");
    sparse(&image, 64 * MIB);
    let mut sfdisk = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", "--no-reread", arg(&image)])
        .stdin(Stdio::piped())
        .spawn()
        .expect("run sfdisk");
    let mut stdin = sfdisk.stdin.take().expect("piped");
    stdin.write_all(script.as_bytes()).expect("tell sfdisk");
    drop(stdin);
    assert!(sfdisk.wait().expect("wait").success());
    image
}

fn table(image: &Path) -> PartitionTable {
    let disk = Disk::open(device(image)).expect("open");
    disk.table().expect("read").expect("a table")
}

/// What sfdisk says about each partition: number, start, size, type, boot flag.
fn judged(image: &Path) -> Vec<(u32, u64, u64, String, bool)> {
    let text = run("sfdisk", ["--json", arg(image)]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let partitions = json["partitiontable"]["partitions"].as_array();
    let partitions = partitions.expect("a list").iter();
    partitions
        .map(|p| {
            let node = p["node"].as_str().expect("a node");
            let number = node.rsplit("raw").next().expect("a number");
            (
                number.parse().expect("a number"),
                p["start"].as_u64().expect("a start"),
                p["size"].as_u64().expect("a size"),
                p["type"].as_str().expect("a type").to_owned(),
                p["bootable"].as_bool().unwrap_or(false),
            )
        })
        .collect()
}

fn ours(partitions: &[Partition]) -> Vec<(u32, u64, u64, String, bool)> {
    partitions
        .iter()
        .map(|p| {
            (
                p.number,
                p.first_lba,
                p.last_lba - p.first_lba + 1,
                p.kind
                    .to_string()
                    .trim_start_matches("0x0")
                    .trim_start_matches("0x")
                    .to_owned(),
                p.attributes == 0x80,
            )
        })
        .collect()
}

const LOGICAL: &str = "label: dos\nlabel-id: 0x1badcafe\n\
    4 : start=2048, size=8192, type=83, bootable\n\
    2 : start=12288, size=100000, type=5\n\
    5 : start=14336, size=4096, type=83\n\
    6 : start=20480, size=10000, type=82\n\
    7 : start=34816, size=2048, type=8e\n";

#[test]
fn primary_and_logical_partitions_are_read_as_sfdisk_made_them() {
    if !need::tools(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = disk(dir.path(), LOGICAL);
    let table = table(&image);
    let TableKind::Mbr { signature } = table.kind else {
        panic!("{:?}", table.kind);
    };
    assert_eq!(signature, 0x1bad_cafe);
    assert_eq!(table.partitions.len(), 5);
    assert_eq!(
        ours(&table.partitions),
        judged(&image).into_iter().collect::<Vec<_>>()
    );
    let disk = Disk::open(device(&image)).expect("open");
    let numbers = [2, 5, 6, 7].map(Place::Partition);
    let places = disk.places();
    assert!(numbers[1..].iter().all(|place| places.contains(place)));
    assert!(
        !places.contains(&numbers[0]),
        "an extended partition holds no filesystem"
    );
}

#[test]
fn the_last_primary_partition_grows() {
    if !need::tools(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = disk(
        dir.path(),
        "label: dos\nlabel-id: 0x1badcafe\n\
         3 : start=2048, size=8192, type=c\n\
         1 : start=12288, size=100000, type=83, bootable\n",
    );
    device(&image)
        .write_at(0, &[0x5a; 440])
        .expect("write boot code");
    let before = judged(&image);
    for len in [100 * MIB, 20_000 * MIB, 3 << 40] {
        let file = std::fs::OpenOptions::new().write(true).open(&image);
        file.expect("open").set_len(len).expect("enlarge");
        let mut disk = Disk::open(device(&image)).expect("open");
        assert!(matches!(disk.grow(Some(3)), Err(Error::Layout(_))));
        assert_eq!(disk.grow(None).expect("grow"), Some(Place::Partition(1)));
        let after = judged(&image);
        assert_eq!(ours(&table(&image).partitions), after);
        for (before, after) in before.iter().zip(&after) {
            let grown = after.0 == 1;
            assert_eq!(before.2 < after.2, grown);
            assert_eq!(
                (before.1, &before.3, before.4),
                (after.1, &after.3, after.4)
            );
        }
        let reach = len.min(2 << 40) - 2 * MIB;
        let table = table(&image);
        let root = table.partitions.iter().find(|p| p.number == 1);
        assert!(root.expect("there").bytes(SectorSize::B512).end > reach);
        let text = run("sfdisk", ["--verify", arg(&image)]);
        assert!(text.contains("No errors detected"), "{text}");
    }
    let mut code = [0; 440];
    device(&image).read_at(0, &mut code).expect("read");
    assert_eq!(code, [0x5a; 440]);
    assert!(table(&image).boot_code_sha256.is_some());
}

#[test]
fn a_logical_partition_does_not_grow() {
    if !need::tools(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = disk(dir.path(), LOGICAL);
    let mut disk = Disk::open(device(&image)).expect("open");
    let error = disk.grow(Some(7)).expect_err("logical").to_string();
    assert!(error.contains("extended partition"), "{error}");
}

#[test]
fn chains_that_do_not_end_and_partitions_that_overlap_are_findings() {
    if !need::tools(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = disk(dir.path(), LOGICAL);
    let found = |offset: u64, bytes: &[u8]| {
        let damaged = dir.path().join("damaged.raw");
        std::fs::copy(&image, &damaged).expect("copy");
        device(&damaged).write_at(offset, bytes).expect("write");
        let disk = Disk::open(device(&damaged)).expect("can be read all the same");
        assert_eq!(disk.probe(Place::Partition(4)).expect("probe"), None);
        assert!(disk.root(None).is_err());
        disk.warnings().join("; ")
    };
    // The first extended record's link to the next one.
    let link = 12288 * 512 + 446 + 16;
    assert!(found(link + 8, &[0; 4]).contains("chain"), "a loop");
    assert!(found(link + 8, &[0xff; 4]).contains("does not lie in partition 2"));
    assert!(found(12288 * 512 + 510, &[0]).contains("no extended record"));
    assert!(found(446 + 3 * 16 + 12, &[0xff, 0xff, 0, 0]).contains("overlap"));
    assert!(found(446 + 3 * 16 + 8, &[0xff; 4]).contains("does not lie on a disk"));
}

/// An extended partition that reaches past the end, with a logical one behind it.
#[test]
fn a_disk_that_is_cut_short_lists_what_sfdisk_lists() {
    if !need::tools(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = disk(dir.path(), LOGICAL);
    let file = std::fs::OpenOptions::new().write(true).open(&image);
    file.expect("open").set_len(34816 * 512).expect("cut short");
    let table = table(&image);
    assert_eq!(ours(&table.partitions), judged(&image));
    let mut disk = Disk::open(device(&image)).expect("open");
    let warnings = disk.warnings().join("; ");
    assert!(warnings.contains("partition 2 at LBA"), "{warnings}");
    assert!(warnings.contains("partition 7 at LBA"), "{warnings}");
    assert_eq!(disk.slice(Place::Partition(7)).expect("empty").len(), 0);
    assert!(disk.probe(Place::Partition(6)).is_ok());
    assert!(matches!(disk.grow(Some(4)), Err(Error::Layout(_))));
}

/// A hybrid ISO: partition 1 begins with the table, and the next one lies in it.
#[test]
fn partitions_of_a_hybrid_iso_are_read() {
    let mut bytes = vec![0; 4 << 20];
    bytes[32769..32774].copy_from_slice(b"CD001");
    let entry = |kind: u8, start: u32, blocks: u32| {
        let mut entry = [0; 16];
        (entry[0], entry[4]) = (if start == 0 { 0x80 } else { 0 }, kind);
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&blocks.to_le_bytes());
        entry
    };
    bytes[446..462].copy_from_slice(&entry(0x17, 0, 8192));
    bytes[462..478].copy_from_slice(&entry(0xef, 100, 2000));
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    let disk = Disk::open(Arc::new(MemoryDevice::new(bytes))).expect("open");
    let warnings = disk.warnings().join("; ");
    assert!(
        warnings.contains("partition 1 begins at LBA 0"),
        "{warnings}"
    );
    assert!(warnings.contains("overlap"), "{warnings}");
    let first = disk.probe(Place::Partition(1)).expect("probe");
    assert_eq!(first, Some("iso9660"));
}

#[test]
fn blocks_of_4096_bytes_are_known_by_what_lies_in_them() {
    if !need::mounts(&["sfdisk", "mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("disk.raw");
    sparse(&image, 64 * MIB);
    // sfdisk learns the size of a block from the kernel.
    let attached = Loop::attach(&image, &["--sector-size=4096"]);
    let mut sfdisk = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", "--no-reread", arg(attached.path())])
        .stdin(Stdio::piped())
        .spawn()
        .expect("run sfdisk");
    let mut stdin = sfdisk.stdin.take().expect("piped");
    stdin
        .write_all(b"label: dos\nstart=256, size=2048, type=83\nstart=4096, size=8192, type=83\n")
        .expect("tell sfdisk");
    drop(stdin);
    assert!(sfdisk.wait().expect("wait").success());
    drop(attached);
    let root = format!("offset={}", 4096 * 4096);
    run(
        "mke2fs",
        ["-q", "-F", "-t", "ext4", "-E", &root, arg(&image), "32M"],
    );
    let disk = Disk::open(device(&image)).expect("open");
    let table = disk.table().expect("read").expect("a table");
    assert_eq!(table.sector_size, SectorSize::B4096);
    assert_eq!(
        disk.slice(Place::Partition(2)).expect("a slice").len(),
        32 * MIB
    );
    assert_eq!(
        disk.probe(Place::Partition(2)).expect("probe"),
        Some("ext4")
    );
}

#[test]
fn a_bare_filesystem_is_a_disk_with_one_place() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("bare.raw");
    sparse(&image, 16 * MIB);
    run("mke2fs", ["-q", "-t", "ext4", arg(&image)]);
    let mut disk = Disk::open(device(&image)).expect("open");
    assert_eq!(disk.table().expect("read"), None);
    assert_eq!(disk.places(), [Place::WholeDisk]);
    assert_eq!(disk.probe(Place::WholeDisk).expect("probe"), Some("ext4"));
    assert_eq!(disk.root(None).expect("found"), Place::WholeDisk);
    assert_eq!(disk.slice(Place::WholeDisk).expect("all").len(), 16 * MIB);
    let grown = disk.grow(None).expect("nothing is in its way");
    assert_eq!(grown, Some(Place::WholeDisk));
    assert!(disk.slice(Place::Partition(1)).is_err());
}

#[test]
fn a_fat_boot_sector_is_not_taken_for_a_table() {
    if !need::tools(&["mkfs.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("bare.raw");
    sparse(&image, 16 * MIB);
    run("mkfs.vfat", [arg(&image)]);
    let disk = Disk::open(device(&image)).expect("open");
    assert_eq!(disk.places(), [Place::WholeDisk]);
    assert_eq!(disk.probe(Place::WholeDisk).expect("probe"), Some("vfat"));
}

#[test]
fn a_device_of_nothing_known_is_an_error() {
    for len in [0, 1, 511, 512, 4096, 1 << 20] {
        let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![0; len]));
        assert!(matches!(Disk::open(device), Err(Error::Unknown { .. })));
    }
}
