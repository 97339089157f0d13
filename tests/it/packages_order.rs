//! The order in which packages come and go, held against Debian's rpm: of packages that need each
//! other in all ways, from a seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgasm_block::Digest;
use imgasm_fs::Timestamp;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_guest::Facts;
use imgasm_guest::packages::database::Database;
use imgasm_guest::packages::history::Reason;
use imgasm_guest::packages::{Package, Request, Scriptlets, Unwritable, Wishes, transact};
use imgasm_testkit::command::{output, text};
use imgasm_testkit::guest_tree::{add, in_memory, on_host, path};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::rng::{Rng, rounds};
use rpm::Dependency;

const SYSTEM: &[(&str, &str)] = &[
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("/etc/group", "root:x:0:\n"),
    ("/opt/", ""),
    ("/var/lib/rpm/", ""),
];

/// A package that needs others, with scripts that do nothing.
fn package(rng: &mut Rng, folder: &Path, names: &[String], own: usize, version: &str) -> PathBuf {
    let mut builder = rpm::PackageBuilder::new(&names[own], version, "MIT", "noarch", "x");
    builder.release("1");
    let config = rpm::BuildConfig::default().compression(rpm::CompressionType::None);
    builder.using_config(config);
    let script = || rpm::Scriptlet::new("x = 1").prog(vec!["<lua>"]);
    builder.pre_install_script(script());
    builder.pre_uninstall_script(script());
    let file = format!("/opt/{}", names[own]);
    let file = rpm::FileOptions::new(file);
    builder.with_file_contents(version, file).unwrap();
    for (other, name) in names.iter().enumerate() {
        if other == own {
            continue;
        }
        let name = name.as_str();
        match rng.index(36) {
            0 | 1 => builder.requires(Dependency::any(name)),
            2 => builder.requires(Dependency::script_pre(name)),
            3 => builder.requires(Dependency::script_post(name)),
            4 => builder.requires(Dependency::script_preun(name)),
            5 => builder.requires(Dependency::script_postun(name)),
            6 => builder
                .requires(Dependency::any(name))
                .requires(Dependency::script_pre(name)),
            7 => builder.recommends(Dependency::any(name)),
            8 => builder.supplements(Dependency::any(name)),
            9 => builder.suggests(Dependency::any(name)),
            10 => builder.enhances(Dependency::any(name)),
            11 => builder.requires(Dependency::any(format!("/opt/{name}"))),
            12 => builder.requires(Dependency::any(format!("({name} or nobody)"))),
            13 => builder.requires(Dependency::any(format!("({name} if nobody)"))),
            _ => &mut builder,
        };
    }
    let path = folder.join(format!("{}-{version}.rpm", names[own]));
    builder.build().unwrap().write_file(&path).unwrap();
    path
}

/// A system in memory, and one in a folder.
struct Twins {
    fs: MemoryFs,
    root: PathBuf,
}

impl Twins {
    fn new(folder: &Path) -> Self {
        let root = folder.join("root");
        on_host(&root, SYSTEM);
        let mut fs = in_memory(SYSTEM);
        let twins = |root: &Path| {
            let mut command = Command::new("rpm");
            command.arg("--root").arg(root);
            command.args(["--dbpath", "/var/lib/rpm", "--initdb"]);
            assert!(output(&mut command).status.success());
        };
        twins(&root);
        let database = "/var/lib/rpm/rpmdb.sqlite";
        let empty = fs::read(root.join(&database[1..])).unwrap();
        add(&mut fs, &[(database, "")]);
        let plain = Attributes::default();
        let mut editor = Editor::new(&mut fs);
        let written = editor.write(&path(database), LastLink::Keep, &empty, plain);
        written.unwrap();
        Self { fs, root }
    }

    /// Does the same in both; gives what came and went, in the order of each.
    fn change(&mut self, packages: &[PathBuf], removed: &[String]) -> [Vec<String>; 2] {
        let requests: Vec<_> = packages
            .iter()
            .map(|path| Request {
                path: path.clone(),
                sha256: Digest::of(&fs::read(path).unwrap()),
                nevra: None,
                keyrings: Vec::new(),
                signature: None,
                weak_digests: Vec::new(),
                nodeps: true,
                scriptlets: Scriptlets::Native,
                reason: Reason::User,
                repository: None,
            })
            .collect();
        let wishes = Wishes {
            remove: removed,
            ..Wishes::default()
        };
        let done = transact(
            &mut Editor::new(&mut self.fs),
            &Facts::default(),
            Timestamp::default(),
            &requests,
            &wishes,
            Unwritable::Refuse,
        );
        let scripts = done.unwrap().scripts;
        let ours = scripts.iter().map(|script| {
            let sign = if script.script == "preun" { '-' } else { '+' };
            format!("{sign}{}", script.package)
        });
        let mut command = Command::new("rpm");
        command.arg("--root").arg(&self.root);
        command.args(["--dbpath", "/var/lib/rpm", "--nodeps", "-vv"]);
        if packages.is_empty() {
            command.arg("-e").args(removed);
        } else {
            command.arg("-U").args(packages);
        }
        let said = output(&mut command);
        assert!(said.status.success(), "{}", text(&said));
        // The sorted packages are told with numbers before them.
        let said = text(&said);
        let theirs = said.lines().filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["D:", _, _, _, _, name] if name.starts_with(['+', '-']) => Some(name.to_owned()),
                _ => None,
            }
        });
        [ours.collect(), theirs.collect()]
    }

    /// What is installed, in the order of the databases.
    fn installed(&self) -> [Vec<String>; 2] {
        let database = Database::read(&self.fs).unwrap().unwrap();
        let ours = database.records.iter();
        let ours = ours
            .map(|record| Package::of(&record.header).nevra())
            .collect();
        let mut command = Command::new("rpm");
        command.arg("--root").arg(&self.root);
        let format = "%{DBINSTANCE} %{NEVRA}\n";
        command.args(["--dbpath", "/var/lib/rpm", "-qa", "--qf", format]);
        let said = text(&output(&mut command));
        let mut theirs: Vec<(u32, &str)> = said
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(number, name)| (number.parse().unwrap(), name))
            .collect();
        theirs.sort_unstable();
        [
            ours,
            theirs.iter().map(|(_, name)| (*name).to_owned()).collect(),
        ]
    }
}

#[test]
fn packages_come_and_go_in_the_order_of_rpm() {
    if !need::tools(&["rpm"]) {
        return;
    }
    let more = rounds("IMGASM_ORDER_SEED", "IMGASM_ORDER_ROUNDS");
    for mut rng in (0..6).map(Rng::new).chain(more) {
        let folder = tempfile::tempdir().unwrap();
        let count = 3 + rng.index(10);
        let names: Vec<_> = (0..count).map(|number| format!("p{number}")).collect();
        let mut twins = Twins::new(folder.path());
        let all = |rng: &mut Rng, version: &str| -> Vec<PathBuf> {
            (0..count)
                .map(|own| package(rng, folder.path(), &names, own, version))
                .collect()
        };
        let (first, second) = (all(&mut rng, "1"), all(&mut rng, "2"));
        let [ours, theirs] = twins.change(&first, &[]);
        assert_eq!(ours, theirs, "installed");
        let newer: Vec<_> = second.into_iter().filter(|_| rng.chance(60)).collect();
        if !newer.is_empty() {
            let [ours, theirs] = twins.change(&newer, &[]);
            assert_eq!(ours, theirs, "updated");
        }
        let [ours, theirs] = twins.installed();
        assert_eq!(ours, theirs, "recorded");
        let mut gone = theirs;
        gone.sort();
        let [ours, theirs] = twins.change(&[], &gone);
        assert_eq!(ours, theirs, "removed");
    }
}
