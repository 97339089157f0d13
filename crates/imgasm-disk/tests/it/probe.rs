//! What a device holds, as `blkid` sees it too.

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
    let swap = MemoryDevice::new(vec![0; 1 << 16]);
    swap.write_at(4086, b"SWAPSPACE2").expect("write");
    let error = imgasm_disk::open(std::sync::Arc::new(swap))
        .err()
        .expect("no filesystem");
    assert!(error.to_string().starts_with("swap: "), "{error}");
}
