//! What must not be guessed, and what must not grow without a bound.

use std::fs;
use std::io::Write;
use std::path::Path;

use imgasm_container::Reading;
use imgasm_container::{Cache, Error, Image};
use imgasm_testkit::disk::{bytes_of, sparse_disk};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

const MIB: u64 = 1 << 20;

fn open(dir: &Path, path: &Path, reading: Reading) -> Result<Image, Error> {
    let cache = Cache::new(&dir.join("cache")).reading(reading);
    cache.open(path, &|_, _| ())
}

fn as_it_looks(dir: &Path, path: &Path) -> Result<Image, Error> {
    open(dir, path, Reading::default())
}

const RAW: Reading = Reading {
    is_raw: true,
    max_bytes: None,
    allows_backing: false,
};

#[test]
fn what_is_nothing_known_is_an_error_unless_it_is_said_to_be_raw() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let gz = dir.path().join("image.gz");
    for bytes in [
        vec![0; 100_000],
        vec![0xaa; 100_000],
        b"plain text\n".to_vec(),
    ] {
        fs::write(&path, &bytes).unwrap();
        let error = as_it_looks(dir.path(), &path).err().unwrap();
        assert!(matches!(error, Error::Unknown { .. }), "{error}");
        assert!(error.to_string().contains("--input-format raw"), "{error}");
        let image = open(dir.path(), &path, RAW).unwrap();
        assert!(bytes_of(&*image.device) == bytes && image.wrapping.is_empty());

        run(
            "sh",
            [
                "-c",
                &format!("gzip -c {} > {}", path.display(), gz.display()),
            ],
        );
        let error = as_it_looks(dir.path(), &gz).err().unwrap();
        assert!(matches!(error, Error::Unknown { .. }), "{error}");
        let image = open(dir.path(), &gz, RAW).unwrap();
        assert!(bytes_of(&*image.device) == fs::read(&gz).unwrap());
    }
}

#[test]
fn containers_that_are_not_read_are_named_and_no_command_is_advised() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    sparse_disk(&raw, 64 * MIB, 1);
    let refused = |path: &Path, name: &str| {
        let error = as_it_looks(dir.path(), path).err().expect(name);
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(name), "{text}");
        assert!(!text.contains("qemu-img convert"), "{text}");
    };
    let image = dir.path().join("image");
    for (format, name) in [("parallels", "Parallels"), ("qed", "QED")] {
        let args = ["convert", "-O", format];
        let paths = [raw.to_str().unwrap(), image.to_str().unwrap()];
        run("qemu-img", args.into_iter().chain(paths));
        refused(&image, name);
    }
    fs::write(&image, b"Bochs Virtual HD Image\0").unwrap();
    refused(&image, "Bochs");
    fs::write(
        &image,
        [&b"\x3a\xff\x26\xed\x01\0\0\0"[..], &[0; 100]].concat(),
    )
    .unwrap();
    refused(&image, "Android sparse");

    let backing = dir.path().join("backing.qcow2");
    let args = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "/etc/passwd",
    ];
    run(
        "qemu-img",
        args.into_iter().chain([backing.to_str().unwrap(), "1M"]),
    );
    refused(&backing, "/etc/passwd");
}

#[test]
fn sparse_files_of_every_tar_form() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    sparse_disk(&raw, 24 * MIB + 512, 5);
    let bytes = fs::read(&raw).unwrap();
    fs::write(dir.path().join("README"), vec![b'x'; 700]).unwrap();
    let long = format!("{}/disk.raw", ["d".repeat(90), "e".repeat(90)].join("/"));
    fs::create_dir_all(dir.path().join(&long).parent().unwrap()).unwrap();
    fs::copy(&raw, dir.path().join(&long)).unwrap();
    let in_dir = dir.path().to_str().unwrap();
    let file = dir.path().join("image.tar");
    // The last one is also the form of bsdtar.
    let forms: [&[&str]; 7] = [
        &["tar", "--format=v7"],
        &["tar", "--format=ustar"],
        &["tar", "--format=oldgnu", "-S"],
        &["tar", "--format=gnu", "-S"],
        &["tar", "--format=pax", "-S", "--sparse-version=0.0"],
        &["tar", "--format=pax", "-S", "--sparse-version=0.1"],
        &["tar", "--format=pax", "-S", "--sparse-version=1.0"],
    ];
    for form in forms {
        let names = [("disk.raw", true), (&long[..], form.len() > 2)];
        for (name, can_be_long) in names {
            if !can_be_long {
                continue;
            }
            let options = [
                "-C",
                in_dir,
                "-cf",
                file.to_str().unwrap(),
                "README",
                name,
                "README",
            ];
            run(form[0], form[1..].iter().copied().chain(options));
            let image = as_it_looks(dir.path(), &file).unwrap();
            assert_eq!(image.wrapping, [format!("tar ({name})")], "{form:?}");
            assert!(bytes_of(&*image.device) == bytes, "{form:?} {name}");

            let whole = fs::read(&file).unwrap();
            for len in [whole.len() / 2, 1000, 700] {
                fs::write(&file, &whole[..len]).unwrap();
                assert!(
                    as_it_looks(dir.path(), &file).is_err(),
                    "{form:?} cut at {len}"
                );
            }
        }
    }
}

/// A header of an archive: name, type, length as it is written.
fn header(name: &str, kind: u8, size: &[u8; 12]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(size);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

#[test]
fn records_of_a_tar_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar.zst");
    let refused = |archive: &[u8], zeros: usize, what: &str| {
        let mut packed = zstd::bulk::compress(archive, 3).unwrap();
        let piece = zstd::bulk::compress(&vec![0; 16 << 20], 3).unwrap();
        (0..zeros).for_each(|_| packed.extend(&piece));
        fs::write(&path, &packed).unwrap();
        let error = as_it_looks(dir.path(), &path).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
    };
    // A name of 6 GiB, and a set of records as long.
    refused(
        &header("././@LongLink", b'L', b"60000000000\0"),
        384,
        "name or record of",
    );
    refused(
        &header("PaxHeader", b'x', b"60000000000\0"),
        384,
        "name or record of",
    );
    // Names without end.
    let name = [
        header("././@LongLink", b'L', b"00000000001\0"),
        vec![b'x'; 512],
    ]
    .concat();
    refused(&name.repeat(70_000), 0, "too many records");
    // A map that does not end, pieces out of order, and a size that is not a number.
    for records in [
        "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n28 GNU.sparse.realsize=5000\n",
        "24 GNU.sparse.size=5000\n30 GNU.sparse.map=100,10,50,20\n",
        "9 size=x\n",
        "99 size=1\n",
        "nonsense",
    ] {
        let size = format!("{:011o}\0", records.len());
        let mut archive = header("PaxHeader", b'x', size.as_bytes().try_into().unwrap());
        let mut block = records.as_bytes().to_vec();
        block.resize(512, 0);
        archive.extend(block);
        archive.extend(header("disk.raw", b'0', b"00000001000\0"));
        archive.extend([b'7'; 512]);
        refused(&archive, 0, "");
    }
}

#[test]
fn what_comes_out_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let small = Reading {
        is_raw: false,
        allows_backing: false,
        max_bytes: Some(40 * MIB),
    };
    let too_large = |path: &Path, reading| {
        let error = open(dir.path(), path, reading).err().unwrap();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains("--max-size"), "{error}");
    };
    // A disk of 64 MiB in a few bytes, packed once and twice.
    let mut disk = vec![0; 16 << 20];
    disk[510..512].copy_from_slice(b"\x55\xaa");
    let zeros = zstd::bulk::compress(&vec![0; 16 << 20], 3).unwrap();
    let mut packed = zstd::bulk::compress(&disk, 3).unwrap();
    (0..3).for_each(|_| packed.extend(&zeros));
    let path = dir.path().join("disk.zst");
    fs::write(&path, &packed).unwrap();
    too_large(&path, small);
    let enough = Reading {
        max_bytes: Some(64 * MIB),
        ..small
    };
    assert_eq!(
        open(dir.path(), &path, enough).unwrap().device.len(),
        64 * MIB
    );
    let nested = dir.path().join("disk.zst.zst");
    fs::write(&nested, zstd::bulk::compress(&packed, 3).unwrap()).unwrap();
    too_large(&nested, small);

    // 60 TiB of holes in two blocks: refused for its length alone, whatever the header says.
    let mut block = header("disk.raw", b'S', b"00000001000\0");
    block[257..265].copy_from_slice(b"ustar  \0");
    block[386..398].copy_from_slice(b"00000000000\0");
    block[398..410].copy_from_slice(b"00000001000\0");
    let size = (60_u64 << 40).to_be_bytes();
    block[483] = 0x80;
    block[487..495].copy_from_slice(&size);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let sparse = dir.path().join("sparse.tar");
    let mut file = fs::File::create(&sparse).unwrap();
    file.write_all(&[block, disk[..512].to_vec(), vec![0; 1024]].concat())
        .unwrap();
    too_large(&sparse, Reading::default());
}
