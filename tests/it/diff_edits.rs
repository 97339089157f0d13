//! `imgasm diff` on pairs of images, the second of which is the first with edits by the kernel: it
//! lists exactly what the kernel shows to differ.
//!
//! What is expected is computed from two looks through a mount, and written by hand for one list of
//! edits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::example;
use imgasm_fs::FileType;
use imgasm_testkit::apply::{by_kernel, chmod, create, set_xattr};
use imgasm_testkit::command::copy_sparse;
use imgasm_testkit::edits::{Budget, NewKind, generate};
use imgasm_testkit::image::{Kind, Set, set};
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::model::Model;
use imgasm_testkit::need;
use imgasm_testkit::populate::{Amount, populate};
use imgasm_testkit::tree::{Record, Tree};
use serde_json::Value;

/// Enough of everything for hundreds of edits to find something to do.
const AMOUNT: Amount = Amount {
    labels: false,
    files: 500,
    large_directory: 600,
    pieces: 200,
};

fn imgasm(folder: &Path, args: &[&str]) -> Output {
    example::imgasm()
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .expect("the program runs")
}

/// A filled image and a copy of it in a folder of their own.
struct Pair {
    folder: tempfile::TempDir,
    set: &'static Set,
}

impl Pair {
    fn new(kind: Kind, name: &str, fill: impl FnOnce(&Path, &'static Set)) -> Option<Self> {
        let set = set(kind, name).expect("a set of this name");
        if !need::mounts(kind.tools()) {
            return None;
        }
        let pair = Self {
            folder: imgasm_testkit::scratch::folder(),
            set,
        };
        set.make(&pair.path("old"));
        pair.with("old", Access::ReadWrite, |root| fill(root, set));
        copy_sparse(&pair.path("old"), &pair.path("new"));
        Some(pair)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with<T>(&self, name: &str, access: Access, what: impl FnOnce(&Path) -> T) -> T {
        let mount = Mount::new(&self.path(name), self.set.kind, access);
        let result = what(mount.path());
        mount.finish().unwrap_or_else(|e| panic!("{e}"));
        result
    }

    fn tree(&self, name: &str) -> Tree {
        self.with(name, Access::ReadOnly, Tree::of_mount)
    }

    fn diff(&self, options: &[&str]) -> Output {
        imgasm(
            self.folder.path(),
            &[&["diff", "old", "new"], options].concat(),
        )
    }

    /// The paths of the report, after the checks that hold for every report.
    fn paths(&self, options: &[&str]) -> Vec<Value> {
        let output = self.diff(&[&["--json"], options].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said, "");
        let again = self.diff(&[&["--json"], options].concat());
        assert!(again.stdout == output.stdout, "the same bytes each time");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["error"], Value::Null);
        assert_eq!(report["disk"], Value::Array(Vec::new()));
        let [filesystem] = report["filesystems"].as_array().unwrap().as_slice() else {
            panic!("one filesystem differs: {report}");
        };
        filesystem["paths"].as_array().unwrap().clone()
    }
}

/// A path as reports write it.
fn shown(path: &[u8]) -> String {
    imgasm_fs::text::name_text(path)
}

/// The order of a walk: by the names, one after the other.
fn walk_order(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty());
    names.map(<[u8]>::to_vec).collect()
}

/// For each path on both sides that is one of several names of a file, the first of those names
/// that is on both sides.
fn first_names(tree: &Tree, other: &Tree) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut groups: BTreeMap<&Vec<u8>, Vec<&Vec<u8>>> = BTreeMap::new();
    for (path, record) in &tree.0 {
        if let Some(first) = record
            .first_name
            .as_ref()
            .filter(|_| other.0.contains_key(path))
        {
            groups.entry(first).or_default().push(path);
        }
    }
    let mut first_names = BTreeMap::new();
    for group in groups.into_values() {
        let first = group.iter().min_by_key(|path| walk_order(path)).unwrap();
        let others = group.iter().filter(|path| path != &first);
        first_names.extend(others.map(|path| ((*path).clone(), (*first).clone())));
    }
    first_names
}

/// The properties in which two records differ, by the names that reports use.
fn fields(
    old: &Record,
    new: &Record,
    links: [Option<&Vec<u8>>; 2],
    times: bool,
) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let mut note = |name: &str, differs: bool| {
        if differs {
            fields.insert(name.to_owned());
        }
    };
    let is_file = |record: &Record| record.file_type == FileType::Regular;
    let size = |record: &Record| is_file(record).then_some(record.size);
    // The digest leaves the zeros at the end out.
    let content = |record: &Record| record.content.map(|digest| (digest, record.size));
    note("type", old.file_type != new.file_type);
    note("mode", old.permissions != new.permissions);
    note("uid", old.uid != new.uid);
    note("gid", old.gid != new.gid);
    note("size", size(old) != size(new));
    note("sha256", content(old) != content(new));
    note("target", old.target != new.target);
    note("rdev", old.device != new.device);
    note("hard_link_to", links[0] != links[1]);
    note("mtime", times && old.modified != new.modified);
    for name in old.xattrs.keys().chain(new.xattrs.keys()) {
        let differs = old.xattrs.get(name) != new.xattrs.get(name);
        note(&format!("xattr:{}", shown(name)), differs);
    }
    fields
}

fn names(path: &Value) -> BTreeSet<String> {
    let fields = path["fields"].as_array().unwrap().iter();
    fields
        .map(|field| field["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Fails unless the report has each path that differs, with the right kind of change, and no other.
fn check(reported: &[Value], old: &Tree, new: &Tree, times: bool) {
    let links = [first_names(old, new), first_names(new, old)];
    let mut changed = BTreeMap::new();
    for (path, before) in &old.0 {
        if let Some(after) = new.0.get(path) {
            let links = [links[0].get(path), links[1].get(path)];
            let fields = fields(before, after, links, times);
            if !fields.is_empty() {
                changed.insert(shown(path), fields);
            }
        }
    }
    let only = |one: &Tree, other: &Tree| {
        let paths = one.0.keys().filter(|path| !other.0.contains_key(*path));
        paths.map(|path| shown(path)).collect::<BTreeSet<_>>()
    };
    let (mut removed, mut added) = (only(old, new), only(new, old));
    let of_tree = |tree: &Tree| {
        let records = tree.0.iter();
        records
            .map(|(path, record)| (shown(path), record.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let (old, new) = (of_tree(old), of_tree(new));
    for path in reported {
        let name = path["path"].as_str().unwrap().to_owned();
        match path["change"].as_str().unwrap() {
            "added" => assert!(added.remove(&name), "{name} was not added"),
            "removed" => assert!(removed.remove(&name), "{name} was not removed"),
            "renamed" => {
                let from = path["from"].as_str().unwrap().to_owned();
                assert!(added.remove(&name), "{name} was not added");
                assert!(removed.remove(&from), "{from} was not removed");
                let (before, after) = (&old[&from], &new[&name]);
                let same = (
                    before.file_type,
                    before.size,
                    before.content,
                    &before.target,
                );
                if before.file_type != FileType::Directory {
                    assert_eq!(
                        same,
                        (after.file_type, after.size, after.content, &after.target)
                    );
                }
                let fields = fields(before, after, [None, None], times);
                let mut names = names(path);
                names.remove("hard_link_to");
                assert_eq!(names, fields, "{from} -> {name}");
            }
            "changed" => {
                let expected = changed.remove(&name);
                assert_eq!(Some(names(path)), expected, "{name}");
            }
            other => panic!("{other}"),
        }
    }
    assert!(added.is_empty(), "missing: added {added:?}");
    assert!(removed.is_empty(), "missing: removed {removed:?}");
    assert!(changed.is_empty(), "missing: {changed:?}");
}

fn random_edits(kind: Kind, name: &str) {
    let number = |name: &str, usual: u64| {
        std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
    };
    let (first, count) = (
        number("IMGASM_DIFF_SEED", 1),
        number("IMGASM_DIFF_COUNT", 1),
    );
    for seed in first..first + count {
        eprintln!("seed {seed}");
        let Some(pair) = Pair::new(kind, name, |root, set| populate(root, set, seed, AMOUNT))
        else {
            return;
        };
        let same = pair.diff(&["--json", "--times"]);
        assert_eq!((same.status.code(), same.stdout.len()), (Some(0), 0));
        let old = pair.tree("old");
        let budget = Budget {
            bytes: 24 << 20,
            nodes: 600,
        };
        let edits = generate(Model::new(&old), seed, 400, pair.set.limits, budget);
        pair.with("new", Access::ReadWrite, |root| {
            for edit in &edits {
                by_kernel(root, edit).unwrap_or_else(|e| panic!("{e}"));
            }
        });
        let new = pair.tree("new");
        check(&pair.paths(&[]), &old, &new, false);
        check(&pair.paths(&["--times"]), &old, &new, true);
    }
}

#[test]
fn random_edits_on_ext4() {
    random_edits(Kind::Ext, "debian12");
}

#[test]
fn random_edits_on_xfs() {
    random_edits(Kind::Xfs, "al2023");
}

/// What the edits of the test below begin with.
fn fill(root: &Path) {
    for directory in ["etc", "opt/app/lib", "moved/inner", "gone/inner"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let files = [
        "etc/text",
        "etc/mode",
        "etc/owner",
        "etc/xattr",
        "etc/capable",
        "etc/stamp",
        "etc/old-name",
        "etc/becomes-link",
        "moved/one",
        "moved/inner/two",
        "gone/inner/file",
        "etc/linked",
        "etc/binary",
        "etc/grown",
    ];
    for file in files {
        fs::write(
            root.join(file),
            format!("first line\nthis is {file}\nlast line\n"),
        )
        .unwrap();
    }
    fs::write(root.join("etc/binary"), [0, 1, 2, 3]).unwrap();
    fs::write(root.join("moved/inner/empty"), "").unwrap();
    fs::hard_link(root.join("etc/linked"), root.join("opt/link")).unwrap();
    symlink("text", root.join("etc/target")).unwrap();
    symlink("../text", root.join("moved/inner/symlink")).unwrap();
    let number = |major, minor| imgasm_fs::DeviceNumber { major, minor };
    create(&root.join("etc/device"), &NewKind::CharDevice(number(1, 3))).unwrap();
    set_xattr(&root.join("etc/xattr"), b"user.kept", b"kept").unwrap();
    set_xattr(&root.join("etc/xattr"), b"user.note", b"before").unwrap();
}

/// One edit of every kind.
fn edit(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::write(at("etc/text"), "first line\nthis is changed\nlast line\n").unwrap();
    fs::write(at("etc/binary"), [0, 1, 2, 4]).unwrap();
    fs::File::options()
        .write(true)
        .open(at("etc/grown"))
        .unwrap()
        .set_len(5000)
        .unwrap();
    chmod(&at("etc/mode"), 0o4755).unwrap();
    std::os::unix::fs::lchown(at("etc/owner"), Some(1234), Some(70000)).unwrap();
    set_xattr(&at("etc/xattr"), b"user.note", b"after").unwrap();
    let capabilities = hex::decode("0100000200200000000000000000000000000000").unwrap();
    set_xattr(&at("etc/capable"), b"security.capability", &capabilities).unwrap();
    fs::rename(at("etc/old-name"), at("opt/new-name")).unwrap();
    fs::rename(at("moved"), at("opt/moved-here")).unwrap();
    fs::remove_dir_all(at("gone")).unwrap();
    fs::write(at("opt/app/new"), "new\n").unwrap();
    fs::remove_file(at("etc/becomes-link")).unwrap();
    symlink("text", at("etc/becomes-link")).unwrap();
    fs::remove_file(at("etc/target")).unwrap();
    symlink(r"a\b", at("etc/target")).unwrap();
    fs::remove_file(at("etc/device")).unwrap();
    let number = |major, minor| imgasm_fs::DeviceNumber { major, minor };
    create(&at("etc/device"), &NewKind::CharDevice(number(1, 5))).unwrap();
    fs::hard_link(at("etc/linked"), at("etc/another-link")).unwrap();
    fs::remove_file(at("opt/link")).unwrap();
    fs::write(at("opt/link"), "a file of its own\n").unwrap();
    let stamp = fs::File::options()
        .write(true)
        .open(at("etc/stamp"))
        .unwrap();
    stamp.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(fs::metadata(at("etc/stamp")).unwrap().mtime(), 0);
}

fn edits_by_hand(kind: Kind, name: &str) {
    let Some(pair) = Pair::new(kind, name, |root, _| fill(root)) else {
        return;
    };
    pair.with("new", Access::ReadWrite, edit);
    let output = pair.diff(&["--patch"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let (paths, raw): (Vec<&str>, Vec<&str>) = text
        .lines()
        .filter(|line| !line.starts_with("   structures: "))
        .partition(|line| !line.contains(" bytes within "));
    assert!(
        raw.iter().all(|line| line.contains("free space")),
        "{raw:?}"
    );
    let digest = regex::Regex::new(r"\b[0-9a-f]{12}\b").unwrap();
    let paths = digest.replace_all(&paths.join("\n"), "DIGEST").into_owned();
    insta::allow_duplicates! {
        insta::assert_snapshot!(paths, @r#"
    disk
    A  /etc/another-link
    M  /etc/becomes-link  type file -> symlink, mode 0644 -> 0777, size 46 -> none, target none -> text, sha256 DIGEST -> none
    M  /etc/binary  sha256 DIGEST -> DIGEST
    M  /etc/capable  xattr:security.capability none -> cap_net_raw=ep
    M  /etc/device  rdev 1:3 -> 1:5
    M  /etc/grown  size 39 -> 5000, sha256 DIGEST -> DIGEST
    M  /etc/mode  mode 0644 -> 4755
    M  /etc/owner  uid 0 -> 1234, gid 0 -> 70000
    M  /etc/target  target text -> a\x5cb
    M  /etc/text  size 38 -> 37, sha256 DIGEST -> DIGEST
        @@ -1,3 +1,3 @@
         first line
        -this is etc/text
        +this is changed
         last line
    M  /etc/xattr  xattr:user.note before -> after
    D  /gone
    D  /gone/inner
    D  /gone/inner/file
    A  /opt/app/new
    M  /opt/link  size 40 -> 18, hard_link_to /etc/linked -> none, sha256 DIGEST -> DIGEST
        @@ -1,3 +1 @@
        -first line
        -this is etc/linked
        -last line
        +a file of its own
    R  /moved -> /opt/moved-here
    R  /etc/old-name -> /opt/new-name
    "#);
    }
    let stat = String::from_utf8(pair.diff(&["--stat"]).stdout).unwrap();
    assert!(
        stat.contains("\n2 added, 11 changed, 2 renamed, 3 removed\n"),
        "{stat}"
    );
    let paths = pair.paths(&["--times"]);
    let stamp = paths
        .iter()
        .find(|path| path["path"] == "/etc/stamp")
        .unwrap();
    assert_eq!(stamp["fields"][0]["name"], "mtime");
    assert_eq!(stamp["fields"][0]["new"], "0.000000000");
}

#[test]
fn edits_by_hand_on_ext4() {
    edits_by_hand(Kind::Ext, "debian12");
}

#[test]
fn edits_by_hand_on_xfs() {
    edits_by_hand(Kind::Xfs, "al2023");
}
