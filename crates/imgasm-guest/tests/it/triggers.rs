//! Scripts that run because other packages come and go: each writes down what it is given, in a tree
//! in memory and where rpm runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::transactions::Lab;
use imgasm_fs::tree::exists;
use imgasm_guest::files::read_optional;
use imgasm_guest::packages::{Error, Override, Scriptlets, Wishes};
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::guest_tree::{add, on_host, path};
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;

/// Where scripts write it down.
const LOG: &str = "/opt/log";
const MOMENTS: [&str; 6] = ["pretrans", "pre", "post", "preun", "postun", "posttrans"];
const ON_PACKAGES: [&str; 4] = ["triggerprein", "triggerin", "triggerun", "triggerpostun"];
const ON_FILES: [&str; 6] = [
    "filetriggerin",
    "filetriggerun",
    "filetriggerpostun",
    "transfiletriggerin",
    "transfiletriggerun",
    "transfiletriggerpostun",
];
const NAMES: [&str; 3] = ["one", "two", "three"];
const FILES: [&str; 8] = [
    "/srv/a/x",
    "/srv/a/y",
    "/srv/a",
    "/srv/ab",
    "/srv/ab/z",
    "/srv/b/c/d",
    "/srv/b/e",
    "/srv/f",
];
const PLACES: [&str; 6] = ["/srv/a", "/srv/a/", "/srv/b", "/srv/f", "/srv", "/nothing"];
/// Below, at and above the one that decides what runs before a package's own script.
const PRIORITIES: [u64; 6] = [0, 9_999, 10_000, 10_001, 1_000_000, 2_000_000];

/// A script with this head in the spec file.
fn script(head: &str, label: &str) -> String {
    format!("%{head}\ninput=$(cat | tr '\\n' ' ')\necho \"{label} $# $*: $input\" >>{LOG}\n")
}

/// Gives rpm a shell to run scripts with.
fn furnish(root: &Path) {
    let script = "
        for program in /bin/sh /usr/bin/cat /usr/bin/tr; do
            cp \"$program\" \"$0/usr/bin/\"
            ldd \"$program\" | grep -o '/[^ ]*' | while read -r library; do
                mkdir -p \"$0$(dirname \"$library\")\"
                cp -n \"$library\" \"$0$library\"
            done
        done
        mkdir \"$0/dev\" \"$0/tmp\"
        mknod -m 666 \"$0/dev/null\" c 1 3";
    run(Command::new("sh").args(["-ec", script]).arg(root));
}

/// What came of a transaction by both.
struct Both {
    lab: Lab,
    /// The packages that are installed, and their versions.
    installed: Vec<String>,
}

impl Both {
    fn new() -> Option<Self> {
        if !need::tools(&["ldd"]) {
            return None;
        }
        let mut lab = Lab::new()?;
        furnish(&lab.root());
        let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
        let mut both = Self {
            lab,
            installed: Vec::new(),
        };
        both.change(&[&shell], &[]);
        Some(both)
    }

    /// Installs or removes packages by both, and compares what their scripts wrote down.
    fn change(&mut self, packages: &[&Path], remove: &[&str]) -> String {
        let mut command = Command::new("rpm");
        command
            .arg("--root")
            .arg(self.lab.root())
            .args(["--dbpath", "/var/lib/rpm", "--nodeps"]);
        if packages.is_empty() {
            command.arg("-e").args(remove);
        } else {
            command.arg("-U").args(packages);
        }
        let result = output(&mut command);
        assert!(result.status.success(), "{}", text(&result));
        let gone: Vec<_> = self
            .installed
            .iter()
            .filter(|nevra| {
                remove
                    .iter()
                    .any(|name| nevra.starts_with(&format!("{name}-")))
            })
            .cloned()
            .collect();
        let wishes = Wishes {
            remove: &gone,
            ..Wishes::default()
        };
        let done = self.lab.change(packages, &wishes).unwrap();
        let is_replaced = |nevra: &String| {
            let name = nevra.split('-').next();
            let mut installed = done.installed.iter();
            installed.any(|one| Some(one.package.name.as_str()) == name)
        };
        self.installed
            .retain(|nevra| !gone.contains(nevra) && !is_replaced(nevra));
        let installed = done.installed.iter();
        self.installed
            .extend(installed.map(|one| one.package.nevra()));
        let theirs = fs::read_to_string(self.lab.root().join(&LOG[1..])).unwrap_or_default();
        let ours = read_optional(&self.lab.fs, &path(LOG)).unwrap();
        let ours = String::from_utf8(ours.unwrap_or_default()).unwrap();
        assert_eq!(ours, theirs, "{packages:?} {remove:?}");
        ours
    }
}

/// A package with random triggers and files, and all scripts.
fn random_package(lab: &mut Lab, rng: &mut Rng, name: &str, version: &str) -> PathBuf {
    let mut scripts = "%prep\n".to_owned();
    for moment in MOMENTS {
        let label = format!("{name}-{version} {moment}");
        scripts.push_str(&script(moment, &label));
    }
    for number in 0..rng.index(6) {
        let watched = NAMES[rng.index(3)];
        let versions = ["", " < 2", " >= 2", " = 1"][rng.index(4)];
        let head = format!("{} -- {watched}{versions}", ON_PACKAGES[rng.index(4)]);
        scripts.push_str(&script(&head, &format!("{name}-{version} {number} {head}")));
    }
    for number in 0..rng.index(6) {
        let priority = match rng.index(3) {
            0 => String::new(),
            _ => format!("-P {} ", PRIORITIES[rng.index(PRIORITIES.len())]),
        };
        let places: Vec<_> = (0..=rng.index(2))
            .map(|_| PLACES[rng.index(PLACES.len())])
            .collect();
        let head = format!(
            "{} {priority}-- {}",
            ON_FILES[rng.index(ON_FILES.len())],
            places.join(" ")
        );
        scripts.push_str(&script(&head, &format!("{name}-{version} {number} {head}")));
    }
    let mut files: Vec<(&str, &str)> = Vec::new();
    for file in FILES {
        // A path cannot be a file and a folder.
        let is_folder = |other: &str| {
            FILES
                .iter()
                .any(|path| path.starts_with(&format!("{other}/")))
        };
        if !is_folder(file) && rng.index(3) == 0 {
            files.push((file, ""));
        }
    }
    lab.package(name, version, &scripts, &files)
}

#[test]
fn triggers_run_as_rpm_runs_them() {
    let rounds = std::env::var("IMGASM_TEST_ROUNDS").map_or(1, |n| n.parse().unwrap());
    let seed: u64 = std::env::var("IMGASM_SEED").map_or(16, |n| n.parse().unwrap());
    for round in 0..rounds {
        let Some(mut both) = Both::new() else { return };
        let mut rng = Rng::new(seed + round);
        let mut packages = Vec::new();
        for name in NAMES {
            for version in ["1", "2"] {
                packages.push((
                    name,
                    version,
                    random_package(&mut both.lab, &mut rng, name, version),
                ));
            }
        }
        let mut log = String::new();
        for _ in 0..14 {
            let (name, version, package) = &packages[rng.index(packages.len())];
            let of_name = |nevra: &&String| nevra.starts_with(&format!("{name}-"));
            let installed = both.installed.iter().find(of_name).cloned();
            log = match installed {
                Some(_) if rng.index(3) == 0 => both.change(&[], &[name]),
                Some(nevra) if nevra >= format!("{name}-{version}") => continue,
                _ => both.change(&[package], &[]),
            };
        }
        assert!(log.contains("trigger"), "{log}");
    }
}

#[test]
fn triggers_of_a_transaction_run_in_its_end() {
    let Some(mut both) = Both::new() else { return };
    // One that RPM does not run: only the first of its places counts once files have gone.
    let second = script("transfiletriggerpostun -- /nothing /srv/a", "second");
    let all = |version: &str| {
        let mut scripts = "%prep\n".to_owned();
        for name in ON_FILES {
            let head = format!("{name} -- /srv/a /srv/b");
            scripts.push_str(&script(&head, &format!("{version} {name}")));
        }
        for name in ON_PACKAGES {
            let head = format!("{name} -- other < 2");
            scripts.push_str(&script(&head, &format!("{version} {name}")));
        }
        scripts + &second
    };
    let watcher = ["1", "2"].map(|version| {
        both.lab
            .package("watcher", version, &all(version), &[("/srv/b/watcher", "")])
    });
    let other = ["1", "2"].map(|version| {
        let files = [("/srv/a/x", ""), ("/srv/a/y", "")];
        let files = &files[..if version == "1" { 2 } else { 1 }];
        // This makes rpm install the watcher first.
        let needs = format!(
            "Requires: watcher\n{}",
            script("post", "other").replace("%post", "%prep\n%post")
        );
        both.lab.package("other", version, &needs, files)
    });
    both.change(&[&watcher[0], &other[0]], &[]);
    both.change(&[&watcher[1], &other[1]], &[]);
    let log = both.change(&[], &["other"]);
    assert!(log.contains("2 transfiletriggerpostun 1 0"), "{log}");
    let (is_whole, said) = both.lab.ask(&["-Va", "--nomtime"]);
    assert!(is_whole, "{said}");
}

/// A watcher with a trigger that cannot be carried out, and a package that sets it off.
fn unknown(lab: &mut Lab) -> [PathBuf; 3] {
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let trigger = "%prep\n%transfiletriggerin -- /srv\ntouch /opt/half\nunknown-program\n";
    let watcher = lab.package("watcher", "1", trigger, &[]);
    let one = lab.package("one", "1", "", &[("/srv/one", "")]);
    [shell, watcher, one]
}

#[test]
fn a_trigger_that_is_not_known_is_refused() {
    let Some(mut lab) = Lab::new() else { return };
    let [shell, watcher, one] = unknown(&mut lab);
    lab.transact(&[&shell, &watcher], Scriptlets::Native, &[])
        .unwrap();
    let before = lab.fs.clone();
    let error = lab.transact(&[&one], Scriptlets::Native, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "watcher-1-1.noarch: the script %transfiletriggerin cannot be carried out offline: \
         `unknown-program`"
    );
    assert!(error.hint().unwrap().contains("first-boot"));
    assert!(matches!(error, Error::Scriptlet { .. }));
    lab.fs = before;
    let done = lab.transact(&[&one], Scriptlets::Skip, &[]).unwrap();
    assert_eq!(
        done.installed[0].skipped,
        ["%transfiletriggerin /srv of watcher-1-1.noarch: skipped from `unknown-program` on"]
    );
}

#[test]
fn a_trigger_can_wait_or_be_overridden() {
    for is_overridden in [false, true] {
        let Some(mut lab) = Lab::new() else { return };
        let [shell, watcher, one] = unknown(&mut lab);
        add(
            &mut lab.fs,
            &[
                ("/etc/systemd/system/", ""),
                ("/sbin/init", "->../lib/systemd/systemd"),
            ],
        );
        lab.transact(&[&shell, &watcher], Scriptlets::Native, &[])
            .unwrap();
        let act = |editor: &mut imgasm_fs::tree::Editor<'_>| {
            let attributes = imgasm_fs::tree::Attributes::default();
            editor.mkdir_all(&path("/opt/instead"), attributes)?;
            Ok(())
        };
        let own = Override {
            package: "watcher",
            script: "transfiletriggerin",
            act: &act,
        };
        let overrides = if is_overridden { vec![own] } else { Vec::new() };
        lab.transact(&[&one], Scriptlets::FirstBoot, &overrides)
            .unwrap();
        let is_there = |name: &str| exists(&lab.fs, &path(name)).unwrap();
        assert!(!is_there("/opt/half"));
        assert_eq!(is_there("/opt/instead"), is_overridden);
        let folder = "/usr/libexec/firstboot/packages";
        let name = "000001-watcher-1-1.noarch.transfiletriggerin";
        let input = path(&format!("{folder}/scripts/{name}.input"));
        let input = read_optional(&lab.fs, &input).unwrap();
        let queued = read_optional(&lab.fs, &path(&format!("{folder}/queue/{name}"))).unwrap();
        assert_eq!(
            input.as_deref(),
            (!is_overridden).then_some(&b"/srv/one\n"[..])
        );
        let wanted = format!(
            "exec '/bin/sh' '{folder}/scripts/{name}' '0' <'{folder}/scripts/{name}.input'\n"
        );
        assert_eq!(queued, (!is_overridden).then_some(wanted.into_bytes()));
    }
}

#[test]
fn accounts_are_made_of_all_files_in_the_folders() {
    if !need::tools(&["systemd-sysusers"]) {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    let files = [
        ("/etc/shadow", "root:*:0::::::\n"),
        ("/usr/lib/sysusers.d/20-b.conf", "u bee 222\n"),
        (
            "/usr/lib/sysusers.d/10-a.conf",
            "g wasp 333\nu hidden 444\n",
        ),
        ("/usr/lib/sysusers.d/30-masked.conf", "u masked 445\n"),
        ("/usr/lib/sysusers.d/40-other.text", "u other 446\n"),
        ("/etc/sysusers.d/10-a.conf", "u ant 111 Ant /var/ant\n"),
        ("/etc/sysusers.d/30-masked.conf", "->/dev/null"),
    ];
    add(&mut lab.fs, &files);
    on_host(&lab.root(), &files);
    run(Command::new("systemd-sysusers")
        .arg("--root")
        .arg(lab.root()));
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let trigger = "%prep\n%transfiletriggerin -- /usr/lib/sysusers.d\nsystemd-sysusers\n";
    let systemd = lab.package(
        "systemd",
        "1",
        trigger,
        &[("/usr/lib/sysusers.d/50.conf", "")],
    );
    lab.transact(&[&shell, &systemd], Scriptlets::Native, &[])
        .unwrap();
    for name in ["/etc/passwd", "/etc/group"] {
        let ours = read_optional(&lab.fs, &path(name)).unwrap().unwrap();
        let theirs = fs::read_to_string(lab.root().join(&name[1..])).unwrap();
        assert_eq!(String::from_utf8(ours).unwrap(), theirs, "{name}");
    }
}
