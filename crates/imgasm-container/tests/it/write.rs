//! Disks written in the formats that others read, judged by their own tools.

use imgasm_testkit::mount::Mounted;
use imgasm_testkit::need;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use imgasm_block::{BlockDevice, ChunkMap, Error as BlockError, FileDevice, MemoryDevice};
use imgasm_container::{Cache, Codec, Error, OutputFormat, write_file, write_stream};
use imgasm_testkit::disk::{bytes_of, sparse_disk};
use imgasm_testkit::tools::{filter, run};

const MIB: u64 = 1 << 20;

const ALL: [OutputFormat; 8] = [
    OutputFormat::Raw,
    OutputFormat::Packed(Codec::Gzip),
    OutputFormat::Packed(Codec::Zstd),
    OutputFormat::Packed(Codec::Xz),
    OutputFormat::Qcow2,
    OutputFormat::StreamOptimizedVmdk,
    OutputFormat::DynamicVhd,
    OutputFormat::FixedVhd,
];

fn write(device: &dyn BlockDevice, format: OutputFormat, target: &Path) -> Result<(), Error> {
    let chunk_map = ChunkMap::compute(device).unwrap();
    let output = imgasm_block::Output::create(target).unwrap();
    write_file(device, &chunk_map, format, output, &|done, all| {
        assert!(done <= all);
    })
}

/// Disks whose lengths and contents try the edges of the formats.
fn disks(dir: &Path) -> Vec<PathBuf> {
    let lens = [512, MIB - 512, 33 * MIB + 512];
    let disk = |(seed, len): (u64, u64)| {
        let path = dir.join(format!("{seed}.raw"));
        sparse_disk(&path, len, seed);
        path
    };
    let mut disks: Vec<PathBuf> = (0..).zip(lens).map(disk).collect();
    let empty = dir.join("empty.raw");
    // All zeros, except the signature by which a disk is recognised.
    let mut sector = vec![0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&empty, sector).unwrap();
    let file = fs::File::options().write(true).open(&empty).unwrap();
    file.set_len(5 * MIB).unwrap();
    disks.push(empty);
    disks
}

/// The name of a format in `qemu-img`.
fn qemu_name(format: OutputFormat) -> Option<&'static str> {
    match format {
        OutputFormat::Raw => Some("raw"),
        OutputFormat::Packed(_) => None,
        OutputFormat::Qcow2 => Some("qcow2"),
        OutputFormat::StreamOptimizedVmdk => Some("vmdk"),
        OutputFormat::DynamicVhd | OutputFormat::FixedVhd => Some("vpc"),
    }
}

#[test]
fn qemu_finds_the_same_disk() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    for path in disks(dir.path()) {
        let device = FileDevice::open(&path).unwrap();
        for format in ALL {
            let Some(name) = qemu_name(format) else {
                continue;
            };
            write(&device, format, &target).unwrap();
            let out = target.to_str().unwrap();
            run(
                "qemu-img",
                [
                    "compare",
                    "-q",
                    "-f",
                    "raw",
                    "-F",
                    name,
                    path.to_str().unwrap(),
                    out,
                ],
            );
            let info = run("qemu-img", ["info", "-f", name, "--output=json", out]);
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            assert_eq!(info["virtual-size"], device.len(), "{format}");
            if ["qcow2", "vmdk"].contains(&name) {
                run("qemu-img", ["check", "-q", "-f", name, out]);
            }
        }
    }
}

#[test]
fn the_tools_of_the_codecs_find_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (target, back) = (dir.path().join("out"), dir.path().join("back"));
    let codecs = [
        (Codec::Gzip, "gzip"),
        (Codec::Zstd, "zstd"),
        (Codec::Xz, "xz"),
    ];
    for path in disks(dir.path()) {
        let device = FileDevice::open(&path).unwrap();
        for (codec, program) in codecs {
            if !need::tools(&[program]) {
                continue;
            }
            write(&device, OutputFormat::Packed(codec), &target).unwrap();
            filter(program, &["-dc"], &target, &back);
            run("cmp", [&path, &back]);
        }
    }
}

#[test]
fn what_we_write_we_read() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(&dir.path().join("cache"));
    for path in disks(dir.path()) {
        let device = FileDevice::open(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for format in ALL {
            let target = dir.path().join(format!("out.{format}"));
            write(&device, format, &target).unwrap();
            let image = cache.open(&target, &|_, _| ()).unwrap();
            assert!(
                bytes_of(&*image.device) == bytes,
                "{format} of {}",
                path.display()
            );
        }
    }
}

#[test]
fn the_same_disk_gives_the_same_bytes_as_a_file_and_as_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    sparse_disk(&path, 35 * MIB, 9);
    let sparse = FileDevice::open(&path).unwrap();
    let dense = MemoryDevice::new(fs::read(&path).unwrap());
    let chunk_map = ChunkMap::compute(&sparse).unwrap();
    for format in ALL {
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        write(&sparse, format, &one).unwrap();
        write(&dense, format, &two).unwrap();
        let expected = fs::read(&one).unwrap();
        assert!(fs::read(&two).unwrap() == expected, "{format}");
        let mut streamed = Vec::new();
        let result = write_stream(&dense, &chunk_map, format, &mut streamed, &|_, _| ());
        if format == OutputFormat::Qcow2 {
            assert!(matches!(result, Err(Error::Unwritable { .. })));
        } else {
            result.unwrap();
            assert!(streamed == expected, "{format}");
        }
    }
}

#[test]
fn zeros_take_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.raw");
    fs::File::create(&file).unwrap().set_len(100 << 30).unwrap();
    let device = FileDevice::open_writable(&file).unwrap();
    device.write_at(70 << 30, b"something").unwrap();
    let formats = [
        OutputFormat::Qcow2,
        OutputFormat::StreamOptimizedVmdk,
        OutputFormat::DynamicVhd,
    ];
    for format in formats {
        let target = dir.path().join("out");
        write(&device, format, &target).unwrap();
        let len = fs::metadata(&target).unwrap().len();
        assert!(len < 3 * MIB, "{format}: {len} bytes");
    }
}

#[test]
fn a_disk_that_a_format_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let odd = MemoryDevice::new(vec![1; 1000]);
    for format in [
        OutputFormat::Qcow2,
        OutputFormat::DynamicVhd,
        OutputFormat::FixedVhd,
    ] {
        let error = write(&odd, format, &target).unwrap_err();
        assert!(
            matches!(error, Error::Unwritable { .. }),
            "{format}: {error:?}"
        );
    }
    let file = dir.path().join("disk.raw");
    fs::File::create(&file).unwrap().set_len(3 << 40).unwrap();
    let huge = FileDevice::open(&file).unwrap();
    for format in [OutputFormat::StreamOptimizedVmdk, OutputFormat::DynamicVhd] {
        let error = write(&huge, format, &target).unwrap_err();
        assert!(error.to_string().contains("2040 GiB"), "{error}");
    }
    assert!(!target.exists());
}

#[test]
fn a_receiver_that_fails_ends_it() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(buf.len())
                .ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    sparse_disk(&path, 35 * MIB, 9);
    let device = FileDevice::open(&path).unwrap();
    let chunk_map = ChunkMap::compute(&device).unwrap();
    for format in ALL {
        if format == OutputFormat::Qcow2 {
            continue;
        }
        for room in [0, 100_000] {
            let mut out = Full(room);
            let result = write_stream(&device, &chunk_map, format, &mut out, &|_, _| ());
            assert!(
                matches!(result, Err(Error::Write { .. })),
                "{format}: {result:?}"
            );
        }
    }
    let Some(mounted) = Mounted::tmpfs(dir.path(), MIB / 2) else {
        return;
    };
    for format in ALL {
        let error = write(&device, format, &mounted.path().join("out")).unwrap_err();
        let full = matches!(error, Error::Block(BlockError::NoSpace { .. }));
        assert!(full, "{format}: {error:?}");
        assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
    }
}

#[test]
fn formats_are_known_by_name_and_extension() {
    for format in ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let of = |name: &str| OutputFormat::of_name(Path::new(name));
    assert_eq!(of("a.raw.gz"), Some(OutputFormat::Packed(Codec::Gzip)));
    assert_eq!(of("a.VMDK"), Some(OutputFormat::StreamOptimizedVmdk));
    assert_eq!(of("a.img"), Some(OutputFormat::Raw));
    assert_eq!(of("vmdk"), None);
    let error = "vdi".parse::<OutputFormat>().unwrap_err().to_string();
    assert!(
        error.contains("\"vdi\"") && error.contains("qcow2"),
        "{error}"
    );
}
