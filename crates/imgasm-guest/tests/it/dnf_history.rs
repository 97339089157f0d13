//! dnf's history after an installation: Debian's dnf does the same on a copy of the system, and is asked
//! about both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::transactions::Lab;
use imgasm_block::Digest;
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_guest::Facts;
use imgasm_guest::files::read_known;
use imgasm_guest::packages::history::Reason;
use imgasm_guest::packages::{Request, Unwritable, Wishes, transact};
use imgasm_testkit::command::{run, text};
use imgasm_testkit::guest_tree::add;
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;

/// Where dnf keeps its history.
const HISTORY: &str = "/var/lib/dnf/history.sqlite";
/// What the history has of each package of a transaction.
const ROWS: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
rows = connection.execute('''
    SELECT rpm.name, epoch, version, release, arch, action, reason, trans_item.state, repoid, item_type,
        (SELECT one.name FROM item_replaced_by JOIN trans_item other ON other.id = by_trans_item_id
            JOIN rpm one ON one.item_id = other.item_id WHERE trans_item_id = trans_item.id)
    FROM trans_item JOIN rpm USING (item_id) JOIN item ON item.id = trans_item.item_id
    JOIN repo ON repo.id = repo_id WHERE trans_id = ? ORDER BY rpm.name, version''', [sys.argv[2]])
for row in rows:
    print(*row)
for row in connection.execute(
        'SELECT rpmdb_version_begin, releasever, state FROM trans WHERE id = ?', [sys.argv[2]]):
    print(*row)
print(connection.execute('PRAGMA integrity_check').fetchall())
";

struct System {
    lab: Lab,
    repository: PathBuf,
}

impl System {
    /// One with a history of two transactions, in which `app-old` came as wished for and brought
    /// `needed`, and `gone` came.
    fn new() -> Option<Self> {
        if !need::tools(&["dnf", "createrepo_c", "python3"]) {
            return None;
        }
        let mut lab = Lab::new()?;
        let repository = lab.folder.path().join("repository");
        fs::create_dir(&repository).unwrap();
        fs::write(
            lab.folder.path().join(".rpmmacros"),
            "%_dbpath /var/lib/rpm\n",
        )
        .unwrap();
        let system = |lab: Lab| Self {
            lab,
            repository: repository.clone(),
        };
        for (name, version, preamble) in [
            ("app-old", "1", "Requires: needed"),
            ("needed", "1", ""),
            ("gone", "1", ""),
        ] {
            keep(&lab.package(name, version, preamble, &[]), &repository);
        }
        let mut system = system(lab);
        system.index();
        let root = system.lab.root();
        system.dnf(&root, &["-y", "install", "app-old"]);
        system.dnf(&root, &["-y", "install", "gone"]);
        for (name, version, preamble) in [
            (
                "app-new",
                "1",
                "Requires: library\nRequires: needed\nObsoletes: app-old\nRecommends: nice",
            ),
            ("library", "1", ""),
            ("nice", "1", ""),
            ("needed", "2", ""),
        ] {
            keep(
                &system.lab.package(name, version, preamble, &[]),
                &system.repository,
            );
        }
        system.index();
        add(&mut system.lab.fs, &[("/var/lib/dnf/", "")]);
        for path in ["/var/lib/rpm/rpmdb.sqlite", HISTORY] {
            for suffix in ["", "-wal"] {
                let path = format!("{path}{suffix}");
                let Ok(content) = fs::read(root.join(&path[1..])) else {
                    continue;
                };
                let path = ImagePath::parse(path).unwrap();
                let mut editor = Editor::new(&mut system.lab.fs);
                editor
                    .write(&path, LastLink::Keep, &content, Attributes::default())
                    .unwrap();
            }
        }
        Some(system)
    }

    fn index(&self) {
        run(Command::new("createrepo_c").arg("-q").arg(&self.repository));
    }

    /// What dnf says of a root.
    fn dnf(&self, root: &Path, arguments: &[&str]) -> String {
        let config = self.lab.folder.path().join("dnf.conf");
        let text = format!(
            "[main]\nreposdir=/none\ngpgcheck=0\n[r]\nname=r\nbaseurl=file://{}\n",
            self.repository.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("dnf");
        // `metadata_expire=0` would not do: what was read within the same second counts as fresh.
        command
            .args(["-q", "--refresh"])
            .arg("-c")
            .arg(&config)
            .arg("--installroot")
            .arg(root);
        command
            .arg("--releasever=9")
            .args(arguments)
            .env("HOME", self.lab.folder.path());
        let output = imgasm_testkit::command::output(&mut command);
        text_of(&output, arguments)
    }

    /// The same changes, made here in a tree in memory.
    fn change(&self, fs: &mut MemoryFs) {
        let request = |file: &str, reason| {
            let path = self.repository.join(file);
            Request {
                sha256: Digest::of(&fs::read(&path).unwrap()),
                path,
                nevra: None,
                keyrings: Vec::new(),
                signature: None,
                weak_digests: Vec::new(),
                nodeps: false,
                scriptlets: imgasm_guest::packages::Scriptlets::Native,
                reason,
                repository: Some("r".to_owned()),
            }
        };
        let requests = [
            request("app-new-1-1.noarch.rpm", Reason::User),
            request("library-1-1.noarch.rpm", Reason::Dependency),
            request("nice-1-1.noarch.rpm", Reason::WeakDependency),
            request("needed-2-1.noarch.rpm", Reason::Dependency),
        ];
        let remove = ["gone-1-1.noarch".to_owned()];
        let wishes = Wishes {
            remove: &remove,
            ..Wishes::default()
        };
        let now = Timestamp {
            seconds: 1_800_000_000,
            nanoseconds: 0,
        };
        let facts = Facts::default();
        let mut editor = Editor::new(fs);
        transact(
            &mut editor,
            &facts,
            now,
            &requests,
            &wishes,
            Unwritable::Refuse,
        )
        .unwrap();
    }
}

fn text_of(output: &std::process::Output, arguments: &[&str]) -> String {
    // What is not agreed to is a failure of the command.
    let is_question = arguments.contains(&"--assumeno");
    assert!(output.status.success() || is_question, "{}", text(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Puts a package file into the repository.
fn keep(package: &Path, repository: &Path) {
    fs::copy(package, repository.join(package.file_name().unwrap())).unwrap();
}

fn rows(root: &Path, transaction: &str) -> String {
    let mut command = Command::new("python3");
    command
        .args(["-c", ROWS])
        .arg(root.join(&HISTORY[1..]))
        .arg(transaction);
    run(&mut command)
}

#[test]
fn the_history_is_that_of_dnf() {
    let Some(system) = System::new() else { return };
    let mut fs = system.lab.fs.clone();
    system.change(&mut fs);
    let mut again = system.lab.fs.clone();
    system.change(&mut again);
    let bytes = |fs: &MemoryFs| read_known(fs, HISTORY).unwrap().unwrap();
    assert_eq!(bytes(&fs), bytes(&again), "the same bytes each time");

    let script = system.lab.folder.path().join("script");
    fs::write(
        &script,
        "install app-new\nupgrade needed\nremove gone\nrun\nexit\n",
    )
    .unwrap();
    let theirs = system.lab.root();
    system.dnf(&theirs, &["-y", "shell", script.to_str().unwrap()]);
    let ours = system.lab.copy_out_of(&fs);
    for transaction in ["1", "2"] {
        assert_eq!(rows(ours.path(), transaction), rows(&theirs, transaction));
    }
    // The system says nothing of its release, and dnf was told.
    let theirs_of_it = rows(&theirs, "3").replace(" 9 1\n", "  1\n");
    assert_eq!(rows(ours.path(), "3"), theirs_of_it);
    for question in [
        ["repoquery", "--userinstalled"].as_slice(),
        &[
            "repoquery",
            "--installed",
            "--qf",
            "%{name} %{version} %{reason}",
        ],
        &["autoremove", "--assumeno"],
        &["repoquery", "--unneeded"],
    ] {
        assert_eq!(
            system.dnf(ours.path(), question),
            system.dnf(&theirs, question),
            "{question:?}"
        );
    }
    let listed = system.dnf(ours.path(), &["history", "list"]);
    assert!(
        listed.contains("imgasm build") && listed.lines().count() >= 5,
        "{listed}"
    );
    // Nothing seems to have been done behind dnf's back, before it or since.
    assert!(!listed.contains('<') && !listed.contains('>'), "{listed}");
    system.dnf(ours.path(), &["-y", "remove", "app-new"]);
    let left = system.dnf(
        ours.path(),
        &["repoquery", "--installed", "--qf", "%{name}"],
    );
    assert_eq!(left.trim(), "", "what nobody needs any more goes along");
}

#[test]
fn a_history_that_is_not_there_is_not_made() {
    let Some(system) = System::new() else { return };
    let mut fs = system.lab.fs.clone();
    let mut editor = Editor::new(&mut fs);
    editor
        .remove_tree(&ImagePath::parse("/var/lib/dnf").unwrap())
        .unwrap();
    drop(editor);
    system.change(&mut fs);
    assert_eq!(read_known(&fs, HISTORY).unwrap(), None);
}
