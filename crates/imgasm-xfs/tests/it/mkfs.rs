//! Filesystems that the engine makes, compared with those of `mkfs.xfs`: the same superblock, the
//! same heads and trees of the groups, nothing to repair, and a kernel that works on them.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{BlockDevice, Delta, FileDevice, Hole};
use imgasm_fs::{Error, FileSystem};
use imgasm_testkit::command::run;
use imgasm_testkit::engine::OPTIONS;
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::Access;
use imgasm_testkit::need;
use imgasm_xfs::{FormatFeatures, FormatOptions, Stripe, Xfs, format};

use crate::image::{Image, MIB, NEW};

const GIB: u64 = 1 << 30;
const UUID: [u8; 16] = *b"a filesystem' id";
const UUID_TEXT: &str = "61206669-6c65-7379-7374-656d27206964";

fn options() -> FormatOptions {
    FormatOptions::new(UUID, OPTIONS.now)
}

fn with(change: impl FnOnce(&mut FormatOptions)) -> FormatOptions {
    let mut options = options();
    change(&mut options);
    options
}

fn features(features: FormatFeatures) -> FormatOptions {
    with(|options| options.features = features)
}

fn sparse_file(path: &Path, len: u64) {
    let file = File::create(path).expect("a file");
    file.set_len(len).expect("a sparse file");
}

/// What both are to agree on, in the words of `xfs_db`: the superblock, and of three groups the heads
/// and the roots of the trees.
fn described(image: &Path) -> Vec<String> {
    let field = |name: &str| {
        let lines = db(image, &["sb 0".to_owned(), format!("p {name}")]);
        let (_, value) = lines[0].split_once(" = ").expect("a field");
        match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => value.parse(),
        }
        .expect("a number")
    };
    let (groups, features) = (field("agcount"), field("features_ro_compat"));
    let mut commands = vec!["sb 0".to_owned(), "p".to_owned()];
    for group in [0, groups / 2, groups - 1] {
        for head in ["agf", "agi", "agfl"] {
            commands.extend([format!("{head} {group}"), "p".to_owned()]);
        }
        // With the bit of the feature that the tree belongs to.
        for (head, root, feature) in [
            ("agf", "bnoroot", 0),
            ("agf", "cntroot", 0),
            ("agf", "rmaproot", 2),
            ("agf", "refcntroot", 4),
            ("agi", "root", 0),
            ("agi", "free_root", 1),
        ] {
            if features & feature == feature {
                commands.extend([
                    format!("{head} {group}"),
                    format!("addr {root}"),
                    "p".to_owned(),
                ]);
            }
        }
    }
    let mut lines = db(image, &commands);
    lines.retain(|line| !line.contains("crc = "));
    lines
}

fn db(image: &Path, commands: &[String]) -> Vec<String> {
    let mut db = Command::new("xfs_db");
    db.arg("-r");
    for command in commands {
        db.args(["-c", command]);
    }
    run(db.arg(image)).lines().map(str::to_owned).collect()
}

/// Makes the same filesystem with both, and compares.
fn compare(len: u64, arguments: &[&str], options: &FormatOptions) {
    let folder = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
    sparse_file(&theirs, len);
    run(Command::new("mkfs.xfs")
        .args(["-q", "-f", "-m", &format!("uuid={UUID_TEXT}")])
        .args(arguments)
        .arg(&theirs));
    sparse_file(&ours, len);
    let device = FileDevice::open_writable(&ours).expect("an image");
    format(&device, options).expect("a filesystem that there can be");
    let what = format!("{len} bytes, {arguments:?}");
    let expected = described(&theirs);
    let seen = described(&ours);
    for (expected, seen) in expected.iter().zip(&seen) {
        assert_eq!(seen, expected, "{what}");
    }
    assert_eq!(seen.len(), expected.len(), "{what}");
    judge::check(&ours, Kind::Xfs).unwrap_or_else(|e| panic!("{what}: {e}"));
    let fs = Xfs::open(Arc::new(device)).expect("a sound filesystem");
    fs.check(&mut |finding| panic!("{what}: {}: {}", finding.at, finding.problem))
        .expect("readable");
}

#[test]
fn sizes_are_divided_as_mkfs_does() {
    if !need::tools(Kind::Xfs.tools()) {
        return;
    }
    let sizes = [
        300 * MIB,
        333 * MIB + 12345,
        GIB - 4096,
        9 * GIB + 5 * MIB,
        129 * GIB,
        1500 * GIB,
        4096 * GIB,
        4096 * GIB + 17 * MIB,
        15 * 1024 * GIB,
    ];
    for len in sizes {
        compare(len, &[], &options());
    }
}

#[test]
fn features_and_geometries_are_those_of_mkfs() {
    if !need::tools(Kind::Xfs.tools()) {
        return;
    }
    let mut bare = FormatFeatures::LTS_6_1;
    bare.sparse = false;
    bare.reflink = false;
    bare.rmapbt = false;
    bare.bigtime = false;
    bare.inobtcount = false;
    bare.nrext64 = false;
    bare.exchange = false;
    let striped =
        |unit: u32, units: u32| with(|options| options.stripe = Some(Stripe { unit, units }));
    let al2023: &[&str] = &[
        "-d",
        "agcount=2,su=512k,sw=1",
        "-l",
        "su=16k",
        "-s",
        "size=4096",
        "-n",
        "size=16384",
    ];
    let now = OPTIONS.now;
    let cases: &[(&[&str], FormatOptions)] = &[
        (al2023, FormatOptions::amazon_linux_2023(UUID, now)),
        (
            &["-m", "rmapbt=1", "-i", "nrext64=1"],
            features(FormatFeatures::LTS_6_6),
        ),
        (
            &[
                "-m",
                "finobt=1,reflink=0,bigtime=0,inobtcount=0",
                "-i",
                "sparse=0",
            ],
            features(bare),
        ),
        (&["-d", "su=64k,sw=4"], striped(65536, 4)),
        (&["-d", "su=16k,sw=1"], striped(16384, 1)),
        (&["-d", "su=512k,sw=1"], striped(512 * 1024, 1)),
        (
            &["-s", "size=4096"],
            with(|options| options.sector_size = 4096),
        ),
        (
            &["-b", "size=1024", "-n", "size=8192", "-L", "twelve bytes"],
            with(|options| {
                options.block_size = 1024;
                options.directory_block_size = Some(8192);
                options.label = b"twelve bytes".to_vec();
            }),
        ),
        (
            &["-b", "size=16384"],
            with(|options| options.block_size = 16384),
        ),
        (
            &["-b", "size=65536"],
            with(|options| options.block_size = 65536),
        ),
        (
            &["-d", "agcount=7", "-l", "size=80m,su=32k"],
            with(|options| {
                options.groups = Some(7);
                options.log_size = Some(80 * MIB);
                options.log_unit = Some(32768);
            }),
        ),
    ];
    for (arguments, options) in cases {
        compare(1200 * MIB + 777_216, arguments, options);
        compare(9 * GIB, arguments, options);
    }
}

#[test]
fn the_kernel_and_the_engine_work_on_what_was_made() {
    if !need::mounts(Kind::Xfs.tools()) {
        return;
    }
    let all = [
        options(),
        features(FormatFeatures::LTS_6_6),
        FormatOptions::amazon_linux_2023(UUID, OPTIONS.now),
    ];
    for options in all {
        let image = Image::sparse(400 * MIB);
        let device = FileDevice::open_writable(&image.path).expect("an image");
        format(&device, &options).expect("a filesystem that there can be");
        image.edit(|fs| {
            for index in 0..300 {
                let name = format!("made by the engine {index}");
                let file = fs.create(fs.root(), name.as_bytes(), &NEW).expect("room");
                fs.write_content(file, 5, &mut &b"bytes"[..]).expect("room");
            }
        });
        File::options()
            .write(true)
            .open(&image.path)
            .and_then(|file| file.set_len(900 * MIB))
            .expect("a longer image");
        image.kernel(Access::ReadWrite, |root| {
            run(Command::new("xfs_growfs").arg(root));
            run(Command::new("cp")
                .args(["-r", "/usr/share/perl5"])
                .arg(root));
            for index in 0..150 {
                let name = format!("made by the engine {}", 2 * index);
                std::fs::remove_file(root.join(name)).expect("it is there");
            }
        });
        image.check();
        image.edit(|fs| {
            let file = fs.create(fs.root(), b"last", &NEW).expect("room");
            fs.set_size(file, MIB).expect("a hole");
        });
        image.tree();
    }
}

#[test]
fn the_same_options_give_the_same_bytes_and_few_of_them() {
    let make = || {
        let len = 16 * 1024 * GIB;
        let delta = Arc::new(Delta::new(Arc::new(Hole::new(len))));
        format(&*delta, &options()).expect("a filesystem that there can be");
        delta
    };
    let (one, other) = (make(), make());
    assert!(one.stored_bytes() < 2 * MIB, "{}", one.stored_bytes());
    let changes = one.changes().expect("readable");
    assert_eq!(changes, other.changes().expect("readable"));
    for change in changes {
        let len = usize::try_from(change.range.end - change.range.start).expect("short");
        let (mut left, mut right) = (vec![0; len], vec![0; len]);
        one.read_at(change.range.start, &mut left)
            .expect("readable");
        other
            .read_at(change.range.start, &mut right)
            .expect("readable");
        assert!(left == right, "at {:?}", change.range);
    }
}

#[test]
fn what_cannot_be_is_refused_and_nothing_written() {
    let delta = Delta::new(Arc::new(Hole::new(GIB)));
    let wrong = [
        with(|options| options.block_size = 3000),
        with(|options| options.block_size = 512),
        with(|options| options.sector_size = 8192),
        with(|options| options.directory_block_size = Some(2048)),
        with(|options| options.groups = Some(1)),
        with(|options| options.groups = Some(60)),
        with(|options| options.log_size = Some(MIB)),
        with(|options| options.log_size = Some(u64::MAX)),
        with(|options| options.log_unit = Some(6000)),
        with(|options| options.label = b"thirteen byte".to_vec()),
        with(|options| options.stripe = Some(Stripe { unit: 0, units: 1 })),
        with(|options| {
            options.stripe = Some(Stripe {
                unit: 1 << 31,
                units: u32::MAX,
            });
        }),
        with(|options| {
            options.stripe = Some(Stripe {
                unit: 1 << 28,
                units: 1,
            });
        }),
    ];
    for options in wrong {
        let error = format(&delta, &options).expect_err("it cannot be");
        assert!(
            matches!(error, Error::Unstorable { .. }),
            "{options:?}: {error}"
        );
        assert_eq!(delta.stored_bytes(), 0, "{options:?}");
    }
}
