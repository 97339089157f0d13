//! Disks that lie in several files of one folder, as QEMU makes and reads them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use imgasm_block::{ChunkMap, FileDevice};
use imgasm_container::{Cache, Error, Image, Reading};
use imgasm_testkit::disk::{bytes_of, sparse_disk};
use imgasm_testkit::images::sparse;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::tools::run;

const MIB: u64 = 1 << 20;

fn open(dir: &Path, path: &Path, allows_backing: bool) -> Result<Image, Error> {
    let reading = Reading {
        allows_backing,
        ..Reading::default()
    };
    let cache = Cache::new(&dir.join("cache")).reading(reading);
    cache.open(path, &|_, _| ())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn refused(opened: Result<Image, Error>, words: &str) {
    let error = opened.err().expect(words);
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn extents_of_a_vmdk_are_one_disk() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    // Beyond the 2 GB (2047 MiB) of an extent, with data on both sides of each border.
    let raw = dir.join("disk.raw");
    sparse(&raw, 5 << 30);
    let file = File::options().write(true).open(&raw).unwrap();
    for border in [0, 2047, 4094, 5119] {
        for (at, byte) in [(border * MIB, 1), (border * MIB + MIB - 70_000, 2)] {
            file.write_all_at(&vec![byte; 70_000], at).unwrap();
        }
    }
    file.write_all_at(&[3; 4096], 2047 * MIB - 2048).unwrap();
    let expected = ChunkMap::compute(&FileDevice::open(&raw).unwrap()).unwrap();
    for subformat in [
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "monolithicFlat",
    ] {
        let path = dir.join(format!("{subformat}.vmdk"));
        let option = format!("subformat={subformat}");
        run(
            "qemu-img",
            [
                "convert",
                "-O",
                "vmdk",
                "-o",
                &option,
                text(&raw),
                text(&path),
            ],
        );
        let image = open(dir, &path, false).unwrap();
        assert_eq!(image.wrapping, ["vmdk"], "{subformat}");
        assert_eq!(image.device.len(), 5 << 30, "{subformat}");
        let found = ChunkMap::compute(&image.device).unwrap();
        assert_eq!(found.digest(), expected.digest(), "{subformat}");
        // A digest of one file says nothing about the others.
        let base = Cache::new(&dir.join("cache")).base(&path, None, &|_, _| ());
        let error = base.err().unwrap().to_string();
        assert!(error.contains("imgasm convert"), "{error}");
    }
    refused(
        open(dir, &dir.join("twoGbMaxExtentSparse-s002.vmdk"), false),
        "describes the disk",
    );
    refused(
        open(dir, &dir.join("twoGbMaxExtentFlat-f001.vmdk"), false),
        "describes the disk",
    );

    let descriptor = dir.join("monolithicFlat.vmdk");
    let good = fs::read_to_string(&descriptor).unwrap();
    let own = "\"monolithicFlat-flat.vmdk\"";
    symlink("disk.raw", dir.join("link")).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    for (name, why) in [
        ("/etc/passwd", "another folder"),
        ("../disk.raw", "another folder"),
        ("sub/disk.raw", "another folder"),
        ("..", "another folder"),
        ("", "another folder"),
        ("link", "symbolic link"),
        ("sub", "not a regular file"),
        ("missing", "cannot read"),
    ] {
        fs::write(&descriptor, good.replace(own, &format!("\"{name}\""))).unwrap();
        refused(open(dir, &descriptor, false), why);
    }
    for (from, to, why) in [
        ("RW 10485760 ", "RW 10485761 ", "cut off"),
        ("RW 10485760 ", "RW 99999999999999999999 ", "line"),
        ("RW 10485760 ", "RW 36028797018963968 ", "sectors"),
        (" FLAT ", " VMFSRDM ", "VMFSRDM"),
        ("RW 10485760 ", "# ", "0 extents"),
        ("parentCID=ffffffff", "parentCID=12345678", "parent"),
    ] {
        let wrong = good.replace(from, to);
        assert_ne!(wrong, good, "{from}");
        fs::write(&descriptor, wrong).unwrap();
        refused(open(dir, &descriptor, false), why);
    }
}

/// A chain of files, each with random writes, and its last one.
fn chain(dir: &Path, rng: &mut Rng) -> PathBuf {
    let mut len = (1 + rng.below(40)) * 65536 + rng.below(3) * 512;
    let mut last = dir.join("0.raw");
    sparse_disk(&last, len, rng.next());
    let mut format = "raw";
    for number in 1..=1 + rng.below(3) {
        let path = dir.join(format!("{number}.qcow2"));
        let options = *rng.pick(&[
            "cluster_size=64k",
            "cluster_size=4k",
            "cluster_size=64k,compat=0.10",
            "cluster_size=64k,extended_l2=on",
            "cluster_size=2M",
        ]);
        len = (len + rng.below(5) * 40_960)
            .saturating_sub(rng.below(2) * 20_480)
            .max(65_536);
        let size = len.to_string();
        let based = last.file_name().unwrap().to_str().unwrap();
        let args = [
            "create", "-q", "-f", "qcow2", "-F", format, "-b", based, "-o", options,
        ];
        run("qemu-img", args.into_iter().chain([text(&path), &size]));
        for _ in 0..rng.below(12) {
            let at = rng.below(len / 512) * 512;
            let most = (len - at).min(200_000);
            let count = (1 + rng.below(most.div_ceil(512))).min(most / 512).max(1) * 512;
            let what = *rng.pick(&["write -P 7", "write -P 0", "write -z", "discard"]);
            run(
                "qemu-io",
                [
                    "-f",
                    "qcow2",
                    "-c",
                    &format!("{what} {at} {count}"),
                    text(&path),
                ],
            );
        }
        (last, format) = (path, "qcow2");
    }
    last
}

#[test]
fn a_qcow2_is_based_on_files_of_its_folder() {
    if !need::tools(&["qemu-img", "qemu-io"]) {
        return;
    }
    let mut rng = Rng::new(19);
    for round in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let path = chain(dir, &mut rng);
        let raw = dir.join("expected");
        run(
            "qemu-img",
            ["convert", "-O", "raw", text(&path), text(&raw)],
        );
        refused(open(dir, &path, false), "--allow-backing");
        let image = open(dir, &path, true).unwrap();
        let expected = fs::read(&raw).unwrap();
        assert!(bytes_of(&*image.device) == expected, "round {round}");
        let map = ChunkMap::compute(&image.device).unwrap();
        let of_raw = ChunkMap::compute(&FileDevice::open(&raw).unwrap()).unwrap();
        assert_eq!(map.digest(), of_raw.digest(), "round {round}");
    }
}

#[test]
fn a_chain_leads_nowhere_else() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let top = dir.join("top.qcow2");
    sparse_disk(&dir.join("base.raw"), MIB, 1);
    fs::create_dir(dir.join("sub")).unwrap();
    symlink("base.raw", dir.join("link.raw")).unwrap();
    let based_on = |name: &str, format: &str| {
        let args = [
            "create", "-q", "-u", "-f", "qcow2", "-F", format, "-b", name,
        ];
        run("qemu-img", args.into_iter().chain([text(&top), "1M"]));
    };
    let whole = dir.join("base.raw");
    for (name, format, why) in [
        ("/etc/passwd", "raw", "another folder"),
        (text(&whole), "raw", "another folder"),
        ("../x.raw", "raw", "another folder"),
        ("sub/x.raw", "raw", "another folder"),
        ("nbd://localhost/x", "raw", "another folder"),
        ("link.raw", "raw", "symbolic link"),
        ("missing.raw", "raw", "cannot read"),
        ("base.raw", "vmdk", "raw or qcow2"),
        ("base.raw", "qcow2", "is raw, and is called qcow2"),
        ("top.qcow2", "qcow2", "chain of more than 16"),
    ] {
        based_on(name, format);
        refused(open(dir, &top, true), why);
    }
    based_on("./base.raw", "raw");
    let image = open(dir, &top, true).unwrap();
    assert!(bytes_of(&*image.device) == fs::read(&whole).unwrap());
    // Without a format, QEMU would guess one from what a guest may have written.
    let file = File::options().read(true).write(true).open(&top).unwrap();
    let mut head = vec![0; 512];
    file.read_exact_at(&mut head, 0).unwrap();
    let extension = [0xe2, 0x79, 0x2a, 0xca];
    let at = head.windows(4).position(|four| four == extension).unwrap();
    file.write_all_at(&[0x12, 0x34, 0x56, 0x78], at as u64)
        .unwrap();
    refused(open(dir, &top, true), "must say that it is raw or qcow2");
}

/// The complement of the sum of the bytes of a header, its own place left out.
fn seal(bytes: &mut [u8], place: usize) {
    bytes[place..place + 4].fill(0);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[place..place + 4].copy_from_slice(&(!sum).to_be_bytes());
}

/// A place in a file, as a header names it.
fn place(bytes: &[u8]) -> usize {
    let number = u64::from_be_bytes(bytes.try_into().unwrap());
    usize::try_from(number).unwrap()
}

#[test]
fn a_vhd_differs_from_another() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let at = |name: &str| dir.join(name);
    let (len, block) = (8 * MIB, 2 << 20);
    sparse_disk(&at("old.raw"), len, 1);
    sparse_disk(&at("new.raw"), len, 2);
    let (old, new) = (
        fs::read(at("old.raw")).unwrap(),
        fs::read(at("new.raw")).unwrap(),
    );
    let vhd = |from: &str, to: &str, option: &str| {
        let option = format!("force_size=on,subformat={option}");
        let (from, to) = (at(from), at(to));
        run(
            "qemu-img",
            [
                "convert",
                "-O",
                "vpc",
                "-o",
                &option,
                text(&from),
                text(&to),
            ],
        );
    };
    vhd("new.raw", "child.vhd", "dynamic");
    let dynamic = fs::read(at("child.vhd")).unwrap();
    for (kind, name) in [
        ("dynamic", "parent.vhd"),
        ("fixed", "C:\\disks\\parent.vhd"),
        ("dynamic", ".\\parent.vhd"),
    ] {
        vhd("old.raw", "parent.vhd", kind);
        let parent = fs::read(at("parent.vhd")).unwrap();
        let id = parent[parent.len() - 512..][68..84].to_vec();
        let mut child = dynamic.clone();
        let end = child.len() - 512;
        for footer in [0, end] {
            child[footer + 63] = 4;
            seal(&mut child[footer..footer + 512], 64);
        }
        let head = place(&child[16..24]);
        child[head + 40..head + 56].copy_from_slice(&id);
        for (index, unit) in name.encode_utf16().enumerate() {
            child[head + 64 + 2 * index..][..2].copy_from_slice(&unit.to_be_bytes());
        }
        seal(&mut child[head..head + 1024], 36);
        let table = place(&child[head + 16..head + 24]);
        let mut expected = old.clone();
        let mut rng = Rng::new(7);
        for index in 0..usize::try_from(len).unwrap() / block {
            let entry = child[table + 4 * index..][..4].try_into().unwrap();
            let sector = u32::from_be_bytes(entry);
            if sector == u32::MAX {
                continue;
            }
            for bit in 0..block / 512 {
                let byte = &mut child[sector as usize * 512 + bit / 8];
                if rng.below(40) == 0 || bit % 97 < 30 {
                    *byte &= !(0x80 >> (bit % 8));
                } else {
                    let place = index * block + bit * 512;
                    expected[place..place + 512].copy_from_slice(&new[place..place + 512]);
                }
            }
        }
        fs::write(at("child.vhd"), &child).unwrap();
        refused(open(dir, &at("child.vhd"), false), "--allow-backing");
        let image = open(dir, &at("child.vhd"), true).unwrap();
        assert!(bytes_of(&*image.device) == expected, "{kind}");
        let map = ChunkMap::compute(&image.device).unwrap();
        fs::write(at("expected"), &expected).unwrap();
        let of_raw = ChunkMap::compute(&FileDevice::open(&at("expected")).unwrap()).unwrap();
        assert_eq!(map.digest(), of_raw.digest(), "{kind}");
        vhd("new.raw", "parent.vhd", kind);
        refused(open(dir, &at("child.vhd"), true), "another disk");
    }
}
