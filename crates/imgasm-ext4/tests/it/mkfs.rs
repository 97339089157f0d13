//! Fresh filesystems against those that mke2fs makes: byte for byte.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use imgasm_block::{BlockDevice, FileDevice};
use imgasm_ext4::FormatOptions;
use imgasm_fs::{Error, Timestamp};
use imgasm_testkit::need;
use imgasm_testkit::scratch::folder;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const HASH_SEED: &str = "11223344-5566-7788-99aa-bbccddeeff00";
const NOW: i64 = 1_700_000_000;

fn bytes_of(uuid: &str) -> [u8; 16] {
    let hex: String = uuid.chars().filter(|&c| c != '-').collect();
    let mut bytes = [0; 16];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    }
    bytes
}

fn options() -> FormatOptions {
    let now = Timestamp {
        seconds: NOW,
        nanoseconds: 0,
    };
    FormatOptions::new(bytes_of(UUID), bytes_of(HASH_SEED), now)
}

/// A sparse file of `len` bytes.
fn sparse(path: &Path, len: u64) {
    File::create(path).unwrap().set_len(len).unwrap();
}

/// The filesystem of `len` bytes that mke2fs makes.
fn mke2fs(path: &Path, len: u64, extended: &str, extra: &[&str]) {
    sparse(path, len);
    let status = Command::new("mke2fs")
        .env("E2FSPROGS_FAKE_TIME", NOW.to_string())
        .env("MKE2FS_CONFIG", "/etc/mke2fs.conf")
        .args(["-q", "-F", "-t", "ext4", "-U", UUID, "-E"])
        .arg(format!(
            "hash_seed={HASH_SEED},lazy_itable_init=0,lazy_journal_init=0,nodiscard,{extended}"
        ))
        .args(extra)
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

/// The filesystem of `len` bytes that we make.
fn format(path: &Path, len: u64, options: &FormatOptions) {
    sparse(path, len);
    let device = FileDevice::open_writable(path).unwrap();
    imgasm_ext4::format(&device, options).unwrap();
}

fn e2fsck(path: &Path) {
    let output = Command::new("e2fsck")
        .arg("-fn")
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Offsets in a superblock of what may differ: the lifetime count of written bytes, which depends
/// on the writer, not on the filesystem, and the checksum over it.
const OWN_FIELDS: [Range<u64>; 2] = [0x178..0x180, 0x3fc..0x400];
/// Offset in a superblock of the copy of the journal's `i_block`.
const JOURNAL_BACKUP: Range<u64> = 0x10c..0x148;

/// Checks that two images are alike, except for `fields` of superblocks and the range `except`.
fn assert_alike(ours: &Path, theirs: &Path, fields: &[Range<u64>], except: &Range<u64>) {
    let name = ours.display();
    let ours = FileDevice::open(ours).unwrap();
    let theirs = FileDevice::open(theirs).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let mut from = 0;
    loop {
        let next = [&ours, &theirs].map(|device| device.next_data(from).unwrap());
        let Some(start) = next.iter().flatten().map(|range| range.start).min() else {
            return;
        };
        let start = start / 4096 * 4096;
        let len = (ours.len() - start).min(64 * 1024);
        let len = usize::try_from(len).unwrap();
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        ours.read_at(start, &mut a).unwrap();
        theirs.read_at(start, &mut b).unwrap();
        for (part, (a, b)) in (start..)
            .step_by(1024)
            .zip(a.chunks(1024).zip(b.chunks(1024)))
        {
            if a == b {
                continue;
            }
            let is_superblock = b.len() == 1024 && b[0x38..0x3a] == [0x53, 0xef];
            for (at, (a, b)) in (0..).zip(a.iter().zip(b)) {
                let is_own = is_superblock && fields.iter().any(|field| field.contains(&at));
                let at = part + at;
                assert!(
                    a == b || is_own || except.contains(&at),
                    "{name}: byte {at} ({at:#x}) is {a:#04x}, mke2fs has {b:#04x}"
                );
            }
        }
        from = start + u64::try_from(len).unwrap();
    }
}

/// Where the journal's inode lies.
fn journal_inode(path: &Path) -> Range<u64> {
    let run = |request: &str| {
        let output = Command::new("debugfs")
            .args(["-R", request])
            .arg(path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run("imap <8>");
    let (block, offset) = text
        .rsplit_once("block ")
        .unwrap()
        .1
        .split_once(", offset 0x")
        .unwrap();
    let stats = run("stats -h");
    let block_size: u64 = stats
        .lines()
        .find_map(|line| line.strip_prefix("Block size:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let offset = u64::from_str_radix(offset.trim(), 16).unwrap();
    let start = block.parse::<u64>().unwrap() * block_size + offset;
    start..start + 256
}

/// Makes the same filesystem both ways, and hands them to `check`.
fn compare(len: u64, block_size: Option<u32>, check: fn(&Path, &Path)) {
    let folder = folder();
    let ours = folder.path().join(format!("ours-{len}-{block_size:?}"));
    let theirs = folder.path().join("theirs");
    let mut options = options();
    options.block_size = block_size;
    format(&ours, len, &options);
    let size = block_size.map(|size| size.to_string());
    let extra: Vec<&str> = size.iter().flat_map(|size| ["-b", size]).collect();
    mke2fs(&theirs, len, "root_owner=0:0", &extra);
    check(&ours, &theirs);
}

/// Both have the same bytes, and e2fsck finds nothing.
fn same_bytes(ours: &Path, theirs: &Path) {
    assert_alike(ours, theirs, &OWN_FIELDS, &(0..0));
    e2fsck(ours);
}

/// Both have the same bytes but in the journal's inode: for a journal of more than four pieces,
/// mke2fs leaves old bytes of the inode behind the root of its extents, which we do not imitate.
fn same_bytes_but_journal_root(ours: &Path, theirs: &Path) {
    let [written, checksum] = OWN_FIELDS;
    let fields = [written, checksum, JOURNAL_BACKUP];
    assert_alike(ours, theirs, &fields, &journal_inode(theirs));
    let extents = |path| {
        let output = Command::new("debugfs")
            .args(["-R", "ex <8>"])
            .arg(path)
            .output()
            .unwrap();
        assert!(output.stdout.len() > 200, "{output:?}");
        output.stdout
    };
    assert_eq!(extents(ours), extents(theirs));
}

#[test]
fn sizes_with_the_default_block_size() {
    if !need::tools(&["mke2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    for len in [
        MIB,
        2 * MIB,
        3 * MIB,
        5 * MIB + 12345,
        8 * MIB,
        9 * MIB,
        33 * MIB,
        100 * MIB,
        131 * MIB,
        511 * MIB,
        512 * MIB,
        513 * MIB,
        GIB,
        2 * GIB - 5 * MIB,
        3 * GIB + 777 * 4096,
        8 * GIB,
        20 * GIB,
        30 * GIB,
        100 * GIB,
    ] {
        compare(len, None, same_bytes);
    }
}

#[test]
fn sizes_with_other_block_sizes() {
    if !need::tools(&["mke2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    for (len, block_size) in [
        (MIB, 4096),
        (MIB, 2048),
        (7 * MIB, 4096),
        (8 * MIB, 4096),
        (100 * MIB, 2048),
        (300 * MIB, 4096),
        (2 * GIB, 1024),
        (2 * GIB, 2048),
    ] {
        compare(len, Some(block_size), same_bytes);
    }
}

#[test]
fn large_sizes() {
    if !need::tools(&["mke2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    for (len, block_size) in [(70 * GIB, Some(1024)), (TIB, None), (16 * TIB, None)] {
        compare(len, block_size, same_bytes_but_journal_root);
    }
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let folder = folder();
    let path = folder.path().join("image");
    sparse(&path, 4 * MIB);
    let device = FileDevice::open_writable(&path).unwrap();
    let refuse = |change: &dyn Fn(&mut FormatOptions)| {
        let mut options = options();
        change(&mut options);
        let error = imgasm_ext4::format(&device, &options).unwrap_err();
        assert!(matches!(error, Error::Unstorable { .. }), "{error}");
    };
    refuse(&|options| options.label = b"seventeen bytes..".to_vec());
    refuse(&|options| options.label = b"nul\0".to_vec());
    refuse(&|options| options.block_size = Some(8192));
    refuse(&|options| options.block_size = Some(0));
    refuse(&|options| options.reserved_percent = 51);
    refuse(&|options| options.hash_seed = [0; 16]);
    assert_eq!(device.next_data(0).unwrap(), None);

    let small = folder.path().join("small");
    sparse(&small, MIB - 1);
    let device = FileDevice::open_writable(&small).unwrap();
    let error = imgasm_ext4::format(&device, &options()).unwrap_err();
    assert!(matches!(error, Error::Unstorable { .. }), "{error}");
}

#[test]
fn options_are_stored_as_mke2fs_stores_them() {
    if !need::tools(&["mke2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    let folder = folder();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let mut options = options();
    options.label = b"docker".to_vec();
    options.reserved_percent = 1;
    options.root_uid = 70_000;
    options.root_gid = 1000;
    format(&ours, 20 * GIB, &options);
    mke2fs(
        &theirs,
        20 * GIB,
        "root_owner=70000:1000",
        &["-L", "docker", "-m", "1"],
    );
    same_bytes(&ours, &theirs);
}

#[test]
fn nothing_of_what_the_device_held_is_left() {
    let folder = folder();
    let (used, fresh) = (folder.path().join("used"), folder.path().join("fresh"));
    std::fs::write(&used, vec![0xa5; 16 << 20]).unwrap();
    let device = FileDevice::open_writable(&used).unwrap();
    imgasm_ext4::format(&device, &options()).unwrap();
    format(&fresh, 16 * MIB, &options());
    assert!(std::fs::read(&used).unwrap() == std::fs::read(&fresh).unwrap());
}

/// Runs a script as root in a mounted image.
fn mounted(image: &Path, script: &str) {
    let script = format!(
        "set -e; m=$(mktemp -d); mount -o loop \"$1\" $m; \
         trap 'umount $m; rmdir $m' EXIT; cd $m; {script}; cd /"
    );
    let status = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(image)
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

#[test]
fn the_kernel_fills_one_and_resize2fs_grows_it() {
    if !need::mounts(&["mke2fs", "e2fsck", "resize2fs"]) {
        return;
    }
    for (len, larger) in [(40 * MIB, 300 * MIB), (GIB, 20 * GIB)] {
        let folder = folder();
        let image = folder.path().join("image");
        format(&image, len, &options());
        mounted(
            &image,
            "mkdir d; for i in $(seq 300); do echo $i >d/file$i; done; ln -s d/file1 link; \
             dd if=/dev/zero of=big bs=1M count=10 status=none; rmdir lost+found; sync",
        );
        e2fsck(&image);
        File::options()
            .write(true)
            .open(&image)
            .unwrap()
            .set_len(larger)
            .unwrap();
        let output = Command::new("resize2fs")
            .arg("-f")
            .arg(&image)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        e2fsck(&image);
        mounted(&image, "test \"$(cat d/file300)\" = 300");
    }
}
