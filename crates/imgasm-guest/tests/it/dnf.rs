//! The repositories of a system, as Debian's dnf reads them from the same files.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::transactions::Lab;
use imgasm_guest::dnf::Repository;
use imgasm_guest::dnf::repository::Place;
use imgasm_guest::dnf::variables::Variables;
use imgasm_guest::packages::database::Database;
use imgasm_guest::{Arch, Facts};
use imgasm_testkit::command::succeeded;
use imgasm_testkit::guest_tree::{Files, add, in_memory, on_host};
use imgasm_testkit::need;

/// What dnf's own library says of a root: each repository that is on, a line each.
const DNF: &str = "
import dnf, sys
base = dnf.Base()
conf = base.conf
conf.installroot = sys.argv[1]
conf.config_file_path = sys.argv[1] + sys.argv[2]
conf.read()
conf.substitutions['arch'] = conf.substitutions['basearch'] = 'x86_64'
conf.substitutions['releasever'] = dnf.rpm.detect_releasever(conf.installroot) or ''
conf.substitutions.update_from_etc(conf.installroot)
conf.reposdir = [conf.installroot + one for one in conf.reposdir]
base.read_all_repos()
for repo in sorted(base.repos.iter_enabled(), key=lambda one: one.id):
    place = repo.metalink or repo.mirrorlist or list(repo.baseurl)
    keys = list(repo.gpgkey) if repo.gpgcheck or repo.repo_gpgcheck else []
    print(repo.id, place, keys, repo.gpgcheck, repo.repo_gpgcheck, repo.priority, repo.cost,
          sorted(set(repo.excludepkgs) | set(conf.excludepkgs)),
          sorted(set(repo.includepkgs) | set(conf.includepkgs)), sep='|')
";

/// The same of ours, in the form of Python.
fn ours(found: &[Repository]) -> String {
    let mut text = String::new();
    let list = |items: Vec<String>| {
        let quoted: Vec<_> = items.iter().map(|item| format!("'{item}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let set = |items: &[String]| {
        let mut items = items.to_vec();
        items.sort();
        items.dedup();
        list(items)
    };
    let truth = |value| if value { "True" } else { "False" };
    for one in found {
        let place = match &one.place {
            Place::Urls(urls) => list(urls.clone()),
            Place::MirrorList(url) | Place::Metalink(url) => url.clone(),
        };
        let keys = one.keys.iter().map(|key| format!("file://{key}"));
        let fields = [
            one.id.clone(),
            place,
            list(keys.collect()),
            truth(one.gpgcheck).to_owned(),
            truth(one.repo_gpgcheck).to_owned(),
            one.priority.unwrap_or(99).to_string(),
            one.cost.unwrap_or(1000).to_string(),
            set(&one.excludes),
            set(&one.includes),
        ];
        text += &fields.join("|");
        text += "\n";
    }
    text
}

const CONFIGURATION: Files<'_> = &[
    (
        "/etc/dnf/dnf.conf",
        "[main]\ngpgcheck=1\nexcludepkgs=never*\n# enabled=0\n[inmain]\nbaseurl=https://m.example/\n\
         gpgcheck=0\n",
    ),
    (
        "/etc/yum.repos.d/amazonlinux.repo",
        "[amazonlinux]\nname=Amazon Linux $releasever\n\
         mirrorlist=https://cdn.example/$releasever/$basearch/$product/mirror.list\nenabled=1\n\
         repo_gpgcheck=0\ntype=rpm\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/KEY-$product\n\
         \n[amazonlinux-source]\nmirrorlist=https://cdn.example/SRPMS/\nenabled=0\ngpgcheck=1\n",
    ),
    (
        "/etc/yum.repos.d/other.repo",
        "[other]\nbaseurl = https://a.example/${releasever}/,\n  https://b.example/$arch/$unknown\n\
         ; a remark\npriority=10\ncost = 500\nexclude=kernel*, x\nincludepkgs=a b\n\
         gpgcheck=false\nrepo_gpgcheck=True\ngpgkey = file:///k/one\n\tfile:///k/two\n\
         [meta]\nmetalink=https://m.example/metalink?repo=$releasever&arch=$basearch\n\
         mirrorlist=https://no.example\ngpgcheck=no\n\
         [disguised]\nmirrorlist=https://m.example/metalink\ngpgcheck=off\n",
    ),
    (
        "/etc/yum.repos.d/zlast.repo",
        "[other]\nbaseurl=https://second.example\nenabled=0\n",
    ),
    (
        "/etc/yum.repos.d/not.txt",
        "[not]\nbaseurl=https://n.example\n",
    ),
    ("/etc/yum/vars/product", "core\nmore\n"),
    ("/etc/yum/vars/both", "yum"),
    ("/etc/dnf/vars/both", "dnf"),
    (
        "/etc/yum.conf",
        "[main]\ngpgcheck=0\n[never]\nbaseurl=https://never.example\n",
    ),
];

#[test]
fn repositories_are_those_that_dnf_finds() {
    if !need::tools(&["dnf"]) {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    let release = "Provides: system-release(releasever) = 2023.5.20240722\n\
                   Provides: system-release\n";
    let release = lab.package("system-release", "2023.5", release, &[]);
    let other = lab.package("generic-release", "7", "Provides: redhat-release = 9", &[]);
    let root = lab.root();
    for path in [&release, &other] {
        let wishes = imgasm_guest::packages::Wishes::default();
        lab.change(&[path.as_path()], &wishes).unwrap();
        let mut command = Command::new("rpm");
        command.args(["--dbpath", "/var/lib/rpm", "-i", "--root"]);
        succeeded(command.arg(&root).arg(path));
    }
    // Debian's rpm looks for the database in the home.
    symlink("lib/rpm", root.join("var/.rpmdb")).unwrap();
    on_host(&root, CONFIGURATION);
    add(&mut lab.fs, CONFIGURATION);
    let mut seen = 0;
    for main in ["/etc/dnf/dnf.conf", "/etc/yum.conf"] {
        let mut command = Command::new("/usr/bin/python3");
        command
            .env("HOME", "/var")
            .args(["-c", DNF])
            .arg(&root)
            .arg(main);
        let theirs = String::from_utf8(succeeded(&mut command).stdout).unwrap();
        let database = Database::read(&lab.fs).unwrap().unwrap();
        let facts = Facts {
            arch: Some(Arch::X86_64),
            ..Facts::default()
        };
        let variables = Variables::read(&lab.fs, &facts, &database.records).unwrap();
        let found = Repository::enabled(&lab.fs, &variables, &[]).unwrap();
        assert_eq!(ours(&found), theirs);
        seen += found.len();
        // The other one counts where this one is missing.
        let dnf = imgasm_guest::known_path("/etc/dnf/dnf.conf");
        let mut editor = imgasm_fs::tree::Editor::new(&mut lab.fs);
        editor.remove_tree(&dnf).unwrap();
        fs::remove_file(root.join("etc/dnf/dnf.conf")).unwrap_or_default();
    }
    assert_eq!(seen, 10);
}

#[test]
fn what_cannot_be_used_from_outside_is_an_error() {
    let variables = Variables::default();
    let refused = |repository: &str| {
        let content = format!("[x]\n{repository}");
        let fs = in_memory(&[("/etc/yum.repos.d/x.repo", &content)]);
        let taken = Repository::enabled(&fs, &variables, &["x"]);
        assert_eq!(taken.unwrap(), []);
        Repository::enabled(&fs, &variables, &[]).unwrap_err()
    };
    for (repository, wanted) in [
        (
            "baseurl=file:///media/cdrom\n",
            "a place of the system itself",
        ),
        ("baseurl=/media/cdrom\n", "a place of the system itself"),
        (
            "mirrorlist=FILE:///etc/mirrors\n",
            "a place of the system itself",
        ),
        (
            "baseurl=https://a\ngpgcheck=1\ngpgkey=https://a/key\n",
            "not in the image",
        ),
        ("baseurl=https://a\ngpgcheck=1\n", "no `gpgkey`"),
        ("baseurl=https://a\ngpgcheck=maybe\n", "not true or false"),
        ("baseurl=https://a\ncost=-1\n", "not a number"),
        ("name=nowhere\n", "no `baseurl`"),
    ] {
        let error = refused(repository).to_string();
        assert!(error.contains(wanted), "{repository}: {error}");
    }
    let off = in_memory(&[("/etc/yum.repos.d/x.repo", "[x]\nenabled=0\n")]);
    assert_eq!(Repository::enabled(&off, &variables, &[]).unwrap(), []);
}
