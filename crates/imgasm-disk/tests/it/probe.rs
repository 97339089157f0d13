//! What a device holds, compared with `blkid`.

use imgasm_block::{BlockDevice, MemoryDevice};
use imgasm_testkit::images::{arg, device, sparse};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

const MIB: u64 = 1 << 20;

#[test]
fn kinds_are_those_that_blkid_sees() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image.raw");
    let makers: [(&str, &[&str], u64); 9] = [
        ("mke2fs", &["-q", "-t", "ext2"], 8),
        ("mke2fs", &["-q", "-t", "ext3"], 8),
        ("mke2fs", &["-q", "-t", "ext4"], 8),
        ("mke2fs", &["-q", "-t", "ext4", "-O", "^has_journal"], 8),
        (
            "mke2fs",
            &["-q", "-t", "ext3", "-O", "^dir_index,meta_bg,^resize_inode"],
            8,
        ),
        ("mkfs.xfs", &["-q", "-f"], 320),
        ("mkfs.vfat", &["-F", "12"], 2),
        ("mkfs.vfat", &["-F", "32"], 64),
        ("mkswap", &[], 1),
    ];
    if !need::tools(&["blkid", "mke2fs", "mkfs.xfs", "mkfs.vfat", "mkswap"]) {
        return;
    }
    for (maker, options, len) in makers {
        // One file for all, so that there are traces of what was there before.
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&image);
        file.expect("open").set_len(len * MIB).expect("size");
        let mut args = options.to_vec();
        args.push(arg(&image));
        run(maker, &args);
        let kind = run(
            "blkid",
            [
                "--probe",
                "--match-tag",
                "TYPE",
                "--output",
                "value",
                arg(&image),
            ],
        );
        let ours = imgasm_disk::probe(&device(&image)).expect("probe");
        assert_eq!(ours, Some(kind.trim()), "{maker} {options:?}");
    }
}

#[test]
fn nothing_is_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image.raw");
    for len in [0, 1, 511, 512, 1081, 4096, MIB] {
        sparse(&image, len);
        assert_eq!(
            imgasm_disk::probe(&device(&image)).expect("probe"),
            None,
            "{len}"
        );
        let error = imgasm_disk::open(device(&image))
            .err()
            .expect("nothing to open");
        assert!(matches!(error, imgasm_fs::Error::NoFilesystem), "{error}");
    }
    let noise = MemoryDevice::new((0..=255).cycle().take(1 << 17).collect());
    assert_eq!(imgasm_disk::probe(&noise).expect("probe"), None);
    assert_eq!(noise.len(), 1 << 17);
}

#[test]
fn what_we_can_only_name_is_refused_by_its_name() {
    const RAID: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
    const UBERBLOCK: [u8; 8] = [0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0];
    let kinds: [(&str, usize, &[u8]); 10] = [
        ("swap", 4086, b"SWAPSPACE2"),
        ("crypto_LUKS", 0, b"LUKS\xba\xbe\0\x02"),
        ("LVM2_member", 512, b"LABELONE"),
        ("LVM2_member", 1536, b"LABELONE"),
        ("linux_raid_member", 0, &RAID),
        ("linux_raid_member", 4096, &RAID),
        ("apfs", 32, b"NXSB"),
        ("udf", 32769, b"BEA01"),
        ("btrfs", 65600, b"_BHRfS_M"),
        ("zfs_member", (128 << 10) + 5 * 1024, &UBERBLOCK),
    ];
    for (kind, offset, mark) in kinds {
        let mut bytes = vec![0; 1 << 20];
        bytes[offset..offset + mark.len()].copy_from_slice(mark);
        let device = std::sync::Arc::new(MemoryDevice::new(bytes));
        let error = imgasm_disk::open(device).err().expect("no filesystem");
        let start = format!("{kind}: ");
        assert!(error.to_string().starts_with(&start), "{kind}: {error}");
    }
}

/// Half of a mirror with its superblock at the end: the filesystem that begins with it must not be
/// changed on one side alone.
#[test]
fn half_of_a_mirror_is_no_filesystem() {
    if !need::tools(&["mke2fs", "blkid"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("half.raw");
    sparse(&image, 8 * MIB);
    run("mke2fs", ["-q", "-t", "ext4", arg(&image), "7M"]);
    let device = device(&image);
    assert_eq!(imgasm_disk::probe(&device).expect("probe"), Some("ext4"));
    // Version 1.0, 8 KiB before the end: magic number, version, and where it lies.
    let place: u64 = (8 * MIB - 8192) / 512;
    let mut block = [0; 256];
    block[..4].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9]);
    block[4] = 1;
    block[144..152].copy_from_slice(&place.to_le_bytes());
    device.write_at(place * 512, &block).expect("write");
    let kind = run("blkid", ["-p", "-s", "TYPE", "-o", "value", arg(&image)]);
    assert_eq!(
        imgasm_disk::probe(&device).expect("probe"),
        Some(kind.trim())
    );
    assert_eq!(kind.trim(), "linux_raid_member");
}
