//! RPM's databases after the same transactions: what imgasm writes in SQLite and in Berkeley DB has the
//! rows that Debian's rpm writes, and Berkeley DB's own tools find its files sound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::transactions::Lab;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::Editor;
use imgasm_guest::packages::{Scriptlets, Wishes};
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::guest_tree::{Files, add};
use imgasm_testkit::need;

/// The indexes that RPM 4.14 keeps, which are more than those of 4.11. What the time of an installation
/// says is left out.
const INDEXES: [&str; 17] = [
    "Name",
    "Basenames",
    "Group",
    "Requirename",
    "Providename",
    "Conflictname",
    "Obsoletename",
    "Triggername",
    "Dirnames",
    "Sigmd5",
    "Sha1header",
    "Filetriggername",
    "Transfiletriggername",
    "Recommendname",
    "Suggestname",
    "Supplementname",
    "Enhancename",
];
const TOOLS: [&str; 4] = ["db5.3_load", "db5.3_dump", "db5.3_verify", "rpmdb"];

/// Which packages have a key in an index, and where: by their names, versions and releases.
type Index = BTreeMap<Vec<u8>, BTreeSet<(String, u32)>>;

/// All indexes by their names.
type Rows = BTreeMap<&'static str, Index>;

/// The rows of all indexes in SQLite.
fn sqlite_rows(root: &Path) -> Rows {
    let path = root.join("var/lib/rpm/rpmdb.sqlite");
    let database = rusqlite::Connection::open(path).unwrap();
    let names = names(root);
    let rows = |name| {
        let mut index = Index::new();
        let query = format!("SELECT CAST(key AS BLOB), hnum, idx FROM '{name}'");
        let mut query = database.prepare(&query).unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (key, number, position): (Vec<u8>, u32, u32) = (
                row.get(0).unwrap(),
                row.get(1).unwrap(),
                row.get(2).unwrap(),
            );
            let package = names[&number].clone();
            index.entry(key).or_default().insert((package, position));
        }
        (name, index)
    };
    INDEXES.into_iter().map(rows).collect()
}

/// The rows of all indexes in Berkeley DB, whose files are sound.
fn berkeley_rows(root: &Path) -> Rows {
    let names = names(root);
    let files = INDEXES.into_iter().chain(["Packages"]);
    let files = files.map(|name| root.join("var/lib/rpm").join(name));
    run(Command::new("db5.3_verify").args(files));
    let rows = |name| {
        let mut index = Index::new();
        for (mut key, value) in dump(root, name) {
            assert!(value.len().is_multiple_of(8), "{name}: {value:?}");
            // RPM has no key without bytes there.
            if key == [0] {
                key.clear();
            }
            for pair in value.chunks_exact(8) {
                let number = u32::from_le_bytes(pair[..4].try_into().unwrap());
                let position = u32::from_le_bytes(pair[4..].try_into().unwrap());
                let set = index.entry(key.clone()).or_default();
                set.insert((names[&number].clone(), position));
            }
        }
        (name, index)
    };
    INDEXES.into_iter().map(rows).collect()
}

/// The pairs of a file of Berkeley DB.
fn dump(root: &Path, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = root.join("var/lib/rpm").join(name);
    let dump = run(Command::new("db5.3_dump").arg(&path));
    let lines = dump.split_once("HEADER=END\n").unwrap().1.lines();
    let items: Vec<_> = lines
        .filter_map(|line| line.strip_prefix(' '))
        .map(|line| hex::decode(line).unwrap())
        .collect();
    let pairs = items.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

/// The packages by their numbers.
fn names(root: &Path) -> BTreeMap<u32, String> {
    let said = said(root, &["-qa", "--qf", "%{dbinstance} %{nevra}\\n"]);
    let names = said.lines().map(|line| {
        let (number, name) = line.split_once(' ').unwrap();
        (number.parse().unwrap(), name.to_owned())
    });
    names.collect()
}

/// What rpm prints about a root; it must succeed.
fn said(root: &Path, arguments: &[&str]) -> String {
    let (status, said) = asked(root, arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {said}");
    said
}

/// What becomes of a question, and what rpm prints.
fn asked(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root);
    let result = output(command.args(["--dbpath", "/var/lib/rpm"]).args(arguments));
    let said = String::from_utf8(result.stdout).unwrap();
    (result.status.code(), said)
}

/// The headers of a database one by one, as `rpmdb --exportdb` has them.
fn exported(root: &Path) -> BTreeSet<Vec<u8>> {
    let mut command = Command::new("rpmdb");
    command.arg("--root").arg(root);
    let result = output(command.args(["--dbpath", "/var/lib/rpm", "--exportdb"]));
    assert!(result.status.success(), "{}", text(&result));
    let magic = [0x8e, 0xad, 0xe8, 0x01];
    let mut rest = result.stdout.as_slice();
    let mut headers = BTreeSet::new();
    while !rest.is_empty() {
        assert_eq!(rest[..4], magic);
        let word = |at: usize| {
            usize::try_from(u32::from_be_bytes(rest[at..at + 4].try_into().unwrap())).unwrap()
        };
        let (header, behind) = rest.split_at(16 + 16 * word(8) + word(12));
        headers.insert(header.to_vec());
        rest = behind;
    }
    headers
}

/// A file of Berkeley DB without pairs, made by its own tool.
fn empty(method: &str, page_size: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (text, file) = (folder.path().join("dump"), folder.path().join("file"));
    let dump = format!(
        "VERSION=3\nformat=bytevalue\ntype={method}\ndb_pagesize={page_size}\nHEADER=END\nDATA=END\n"
    );
    fs::write(&text, dump).unwrap();
    run(Command::new("db5.3_load").arg("-f").arg(text).arg(&file));
    fs::read(file).unwrap()
}

/// Puts a Berkeley DB in the place of the database of a tree in memory.
fn use_berkeley(lab: &mut Lab, method: &str, page_size: usize) {
    let path = |name: &str| format!("/var/lib/rpm/{name}");
    let old = ImagePath::parse(path("rpmdb.sqlite")).unwrap();
    let mut editor = Editor::new(&mut lab.fs);
    editor.remove_tree(&old).unwrap();
    let plain = imgasm_fs::tree::Attributes::default();
    let last = imgasm_fs::tree::LastLink::Keep;
    let mut write = |name: &str, content: &[u8]| {
        let path = ImagePath::parse(path(name)).unwrap();
        editor.write(&path, last, content, plain).unwrap();
    };
    write("Packages", &empty("hash", page_size));
    for name in INDEXES {
        write(name, &empty(method, page_size));
    }
    let stale: Files<'_> = &[
        ("/var/lib/rpm/__db.001", "pages"),
        ("/var/lib/rpm/__db.002", "pages"),
        ("/var/lib/rpm/.dbenv.lock", ""),
    ];
    add(&mut lab.fs, stale);
}

/// Packages with what the indexes are about, by their names and versions.
fn packages(lab: &mut Lab) -> BTreeMap<&'static str, PathBuf> {
    let many: Vec<_> = (0..150)
        .map(|number| format!("/usr/share/many/{}/file-{number:03}", number % 17))
        .collect();
    let many: Vec<_> = many.iter().map(|path| (path.as_str(), "x")).collect();
    let provides = (0..300).map(|number| {
        let name = format!("{number:04}-{}", "long".repeat(number / 10));
        format!("Provides: virtual({name})")
    });
    let provides = provides.collect::<Vec<_>>().join("\n");
    let triggers = "Requires(post): many\n%pre\ntrue\n\
        %triggerin -- many, few\ntrue\n%triggerin -- many\ntrue\n\
        %filetriggerin -- /usr/share/many, /usr/lib\ntrue\n%filetriggerun -- /opt\ntrue\n\
        %transfiletriggerin -- /etc, /opt, /usr\ntrue\n";
    let rich = "Requires: (many or few)\nRequires: ((few and many) if few)\n\
        Conflicts: nobody < 2\nRecommends: (a if b)\nSuggests: s\nSupplements: many\n\
        Enhances: few\nGroup: Tools\nObsoletes: old\n";
    [
        ("shell", "1", "Provides: /bin/sh", &[][..]),
        ("many", "1", &provides, &many[..]),
        ("few", "1", "Requires: many", &[("/opt/few", "1")]),
        ("few", "2", "Requires: virtual(0001-)", &[("/opt/few", "2")]),
        ("triggers", "1", triggers, &[("/opt/triggers", "")]),
        ("rich", "1", rich, &[("/opt/rich", ""), ("/rich", "")]),
        ("old", "1", "", &[("/opt/old", "")]),
    ]
    .map(|(name, version, preamble, files)| {
        let key = match (name, version) {
            ("few", "2") => "few-2",
            _ => name,
        };
        (key, lab.package(name, version, preamble, files))
    })
    .into()
}

/// What rpm and Berkeley DB say of a database after a step must be what they say of rpm's own.
fn compare(folder: &Path, rows: &Rows, theirs: &Path, their_rows: &Rows, step: &str) {
    assert_eq!(rows, their_rows, "{step}");
    for question in [
        &["-qa", "--qf", "%{nevra} [%{filenames} %{filestates},]\\n"][..],
        &["-q", "--whatprovides", "virtual(0001-)"],
        &["-q", "--whatrequires", "many"],
        &["-qf", "/usr/share/many/3/file-020"],
    ] {
        let answer = |root: &Path| {
            let (status, said) = asked(root, question);
            let lines: BTreeSet<_> = said.lines().map(str::to_owned).collect();
            (status, lines)
        };
        assert_eq!(answer(folder), answer(theirs), "{question:?}, {step}");
    }
    let left = fs::read_dir(folder.join("var/lib/rpm")).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let stale: Vec<_> = left.filter(|name| name.starts_with("__db")).collect();
    assert!(stale.is_empty(), "{stale:?}");
}

#[test]
fn every_format_has_the_rows_that_rpm_writes() {
    if !need::tools(&TOOLS) {
        return;
    }
    let labs = (Lab::new(), Lab::new(), Lab::new());
    let (Some(mut lab), Some(mut trees), Some(mut tables)) = labs else {
        return;
    };
    use_berkeley(&mut trees, "btree", 4096);
    use_berkeley(&mut tables, "hash", 512);
    let files = packages(&mut lab);
    let steps: [(&[&str], &[&str]); 5] = [
        (&["shell", "many", "few", "old"], &[]),
        (&["triggers"], &[]),
        // One is obsolete, and one is replaced.
        (&["rich", "few-2"], &[]),
        (&[], &["triggers-1-1.noarch"]),
        (
            &[],
            &["few-2-1.noarch", "rich-1-1.noarch", "many-1-1.noarch"],
        ),
    ];
    let mut seen = BTreeSet::new();
    for (installed, removed) in steps {
        let installed: Vec<_> = installed.iter().map(|name| files[name].as_path()).collect();
        let remove: Vec<_> = removed.iter().map(|name| (*name).to_owned()).collect();
        let wishes = Wishes {
            remove: &remove,
            scriptlets: Scriptlets::Skip,
            ..Wishes::default()
        };
        for lab in [&mut lab, &mut trees, &mut tables] {
            lab.change(&installed, &wishes).unwrap();
        }
        let paths = installed.iter().map(|path| path.to_str().unwrap());
        for (flag, arguments) in [("-U", paths.collect()), ("-e", removed.to_vec())] {
            if !arguments.is_empty() {
                let flags = [flag, "--noscripts", "--notriggers"];
                said(&lab.root(), &[&flags[..], &arguments].concat());
            }
        }
        let (root, theirs) = (lab.root(), sqlite_rows(&lab.root()));
        let filled = theirs.iter().filter(|(_, index)| !index.is_empty());
        seen.extend(filled.map(|(name, _)| *name));
        let folder = lab.copy_out();
        let rows = sqlite_rows(folder.path());
        let headers = exported(folder.path());
        compare(
            folder.path(),
            &rows,
            &root,
            &theirs,
            &format!("SQLite, {installed:?}, {removed:?}"),
        );
        for (what, lab) in [("trees", &trees), ("tables", &tables)] {
            let step = format!("{what}, {installed:?}, {removed:?}");
            let folder = lab.copy_out();
            let rows = berkeley_rows(folder.path());
            compare(folder.path(), &rows, &root, &theirs, &step);
            assert!(exported(folder.path()) == headers, "{step}");
        }
    }
    assert_eq!(seen, INDEXES.into_iter().collect());
    assert_eq!(
        names(&lab.root()).into_values().collect::<Vec<_>>(),
        ["shell-1-1.noarch"]
    );
}
