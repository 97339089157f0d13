//! New users and groups, against `useradd --prefix` and `groupadd --prefix` on the same tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use imgasm_fs::tree::{Editor, read_file, walk};
use imgasm_fs::{FileType, Timestamp};
use imgasm_guest::users::{
    self, Error, GroupSpec, UserChange, UserSpec, change_user, ensure_group, ensure_user,
};
use imgasm_testkit::guest_tree::{Files, in_memory, on_host, path};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanoseconds: 0,
};

const AMAZON_LINUX_2023: Files<'_> = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/sbin/nologin\nchrony:x:993:990::/var/lib/chrony:/sbin/nologin\nec2-user:x:1000:1000:EC2 Default User:/home/ec2-user:/bin/bash\nnobody:x:65534:65534:Kernel Overflow User:/:/sbin/nologin\n",
    ),
    (
        "/etc/shadow",
        "root:*LOCK*:14600::::::\nbin:*:18353:0:99999:7:::\nchrony:!!:19000::::::\nec2-user:!!:19000:0:99999:7:::\nnobody:*:18353:0:99999:7:::\n",
    ),
    (
        "/etc/group",
        "root:x:0:\nbin:x:1:\nwheel:x:10:ec2-user\nusers:x:100:\nchrony:x:990:\ndocker:x:992:\nec2-user:x:1000:\ntaken:x:1001:\n",
    ),
    (
        "/etc/gshadow",
        "root:::\nbin:::\nwheel:::ec2-user\nusers:::\nchrony:!::\ndocker:!::\nec2-user:!::\ntaken:!::\n",
    ),
    ("/etc/subuid", "ec2-user:100000:65536\n"),
    ("/etc/subgid", "ec2-user:100000:65536\n"),
    (
        "/etc/login.defs",
        "UMASK\t\t022\nHOME_MODE\t0700\nPASS_MAX_DAYS\t99999\nPASS_MIN_DAYS\t0\nPASS_WARN_AGE\t7\nUID_MIN                  1000\nUID_MAX                 60000\nSYS_UID_MIN               201\nSYS_UID_MAX               999\nGID_MIN                  1000\nGID_MAX                 60000\nSYS_GID_MIN               201\nSYS_GID_MAX               999\nCREATE_HOME\tyes\nUSERGROUPS_ENAB yes\nSUB_UID_MIN 100000\nSUB_UID_MAX 600100000\nSUB_UID_COUNT 65536\nSUB_GID_MIN 100000\nSUB_GID_MAX 600100000\nSUB_GID_COUNT 65536\n",
    ),
    (
        "/etc/default/useradd",
        "# useradd defaults file\nGROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\nSHELL=/bin/bash\nSKEL=/etc/skel\nCREATE_MAIL_SPOOL=no\n",
    ),
    ("/etc/skel/.bashrc", "# .bashrc\n"),
    ("/etc/skel/.config/a/b", "deep\n"),
    ("/etc/skel/link", "->.bashrc"),
    ("/home/", ""),
];

/// An older system: no subordinate numbers, no gshadow, numbers from 500, no groups of users' own.
const AMAZON_LINUX_1: Files<'_> = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nntp:x:38:38::/etc/ntp:/sbin/nologin\nec2-user:x:500:500:EC2 Default User:/home/ec2-user:/bin/bash",
    ),
    (
        "/etc/shadow",
        "root:*LOCK*:14600::::::\nntp:!!:17000::::::\nec2-user:!!:17000:0:99999:7:::\n",
    ),
    (
        "/etc/group",
        "root:x:0:\nwheel:x:10:ec2-user\nntp:x:38:\nusers:x:100:\nec2-user:x:500:\n",
    ),
    (
        "/etc/login.defs",
        "UID_MIN 500\nUID_MAX 60000\nGID_MIN 500\nGID_MAX 60000\nUMASK 077\nPASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\nPASS_WARN_AGE 7\nUSERGROUPS_ENAB no\n",
    ),
    (
        "/etc/default/useradd",
        "GROUP=100\nHOME=/home\nSHELL=/bin/bash\nSKEL=/etc/skel\nCREATE_MAIL_SPOOL=no\n",
    ),
    ("/etc/skel/.profile", "x\n"),
    ("/home/", ""),
];

const DATABASES: [&str; 6] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
];

fn text(fs: &MemoryFs, name: &str) -> Option<String> {
    let bytes = read_file(fs, &path(name), 1 << 20).ok()?;
    Some(String::from_utf8(bytes).unwrap())
}

/// Everything below /home, one line each.
fn homes_in_memory(fs: &MemoryFs) -> Vec<String> {
    let mut lines: Vec<_> = walk(fs, &path("/home"))
        .unwrap()
        .map(Result::unwrap)
        .map(|entry| {
            let m = &entry.metadata;
            let mode = match m.file_type {
                FileType::Symlink => 0o777,
                _ => m.permissions,
            };
            format!(
                "{} {} {mode:o} {}:{}",
                entry.path,
                m.file_type.name(),
                m.uid,
                m.gid
            )
        })
        .skip(1)
        .collect();
    lines.sort();
    lines
}

fn homes_on_host(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![folder.join("home")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let m = entry.metadata().unwrap();
            let kind = if m.is_dir() {
                pending.push(entry.path());
                "directory"
            } else if m.is_symlink() {
                "symlink"
            } else {
                "file"
            };
            let path = entry
                .path()
                .strip_prefix(folder)
                .unwrap()
                .display()
                .to_string();
            let mode = m.permissions().mode() & 0o7777;
            lines.push(format!("/{path} {kind} {mode:o} {}:{}", m.uid(), m.gid()));
        }
    }
    lines.sort();
    lines
}

/// Whether the tool did it.
fn run(tool: &str, folder: &Path, arguments: &[&str]) -> bool {
    let output = Command::new(tool)
        .arg("--prefix")
        .arg(folder)
        .args(arguments)
        .env("SOURCE_DATE_EPOCH", NOW.seconds.to_string())
        .output()
        .expect(tool);
    if !output.status.success() {
        println!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

fn compare(files: Files<'_>, steps: &[(UserSpec, &[&str])]) {
    let folder = tempfile::tempdir().unwrap();
    on_host(folder.path(), files);
    let mut fs = in_memory(files);
    for (spec, arguments) in steps {
        let mut arguments = arguments.to_vec();
        arguments.push(&spec.name);
        let theirs = run("useradd", folder.path(), &arguments);
        let ours = ensure_user(&mut Editor::new(&mut fs), spec, NOW);
        assert_eq!(ours.is_ok(), theirs, "{spec:?}: {ours:?}");
        for database in DATABASES {
            let theirs = fs::read_to_string(folder.path().join(&database[1..])).ok();
            assert_eq!(
                text(&fs, database),
                theirs,
                "{database} after {arguments:?}"
            );
        }
        assert_eq!(
            homes_in_memory(&fs),
            homes_on_host(folder.path()),
            "{arguments:?}"
        );
        let writes = fs.writes;
        let _ = ensure_user(&mut Editor::new(&mut fs), spec, NOW);
        assert_eq!(fs.writes, writes, "{arguments:?} a second time");
    }
}

fn user(name: &str) -> UserSpec {
    UserSpec {
        name: name.to_owned(),
        ..UserSpec::default()
    }
}

#[test]
fn users_are_those_of_useradd() {
    if !need::root() || !need::tools(&["useradd"]) {
        return;
    }
    let system = |name: &str| UserSpec {
        system: true,
        ..user(name)
    };
    compare(
        AMAZON_LINUX_2023,
        &[
            (user("alice"), &["-m"]),
            (system("agent"), &["-r"]),
            (
                UserSpec {
                    shell: Some("/sbin/nologin".to_owned()),
                    home: Some("/var/lib/agent2".to_owned()),
                    comment: Some("An agent, second".to_owned()),
                    ..system("agent2")
                },
                &[
                    "-r",
                    "-s",
                    "/sbin/nologin",
                    "-d",
                    "/var/lib/agent2",
                    "-c",
                    "An agent, second",
                ],
            ),
            (
                UserSpec {
                    groups: vec!["wheel".to_owned(), "docker".to_owned()],
                    password: Some("$6$x$y".to_owned()),
                    ..user("bob")
                },
                &["-m", "-G", "wheel,docker", "-p", "$6$x$y"],
            ),
            (
                UserSpec {
                    uid: Some(1500),
                    group: Some("docker".to_owned()),
                    ..user("carol")
                },
                &["-m", "-u", "1500", "-g", "docker"],
            ),
            (user("dave"), &["-m"]),
            (
                UserSpec {
                    create_home: Some(false),
                    ..user("erin")
                },
                &["-M"],
            ),
            (
                UserSpec {
                    create_home: Some(true),
                    ..system("frank")
                },
                &["-r", "-m"],
            ),
        ],
    );
}

#[test]
fn an_older_system_has_other_ways() {
    if !need::root() || !need::tools(&["useradd"]) {
        return;
    }
    compare(
        AMAZON_LINUX_1,
        &[
            (user("alice"), &["-m"]),
            (
                UserSpec {
                    system: true,
                    ..user("agent")
                },
                &["-r"],
            ),
            (
                UserSpec {
                    groups: vec!["wheel".to_owned()],
                    ..user("bob")
                },
                &["-m", "-G", "wheel"],
            ),
        ],
    );
}

/// A change of `ec2-user`, and the arguments with which usermod makes it.
fn change(
    edit: impl FnOnce(&mut UserChange),
    arguments: &[&'static str],
) -> (UserChange, Vec<&'static str>) {
    let mut change = UserChange {
        name: "ec2-user".to_owned(),
        ..UserChange::default()
    };
    edit(&mut change);
    (change, arguments.to_vec())
}

fn changes() -> Vec<(UserChange, Vec<&'static str>)> {
    let some = |text: &str| Some(text.to_owned());
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    // The primary group is one that the host has under the same number: usermod looks there.
    vec![
        change(
            |c| c.add_groups = list("docker,users"),
            &["-aG", "docker,users"],
        ),
        change(|c| c.add_groups = list("wheel"), &["-aG", "wheel"]),
        change(|c| c.remove_groups = list("docker"), &["-rG", "docker"]),
        change(|c| c.remove_groups = list("taken"), &["-rG", "taken"]),
        change(
            |c| c.shell = some("/sbin/nologin"),
            &["-s", "/sbin/nologin"],
        ),
        change(|c| c.comment = some("A user"), &["-c", "A user"]),
        change(|c| c.home = some("/srv/x"), &["-d", "/srv/x"]),
        change(|c| c.group = some("users"), &["-g", "users"]),
        change(|c| c.locked = Some(true), &["-L"]),
        change(|c| c.locked = Some(false), &["-U"]),
        change(|c| c.add_groups = list("none"), &["-aG", "none"]),
        change(
            |c| (c.name, c.locked) = ("nobody-there".to_owned(), Some(true)),
            &["-L"],
        ),
        change(
            |c| (c.name, c.locked) = ("bin".to_owned(), Some(true)),
            &["-L"],
        ),
    ]
}

/// usermod only warns of it, and does nothing.
#[test]
fn no_password_is_not_unlocked() {
    let mut fs = in_memory(AMAZON_LINUX_2023);
    let (unlock, _) = change(|c| c.locked = Some(false), &["-U"]);
    change_user(&mut Editor::new(&mut fs), &unlock).unwrap();
    let before = text(&fs, "/etc/shadow");
    let refused = change_user(&mut Editor::new(&mut fs), &unlock);
    assert!(matches!(refused, Err(Error::NoPassword(_))), "{refused:?}");
    assert_eq!(text(&fs, "/etc/shadow"), before);
}

/// Each change by `usermod --prefix` and by us, one after the other on the same tree.
#[test]
fn changes_are_those_of_usermod() {
    if !need::root() || !need::tools(&["usermod"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    on_host(folder.path(), AMAZON_LINUX_2023);
    let mut fs = in_memory(AMAZON_LINUX_2023);
    for (change, arguments) in changes() {
        let arguments = [&arguments[..], &[change.name.as_str()]].concat();
        let theirs = run("usermod", folder.path(), &arguments);
        let ours = change_user(&mut Editor::new(&mut fs), &change);
        assert_eq!(ours.is_ok(), theirs, "{change:?}: {ours:?}");
        for database in DATABASES {
            let theirs = fs::read_to_string(folder.path().join(&database[1..])).ok();
            assert_eq!(
                text(&fs, database),
                theirs,
                "{database} after {arguments:?}"
            );
        }
    }
}

#[test]
fn what_useradd_refuses_is_refused() {
    if !need::root() || !need::tools(&["useradd"]) {
        return;
    }
    let group = |name: &str| Some(name.to_owned());
    compare(
        AMAZON_LINUX_2023,
        &[
            (
                UserSpec {
                    group: group("none"),
                    ..user("x")
                },
                &["-g", "none"],
            ),
            (
                UserSpec {
                    groups: vec!["none".to_owned()],
                    ..user("x")
                },
                &["-G", "none"],
            ),
            (
                UserSpec {
                    uid: Some(1000),
                    ..user("x")
                },
                &["-u", "1000"],
            ),
            (user("x:y"), &[]),
            (user("-x"), &["--"]),
            (
                UserSpec {
                    comment: group("a:b"),
                    ..user("x")
                },
                &["-c", "a:b"],
            ),
        ],
    );
}

#[test]
fn groups_are_those_of_groupadd() {
    if !need::root() || !need::tools(&["groupadd"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    on_host(folder.path(), AMAZON_LINUX_2023);
    let mut fs = in_memory(AMAZON_LINUX_2023);
    for (name, gid, system, arguments) in [
        ("apps", None, false, &[][..]),
        ("agents", None, true, &["-r"]),
        ("fixed", Some(4242), false, &["-g", "4242"]),
        ("after", None, false, &[]),
        ("clash", Some(4242), false, &["-g", "4242"]),
    ] {
        let spec = GroupSpec {
            name: name.to_owned(),
            gid,
            system,
        };
        let mut arguments = arguments.to_vec();
        arguments.push(name);
        let theirs = run("groupadd", folder.path(), &arguments);
        let ours = ensure_group(&mut Editor::new(&mut fs), &spec);
        assert_eq!(ours.is_ok(), theirs, "{name}: {ours:?}");
        for database in ["/etc/group", "/etc/gshadow"] {
            let theirs = fs::read_to_string(folder.path().join(&database[1..])).ok();
            assert_eq!(text(&fs, database), theirs, "{database} after {name}");
        }
        let writes = fs.writes;
        let _ = ensure_group(&mut Editor::new(&mut fs), &spec);
        assert_eq!(fs.writes, writes, "{name} a second time");
    }
}

#[test]
fn a_user_that_is_there_is_changed_only_where_asked() {
    let mut fs = in_memory(AMAZON_LINUX_2023);
    let spec = UserSpec {
        shell: Some("/bin/zsh".to_owned()),
        groups: vec!["docker".to_owned()],
        ..user("ec2-user")
    };
    ensure_user(&mut Editor::new(&mut fs), &spec, NOW).unwrap();
    let passwd = text(&fs, "/etc/passwd").unwrap();
    assert!(passwd.contains("ec2-user:x:1000:1000:EC2 Default User:/home/ec2-user:/bin/zsh\n"));
    assert!(
        text(&fs, "/etc/group")
            .unwrap()
            .contains("docker:x:992:ec2-user\n")
    );
    assert!(
        text(&fs, "/etc/shadow")
            .unwrap()
            .contains("ec2-user:!!:19000:")
    );

    let other = UserSpec {
        uid: Some(1001),
        ..user("ec2-user")
    };
    let result: users::Result<()> = ensure_user(&mut Editor::new(&mut fs), &other, NOW);
    assert!(matches!(
        result,
        Err(Error::OtherNumber {
            found: 1000,
            wanted: 1001,
            ..
        })
    ));
}
