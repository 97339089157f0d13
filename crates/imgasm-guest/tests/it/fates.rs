//! What becomes of files that are there already, held against Debian's rpm.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Editor, LastLink, resolve};
use imgasm_guest::packages::Wishes;
use imgasm_testkit::guest_tree::{add, on_host};

use crate::transactions::{Lab, host_listing, memory_listing, rpm};

/// How a package has a file: its directive, and what it is.
const KINDS: [(&str, &str, &str); 9] = [
    ("plain", "", "file"),
    ("config", "%config", "file"),
    ("keep", "%config(noreplace)", "file"),
    ("may", "%config(noreplace,missingok)", "file"),
    ("ghost", "%ghost %config", "file"),
    ("link", "", "link"),
    ("clink", "%config", "link"),
    ("folder", "%dir", "folder"),
    ("none", "", ""),
];
/// What an administrator does in between.
const CHANGES: [&str; 6] = ["left", "changed", "new", "gone", "link", "empty"];

/// A package that has a file of some kind for each case, as the old or the new one of two.
fn package(
    lab: &mut Lab,
    cases: &[(String, usize)],
    version: &str,
    content: &str,
) -> std::path::PathBuf {
    let (mut build, mut list) = (String::new(), String::new());
    for (path, kind) in cases {
        let (_, directive, what) = KINDS[*kind];
        let into = format!("%{{buildroot}}{path}");
        match what {
            "file" => writeln!(build, "printf {content} > {into}").unwrap(),
            "link" => writeln!(build, "ln -s {content} {into}").unwrap(),
            "folder" => writeln!(build, "mkdir {into}").unwrap(),
            _ => continue,
        }
        writeln!(list, "{directive} {path}").unwrap();
    }
    let rest =
        format!("%description\nx\n%install\nmkdir -p %{{buildroot}}/opt\n{build}\n%files\n{list}");
    lab.spec("fates", version, &rest)
}

/// What happens to a file between the two.
fn change(lab: &mut Lab, path: &str, how: &str) {
    let root = lab.root();
    let on = root.join(&path[1..]);
    let place = ImagePath::parse(path).unwrap();
    if how == "left" {
        return;
    }
    if fs::symlink_metadata(&on).is_ok() {
        if on.is_dir() && !on.is_symlink() {
            fs::remove_dir(&on).unwrap();
        } else {
            fs::remove_file(&on).unwrap();
        }
        Editor::new(&mut lab.fs).remove_tree(&place).unwrap();
    }
    let files = match how {
        "changed" => [(path.to_owned(), "mine")],
        "new" => [(path.to_owned(), "2")],
        "link" => [(path.to_owned(), "->elsewhere")],
        "empty" => [(format!("{path}/"), "")],
        _ => return,
    };
    let files = files
        .each_ref()
        .map(|(path, content)| (path.as_str(), *content));
    on_host(&root, &files);
    add(&mut lab.fs, &files);
}

/// Both trees, with where links lead.
fn compare(lab: &Lab, when: &str) {
    let (ours, theirs) = (memory_listing(&lab.fs), host_listing(&lab.root()));
    let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name));
    let differ: Vec<_> = differ
        .map(|name| {
            format!(
                "{name}: {:?}, and with rpm {:?}",
                ours.get(name),
                theirs.get(name)
            )
        })
        .collect();
    assert!(differ.is_empty(), "{when}: {differ:#?}");
    for (name, _) in ours.iter().filter(|(_, what)| *what == "link") {
        let path = ImagePath::parse(name.as_str()).unwrap();
        let (node, _) = resolve(&lab.fs, &path, LastLink::Keep).unwrap();
        let target = imgasm_fs::FileSystem::read_link(&lab.fs, node).unwrap();
        let theirs = fs::read_link(lab.root().join(&name[1..])).unwrap();
        assert_eq!(
            Path::new(std::str::from_utf8(&target).unwrap()),
            theirs,
            "{name}"
        );
    }
}

#[test]
fn configuration_files_fare_as_with_rpm() {
    let Some(mut lab) = Lab::new() else { return };
    let (mut old, mut new, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for (from, (one, ..)) in KINDS.iter().enumerate() {
        for (to, (other, ..)) in KINDS.iter().enumerate() {
            for how in CHANGES {
                // rpm does not make anything else of a folder.
                if *one == "folder" && !matches!(*other, "folder" | "none") {
                    continue;
                }
                // What it makes of a folder where a file is to be is an error.
                if how == "empty" && (*one == "none" || matches!(*other, "plain" | "link")) {
                    continue;
                }
                let path = format!("/opt/{one}-{other}-{how}");
                old.push((path.clone(), from));
                new.push((path.clone(), to));
                changes.push((path, how));
            }
        }
    }
    let first = package(&mut lab, &old, "1", "1");
    let second = package(&mut lab, &new, "2", "2");
    assert!(lab.both(&[&first]));
    compare(&lab, "installed");
    for (path, how) in &changes {
        change(&mut lab, path, how);
    }
    compare(&lab, "changed");
    assert!(lab.both(&[&second]));
    compare(&lab, "updated");
    for (path, how) in &changes {
        change(&mut lab, path, how);
    }
    remove(&mut lab, &["fates-2-1.noarch"]);
    compare(&lab, "removed");
}

/// Removes packages both ways.
fn remove(lab: &mut Lab, names: &[&str]) {
    let gone: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let wishes = Wishes {
        remove: &gone,
        ..Wishes::default()
    };
    lab.change(&[], &wishes).unwrap();
    let mut arguments = vec!["-e", "--noscripts"];
    arguments.extend(names);
    rpm(&lab.root(), &arguments);
}

#[test]
fn what_is_the_same_keeps_its_names_and_the_rest_is_new() {
    let Some(mut lab) = Lab::new() else { return };
    let links = "%description\nx\n%install\nmkdir -p %{buildroot}/opt\nprintf same > %{buildroot}/opt/a\n\
                 ln %{buildroot}/opt/a %{buildroot}/opt/b\nprintf N > %{buildroot}/opt/c\n%files\n\
                 %config /opt/a\n%config /opt/b\n/opt/c\n";
    let apart = links.replace("ln ", "cp ").replace("printf N", "printf 1");
    let first = lab.spec("links", "1", &apart);
    let second = lab.spec("links", "2", &links.replace("printf N", "printf 2"));
    let others = |lab: &Lab, name: &str| {
        let path = ImagePath::parse(name).unwrap();
        let (node, _) = resolve(&lab.fs, &path, LastLink::Keep).unwrap();
        let ours = imgasm_fs::FileSystem::metadata(&lab.fs, node)
            .unwrap()
            .links;
        let theirs = fs::metadata(lab.root().join(&name[1..])).unwrap();
        assert_eq!(
            u64::from(ours),
            std::os::unix::fs::MetadataExt::nlink(&theirs),
            "{name}"
        );
    };
    assert!(lab.both(&[&first]));
    let place = ImagePath::parse("/opt/c").unwrap();
    let set = Editor::new(&mut lab.fs).set_xattr(&place, LastLink::Keep, b"user.mine", Some(b"1"));
    set.unwrap();
    assert!(lab.both(&[&second]));
    for name in ["/opt/a", "/opt/b", "/opt/c"] {
        others(&lab, name);
    }
    // A file that is replaced is another one.
    let (node, _) = resolve(&lab.fs, &place, LastLink::Keep).unwrap();
    let left = imgasm_fs::FileSystem::xattrs(&lab.fs, node).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_package_agrees_with_itself() {
    let Some(mut lab) = Lab::new() else { return };
    let same = lab.package("same", "1", "", &[("/lib/x", "1"), ("/usr/lib/x", "1")]);
    let other = lab.package("other", "1", "", &[("/lib/y", "1"), ("/usr/lib/y", "2")]);
    assert!(!lab.both(&[&other]), "two files at one place");
    assert!(lab.both(&[&same]));
    remove(&mut lab, &["same-1-1.noarch"]);
    compare(&lab, "removed");
}

#[test]
fn the_last_of_several_takes_a_shared_file_with_it() {
    let Some(mut lab) = Lab::new() else { return };
    let spec = |own: &str, config: &str| {
        format!(
            "%description\nx\n%install\nmkdir -p %{{buildroot}}/opt/d\nprintf s > %{{buildroot}}/opt/d/s\n\
             printf {own} > %{{buildroot}}/opt/d/{own}\n%files\n{config} /opt/d/s\n/opt/d/{own}\n"
        )
    };
    let one = lab.spec("one", "1", &spec("one", "%config"));
    let two = lab.spec("two", "1", &(spec("two", "") + "%dir /opt/d\n"));
    for removed in [
        &["one-1-1.noarch", "two-1-1.noarch"][..],
        &["two-1-1.noarch", "one-1-1.noarch"],
    ] {
        assert!(lab.both(&[&one, &two]));
        on_host(&lab.root(), &[("/opt/d/s", "mine")]);
        add(&mut lab.fs, &[("/opt/d/s", "mine")]);
        remove(&mut lab, removed);
        compare(&lab, "removed");
        fs::remove_dir_all(lab.root().join("opt/d")).ok();
        let place = ImagePath::parse("/opt/d").unwrap();
        Editor::new(&mut lab.fs).remove_tree(&place).unwrap();
    }
}

#[test]
fn what_scripts_change_is_not_what_an_administrator_changed() {
    let Some(mut lab) = Lab::new() else { return };
    let rest = "%description\nx\n%install\nmkdir -p %{buildroot}/opt\nprintf 1 > %{buildroot}/opt/new\n\
                %pre -p <lua>\nposix.symlink('elsewhere', '/opt/new')\n%files\n%config /opt/new\n";
    let early = lab.spec("early", "1", rest);
    let scriptlets = imgasm_guest::packages::Scriptlets::Native;
    lab.transact(&[&early], scriptlets, &[]).unwrap();
    rpm(&lab.root(), &["-U", early.to_str().unwrap()]);
    compare(&lab, "installed");
}
