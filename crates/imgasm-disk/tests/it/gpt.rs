//! GUID partition tables, made and judged by sgdisk and by the `gpt` crate.

use imgasm_testkit::mount::Loop;
use imgasm_testkit::need;
use imgasm_testkit::tools::{output, run};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgasm_block::{BlockDevice, MemoryDevice};
use imgasm_disk::partition::{BIOS_BOOT, EFI_SYSTEM, LINUX_DATA};
use imgasm_disk::{Disk, Error, Gpt, NewPartition, Partition, Place, SectorSize, TableKind};
use imgasm_testkit::images::{arg, device, sparse};
use uuid::Uuid;

const MIB: u64 = 1 << 20;
/// The disk that sgdisk makes for these tests: Amazon's order, Debian's numbers, a gap, a name that
/// is not ASCII, an attribute.
const AMAZON: [&str; 16] = [
    "--disk-guid=7c0f3b5e-13d8-4a51-a02e-0f6f3e1a9c11",
    "--new=128:2048:4095",
    "--typecode=128:ef02",
    "--change-name=128:BIOS Boot Partition",
    "--partition-guid=128:7c0f3b5e-13d8-4a51-a02e-0f6f3e1a9c80",
    "--new=15:6144:14335",
    "--typecode=15:ef00",
    "--change-name=15:größe ✓",
    "--partition-guid=15:7c0f3b5e-13d8-4a51-a02e-0f6f3e1a9c15",
    "--attributes=15:set:2",
    "--attributes=15:set:63",
    "--new=1:16384:0",
    "--typecode=1:8300",
    "--change-name=1:Linux",
    "--partition-guid=1:7c0f3b5e-13d8-4a51-a02e-0f6f3e1a9c01",
    "--verify",
];

fn amazon(dir: &Path) -> PathBuf {
    let image = dir.join("disk.raw");
    sparse(&image, 64 * MIB);
    let mut args = AMAZON.to_vec();
    args.push(arg(&image));
    run("sgdisk", &args);
    image
}

/// What sgdisk says about the disk and each partition, without the sizes of the free space.
fn judged(image: &Path, numbers: &[u32]) -> String {
    numbers
        .iter()
        .map(|number| run("sgdisk", [&format!("--info={number}"), arg(image)]))
        .collect()
}

fn assert_verified(image: &Path) {
    let text = run("sgdisk", ["--verify", arg(image)]);
    assert!(text.contains("No problems found"), "{text}");
}

fn partition(disk: &Disk, number: u32) -> Partition {
    let table = disk.table().expect("read").expect("a table");
    let mut partitions = table.partitions.into_iter();
    partitions.find(|p| p.number == number).expect("listed")
}

#[test]
fn a_table_out_of_order_is_read_as_sgdisk_made_it() {
    if !need::tools(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = amazon(dir.path());
    let disk = Disk::open(device(&image)).expect("open");
    assert!(disk.warnings().is_empty(), "{:?}", disk.warnings());
    let table = disk.table().expect("read").expect("a table");
    assert_eq!(table.sector_size, SectorSize::B512);
    assert!(table.boot_code_sha256.is_none());
    let TableKind::Gpt {
        disk_guid,
        usable,
        hybrid,
    } = table.kind
    else {
        panic!("{:?}", table.kind);
    };
    assert_eq!(
        disk_guid.to_string(),
        "7c0f3b5e-13d8-4a51-a02e-0f6f3e1a9c11"
    );
    assert_eq!((usable, hybrid), ((34, 131_038), false));
    let numbers: Vec<u32> = table.partitions.iter().map(|p| p.number).collect();
    assert_eq!(numbers, [1, 15, 128]);
    let efi = partition(&disk, 15);
    assert_eq!(efi.name, "größe ✓");
    assert_eq!(efi.attributes, 1 << 63 | 1 << 2);
    assert_eq!(efi.kind.name(), Some("EFI system"));
    assert_eq!((efi.first_lba, efi.last_lba), (6144, 14335));
    assert_eq!(
        efi.guid.expect("has one").to_string(),
        "7c0f3b5e-13d8-4a51-a02e-0f6f3e1a9c15"
    );
    let slice = disk.slice(Place::Partition(15)).expect("a slice");
    assert_eq!(slice.len(), 4 * MIB);
    let missing = disk.slice(Place::Partition(2)).err().expect("not there");
    assert_eq!(
        missing.to_string(),
        "there is no partition 2; the disk has 1, 15, 128"
    );
}

#[test]
fn growing_moves_the_end_and_nothing_else() {
    if !need::tools(&["sgdisk", "sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = amazon(dir.path());
    let code = [0x5a; 440];
    device(&image).write_at(0, &code).expect("write boot code");
    let others = judged(&image, &[15, 128]);
    let dump = |image: &Path| run("sfdisk", ["--dump", arg(image)]);
    let before = dump(&image);
    let same_size = std::fs::read(&image).expect("read");
    // On a device of the same size there is nothing to grow but the end of the last partition.
    let mut disk = Disk::open(device(&image)).expect("open");
    assert_eq!(disk.grow(None).expect("grow"), Some(Place::Partition(1)));
    assert!(std::fs::read(&image).expect("read") == same_size);

    for len in [65 * MIB, 200 * MIB + 512, 9000 * MIB] {
        let file = std::fs::OpenOptions::new().write(true).open(&image);
        file.expect("open").set_len(len).expect("enlarge");
        let mut disk = Disk::open(device(&image)).expect("open");
        assert_eq!(disk.grow(None).expect("grow"), Some(Place::Partition(1)));
        assert_eq!(partition(&disk, 1), {
            let again = Disk::open(device(&image)).expect("open again");
            partition(&again, 1)
        });
        assert_verified(&image);
        assert_eq!(judged(&image, &[15, 128]), others);
        let root = partition(&disk, 1);
        assert!(root.bytes(SectorSize::B512).end > len - 2 * MIB);
        let without_sizes = |dump: &str| -> String {
            let lines = dump.lines().filter(|line| !line.contains("last-lba"));
            lines
                .map(|line| line.split(", size=").next().unwrap_or(line).to_owned() + "\n")
                .collect()
        };
        assert_eq!(without_sizes(&dump(&image)), without_sizes(&before));
    }
    let mut kept = [0; 440];
    device(&image).read_at(0, &mut kept).expect("read");
    assert_eq!(kept, code);
    // The only headers left are at the two ends.
    let image = device(&image);
    let mut headers = Vec::new();
    let mut at = 0;
    while let Some(data) = image.next_data(at).expect("seek") {
        for offset in data.clone().step_by(512) {
            let mut start = [0; 8];
            image.read_at(offset, &mut start).expect("read");
            if start == *b"EFI PART" {
                headers.push(offset / 512);
            }
        }
        at = data.end;
    }
    assert_eq!(headers, [1, image.len() / 512 - 1]);
}

#[test]
fn a_partition_before_another_does_not_grow() {
    if !need::tools(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = amazon(dir.path());
    let mut disk = Disk::open(device(&image)).expect("open");
    let error = disk.grow(Some(15)).expect_err("partition 1 lies behind");
    assert_eq!(
        error.to_string(),
        "cannot lay out the partitions: partition 15 cannot grow: partition 1 lies behind it"
    );
    assert!(matches!(
        disk.grow(Some(3)),
        Err(Error::NoPartition { number: 3, .. })
    ));
    let file = std::fs::OpenOptions::new().write(true).open(&image);
    file.expect("open").set_len(32 * MIB).expect("cut");
    let error = Disk::open(device(&image)).err().expect("cut short");
    assert!(error.to_string().contains("cut short"), "{error}");
}

#[test]
fn either_copy_is_enough_and_growing_repairs_the_other() {
    if !need::tools(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = amazon(dir.path());
    let sound = judged(&image, &[1, 15, 128]);
    let len = device(&image).len();
    let damages = [
        (512, 92),
        (1024, 4096),
        (len - 512, 92),
        (len - 33 * 512, 128),
    ];
    for (offset, count) in damages {
        let copy = dir.path().join("copy.raw");
        std::fs::copy(&image, &copy).expect("copy");
        let target = device(&copy);
        let mut bytes = vec![0; count];
        target.read_at(offset, &mut bytes).expect("read");
        bytes[17] ^= 0x80;
        target.write_at(offset, &bytes).expect("write");
        let mut disk = Disk::open(target).expect("the other copy is sound");
        let part = if offset < MIB { "primary" } else { "backup" };
        assert!(
            disk.warnings()[0].contains(&format!("the {part}")),
            "{:?}",
            disk.warnings()
        );
        assert_eq!(partition(&disk, 128).name, "BIOS Boot Partition");
        disk.grow(None).expect("write");
        assert_verified(&copy);
        assert_eq!(judged(&copy, &[1, 15, 128]), sound);
    }
    let target = device(&image);
    target.write_zeros(512, 512).expect("write");
    target.write_at(len - 512, b"EFI PARX").expect("write");
    let error = Disk::open(target).err().expect("both are damaged");
    assert!(matches!(error, Error::BothDamaged { .. }), "{error}");
}

fn new_partition(number: u32, kind: Uuid, first_lba: u64, last_lba: u64) -> NewPartition {
    NewPartition {
        number,
        kind,
        guid: Uuid::from_u128(u128::from(number)),
        name: format!("number {number}"),
        attributes: 0,
        first_lba,
        last_lba,
    }
}

#[test]
fn a_new_table_is_sound_and_a_second_reader_agrees() {
    if !need::tools(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("new.raw");
    let guid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
    let partitions = [
        new_partition(128, BIOS_BOOT, 2048, 4095),
        new_partition(127, EFI_SYSTEM, 4096, 8191),
        new_partition(1, LINUX_DATA, 8192, 100_000),
    ];
    sparse(&image, 64 * MIB);
    let gpt = Gpt::new(64 * MIB, SectorSize::B512, guid, &partitions).expect("lay out");
    gpt.write(&device(&image)).expect("write");
    assert_verified(&image);
    let theirs = gpt::GptConfig::new()
        .writable(false)
        .open(&image)
        .expect("the gpt crate reads it");
    assert_eq!(theirs.guid(), &guid);
    let ours = Disk::open(device(&image)).expect("open").table();
    let ours = ours.expect("read").expect("a table").partitions;
    assert_eq!(ours.len(), theirs.partitions().len());
    for ours in ours {
        let theirs = &theirs.partitions()[&ours.number];
        assert_eq!(Some(theirs.part_guid), ours.guid);
        assert_eq!(theirs.name, ours.name);
        assert_eq!(theirs.first_lba, ours.first_lba);
        assert_eq!(theirs.last_lba, ours.last_lba);
    }
}

#[test]
fn blocks_of_4096_bytes_are_noticed_and_grow() {
    if !need::mounts(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("4k.raw");
    sparse(&image, 64 * MIB);
    let partitions = [
        new_partition(128, BIOS_BOOT, 256, 511),
        new_partition(1, LINUX_DATA, 512, 10_000),
    ];
    let gpt = Gpt::new(64 * MIB, SectorSize::B4096, Uuid::max(), &partitions).expect("lay out");
    gpt.write(&device(&image)).expect("write");
    let file = std::fs::OpenOptions::new().write(true).open(&image);
    file.expect("open").set_len(128 * MIB).expect("enlarge");
    let mut disk = Disk::open(device(&image)).expect("open");
    let table = disk.table().expect("read").expect("a table");
    assert_eq!(table.sector_size, SectorSize::B4096);
    disk.grow(None).expect("grow");
    let slice = disk.slice(Place::Partition(1)).expect("a slice");
    assert!(slice.len() > 124 * MIB);
    // sgdisk learns the size of a block from the kernel.
    let attached = Loop::attach(&image, &["--sector-size=4096"]);
    let text = run("sgdisk", ["--verify", arg(attached.path())]);
    assert!(text.contains("No problems found"), "{text}");
    let text = run("sgdisk", ["--info=1", arg(attached.path())]);
    let sectors = format!("Partition size: {} sectors", slice.len() / 4096);
    assert!(text.contains(&sectors), "{text}");
}

#[test]
fn a_hybrid_record_is_recognised_and_kept() {
    if !need::tools(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = amazon(dir.path());
    run("sgdisk", ["--hybrid=15", arg(&image)]);
    let target = device(&image);
    let mut record = [0; 512];
    target.read_at(0, &mut record).expect("read");
    let mut disk = Disk::open(Arc::clone(&target)).expect("open");
    let table = disk.table().expect("read").expect("a table");
    assert!(matches!(table.kind, TableKind::Gpt { hybrid: true, .. }));
    disk.grow(None).expect("grow");
    let mut after = [0; 512];
    target.read_at(0, &mut after).expect("read");
    assert_eq!(record, after);
}

#[test]
fn layouts_that_cannot_be_are_refused() {
    let lay_out = |partitions: &[NewPartition]| {
        Gpt::new(16 * MIB, SectorSize::B512, Uuid::nil(), partitions)
            .expect_err("cannot be")
            .to_string()
    };
    let one = new_partition(1, LINUX_DATA, 2048, 4096);
    let overlapping = new_partition(2, LINUX_DATA, 4096, 5000);
    assert!(lay_out(&[one.clone(), overlapping]).contains("overlap"));
    assert!(lay_out(&[one.clone(), one.clone()]).contains("used twice"));
    assert!(lay_out(&[new_partition(129, LINUX_DATA, 2048, 4096)]).contains("1 to 128"));
    assert!(lay_out(&[new_partition(0, LINUX_DATA, 2048, 4096)]).contains("1 to 128"));
    assert!(lay_out(&[new_partition(1, LINUX_DATA, 33, 4096)]).contains("usable range"));
    assert!(lay_out(&[new_partition(1, LINUX_DATA, 34, 32_735)]).contains("usable range"));
    assert!(Gpt::new(16 << 10, SectorSize::B512, Uuid::nil(), &[]).is_err());
}

/// Reading a table from arbitrary bytes gives a table or an error, never a panic.
#[test]
fn mutated_tables_are_a_table_or_an_error() {
    let partitions = [
        new_partition(128, BIOS_BOOT, 2048, 4095),
        new_partition(1, LINUX_DATA, 8192, 10_000),
    ];
    let sound = MemoryDevice::new(vec![0; 8 << 20]);
    Gpt::new(sound.len(), SectorSize::B512, Uuid::max(), &partitions)
        .expect("lay out")
        .write(&sound)
        .expect("write");
    let sound = sound.into_bytes();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below).expect("small")
    };
    let (mut opened, mut refused) = (0, 0);
    let shared = Arc::new(MemoryDevice::new(sound.clone()));
    for _ in 0..4000 {
        let mut header = sound[..2048].to_vec();
        for _ in 0..=random(3) {
            let at = [446 + random(66), 512 + random(92), 1024 + random(1024)][random(3)];
            header[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)];
        }
        // Right checksums let the damage reach the code behind their check.
        let mut array = header[1024..].to_vec();
        array.extend(&sound[2048..1024 + 128 * 128]);
        let crc = crc32fast::hash(&array).to_le_bytes();
        header[512 + 88..512 + 92].copy_from_slice(&crc);
        header[512 + 16..512 + 20].fill(0);
        let crc = crc32fast::hash(&header[512..512 + 92]).to_le_bytes();
        header[512 + 16..512 + 20].copy_from_slice(&crc);
        shared.write_at(0, &header).expect("write");
        match Disk::open(Arc::clone(&shared) as Arc<dyn BlockDevice>) {
            Ok(mut disk) => {
                opened += 1;
                for place in disk.places() {
                    disk.slice(place).expect("a checked table fits the device");
                }
                let _ = disk.grow(None);
                shared.write_at(0, &sound).expect("restore");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} {refused}");
}

#[test]
fn what_sgdisk_refuses_is_said_by_it_too() {
    // Guards the judge itself: it must find a fault that is there.
    if !need::tools(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = amazon(dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(&image);
    file.expect("open").set_len(80 * MIB).expect("enlarge");
    let text = output("sgdisk", ["--verify", arg(&image)]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(!text.contains("No problems found"), "{text}");
}
