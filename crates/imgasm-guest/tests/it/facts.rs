//! Which system a root filesystem is, on trees shaped like the real ones.

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_guest::{Arch, Facts, Init};
use imgasm_testkit::memory_fs::MemoryFs;

/// The first 20 bytes of a program for 64-bit x86.
const ELF: &str = "\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";

/// Files by path and content; a content that starts with `->` makes a symbolic link.
fn facts(files: &[(&str, &str)]) -> Facts {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    for (path, content) in files {
        let path = ImagePath::parse(path).unwrap();
        let parent = path.parent().unwrap();
        let plain = Attributes::default();
        editor.mkdir_all(&parent, plain).unwrap();
        match content.strip_prefix("->") {
            Some(target) => editor.symlink(&path, target.as_bytes()).unwrap(),
            None => editor
                .write(&path, LastLink::Keep, content.as_bytes(), plain)
                .unwrap(),
        }
    }
    Facts::detect(&fs).unwrap()
}

#[test]
fn amazon_linux_1() {
    let facts = facts(&[
        (
            "/etc/os-release",
            "ID=\"amzn\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"2018.03\"\n",
        ),
        ("/sbin/init", ELF),
        ("/etc/init/ecs.conf", "start on started docker"),
        ("/etc/rc.d/init.d/ntpd", "#!/bin/sh"),
        ("/etc/inittab", ""),
    ]);
    assert_eq!(facts.init, Some(Init::Upstart));
    assert_eq!(facts.arch, Some(Arch::X86_64));
    assert_eq!(facts.os_release.version_id(), Some("2018.03"));
    assert!(facts.is_like("amzn") && facts.is_like("rhel") && !facts.is_like("debian"));
}

#[test]
fn amazon_linux_2023() {
    let facts = facts(&[
        ("/etc/os-release", "->../usr/lib/os-release"),
        ("/usr/lib/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n"),
        ("/sbin", "->usr/sbin"),
        ("/usr/sbin/init", "->../lib/systemd/systemd"),
        ("/usr/lib/systemd/systemd", ELF),
    ]);
    assert_eq!(facts.init, Some(Init::Systemd));
    assert_eq!(facts.os_release.version_id(), Some("2023"));
}

#[test]
fn a_skeleton_without_programs() {
    let systemd = facts(&[
        ("/sbin/init", "->/lib/systemd/systemd"),
        ("/etc/init/left-over.conf", ""),
        ("/etc/init.d/cron", ""),
    ]);
    assert_eq!(systemd.init, Some(Init::Systemd));
    assert_eq!(systemd.arch, None);
    assert_eq!(systemd.os_release.id(), "linux");
    let sysv = facts(&[("/etc/init.d/cron", "#!/bin/sh"), ("/bin/sh", "short")]);
    assert_eq!(sysv.init, Some(Init::Sysv));
    assert_eq!(facts(&[]), Facts::default());
}
