//! `imgasm ls -R --json --digest` against what a kernel mount of the same image shows, on every
//! feature set.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, FileType, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::support::example;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imgasm_testkit::image::{Kind, Set, sets};
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::populate::{Amount, populate};
use imgasm_testkit::tree::{host_path, join, mounted_xattrs};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Files with holes of gigabytes are cut to this: hashing zeros shows nothing and takes long.
const LONGEST: u64 = 40 << 20;

/// What a row says, with names and values as bytes.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    file_type: &'static str,
    mode: String,
    owner: (u32, u32),
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    links: u64,
    target: Option<Vec<u8>>,
    device: Option<String>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sha256: Option<String>,
}

const FILE_TYPES: [&str; 7] = [
    "file",
    "directory",
    "symlink",
    "char",
    "block",
    "fifo",
    "socket",
];

#[test]
fn ext4() {
    all_sets(Kind::Ext);
}

#[test]
fn xfs() {
    all_sets(Kind::Xfs);
}

fn all_sets(kind: Kind) {
    if !need::mounts(kind.tools()) {
        return;
    }
    for set in sets(kind) {
        compare(set);
    }
}

fn compare(set: &'static Set) {
    let folder = tempfile::tempdir().expect("a folder for the image");
    let image = folder.path().join("image");
    set.make(&image);
    let mount = Mount::new(&image, set.kind, Access::ReadWrite);
    let amount = Amount {
        files: 200,
        large_directory: 1200,
        pieces: 200,
        labels: true,
    };
    populate(mount.path(), set, 1, amount);
    shorten(mount.path());
    mount.finish().expect("the kernel has nothing to say");
    // XFS writes its log even on a read-only mount, so imgasm goes first.
    let seen = listed(&image);
    let mount = Mount::new(&image, set.kind, Access::ReadOnly);
    let expected = mounted(mount.path());
    mount.finish().expect("the kernel has nothing to say");
    assert!(expected.len() > 1400, "{}", expected.len());
    for (path, row) in &expected {
        let path_text = path.escape_ascii();
        assert_eq!(seen.get(path), Some(row), "{path_text} in {}", set.name);
    }
    let extra = seen.keys().find(|path| !expected.contains_key(*path));
    assert_eq!(extra, None, "in {}", set.name);
}

fn shorten(root: &Path) {
    walk(root, &mut |path, metadata| {
        if metadata.is_file() && metadata.len() > LONGEST {
            let file = OpenOptions::new().write(true).open(path);
            file.and_then(|file| file.set_len(LONGEST))
                .expect("a file can be cut");
        }
    });
}

fn walk(path: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata)) {
    let metadata = fs::symlink_metadata(path).expect("a path that was just listed");
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("root may read all") {
            walk(&entry.expect("it can be listed").path(), visit);
        }
    }
    visit(path, &metadata);
}

/// What the mount at `root` shows.
fn mounted(root: &Path) -> BTreeMap<Vec<u8>, Row> {
    let mut rows = BTreeMap::new();
    walk(root, &mut |path, metadata| {
        let below = path.strip_prefix(root).expect("it lies below");
        let name = join(b"/", below.as_os_str().as_bytes());
        debug_assert_eq!(host_path(root, &name), path);
        let file_type = type_name(metadata.file_type());
        let device = (metadata.rdev() != 0 || matches!(file_type, "char" | "block")).then(|| {
            let device = metadata.rdev();
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            format!("{major}:{minor}")
        });
        let row = Row {
            file_type,
            mode: format!("{:04o}", metadata.mode() & 0o7777),
            owner: (metadata.uid(), metadata.gid()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            links: metadata.nlink(),
            target: metadata.is_symlink().then(|| {
                let target = fs::read_link(path).expect("a link has a target");
                target.into_os_string().as_bytes().to_vec()
            }),
            device,
            xattrs: mounted_xattrs(path),
            sha256: metadata.is_file().then(|| {
                let content = fs::read(path).expect("root may read all");
                hex::encode(Sha256::digest(content))
            }),
        };
        rows.insert(name, row);
    });
    rows
}

fn type_name(file_type: FileType) -> &'static str {
    let is = [
        file_type.is_file(),
        file_type.is_dir(),
        file_type.is_symlink(),
        file_type.is_char_device(),
        file_type.is_block_device(),
        file_type.is_fifo(),
        file_type.is_socket(),
    ];
    let index = is.iter().position(|is| *is).expect("there are seven types");
    FILE_TYPES[index]
}

/// What the program prints.
fn listed(image: &Path) -> BTreeMap<Vec<u8>, Row> {
    let output = example::imgasm()
        .args(["ls", "-R", "--json", "--digest"])
        .arg(image)
        .arg("/")
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let mut rows = BTreeMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let row: Value = serde_json::from_slice(line).expect("one JSON object a line");
        let (path, row) = parse(&row);
        assert!(rows.insert(path, row).is_none(), "a path is listed once");
    }
    rows
}

fn parse(row: &Value) -> (Vec<u8>, Row) {
    let keys: Vec<_> = row.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "path", "type", "mode", "uid", "gid", "size", "mtime", "nlink", "target", "rdev",
            "xattrs", "sha256"
        ]
    );
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let number = |key: &str| row[key].as_u64().expect("a number");
    let id = |key| u32::try_from(number(key)).expect("32 bits");
    let file_type = text("type").expect("a type");
    let xattrs = row["xattrs"].as_object().expect("an object");
    let row = Row {
        file_type: FILE_TYPES
            .into_iter()
            .find(|known| *known == file_type)
            .expect("a known type"),
        mode: text("mode").expect("a mode"),
        owner: (id("uid"), id("gid")),
        size: number("size"),
        modified: seconds(&text("mtime").expect("a time")),
        links: number("nlink"),
        target: text("target").map(|target| name_bytes(&target)),
        device: text("rdev"),
        xattrs: xattrs
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().expect("text");
                (name_bytes(name), value_bytes(value))
            })
            .collect(),
        sha256: text("sha256"),
    };
    (name_bytes(text("path").expect("a path").as_str()), row)
}

/// Seconds and nanoseconds of a time in RFC 3339, or of bare seconds.
fn seconds(text: &str) -> (i64, i64) {
    if let Ok(seconds) = text.parse() {
        return (seconds, 0);
    }
    let time: jiff::Timestamp = text.parse().expect("RFC 3339");
    // Before 1970 the fraction counts from the second before.
    let nanoseconds = time.as_nanosecond();
    let (seconds, rest) = (
        nanoseconds.div_euclid(1_000_000_000),
        nanoseconds.rem_euclid(1_000_000_000),
    );
    let short = |n: i128| i64::try_from(n).expect("a time of this era");
    (short(seconds), short(rest))
}

#[test]
fn a_path_of_any_bytes_can_be_given() {
    let dir = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"caf\xe9");
    let folder = dir.path().join("rootfs").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), "latin").unwrap();
    let recipe = "name = 'x'\nbase = { rootfs = 'rootfs' }\n";
    fs::write(dir.path().join("imgasm.toml"), recipe).unwrap();
    let run = |arguments: &[&OsStr]| {
        let command = &mut example::imgasm();
        command.args(arguments).current_dir(dir.path());
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        output.stdout
    };
    run(&["build".as_ref()]);
    let image = OsStr::new("out/x.raw");
    let (above, file) = (
        Path::new("/").join(name),
        Path::new("/").join(name).join(name),
    );
    assert_eq!(run(&["cat".as_ref(), image, file.as_ref()]), b"latin");
    assert_eq!(run(&["ls".as_ref(), image, above.as_ref()]), b"caf\\xe9\n");
    let found = run(&[
        "find".as_ref(),
        image,
        above.as_ref(),
        "--type".as_ref(),
        "file".as_ref(),
    ]);
    assert_eq!(found, b"/caf\\xe9/caf\\xe9\n");
    let archive = run(&["tar".as_ref(), image, above.as_ref()]);
    assert!(archive.windows(5).any(|window| window == b"latin"));
}

/// Decodes the `\xNN` in a name.
fn name_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let (b'\\', Some((hex_digits, after))) = (first, tail.split_at_checked(3)) {
            assert_eq!(hex_digits[0], b'x');
            bytes.extend(hex::decode(&hex_digits[1..]).expect("two digits"));
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

fn value_bytes(text: &str) -> Vec<u8> {
    match text.strip_prefix("0s") {
        Some(encoded) => BASE64_STANDARD.decode(encoded).expect("base64"),
        None => text.as_bytes().to_vec(),
    }
}
