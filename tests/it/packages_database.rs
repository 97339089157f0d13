//! The databases of packages, read as their own tools read them, and hostile packages and
//! databases.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::rpms::rpm;
use imgasm_block::Digest;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_fs::{FileSystem, Timestamp};
use imgasm_guest::Facts;
use imgasm_guest::packages::history::Reason;
use imgasm_guest::packages::{self, Error, Request, Scriptlets, Unwritable};
use imgasm_testkit::command::run;
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;

/// A filesystem with these files.
fn image(files: &[(&str, &[u8])]) -> MemoryFs {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    let plain = Attributes::default();
    for (path, content) in files {
        let path = ImagePath::parse(path).unwrap();
        editor.mkdir_all(&path.parent().unwrap(), plain).unwrap();
        editor.write(&path, LastLink::Keep, content, plain).unwrap();
    }
    fs
}

/// What is installed, one line per package.
fn installed(fs: &dyn FileSystem) -> Vec<String> {
    let packages = packages::open(fs).unwrap().unwrap();
    let mut lines: Vec<_> = packages.iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}

/// A package of the crate's builder with a file of so many bytes.
pub(crate) fn package(name: &str, size: usize) -> Vec<u8> {
    let mut builder = rpm_crate(name);
    let options = rpm::FileOptions::new(format!("/opt/{name}"));
    let content = "abc".repeat(size / 3);
    builder.with_file_contents(content, options).unwrap();
    let mut bytes = Vec::new();
    builder.build().unwrap().write(&mut bytes).unwrap();
    bytes
}

fn rpm_crate(name: &str) -> rpm::PackageBuilder {
    let mut builder = rpm::PackageBuilder::new(name, "1.2", "MIT", "noarch", "x");
    if name.len() > 3 {
        builder.epoch(3);
    }
    builder
}

/// A root with packages that Debian's rpm installed, and the headers in its database.
fn rpm_root(folder: &Path) -> Vec<Vec<u8>> {
    rpm(folder, &["--initdb"]);
    for name in ["one", "three", "seven", "eleven"] {
        let path = folder.join(format!("{name}.rpm"));
        fs::write(&path, package(name, 100)).unwrap();
        rpm(folder, &["-i", "--nodeps", path.to_str().unwrap()]);
    }
    let path = folder.join("var/lib/rpm/rpmdb.sqlite");
    let database = rusqlite::Connection::open(path).unwrap();
    let mut query = database.prepare("SELECT blob FROM Packages").unwrap();
    let blobs = query.query_map([], |row| row.get(0)).unwrap();
    blobs.map(Result::unwrap).collect()
}

/// A Berkeley DB with these headers, made by Berkeley DB's own tool.
pub(crate) fn berkeley(folder: &Path, headers: &[Vec<u8>]) -> Vec<u8> {
    let mut dump =
        String::from("VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n");
    let numbered = (1_u32..).zip(headers.iter().map(Vec::as_slice));
    for (number, header) in numbered.chain([(0, &[9, 0, 0, 0][..])]) {
        let (number, header) = (hex::encode(number.to_le_bytes()), hex::encode(header));
        write!(dump, " {number}\n {header}\n").unwrap();
    }
    dump += "DATA=END\n";
    let text = folder.join("dump");
    fs::write(&text, dump).unwrap();
    let file = folder.join("Packages");
    run(Command::new("db5.3_load").arg("-f").arg(&text).arg(&file));
    fs::read(file).unwrap()
}

/// A tree of Berkeley DB without anything in it, made by its own tool.
pub(crate) fn empty_tree(folder: &Path) -> Vec<u8> {
    let (text, file) = (folder.join("empty"), folder.join("tree"));
    let dump = "VERSION=3\nformat=bytevalue\ntype=btree\ndb_pagesize=4096\nHEADER=END\nDATA=END\n";
    fs::write(&text, dump).unwrap();
    let _ = fs::remove_file(&file);
    run(Command::new("db5.3_load").arg("-f").arg(&text).arg(&file));
    fs::read(file).unwrap()
}

/// RPM's own format with these headers, by its description in `rpmpkg.c`.
pub(crate) fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut slots = [
        &b"RpmP"[..],
        &word(0),
        &word(1),
        &word(1),
        &word(9),
        &[0; 12],
    ]
    .concat();
    let mut blobs = Vec::new();
    for (number, header) in (1..).zip(headers) {
        let block = (4096 + blobs.len()) / 16;
        let mut blob = [
            &b"BlbS"[..],
            &word(number),
            &word(1),
            &word(header.len()),
            header,
        ]
        .concat();
        blob.resize((blob.len() + 12).next_multiple_of(16) - 12, 0);
        blob.extend([&word(0)[..], &word(header.len()), b"BlbE"].concat());
        slots.extend(
            [
                &b"Slot"[..],
                &word(number),
                &word(block),
                &word(blob.len() / 16),
            ]
            .concat(),
        );
        blobs.extend(blob);
    }
    while slots.len() < 4096 {
        slots.extend([&b"Slot"[..], &[0; 12]].concat());
    }
    [slots, blobs].concat()
}

/// RPM's own file of indexes with three that are empty, by its description in `rpmxdb.c`.
pub(crate) fn ndb_indexes() -> Vec<u8> {
    let words =
        |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|one| one.to_le_bytes()).collect() };
    let mut bytes = [&b"RpmX"[..], &words(&[0, 7, 1, 4096, 1, 0, 0])].concat();
    for (page, tag) in [(1, 1000), (2, 1117), (3, 1047)] {
        bytes.extend([&b"Slo\0"[..], &words(&[tag, page, 1])].concat());
    }
    while bytes.len() < 4096 {
        bytes.extend([&b"Slo\0"[..], &[0; 12]].concat());
    }
    bytes.resize(4 * 4096, 0);
    bytes
}

#[test]
fn every_format_tells_the_same_packages() {
    if !need::mounts(&["rpm", "db5.3_load"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let headers = rpm_root(folder.path());
    let query = "%{name}-%|epoch?{%{epoch}:}:{}|%{version}-%{release}.%{arch}\\n";
    let said = rpm(folder.path(), &["-qa", "--qf", query]);
    let mut wanted: Vec<_> = said.lines().map(str::to_owned).collect();
    wanted.sort();
    assert_eq!(wanted.len(), 4);
    let sqlite = fs::read(folder.path().join("var/lib/rpm/rpmdb.sqlite")).unwrap();
    let log = fs::read(folder.path().join("var/lib/rpm/rpmdb.sqlite-wal")).unwrap_or_default();
    let fs = image(&[
        ("/usr/lib/sysimage/rpm/rpmdb.sqlite", &sqlite),
        ("/usr/lib/sysimage/rpm/rpmdb.sqlite-wal", &log),
    ]);
    assert_eq!(installed(&fs), wanted);
    let berkeley = berkeley(folder.path(), &headers);
    assert_eq!(
        installed(&image(&[("/var/lib/rpm/Packages", &berkeley)])),
        wanted
    );
    let ndb = ndb(&headers);
    assert_eq!(
        installed(&image(&[("/var/lib/rpm/Packages.db", &ndb)])),
        wanted
    );
}

#[test]
fn the_status_file_tells_what_dpkg_tells() {
    if !need::tools(&["dpkg-query"]) {
        return;
    }
    let format = "${db:Status-Status} ${Package}-${Version}.${Architecture}\n";
    let said = run(Command::new("dpkg-query").args(["-W", "-f", format]));
    let mut wanted: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .map(str::to_owned)
        .collect();
    wanted.sort();
    assert!(!wanted.is_empty());
    let status = fs::read("/var/lib/dpkg/status").unwrap();
    assert_eq!(
        installed(&image(&[("/var/lib/dpkg/status", &status)])),
        wanted
    );
}

fn request(folder: &Path, bytes: &[u8]) -> Request {
    let path = folder.join("x.rpm");
    fs::write(&path, bytes).unwrap();
    Request {
        path,
        sha256: Digest::of(bytes),
        nevra: None,
        keyrings: Vec::new(),
        signature: None,
        weak_digests: Vec::new(),
        nodeps: false,
        scriptlets: Scriptlets::Native,
        reason: Reason::User,
        repository: None,
    }
}

fn install(fs: &mut MemoryFs, request: Request, unwritable: Unwritable) -> Result<bool, Error> {
    let facts = Facts::default();
    let now = Timestamp::default();
    let mut editor = Editor::new(fs);
    let outcomes = packages::install(&mut editor, &facts, now, &[request], unwritable)?;
    Ok(outcomes[0].was_present)
}

#[test]
fn a_database_that_cannot_be_written_is_refused_or_gets_a_side_file() {
    if !need::mounts(&["rpm", "db5.3_load"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = berkeley(folder.path(), &rpm_root(folder.path()));
    // An index that RPM before 4.9 has.
    let mut fs = image(&[
        ("/var/lib/rpm/Packages", &database),
        ("/var/lib/rpm/Pubkeys", &[]),
    ]);
    let before = fs.dump();
    let request = request(folder.path(), &package("new", 10));
    let refused = install(&mut fs, request.clone(), Unwritable::Refuse).unwrap_err();
    assert!(
        matches!(refused, Error::UnwritableDatabase { .. }),
        "{refused}"
    );
    assert_eq!(fs.dump(), before);

    assert!(!install(&mut fs, request.clone(), Unwritable::SideFile).unwrap());
    assert_eq!(installed(&fs).len(), 5);
    let side = ImagePath::parse("/var/lib/imgasm/rpm-headers").unwrap();
    let side = imgasm_fs::tree::read_file(&fs, &side, 1 << 20).unwrap();
    // RPM itself reads the file as a list of headers.
    let other = tempfile::tempdir().unwrap();
    rpm(other.path(), &["--initdb"]);
    let list = other.path().join("list");
    fs::write(&list, side).unwrap();
    let import = format!(
        "rpmdb --root '{}' --dbpath /var/lib/rpm --importdb < '{}'",
        other.path().display(),
        list.display()
    );
    run(Command::new("sh").args(["-c", &import]));
    assert_eq!(rpm(other.path(), &["-qa"]), "new-1.2-1.noarch\n");

    let writes = fs.writes;
    assert!(install(&mut fs, request, Unwritable::SideFile).unwrap());
    assert_eq!(fs.writes, writes, "the second time must change nothing");
}

/// Deterministic numbers (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Some bytes changed, some cut off.
fn damaged(bytes: &[u8], numbers: &mut Numbers, first: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.below(4) {
        let end = bytes.len().min(first);
        let at = numbers.below(end);
        bytes[at] = match numbers.below(4) {
            0 => 0xff,
            1 => 0,
            2 => bytes[at] ^ (1 << numbers.below(8)),
            _ => u8::try_from(numbers.below(256)).unwrap(),
        };
    }
    if numbers.below(8) == 0 {
        bytes.truncate(numbers.below(bytes.len()));
    }
    bytes
}

#[test]
fn damage_is_an_error_and_nothing_worse() {
    let count = std::env::var("IMGASM_MUTATIONS").ok();
    let count: usize = count.map_or(150, |count| count.parse().unwrap());
    if !need::mounts(&["rpm", "db5.3_load"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let headers = rpm_root(folder.path());
    let sqlite = fs::read(folder.path().join("var/lib/rpm/rpmdb.sqlite")).unwrap();
    let berkeley = berkeley(folder.path(), &headers);
    let ndb = ndb(&headers);
    let tree = empty_tree(folder.path());
    let sound = package("sound", 3000);
    let mut numbers = Numbers(42);
    let database = ("/var/lib/rpm/rpmdb.sqlite", sqlite.as_slice());
    let mut errors = 0;
    for _ in 0..count {
        let bytes = damaged(&sound, &mut numbers, usize::MAX);
        let request = request(folder.path(), &bytes);
        let mut fs = image(&[database]);
        errors += usize::from(install(&mut fs, request, Unwritable::Refuse).is_err());
        for (path, bytes) in [
            ("/var/lib/rpm/rpmdb.sqlite", &sqlite),
            ("/var/lib/rpm/Packages", &berkeley),
            ("/var/lib/rpm/Packages.db", &ndb),
        ] {
            let bytes = damaged(bytes, &mut numbers, usize::MAX);
            errors += usize::from(packages::open(&image(&[(path, &bytes)])).is_err());
            let bytes = damaged(&bytes, &mut numbers, 128);
            errors += usize::from(packages::open(&image(&[(path, &bytes)])).is_err());
        }
        // What is taken for sound is written so that the new package is found.
        let first = [usize::MAX, 512][numbers.below(2)];
        for files in [
            &[("Packages", &berkeley), ("Name", &tree)][..],
            &[("Packages.db", &ndb)],
        ] {
            let files = files.iter().map(|(name, bytes)| {
                let path = format!("/var/lib/rpm/{name}");
                (path, damaged(bytes, &mut numbers, first))
            });
            let files: Vec<_> = files.collect();
            let files: Vec<_> = files
                .iter()
                .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
                .collect();
            let mut fs = image(&files);
            let request = self::request(folder.path(), &sound);
            if install(&mut fs, request, Unwritable::Refuse).is_ok() {
                let installed = installed(&fs);
                let is_there = installed.iter().any(|one| one.starts_with("sound-"));
                assert!(is_there, "{installed:?}");
            }
        }
    }
    assert!(
        errors > count,
        "most damage is found: {errors} of {}",
        7 * count
    );
    let request = request(folder.path(), &sound);
    let mut fs = image(&[database]);
    assert!(!install(&mut fs, request, Unwritable::Refuse).unwrap());
}
