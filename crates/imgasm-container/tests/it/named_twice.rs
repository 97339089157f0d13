//! Containers whose tables name a part of the file again and again: a few bytes would be a disk of
//! terabytes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imgasm_container::Cache;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

fn number(bytes: &[u8], at: usize, len: usize, is_big: bool) -> usize {
    let mut digits = bytes[at..at + len].to_vec();
    if is_big {
        digits.reverse();
    }
    let digits = digits.iter().rev();
    digits.fold(0, |number, digit| number << 8 | usize::from(*digit))
}

/// Where the table of a container begins, how many entries it has, and how many bytes each has.
fn table(bytes: &[u8], format: &str) -> (usize, usize, usize) {
    let big = |at, len| number(bytes, at, len, true);
    let little = |at, len| number(bytes, at, len, false);
    match format {
        "qcow2" => {
            let second_level = big(big(40, 8), 8) & 0x00ff_ffff_ffff_fe00;
            (second_level, (1 << big(20, 4)) / 8, 8)
        }
        "vdi" => (little(0x154, 4), little(0x180, 4), 4),
        "vpc" => {
            let header = big(16, 8);
            (big(header + 16, 8), big(header + 28, 4), 4)
        }
        "vhdx" => {
            let regions = &bytes[192 << 10..][16..];
            let blocks = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42];
            let mut entries = regions.chunks_exact(32);
            let entry = entries.find(|entry| entry.starts_with(&blocks)).unwrap();
            (number(entry, 16, 8, false), 64, 8)
        }
        "vmdk" => (little(little(56, 8) * 512, 4) * 512, 512, 4),
        other => panic!("{other}"),
    }
}

fn read_all(path: &Path, cache: &Path) -> Result<(), String> {
    let opened = Cache::new(cache).open(path, &|_, _| {});
    let device = opened.map_err(|error| error.to_string())?.device;
    let mut at = 0;
    while let Some(data) = device.next_data(at).map_err(|error| error.to_string())? {
        at = data.end;
    }
    Ok(())
}

#[test]
fn a_container_holds_no_more_than_its_file() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    // Enough for a block of each format, in a disk with many.
    let file = fs::File::create(&raw).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(&vec![7; 100_000], 0).unwrap();
    let cache = dir.path().join("cache");
    for (format, options) in [
        ("qcow2", &[][..]),
        ("qcow2", &["-o", "extended_l2=on"]),
        ("qcow2", &["-o", "cluster_size=2M"]),
        ("vdi", &[]),
        ("vpc", &[]),
        ("vhdx", &["-o", "block_size=16M"]),
        ("vmdk", &[]),
    ] {
        let path = dir.path().join("disk");
        let arguments = [raw.to_str().unwrap(), path.to_str().unwrap()];
        let arguments = [&["convert", "-O", format], options, &arguments].concat();
        run("qemu-img", arguments);
        assert_eq!(read_all(&path, &cache), Ok(()), "{format}");

        let mut bytes = fs::read(&path).unwrap();
        let (at, count, len) = table(&bytes, format);
        let len = if options.contains(&"extended_l2=on") {
            16
        } else {
            len
        };
        let first = bytes[at..at + len].to_vec();
        let named = first.repeat(count.min((1 << 16) / len));
        bytes[at..at + named.len()].copy_from_slice(&named);
        fs::write(&path, &bytes).unwrap();
        let said = read_all(&path, &cache).unwrap_err();
        assert!(
            said.contains("several times"),
            "{format} {options:?}: {said}"
        );
    }
}

#[test]
fn a_table_is_named_once() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let raw = dir.path().join("disk.raw");
    fs::write(&raw, vec![7; 1 << 16]).unwrap();
    fs::File::options()
        .write(true)
        .open(&raw)
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    for format in ["qcow2", "vmdk"] {
        let path = dir.path().join("disk");
        let arguments = [raw.to_str().unwrap(), path.to_str().unwrap()];
        run(
            "qemu-img",
            ["convert", "-O", format].into_iter().chain(arguments),
        );
        let mut bytes = fs::read(&path).unwrap();
        let (at, len) = match format {
            "qcow2" => (number(&bytes, 40, 8, true), 8),
            _ => (number(&bytes, 56, 8, false) * 512, 4),
        };
        let first = bytes[at..at + len].to_vec();
        bytes[at + len..at + 2 * len].copy_from_slice(&first);
        fs::write(&path, &bytes).unwrap();
        let said = read_all(&path, &cache).unwrap_err();
        assert!(said.contains("is named twice"), "{format}: {said}");
    }
}
