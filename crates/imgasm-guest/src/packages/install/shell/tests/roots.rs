//! The two roots in which a script runs: folders of the host for a real shell, and a tree in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, walk};
use imgasm_fs::{FileType, Timestamp};
use imgasm_testkit::command::run as succeed;
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;

/// The programs that the real shell is given.
const PROGRAMS: [&str; 49] = [
    "mkdir",
    "touch",
    "rm",
    "rmdir",
    "ln",
    "mv",
    "cp",
    "chmod",
    "chown",
    "chgrp",
    "install",
    "sed",
    "grep",
    "cat",
    "cut",
    "head",
    "tail",
    "tr",
    "wc",
    "basename",
    "dirname",
    "readlink",
    "id",
    "getent",
    "awk",
    "useradd",
    "groupadd",
    "usermod",
    "userdel",
    "groupdel",
    "gpasswd",
    "systemctl",
    "systemd-sysusers",
    "ls",
    "sort",
    "uniq",
    "mktemp",
    "find",
    "xargs",
    "stat",
    "cmp",
    "expr",
    "seq",
    "tee",
    "env",
    "true",
    "false",
    "unlink",
    "update-alternatives",
];

/// Programs without an effect on what is compared, and what they end with.
const STUBS: [(&str, u8); 20] = [
    ("/usr/bin/curl", 0),
    ("/usr/bin/date", 0),
    ("/usr/bin/systemd-tmpfiles", 0),
    ("/usr/bin/gtk-update-icon-cache", 0),
    ("/usr/bin/update-desktop-database", 0),
    ("/usr/bin/update-mime-database", 0),
    ("/usr/bin/glib-compile-schemas", 0),
    ("/usr/bin/fc-cache", 0),
    ("/usr/bin/firewall-cmd", 0),
    ("/usr/bin/udevadm", 0),
    ("/usr/bin/systemd-hwdb", 0),
    ("/usr/bin/journalctl", 0),
    ("/sbin/install-info", 0),
    ("/sbin/modprobe", 0),
    ("/sbin/load_policy", 0),
    ("/sbin/restorecon", 0),
    ("/sbin/selinuxenabled", 0),
    ("/sbin/ldconfig", 0),
    ("/sbin/chkconfig", 0),
    ("/usr/lib/systemd/systemd-sysctl", 0),
];

/// The helper of systemd's macros, in terms of what it calls.
const UPDATE_HELPER: &str = "#!/bin/sh
verb=$1; shift
case $verb in
install-system-units) systemctl --no-reload preset \"$@\" ;;
remove-system-units) systemctl --no-reload disable \"$@\" ;;
install-user-units) systemctl --no-reload preset --global \"$@\" ;;
remove-user-units) systemctl --no-reload disable --global \"$@\" ;;
esac
";

/// Debian's tool in the place of chkconfig's: the links are the same, the states are not compared.
const ALTERNATIVES: &str = "#!/bin/sh
exec update-alternatives --log /dev/null --admindir /var/lib/alternatives \"$@\" >/dev/null 2>&1
";

/// Files that no script changes: units and presets.
const FIXED: [(&str, &str); 6] = [
    (
        "/usr/lib/systemd/system/app.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=application.service\n",
    ),
    (
        "/usr/lib/systemd/system/app.socket",
        "[Socket]\nListenStream=/run/app\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "/usr/lib/systemd/system/app@.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/usr/lib/systemd/user/app-user.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=default.target\n",
    ),
    (
        "/usr/lib/systemd/system-preset/90-default.preset",
        "enable app.service\ndisable *\n",
    ),
    (
        "/usr/lib/systemd/user-preset/90-default.preset",
        "enable app-user.service\n",
    ),
];

/// The folders in which scripts leave what is compared.
const COMPARED: [&str; 5] = ["etc", "opt", "srv", "var", "usr/share"];

/// The day on which accounts are made.
pub(super) const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanoseconds: 0,
};

/// What there is before a script runs: paths with permissions, an owner and content; a folder has
/// none.
pub(super) const START: [(&str, u16, u32, Option<&str>); 22] = [
    ("/etc", 0o755, 0, None),
    (
        "/etc/passwd",
        0o644,
        0,
        Some("root:x:0:0:root:/root:/bin/sh\nweb:x:155:156:The web:/srv:/sbin/nologin\n"),
    ),
    (
        "/etc/group",
        0o644,
        0,
        Some("root:x:0:\nweb:x:156:\nwheel:x:10:web,a b\n"),
    ),
    (
        "/etc/app.conf",
        0o640,
        155,
        Some("# comment\nport = 80\nname=web\n\npath: /srv/web\nport = 81\n"),
    ),
    ("/etc/app.d", 0o2755, 0, None),
    ("/etc/app.d/a.conf", 0o600, 0, Some("one two  three\n")),
    ("/etc/app.d/b.conf", 0o644, 0, Some("x:y:z\n:1:\nplain")),
    ("/etc/app.d/c.txt", 0o4755, 0, Some("")),
    ("/opt", 0o755, 0, None),
    ("/opt/tool", 0o755, 155, Some("#!/bin/sh\n")),
    ("/srv", 0o1777, 0, None),
    ("/var", 0o755, 0, None),
    ("/var/lib", 0o755, 0, None),
    ("/var/lib/alternatives", 0o755, 0, None),
    ("/etc/alternatives", 0o755, 0, None),
    ("/usr/share", 0o755, 0, None),
    ("/usr/share/app", 0o755, 0, None),
    ("/etc/selinux", 0o755, 0, None),
    (
        "/etc/selinux/config",
        0o644,
        0,
        Some("SELINUX=permissive\nSELINUXTYPE=targeted\n"),
    ),
    (
        "/etc/shadow",
        0o600,
        0,
        Some("root:*:14600::::::\nweb:!!:14600::::::\n"),
    ),
    (
        "/etc/gshadow",
        0o600,
        0,
        Some("root:::\nweb:!::\nwheel:::web,a b\n"),
    ),
    (
        "/etc/login.defs",
        0o644,
        0,
        Some(
            "UID_MIN 1000\nUID_MAX 60000\nSYS_UID_MIN 201\nSYS_UID_MAX 999\nGID_MIN 1000\nGID_MAX 60000\nSYS_GID_MIN 201\nSYS_GID_MAX 999\nUSERGROUPS_ENAB yes\nUMASK 022\nHOME_MODE 0700\n",
        ),
    ),
];
const LINKS: [(&str, &str); 3] = [
    ("/opt/current", "/etc/app.d"),
    ("/opt/dangling", "nowhere"),
    ("/etc/alias.conf", "app.conf"),
];

/// Makes the same beginning on the host.
pub(super) fn prepare(root: &Path) {
    for name in COMPARED.into_iter().chain(["script", "tmp", "run"]) {
        let path = root.join(name);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
    }
    for (path, mode, owner, content) in START {
        let path = root.join(&path[1..]);
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode.into())).unwrap();
    }
    for (path, target) in LINKS {
        symlink(target, root.join(&path[1..])).unwrap();
    }
    fs::create_dir(root.join("tmp")).unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::create_dir(root.join("run")).unwrap();
}

pub(super) fn in_memory() -> MemoryFs {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    let programs = PROGRAMS.map(|program| format!("/usr/bin/{program}"));
    let stubs = STUBS.map(|(path, _)| path.to_owned());
    let more = [
        "/usr/lib/systemd/systemd-update-helper",
        "/usr/bin/alternatives",
    ];
    let more = more.map(str::to_owned);
    for path in programs.into_iter().chain(stubs).chain(more) {
        let path = ImagePath::parse(path).unwrap();
        editor
            .mkdir_all(&path.parent().unwrap(), Attributes::default())
            .unwrap();
        let attributes = Attributes {
            permissions: Some(0o755),
            ..Attributes::default()
        };
        editor
            .write(&path, imgasm_fs::tree::LastLink::Keep, b"", attributes)
            .unwrap();
    }
    editor
        .symlink(&ImagePath::parse("/usr/sbin").unwrap(), b"bin")
        .unwrap();
    for (path, content) in FIXED {
        let path = ImagePath::parse(path).unwrap();
        editor
            .mkdir_all(&path.parent().unwrap(), Attributes::default())
            .unwrap();
        editor
            .write(
                &path,
                imgasm_fs::tree::LastLink::Keep,
                content.as_bytes(),
                Attributes::default(),
            )
            .unwrap();
    }
    for (folder, mode) in [("/tmp", 0o1777), ("/run", 0o755)] {
        let attributes = Attributes {
            permissions: Some(mode),
            ..Attributes::default()
        };
        editor
            .mkdir_all(&ImagePath::parse(folder).unwrap(), attributes)
            .unwrap();
    }
    for (path, mode, owner, content) in START {
        let path = ImagePath::parse(path).unwrap();
        let attributes = Attributes {
            permissions: Some(mode),
            uid: Some(owner),
            gid: Some(owner),
        };
        match content {
            None => editor.mkdir_all(&path, attributes).unwrap(),
            Some(content) => editor
                .write(
                    &path,
                    imgasm_fs::tree::LastLink::Keep,
                    content.as_bytes(),
                    attributes,
                )
                .unwrap(),
        }
    }
    for (path, target) in LINKS {
        editor
            .symlink(&ImagePath::parse(path).unwrap(), target.as_bytes())
            .unwrap();
    }
    drop(editor);
    fs
}

/// The real shell and its programs with the libraries that they need, in a root of their own.
pub(super) fn real_root() -> Option<tempfile::TempDir> {
    if !need::mounts(&["chroot", "ldd", "bash"]) {
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &str| {
        let to = root.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let programs = PROGRAMS
        .iter()
        .map(|program| (*program, format!("usr/bin/{program}")));
    for (program, to) in programs.chain([("bash", "bin/sh".to_owned())]) {
        let found = succeed(Command::new("bash").args(["-c", &format!("type -P {program}")]));
        let found = fs::canonicalize(found.trim()).unwrap();
        copy(&found, &to);
        let libraries = succeed(Command::new("ldd").arg(&found));
        let libraries = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for library in libraries {
            copy(&fs::canonicalize(library).unwrap(), library);
        }
    }
    let stubs = STUBS.map(|(path, status)| (path, format!("#!/bin/sh\nexit {status}\n")));
    let helper = (
        "/usr/lib/systemd/systemd-update-helper",
        UPDATE_HELPER.to_owned(),
    );
    let alternatives = ("/usr/bin/alternatives", ALTERNATIVES.to_owned());
    for (path, content) in stubs.into_iter().chain([helper, alternatives]) {
        let path = root.path().join(&path[1..]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (path, content) in FIXED {
        let path = root.path().join(&path[1..]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }
    symlink("bin", root.path().join("usr/sbin")).unwrap();
    fs::create_dir(root.path().join("dev")).unwrap();
    succeed(
        Command::new("mknod")
            .arg(root.path().join("dev/null"))
            .args(["c", "1", "3"]),
    );
    succeed(
        Command::new("chmod")
            .arg("666")
            .arg(root.path().join("dev/null")),
    );
    Some(root)
}

type Listing = BTreeMap<String, String>;

/// Copies and locks that the tools for accounts leave behind, and what is not compared.
fn is_left_behind(path: &str) -> bool {
    let kept = ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"];
    let is_state = path.starts_with("/var/lib/alternatives/");
    let is_copy = kept.iter().any(|name| path == format!("/etc/{name}-"));
    is_copy || is_state || path == "/etc/.pwd.lock"
}

pub(super) fn real_listing(root: &Path) -> Listing {
    let mut found = Listing::new();
    let mut pending: Vec<_> = COMPARED.map(|name| root.join(name)).into();
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let name = format!("/{}", path.strip_prefix(root).unwrap().display());
        if is_left_behind(&name) {
            continue;
        }
        let (kind, content) = if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
            ("directory", String::new())
        } else if metadata.is_symlink() {
            ("link", fs::read_link(&path).unwrap().display().to_string())
        } else {
            ("file", fs::read_to_string(&path).unwrap())
        };
        let mode = if metadata.is_symlink() {
            0
        } else {
            metadata.mode() & 0o7777
        };
        let text = format!(
            "{kind} {mode:o} {}:{} {content:?}",
            metadata.uid(),
            metadata.gid()
        );
        found.insert(name, text);
    }
    found
}

pub(super) fn memory_listing(fs: &MemoryFs) -> Listing {
    let mut found = Listing::new();
    for entry in walk(fs, &ImagePath::root()).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path.to_string();
        let is_compared = COMPARED.iter().any(|top| path[1..].starts_with(top));
        if !is_compared || is_left_behind(&path) {
            continue;
        }
        let (kind, content) = match entry.metadata.file_type {
            FileType::Directory => ("directory", Vec::new()),
            FileType::Symlink => (
                "link",
                crate::files::link_target(fs, &entry.path).unwrap().unwrap(),
            ),
            _ => (
                "file",
                crate::files::read_optional(fs, &entry.path)
                    .unwrap()
                    .unwrap(),
            ),
        };
        let content = String::from_utf8(content).unwrap();
        let is_link = entry.metadata.file_type == FileType::Symlink;
        let mode = if is_link {
            0
        } else {
            entry.metadata.permissions
        };
        let (uid, gid) = (entry.metadata.uid, entry.metadata.gid);
        found.insert(path, format!("{kind} {mode:o} {uid}:{gid} {content:?}"));
    }
    found
}
