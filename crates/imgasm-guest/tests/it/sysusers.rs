//! Lines of sysusers.d, carried out by `systemd-sysusers` in a folder and here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Editor, LastLink};
use imgasm_fs::{FileSystem, Timestamp};
use imgasm_guest::files::read_known;
use imgasm_guest::users::sysusers;
use imgasm_testkit::command::run;
use imgasm_testkit::guest_tree::{Files, in_memory, on_host};
use imgasm_testkit::need;

const SYSTEM: Files<'_> = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:2:2::/:/bin/sh\n",
    ),
    ("/etc/group", "root:x:0:\ndaemon:x:2:\nold:x:405:daemon\n"),
    ("/etc/shadow", "root:*:1::::::\ndaemon:*:1::::::\n"),
    ("/etc/gshadow", "root:::\ndaemon:::\nold:!::daemon\n"),
    ("/usr/bin/x", ""),
];

/// Files of lines, each tried by itself.
const CASES: &[&str] = &[
    "g only 444\ng any -\nu plain - \"Plain user\"\n",
    "u one 401 \"With a number\" /var/lib/one\nu two 402:444 x /var /bin/sh\ng group 444\n",
    "g named 444\nu three 403:named \"By name\"\nu four 444\n",
    "u path /usr/bin/x \"Owner\"\ng gpath /usr/bin/x\n",
    "# comment\n\nu! locked 405 \"Locked\" /x\nz unknown\nu dash - - - -\n",
    "u quoted - 'single quoted' /home/q\nu escaped - \"a \\\"b\\\"\" /x\nu percent - \"%% x\"\n",
    "m plain any\nm plain other\nm nobody any\nu plain -\ng any -\n",
    "r - 500-600\nu ranged - x\nu again -\ng g1 -\nm ranged g1\n",
    "r - 300\nr - 200-201\nu a -\nu b -\nu c -\n",
    "g same 410\nu same 410 \"Same name\"\nu other 411:410 \"x\"\n",
    "g taken 2\nu taken2 2 x\nu old -\nm daemon old\n",
    "u first 420\nu first 421\nu root 0 \"Super\"\ng root 0\n",
];

#[test]
fn accounts_are_those_that_systemd_makes() {
    if !need::tools(&["systemd-sysusers"]) {
        return;
    }
    for lines in CASES {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        on_host(&root, SYSTEM);
        let path = root.join("usr/lib/sysusers.d/x.conf");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut command = Command::new("systemd-sysusers");
        command.arg(format!("--root={}", root.display()));
        // Without a range in the file, systemd uses the one that it was built with.
        let with_range = if lines.contains("r -") {
            (*lines).to_owned()
        } else {
            format!("{lines}r - 100-999\n")
        };
        fs::write(&path, &with_range).unwrap();
        run(command.env("SOURCE_DATE_EPOCH", "1700000000"));

        let mut fs = in_memory(SYSTEM);
        let mut editor = Editor::new(&mut fs);
        let now = Timestamp {
            seconds: 1_700_000_000,
            nanoseconds: 0,
        };
        sysusers::apply(&mut editor, &with_range, now).unwrap();
        for name in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
            let ours = String::from_utf8(read_known(&fs, name).unwrap().unwrap()).unwrap();
            let theirs = fs::read_to_string(root.join(&name[1..])).unwrap();
            assert_eq!(ours, theirs, "{name} after\n{lines}");
        }
    }
}

/// What an earlier user of the name has left is not doubled.
#[test]
fn a_line_that_was_left_over_is_as_systemd_leaves_it() {
    if !need::tools(&["systemd-sysusers"]) {
        return;
    }
    let mut system = SYSTEM.to_vec();
    system[2].1 = "left:$6$abc$def:100:1:2:3:4:5:6\nroot:*:1::::::\ndaemon:*:1::::::\n";
    let lines = "u left 420\nu new 421\nr - 100-999\n";
    let folder = tempfile::tempdir().unwrap();
    on_host(folder.path(), &system);
    let mut command = Command::new("systemd-sysusers");
    command.arg(format!("--root={}", folder.path().display()));
    command.arg("--inline").args(lines.lines());
    run(command.env("SOURCE_DATE_EPOCH", "1700000000"));
    let mut image = in_memory(&system);
    let now = Timestamp {
        seconds: 1_700_000_000,
        nanoseconds: 0,
    };
    sysusers::apply(&mut Editor::new(&mut image), lines, now).unwrap();
    for name in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
        let ours = String::from_utf8(read_known(&image, name).unwrap().unwrap()).unwrap();
        let theirs = fs::read_to_string(folder.path().join(&name[1..])).unwrap();
        assert_eq!(ours, theirs, "{name}");
    }
    // A group of which only a password is there is refused by both.
    system[3].1 = "root:::\nleft:!::\n";
    on_host(folder.path(), &system);
    let mut command = Command::new("systemd-sysusers");
    command.arg(format!("--root={}", folder.path().display()));
    command.args(["--inline", "g left 420"]);
    assert!(!command.output().unwrap().status.success());
    let mut image = in_memory(&system);
    sysusers::apply(&mut Editor::new(&mut image), "g left 420", now).unwrap_err();
}

/// Files that are missing are made if they get lines.
#[test]
fn files_that_are_missing_are_those_that_systemd_makes() {
    if !need::tools(&["systemd-sysusers"]) {
        return;
    }
    let files = ["passwd", "group", "shadow", "gshadow"];
    for missing in [
        &["gshadow"][..],
        &["shadow"],
        &["passwd"],
        &["group"],
        &files,
    ] {
        let lines = ["u new 400 x /x\n", "g new 400\n", "m new2 fresh\n"];
        // Without the other files, these have accounts that are half there.
        let is_whole = !missing.contains(&"passwd") && !missing.contains(&"group");
        let more = ["m daemon root\n", "g root 0\n"].into_iter();
        for lines in lines.into_iter().chain(more.filter(|_| is_whole)) {
            let is_there = |path: &str| !missing.iter().any(|name| path == format!("/etc/{name}"));
            let system = SYSTEM.iter().copied().filter(|(path, _)| is_there(path));
            let system: Vec<_> = system.chain([("/etc/", "")]).collect();
            let lines = format!("{lines}r - 100-999\n");
            let folder = tempfile::tempdir().unwrap();
            on_host(folder.path(), &system);
            let path = folder.path().join("usr/lib/sysusers.d/x.conf");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &lines).unwrap();
            let mut command = Command::new("systemd-sysusers");
            command.arg(format!("--root={}", folder.path().display()));
            run(command.env("SOURCE_DATE_EPOCH", "1700000000"));

            let mut image = in_memory(&system);
            let now = Timestamp {
                seconds: 1_700_000_000,
                nanoseconds: 0,
            };
            sysusers::apply(&mut Editor::new(&mut image), &lines, now).unwrap();
            for name in files {
                let ours = read_known(&image, &format!("/etc/{name}")).unwrap();
                let theirs = fs::read(folder.path().join("etc").join(name)).ok();
                assert_eq!(ours, theirs, "{name} without {missing:?}, {lines}");
                let path = ImagePath::parse(format!("/etc/{name}")).unwrap();
                if ours.is_some() && missing.contains(&name) {
                    let node = imgasm_fs::tree::resolve(&image, &path, LastLink::Keep)
                        .unwrap()
                        .0;
                    let mode = image.metadata(node).unwrap().permissions;
                    let theirs = fs::metadata(folder.path().join("etc").join(name)).unwrap();
                    assert_eq!(u32::from(mode), theirs.mode() & 0o7777, "{name}");
                }
            }
        }
    }
}

#[test]
fn what_only_the_running_system_knows_is_refused() {
    for line in [
        "u x - \"%b\"",
        "u x - \"open",
        "u x many",
        "g x:y -",
        "u x 5: x",
        "r - a-b",
    ] {
        let mut fs = in_memory(SYSTEM);
        let mut editor = Editor::new(&mut fs);
        let refused = sysusers::apply(&mut editor, line, Timestamp::default());
        assert!(refused.is_err(), "{line}");
    }
}
