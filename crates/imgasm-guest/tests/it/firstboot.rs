//! First-boot scripts for each init system: what is installed runs, and removes itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use imgasm_fs::tree::{Editor, exists, read_file};
use imgasm_guest::firstboot::{Error, install};
use imgasm_testkit::guest_tree::{Files, in_memory, links_in_memory, path};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::{command, need, scratch};

const SCRIPT: &[u8] = b"#!/bin/sh\nset -e\necho first boot >/var/log/firstboot-test.log\n";

const SYSTEMD: Files<'_> = &[
    ("/etc/systemd/system/", ""),
    ("/sbin/init", "->../lib/systemd/systemd"),
];
const UPSTART: Files<'_> = &[("/etc/init/rc.conf", "start on runlevel [0123456]\ntask\n")];
const RED_HAT: Files<'_> = &[
    ("/etc/inittab", ""),
    ("/etc/init.d", "->rc.d/init.d"),
    ("/etc/rc.d/init.d/", ""),
    ("/etc/rc.d/rc3.d/", ""),
];
const DEBIAN: Files<'_> = &[("/etc/inittab", ""), ("/etc/init.d/", "")];

fn installed(files: Files<'_>) -> MemoryFs {
    let mut fs = in_memory(files);
    install(&mut Editor::new(&mut fs), "setup", SCRIPT).unwrap();
    let writes = fs.writes;
    install(&mut Editor::new(&mut fs), "setup", SCRIPT).unwrap();
    assert_eq!(fs.writes, writes, "a second time");
    let script = read_file(&fs, &path("/usr/libexec/firstboot/setup"), 1000).unwrap();
    assert_eq!(script, SCRIPT);
    fs
}

fn text(fs: &MemoryFs, name: &str) -> String {
    String::from_utf8(read_file(fs, &path(name), 10_000).unwrap()).unwrap()
}

#[test]
fn systemd_gets_a_unit_that_it_understands() {
    let fs = installed(SYSTEMD);
    let name = "/etc/systemd/system/firstboot-setup.service";
    let link = "/etc/systemd/system/multi-user.target.wants/firstboot-setup.service";
    assert_eq!(
        links_in_memory(&fs, "/etc").get(link).map(String::as_str),
        Some(name)
    );
    let unit = text(&fs, name);
    for removed in [name, link, "/usr/libexec/firstboot/setup"] {
        assert!(unit.contains(&format!(" {removed}")) || unit.contains(&format!("{removed}\n")));
    }

    let folder = tempfile::tempdir().unwrap();
    // The program must be there for the check.
    let file = folder.path().join("firstboot-setup.service");
    fs::write(
        &file,
        unit.replace("/usr/libexec/firstboot/setup", "/bin/true"),
    )
    .unwrap();
    if need::tools(&["systemd-analyze"]) {
        let said = command::output(Command::new("systemd-analyze").arg("verify").arg(&file));
        let said = command::text(&said);
        assert!(!said.contains("firstboot-setup"), "{said}");
    }
}

#[test]
fn upstart_gets_a_job() {
    let fs = installed(UPSTART);
    let job = text(&fs, "/etc/init/firstboot-setup.conf");
    assert!(job.contains("start on stopped rc RUNLEVEL=[2345]\n"));
    assert!(job.contains("\n    /usr/libexec/firstboot/setup\n    rm -f "));
}

/// Runs the init script on this machine's own programs, in a root of its own.
fn run_init_script(fs: &MemoryFs, base: &Path) {
    let (upper, work, merged) = (base.join("upper"), base.join("work"), base.join("merged"));
    for folder in [&upper, &work, &merged] {
        fs::create_dir(folder).unwrap();
    }
    let put = |name: &str| {
        let to = upper.join(&name[1..]);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, text(fs, name)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&to, mode).unwrap();
    };
    put("/etc/init.d/firstboot-setup");
    put("/usr/libexec/firstboot/setup");
    for (link, target) in links_in_memory(fs, "/etc") {
        if link.ends_with("firstboot-setup") {
            let to = upper.join(&link[1..]);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, to).unwrap();
        }
    }
    let script = format!(
        "mount -t overlay overlay -o lowerdir=/,upperdir={},workdir={} {merged} && \
         exec chroot {merged} /etc/init.d/firstboot-setup start",
        upper.display(),
        work.display(),
        merged = merged.display(),
    );
    command::run(Command::new("unshare").args(["-m", "sh", "-c", &script]));
}

#[test]
fn an_init_script_runs_and_removes_itself() {
    for (files, rc) in [(RED_HAT, "/etc/rc.d"), (DEBIAN, "/etc")] {
        let fs = installed(files);
        let links = links_in_memory(&fs, "/etc");
        let start: Vec<_> = links.keys().filter(|link| link.contains("/S")).collect();
        assert_eq!(start.len(), 4, "{links:?}");
        assert!(start[0].starts_with(&format!("{rc}/rc2.d/S")));

        // In memory, because an overlay's upper layer cannot lie on an overlay.
        let folder = scratch::folder();
        if !need::root() || !need::tools(&["unshare"]) {
            return;
        }
        run_init_script(&fs, folder.path());
        let upper = folder.path().join("upper");
        let log = fs::read_to_string(upper.join("var/log/firstboot-test.log")).unwrap();
        assert_eq!(log, "first boot\n");
        // What an overlay mount removes from its own upper layer is gone from there.
        assert!(!upper.join("usr/libexec/firstboot/setup").exists());
        assert!(!upper.join("etc/init.d/firstboot-setup").exists());
        for link in links
            .keys()
            .filter(|link| link.ends_with("firstboot-setup"))
        {
            assert!(upper.join(&link[1..]).symlink_metadata().is_err(), "{link}");
        }
    }
}

#[test]
fn shellcheck_finds_nothing() {
    let fs = installed(RED_HAT);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    fs::write(&file, text(&fs, "/etc/rc.d/init.d/firstboot-setup")).unwrap();
    if need::tools(&["shellcheck"]) {
        command::run(Command::new("shellcheck").arg(&file));
    }
}

#[test]
fn bad_names_scripts_and_images_are_refused() {
    let mut fs = in_memory(SYSTEMD);
    let mut editor = Editor::new(&mut fs);
    for name in ["", "a/b", "a.b", "-x", "a b"] {
        let result = install(&mut editor, name, SCRIPT);
        assert!(matches!(result, Err(Error::InvalidName(_))), "{name:?}");
    }
    let result = install(&mut editor, "x", b"echo\n");
    assert!(matches!(result, Err(Error::NoInterpreter(_))));
    let mut empty = MemoryFs::new();
    let result = install(&mut Editor::new(&mut empty), "x", SCRIPT);
    assert!(matches!(result, Err(Error::NoInit)));
    assert!(!exists(&empty, &path("/usr")).unwrap());
}
