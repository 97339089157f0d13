//! Growing beside `xfs_growfs`: the same geometry and the same room, nothing to repair, and a kernel
//! that fills it.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{BlockDevice, Delta, FileDevice};
use imgasm_fs::FileSystem;
use imgasm_testkit::command::{copy_sparse, run};
use imgasm_testkit::engine::{OPTIONS, image};
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::Access;
use imgasm_testkit::need;
use imgasm_xfs::Xfs;

use crate::image::{Image, MIB, NEW};

fn set_len(path: &Path, len: u64) {
    let file = File::options().write(true).open(path).expect("an image");
    file.set_len(len).expect("a sparse file");
}

/// The superblock without the marks of the log.
fn superblock(path: &Path) -> Vec<String> {
    let text = run(Command::new("xfs_db")
        .args(["-r", "-c", "sb 0", "-c", "p"])
        .arg(path));
    let differs = ["crc", "lsn"];
    text.lines()
        .filter(|line| !differs.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect()
}

/// Lets the kernel put something into a filesystem, the last group included.
fn populate(image: &Image) {
    image.kernel(Access::ReadWrite, |root| {
        run(Command::new("cp")
            .args(["-r", "/usr/share/perl5"])
            .arg(root));
        for index in 0..40 {
            let folder = root.join(format!("folder {index}"));
            std::fs::create_dir(&folder).expect("room");
            std::fs::write(folder.join("file"), vec![7; 100_000]).expect("room");
        }
    });
}

/// Grows by the engine, and a copy by the kernel.
fn compare(image: &Image, len: u64) {
    let theirs = Image::sparse(0);
    copy_sparse(&image.path, &theirs.path);
    for path in [&image.path, &theirs.path] {
        set_len(path, len);
    }
    theirs.kernel(Access::ReadWrite, |root| {
        run(Command::new("xfs_growfs").arg(root));
    });
    image.edit(|fs| {
        let grown = fs.grow(len).expect("it can grow");
        assert_eq!(grown, fs.info().expect("readable").total_bytes);
        assert_eq!(fs.grow(len).expect("it is so large"), grown);
    });
    assert_eq!(superblock(&image.path), superblock(&theirs.path), "{len}");
}

const CASES: &[&[&str]] = &[
    &["-m", "reflink=0,bigtime=0,inobtcount=0", "-i", "sparse=0"],
    &["-m", "rmapbt=1", "-i", "nrext64=1"],
    &["-b", "size=1024", "-m", "rmapbt=1"],
    &[
        "-d",
        "agcount=2,su=512k,sw=1",
        "-l",
        "su=16k",
        "-s",
        "size=4096",
        "-n",
        "size=16384",
    ],
];

#[test]
fn growth_is_the_kernels() {
    for mkfs in CASES {
        let Some(image) = Image::new(mkfs) else {
            return;
        };
        populate(&image);
        // A few blocks more, a rest too small for a group, a short last group, that one made whole.
        for len in [
            320 * MIB + 3 * 65536,
            900 * MIB + 512,
            960 * MIB,
            (4 << 30) - 65536,
        ] {
            compare(&image, len);
        }
        image.kernel(Access::ReadWrite, |root| {
            let filler = root.join("filler");
            let free = run(Command::new("stat").args(["-f", "-c", "%a %S"]).arg(root));
            let (blocks, size) = free.trim().split_once(' ').expect("two numbers");
            let free = blocks.parse::<u64>().expect("a number") * size.parse::<u64>().expect("one");
            run(Command::new("fallocate")
                .args(["-l", &(free - free / 100).to_string()])
                .arg(&filler));
        });
        image.check();
    }
}

#[test]
fn a_change_before_and_after_growing_holds() {
    let Some(image) = Image::new(&["-m", "rmapbt=1"]) else {
        return;
    };
    let len = 700 * MIB;
    set_len(&image.path, len);
    image.edit(|fs| {
        let root = fs.root();
        let before = fs.create(root, b"before", &NEW).expect("room");
        fs.write_content(before, 6, &mut &b"before"[..])
            .expect("room");
        fs.grow(len).expect("it can grow");
        let after = fs.create(root, b"after", &NEW).expect("room");
        let content = vec![9; 400 << 20];
        fs.write_content(after, content.len() as u64, &mut &content[..])
            .expect("there is room now");
    });
    image.tree();
}

#[test]
fn growing_is_refused_for_reading_and_past_the_device() {
    let Some(made) = Image::new(&[]) else {
        return;
    };
    let mut fs = Xfs::open(image(&made.path)).expect("a sound filesystem");
    assert_eq!(fs.grow(320 * MIB).expect("nothing to do"), 320 * MIB);
    fs.grow(400 * MIB).expect_err("it is open for reading");
    made.try_out(|fs| fs.grow(400 * MIB).expect_err("the device is shorter"));
}

#[test]
fn a_large_growth_writes_no_more_than_the_kernel() {
    if !need::mounts(Kind::Xfs.tools()) {
        return;
    }
    // The geometry of Amazon Linux 2023, grown from 8 to 30 GiB beforehand.
    let (formatted, deployed, wanted) = (8_577_351_680, 30 << 30, 100 << 30);
    let ours = Image::sparse(formatted);
    run(Command::new("mkfs.xfs")
        .arg("-q")
        .args(CASES[3])
        .arg(&ours.path));
    set_len(&ours.path, deployed);
    ours.kernel(Access::ReadWrite, |root| {
        run(Command::new("xfs_growfs").arg(root));
        run(Command::new("cp")
            .args(["-r", "/usr/share/perl5"])
            .arg(root));
    });
    set_len(&ours.path, wanted);
    let base: Arc<dyn BlockDevice> = Arc::new(FileDevice::open(&ours.path).expect("an image"));
    let delta = Arc::new(Delta::new(base));
    let mut fs = Xfs::open_writable(delta.clone(), OPTIONS).expect("a sound filesystem");
    fs.grow(wanted).expect("it can grow");
    fs.flush().expect("nothing is staged");
    let changed: u64 = delta
        .changes()
        .expect("readable")
        .iter()
        .map(|change| change.range.end - change.range.start)
        .sum();
    let written = ours.kernel(Access::ReadWrite, |root| {
        let before = sectors_written(root);
        run(Command::new("xfs_growfs").arg(root));
        run(Command::new("sync").arg("-f").arg(root));
        (sectors_written(root) - before) * 512
    });
    assert!(changed <= written, "{changed} bytes, the kernel {written}");
}

/// Sectors that have been written to the device of a mounted filesystem since it was attached.
fn sectors_written(root: &Path) -> u64 {
    let source = run(Command::new("findmnt")
        .args(["-n", "-o", "SOURCE"])
        .arg(root));
    let device = source.trim().trim_start_matches("/dev/");
    let stat = std::fs::read_to_string(format!("/sys/block/{device}/stat")).expect("a device");
    let field = stat.split_whitespace().nth(6).expect("its writes");
    field.parse().expect("a number")
}
