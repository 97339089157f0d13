//! Reading disks out of what they are wrapped in, as other tools made it.

use imgasm_testkit::images::arg;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use std::fs;
use std::path::{Path, PathBuf};

use imgasm_block::BlockDevice;
use imgasm_container::{Cache, Error, Image};
use imgasm_testkit::disk::{bytes_of, sparse_disk};
use imgasm_testkit::tools::{filter, run};

const MIB: u64 = 1 << 20;

fn open(dir: &Path, path: &Path) -> Result<Image, Error> {
    Cache::new(&dir.join("cache")).open(path, &|_, _| ())
}

fn disk_in(dir: &Path, len: u64) -> (PathBuf, Vec<u8>) {
    let path = dir.join("disk.raw");
    sparse_disk(&path, len, 1);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

fn convert(from: &Path, to: &Path, args: &[&str]) {
    let mut all = vec!["convert"];
    all.extend(args);
    all.extend([from.to_str().unwrap(), to.to_str().unwrap()]);
    run("qemu-img", all);
}

/// Opens what `qemu-img convert` makes with each of these arguments.
fn check_formats(len: u64, format: &str, cases: &[&[&str]]) {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, bytes) = disk_in(dir.path(), len);
    for args in cases {
        // The name says something else, on purpose.
        let path = dir.path().join("image.raw.gz");
        convert(&raw, &path, args);
        let image = open(dir.path(), &path).unwrap();
        assert_eq!(image.wrapping, [format], "{args:?}");
        assert!(bytes_of(&*image.device) == bytes, "{args:?}");
        let mut end = [1; 3];
        image.device.read_at(len - 3, &mut end).unwrap();
        assert_eq!(end[..], bytes[bytes.len() - 3..], "{args:?}");
        assert!(image.device.read_at(len - 2, &mut end).is_err());
    }
}

#[test]
fn qcow2_of_every_kind() {
    let cases: &[&[&str]] = &[
        &["-O", "qcow2"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-O", "qcow2", "-o", "cluster_size=512"],
        &["-O", "qcow2", "-o", "cluster_size=2M"],
        &["-O", "qcow2", "-o", "cluster_size=64k,extended_l2=on"],
        &["-O", "qcow2", "-o", "preallocation=metadata"],
        &["-O", "qcow2", "-c"],
        &["-O", "qcow2", "-c", "-o", "compat=0.10"],
        &["-O", "qcow2", "-c", "-o", "cluster_size=4k"],
        &["-O", "qcow2", "-c", "-o", "cluster_size=2M"],
        &["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
        &[
            "-O",
            "qcow2",
            "-c",
            "-o",
            "compression_type=zstd,cluster_size=512",
        ],
        &["-O", "qcow2", "-c", "-o", "extended_l2=on"],
    ];
    check_formats(24 * MIB + 512, "qcow2", cases);
}

#[test]
fn vmdk_hosted_and_stream_optimized() {
    let cases: &[&[&str]] = &[
        &["-O", "vmdk"],
        &["-O", "vmdk", "-o", "zeroed_grain=on"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    ];
    check_formats(40 * MIB + 65536, "vmdk", cases);
}

#[test]
fn vhd_fixed_and_dynamic() {
    let cases: &[&[&str]] = &[
        &["-O", "vpc", "-o", "force_size=on"],
        &["-O", "vpc", "-o", "force_size=on,subformat=fixed"],
    ];
    check_formats(24 * MIB, "vhd", cases);
}

#[test]
fn vdi_dynamic_and_fixed() {
    let cases: &[&[&str]] = &[&["-O", "vdi"], &["-O", "vdi", "-o", "static=on"]];
    check_formats(24 * MIB + 512, "vdi", cases);
}

#[test]
fn a_vdi_of_another_kind_is_refused() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("disk.raw"), dir.path().join("image"));
    sparse_disk(&raw, 4 * MIB, 1);
    convert(&raw, &image, &["-O", "vdi"]);
    let whole = fs::read(&image).unwrap();
    // The version, the type, the parent; then the size of a block and the number of blocks.
    for (at, byte, word) in [
        (0x44, 2, "version"),
        (0x4c, 4, "type 4"),
        (0x1a8, 1, "difference"),
        (0x17a, 0, "blocks of 0 bytes"),
        (0x180, 1, "1 blocks"),
    ] {
        let mut changed = whole.clone();
        changed[at] = byte;
        fs::write(&image, &changed).unwrap();
        let error = open(dir.path(), &image).err().expect(word).to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// A file whose table of blocks is in its log only: it holds what QEMU's repair makes of it.
#[test]
fn the_log_of_a_vhdx_is_replayed() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("disk.raw"), dir.path().join("image"));
    sparse_disk(&raw, 24 * MIB, 1);
    convert(&raw, &image, &["-O", "vhdx", "-o", "block_size=1M"]);
    let mut file = fs::read(&image).unwrap();
    let u32_at = |file: &[u8], at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
    let u64_at = |file: &[u8], at: usize| u64::from_le_bytes(*file[at..].first_chunk().unwrap());
    let place = |n: u64| usize::try_from(n).unwrap();

    // The region of the table of blocks, by the first byte of its name.
    let region = 192 << 10;
    let entry = (0..2)
        .map(|n| region + 16 + n * 32)
        .find(|&at| file[at] == 0x66);
    let blocks = place(u64_at(&file, entry.unwrap() + 16));
    let table = file[blocks..blocks + 4096].to_vec();
    let log = place(u64_at(&file, (64 << 10) + 72));
    let entry = log_entry(
        &table,
        u64::try_from(blocks).unwrap(),
        u64::try_from(file.len()).unwrap(),
    );
    file[log..log + entry.len()].copy_from_slice(&entry);
    file[blocks..blocks + 4096].fill(0);
    for header in [64 << 10, 128 << 10] {
        file[header + 48..header + 64].fill(7);
        file[header + 4..header + 8].fill(0);
        let crc = crc32c::crc32c(&file[header..header + 4096]);
        file[header + 4..header + 8].copy_from_slice(&crc.to_le_bytes());
    }
    assert!(u32_at(&file, (64 << 10) + 68) >= 8192);
    fs::write(&image, &file).unwrap();

    let seen = open(dir.path(), &image).unwrap();
    assert!(bytes_of(&*seen.device) == fs::read(&raw).unwrap());
    run(
        "qemu-img",
        [
            "check",
            "-q",
            "-f",
            "vhdx",
            "-r",
            "all",
            image.to_str().unwrap(),
        ],
    );
    let repaired = dir.path().join("repaired.raw");
    run(
        "qemu-img",
        [
            "convert",
            "-f",
            "vhdx",
            "-O",
            "raw",
            image.to_str().unwrap(),
            repaired.to_str().unwrap(),
        ],
    );
    assert!(bytes_of(&*seen.device) == fs::read(&repaired).unwrap());

    // A damaged log must not be followed.
    file[log + 5000] ^= 1;
    fs::write(&image, &file).unwrap();
    let error = open(dir.path(), &image).err().unwrap().to_string();
    assert!(error.contains("log"), "{error}");
}

/// An entry of a log that puts 4 KiB at `offset`, by "\[MS-VHDX\]", 2.3.1.
fn log_entry(content: &[u8], offset: u64, file_len: u64) -> Vec<u8> {
    let sequence = 1_u64;
    let mut entry = vec![0; 8192];
    entry[..4].copy_from_slice(b"loge");
    entry[8..12].copy_from_slice(&8192_u32.to_le_bytes());
    entry[16..24].copy_from_slice(&sequence.to_le_bytes());
    entry[24..28].copy_from_slice(&1_u32.to_le_bytes());
    entry[32..48].fill(7);
    entry[48..56].copy_from_slice(&file_len.to_le_bytes());
    entry[56..64].copy_from_slice(&file_len.to_le_bytes());
    entry[64..68].copy_from_slice(b"desc");
    entry[68..72].copy_from_slice(&content[4092..]);
    entry[72..80].copy_from_slice(&content[..8]);
    entry[80..88].copy_from_slice(&offset.to_le_bytes());
    entry[88..96].copy_from_slice(&sequence.to_le_bytes());
    entry[4096..].copy_from_slice(content);
    entry[4096..4100].copy_from_slice(b"data");
    entry[4100..4104].fill(0);
    entry[8188..].copy_from_slice(&1_u32.to_le_bytes());
    let crc = crc32c::crc32c(&entry);
    entry[4..8].copy_from_slice(&crc.to_le_bytes());
    entry
}

#[test]
fn vhdx_fixed_and_dynamic() {
    let cases: &[&[&str]] = &[
        &["-O", "vhdx"],
        &["-O", "vhdx", "-o", "block_size=1M"],
        &["-O", "vhdx", "-o", "subformat=fixed"],
    ];
    check_formats(24 * MIB, "vhdx", cases);
}

#[test]
fn a_raw_disk_is_used_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, bytes) = disk_in(dir.path(), 3 * MIB + 7);
    let image = open(dir.path(), &raw).unwrap();
    assert!(image.wrapping.is_empty() && image.device.host_file().is_some());
    assert!(bytes_of(&*image.device) == bytes);
}

#[test]
fn compressed_disks() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, bytes) = disk_in(dir.path(), 10 * MIB + 12345);
    let path = dir.path().join("image");
    let cases: &[(&str, &str, &[&str])] = &[
        ("gzip", "gzip", &["-c"]),
        ("gzip", "pigz", &["-c"]),
        ("xz", "xz", &["-c", "-1"]),
        ("xz", "xz", &["-c", "-1", "-T2", "--block-size=1MiB"]),
        ("xz", "xz", &["-c", "-1", "--check=none"]),
        ("zstd", "zstd", &["-c"]),
        ("zstd", "zstd", &["-c", "--long=27"]),
        ("bzip2", "bzip2", &["-c"]),
    ];
    for (format, program, args) in cases {
        if !need::tools(&[program]) {
            continue;
        }
        filter(program, args, &raw, &path);
        let image = open(dir.path(), &path).unwrap();
        assert_eq!(image.wrapping, [*format]);
        assert!(bytes_of(&*image.device) == bytes, "{program} {args:?}");

        // Several consecutive streams count as one, and zeros may follow.
        let half = bytes.len() / 2 + 1000;
        let mut both = Vec::new();
        for part in [&bytes[..half], &bytes[half..]] {
            let piece = dir.path().join("piece");
            fs::write(&piece, part).unwrap();
            filter(program, args, &piece, &path);
            both.extend(fs::read(&path).unwrap());
        }
        both.extend([0; 512]);
        fs::write(&path, &both).unwrap();
        let image = open(dir.path(), &path).unwrap();
        assert!(
            bytes_of(&*image.device) == bytes,
            "two of {program} {args:?}"
        );

        both.extend(b"and then some text");
        fs::write(&path, &both).unwrap();
        let error = open(dir.path(), &path).err().expect("trailing garbage");
        assert!(
            matches!(error, Error::Decode { .. }),
            "{program}: {error:?}"
        );
    }
    assert_no_leftovers(dir.path());
}

/// Nothing half-made is left in the cache.
fn assert_no_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir.join("cache")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let whole = name == "paths" || name.len() > 64 && !name.starts_with('.');
        assert!(whole && !name.starts_with("incoming"), "{name} is left");
    }
}

#[test]
fn cut_off_or_damaged_streams_are_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _) = disk_in(dir.path(), 10 * MIB);
    let path = dir.path().join("image");
    for program in ["gzip", "xz", "zstd", "bzip2"] {
        if !need::tools(&[program]) {
            continue;
        }
        filter(program, &["-c"], &raw, &path);
        let whole = fs::read(&path).unwrap();
        for len in [whole.len() / 3, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            let error = open(dir.path(), &path).err().expect("it is cut off");
            assert!(
                matches!(error, Error::Truncated { .. }),
                "{program}: {error:?}"
            );
            assert!(error.to_string().contains("cut off"), "{error}");
        }
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        for byte in &mut damaged[middle..middle + 40] {
            *byte ^= 0x5a;
        }
        fs::write(&path, &damaged).unwrap();
        let error = open(dir.path(), &path).err().expect("it is damaged");
        let told = matches!(error, Error::Decode { .. } | Error::Truncated { .. });
        assert!(told, "{program}: {error:?}");
    }
    assert_no_leftovers(dir.path());
}

/// Frames that state their size are decoded side by side; others, and skippable frames, may stand
/// between them.
#[test]
fn what_needs_too_much_memory_is_not_called_damaged() {
    if !need::tools(&["zstd", "xz"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, _) = disk_in(dir.path(), 4 * MIB);
    for (tool, options) in [
        ("zstd", &["-c", "--ultra", "--long=28", "-22"][..]),
        ("xz", &["-c", "--lzma2=dict=512MiB"]),
    ] {
        // From a pipe: a file's length makes the window smaller.
        let path = dir.path().join(tool);
        let script = format!(
            "cat {} | {tool} {} >{}",
            arg(&raw),
            options.join(" "),
            arg(&path)
        );
        run("sh", ["-ec", &script]);
        let error = open(dir.path(), &path).err().unwrap().to_string();
        assert!(error.contains("needs more memory to be decoded"), "{error}");
    }
}

#[test]
fn zstd_frames_of_every_kind() {
    if !need::tools(&["zstd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, bytes) = disk_in(dir.path(), 12 * MIB + 12345);
    let mut all = Vec::new();
    let mut ends = Vec::new();
    for (number, part) in bytes.chunks(1_000_003).enumerate() {
        let (piece, packed) = (dir.path().join("piece"), dir.path().join("packed"));
        fs::write(&piece, part).unwrap();
        if number % 4 == 2 {
            filter("zstd", &["-c"], &piece, &packed);
        } else {
            let args = [&piece, &packed].map(|path| path.to_str().unwrap());
            let check = ["--check", "--no-check"][number % 2];
            run("zstd", ["-q", "-f", check, args[0], "-o", args[1]]);
        }
        if number % 3 == 1 {
            all.extend(b"\x53\x2a\x4d\x18\x05\0\0\0skip!");
        }
        all.extend(fs::read(&packed).unwrap());
        ends.push(all.len());
    }
    let path = dir.path().join("image");
    fs::write(&path, &all).unwrap();
    run(
        "sh",
        [
            "-c",
            &format!("zstd -dcq < {} | cmp - {}", path.display(), raw.display()),
        ],
    );
    let image = open(dir.path(), &path).unwrap();
    assert!(bytes_of(&*image.device) == bytes);

    for cut in [
        ends[0] - 1,
        ends[1] + 2,
        ends[2] - 5,
        ends[3] + 9,
        all.len() - 2,
    ] {
        fs::write(&path, &all[..cut]).unwrap();
        let error = open(dir.path(), &path).err().expect("it is cut off");
        assert!(
            matches!(error, Error::Truncated { .. }),
            "at {cut}: {error:?}"
        );
    }
    let mut damaged = all.clone();
    damaged[ends[4] + 5000] ^= 0xff;
    fs::write(&path, &damaged).unwrap();
    let error = open(dir.path(), &path).err().expect("it is damaged");
    assert!(
        matches!(error, Error::Decode { .. } | Error::Truncated { .. }),
        "{error:?}"
    );
}

/// Damage anywhere in a stream gives an error or other data, never a panic or a hang.
#[test]
fn damaged_streams_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    sparse_disk(&raw, 300_000, 8);
    let path = dir.path().join("image");
    let rounds = std::env::var("IMGASM_TEST_ROUNDS").map_or(25, |n| n.parse().unwrap());
    let in_dir = dir.path().to_str().unwrap();
    let mut wholes = Vec::new();
    for program in ["gzip", "xz", "zstd", "bzip2"] {
        if need::tools(&[program]) {
            filter(program, &["-c"], &raw, &path);
            wholes.push(fs::read(&path).unwrap());
        }
    }
    if need::tools(&["zstd"]) {
        // From a file to a file: with the size in its head.
        run("zstd", ["-q", "-f", arg(&raw), "-o", arg(&path)]);
        wholes.push(fs::read(&path).unwrap());
    }
    run(
        "tar",
        [
            "-C",
            in_dir,
            "-S",
            "-cf",
            path.to_str().unwrap(),
            "disk.raw",
        ],
    );
    wholes.push(fs::read(&path).unwrap());
    for (seed, whole) in (0..).zip(&wholes) {
        let len = u64::try_from(whole.len()).unwrap();
        let mut random = Rng::new(seed);
        for _ in 0..rounds {
            let mut damaged = whole.clone();
            let near = [20, 600, len][usize::try_from(random.below(3)).unwrap()].min(len);
            let at = usize::try_from(random.below(near)).unwrap();
            damaged[at] = u8::try_from(random.below(256)).unwrap();
            if random.below(4) == 0 {
                damaged.truncate(usize::try_from(random.below(len)).unwrap());
            }
            fs::write(&path, &damaged).unwrap();
            let _ = open(dir.path(), &path);
        }
    }
}

#[test]
fn a_tar_with_one_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, bytes) = disk_in(dir.path(), 10 * MIB);
    let at = |name: &str| dir.path().join(name);
    let in_dir = dir.path().to_str().unwrap();
    fs::write(at("README"), "not a disk").unwrap();
    fs::write(at("notes.gz"), "neither").unwrap();
    let tar = |name: &str, args: &[&str]| {
        let file = at(name);
        let mut all = vec!["-C", in_dir, "-cf", file.to_str().unwrap()];
        all.extend(args);
        run("tar", all);
        file
    };

    let plain = tar("image.tar", &["README", "disk.raw", "notes.gz"]);
    let image = open(dir.path(), &plain).unwrap();
    assert_eq!(image.wrapping, ["tar (disk.raw)"]);
    assert!(bytes_of(&*image.device) == bytes);

    // As GCE has them: sparse, in the old GNU format, compressed.
    let gce = tar("image.tar.gz", &["-z", "-S", "--format=oldgnu", "disk.raw"]);
    let image = open(dir.path(), &gce).unwrap();
    assert_eq!(image.wrapping, ["gzip", "tar (disk.raw)"]);
    assert!(bytes_of(&*image.device) == bytes);

    // Compressed inside, or in another format.
    if need::tools(&["zstd", "qemu-img"]) {
        filter("zstd", &["-c"], &raw, &at("disk.bin"));
        let image = open(dir.path(), &tar("c.tar", &["README", "disk.bin"])).unwrap();
        assert_eq!(image.wrapping, ["tar (disk.bin)", "zstd"]);
        assert!(bytes_of(&*image.device) == bytes);
        convert(
            &raw,
            &at("disk.bin"),
            &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        );
        let image = open(dir.path(), &tar("d.tar.gz", &["-z", "README", "disk.bin"])).unwrap();
        assert_eq!(image.wrapping, ["gzip", "tar (disk.bin)", "vmdk"]);
        assert!(bytes_of(&*image.device) == bytes);
    }

    fs::copy(&raw, at("other.img")).unwrap();
    let two = tar("two.tar", &["other.img", "README", "disk.raw"]);
    let error = open(dir.path(), &two).err().expect("two disks");
    assert!(error.to_string().contains("other.img, disk.raw"), "{error}");
    let none = tar("none.tar", &["README", "notes.gz"]);
    let error = open(dir.path(), &none).err().expect("no disk");
    assert!(error.to_string().contains("none of the 2 files"), "{error}");
    assert!(error.to_string().contains("README, notes.gz"), "{error}");

    let whole = fs::read(&plain).unwrap();
    fs::write(&plain, &whole[..whole.len() / 2]).unwrap();
    assert!(open(dir.path(), &plain).is_err(), "a tar that is cut off");
    assert_no_leftovers(dir.path());
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, _) = disk_in(dir.path(), MIB);
    let image = dir.path().join("image");
    let path = image.to_str().unwrap();
    let refused = |text: &str| {
        let error = open(dir.path(), &image).err().expect(text);
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
        fs::remove_file(&image).unwrap();
    };
    let backing = raw.to_str().unwrap();
    run(
        "qemu-img",
        [
            "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, path,
        ],
    );
    refused("disk.raw");
    let data_file = format!("data_file={}", dir.path().join("data").display());
    run(
        "qemu-img",
        ["create", "-q", "-f", "qcow2", "-o", &data_file, path, "1M"],
    );
    refused("external data file");
    let secret = "secret,id=s,data=x";
    let luks = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    run(
        "qemu-img",
        [
            "create", "-q", "--object", secret, "-f", "qcow2", "-o", luks, path, "1M",
        ],
    );
    refused("encryption");
    convert(&raw, &image, &["-O", "qed"]);
    refused("QED");
    let base = dir.path().join("base.vmdk");
    convert(&raw, &base, &["-O", "vmdk"]);
    let base = base.to_str().unwrap();
    run(
        "qemu-img",
        ["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", base, path],
    );
    refused("parent");
    fs::write(&image, b"PK\x03\x04").unwrap();
    refused("zip");

    fs::write(&image, b"").unwrap();
    assert!(matches!(open(dir.path(), &image), Err(Error::Empty { .. })));
    assert!(matches!(
        open(dir.path(), &dir.path().join("none")),
        Err(Error::Read { .. })
    ));
}

/// Any damage to a header or table gives an error or other data, never a panic, a hang or much
/// memory.
#[test]
fn damaged_images_are_survived() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    sparse_disk(&raw, 2 * MIB, 3);
    let cases: &[&[&str]] = &[
        &["-O", "qcow2"],
        &["-O", "qcow2", "-c"],
        &[
            "-O",
            "qcow2",
            "-c",
            "-o",
            "compression_type=zstd,extended_l2=on",
        ],
        &["-O", "vmdk"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        &["-O", "vpc"],
        &["-O", "vhdx", "-o", "block_size=1M"],
        &["-O", "vdi"],
    ];
    let rounds = std::env::var("IMGASM_TEST_ROUNDS").map_or(60, |n| n.parse().unwrap());
    for (seed, args) in (0..).zip(cases) {
        let path = dir.path().join("image");
        convert(&raw, &path, args);
        let whole = fs::read(&path).unwrap();
        let len = u64::try_from(whole.len()).unwrap();
        let mut random = Rng::new(seed);
        for _ in 0..rounds {
            let mut damaged = whole.clone();
            for _ in 0..=random.below(4) {
                // Mostly in the headers.
                let near = [200, 4096, 1 << 18, len][usize::try_from(random.below(4)).unwrap()];
                let at = usize::try_from(random.below(near.min(len))).unwrap();
                let value = [0, 1, 0x7f, 0x80, 0xff][usize::try_from(random.below(5)).unwrap()];
                let end = (at + usize::try_from(random.below(8)).unwrap()).min(damaged.len());
                damaged[at..end].fill(value);
            }
            if random.below(5) == 0 {
                damaged.truncate(usize::try_from(random.below(len)).unwrap());
            }
            fs::write(&path, &damaged).unwrap();
            let Ok(image) = open(dir.path(), &path) else {
                continue;
            };
            let mut buf = vec![0; 100_000];
            let (mut from, mut ranges) = (0, 0);
            while let Ok(Some(data)) = image.device.next_data(from) {
                let end = data.end.min(data.start + 100_000);
                let buf = &mut buf[..usize::try_from(end - data.start).unwrap()];
                let _ = image.device.read_at(data.start, buf);
                from = data.end;
                ranges += 1;
                if ranges > 1000 {
                    break;
                }
            }
        }
    }
}
