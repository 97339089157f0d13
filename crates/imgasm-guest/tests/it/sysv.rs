//! Init scripts and upstart jobs turned on and off: runlevel links as chkconfig(8) defines them,
//! and as Debian's update-rc.d makes them in a folder.

use std::process::Command;

use imgasm_fs::tree::{Editor, read_file};
use imgasm_guest::services::sysv::header::Runlevels;
use imgasm_guest::services::sysv::links::Wish as LinkWish;
use imgasm_guest::services::{self, Error, State, Wish, sysv};
use imgasm_testkit::guest_tree::{
    Files, add, in_memory, links_in_memory, links_on_host, on_host, path,
};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::{command, need};

/// Shaped like Amazon Linux 1, with the headers of its scripts.
const AMAZON_LINUX_1: Files<'_> = &[
    ("/etc/inittab", "id:3:initdefault:\n"),
    ("/etc/init.d", "->rc.d/init.d"),
    ("/etc/rc3.d", "->rc.d/rc3.d"),
    ("/etc/rc.d/rc0.d/", ""),
    ("/etc/rc.d/rc1.d/", ""),
    ("/etc/rc.d/rc2.d/", ""),
    ("/etc/rc.d/rc3.d/", ""),
    ("/etc/rc.d/rc4.d/", ""),
    ("/etc/rc.d/rc5.d/", ""),
    ("/etc/rc.d/rc6.d/", ""),
    (
        "/etc/rc.d/init.d/ntpd",
        "#!/bin/bash\n#\n# chkconfig: - 58 74\n# description: ntpd\n",
    ),
    (
        "/etc/rc.d/init.d/docker",
        "#!/bin/sh\n# chkconfig: 2345 95 95\n",
    ),
    (
        "/etc/rc.d/init.d/network",
        "#!/bin/bash\n# chkconfig: 2345 10 90\n### BEGIN INIT INFO\n# Provides: $network\n### END INIT INFO\n",
    ),
    (
        "/etc/rc.d/init.d/early",
        "#!/bin/sh\n# chkconfig: 2345 5 95\n### BEGIN INIT INFO\n# Provides: early\n# Required-Start: $network\n# Required-Stop: $network\n### END INIT INFO\n",
    ),
    (
        "/etc/rc.d/init.d/lsb",
        "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: lsb\n# Default-Start: 3 5\n# Default-Stop: 0 1 2 4 6\n### END INIT INFO\n",
    ),
    ("/etc/rc.d/init.d/bare", "#!/bin/sh\necho\n"),
    ("/etc/rc.d/rc3.d/S95docker", "->../init.d/docker"),
    ("/etc/rc.d/rc5.d/S95docker", "->../init.d/docker"),
    ("/etc/rc.d/rc0.d/K05docker", "->../init.d/docker"),
    ("/etc/rc.d/rc3.d/S12network", "->../init.d/network"),
    ("/etc/rc.d/rc3.d/README", "text"),
    (
        "/etc/init/ecs.conf",
        "start on started docker\nexec /usr/libexec/amazon-ecs-init start\n",
    ),
    ("/etc/init/hand.conf", "exec /bin/true\n"),
];

fn set(fs: &mut MemoryFs, service: &str, wish: Wish) -> services::Result<()> {
    let result = services::set(&mut Editor::new(fs), service, wish);
    let writes = fs.writes;
    let _ = services::set(&mut Editor::new(fs), service, wish);
    assert_eq!(fs.writes, writes, "{service} {wish:?} a second time");
    result
}

/// The links of a service, as in `chkconfig --list`: one word per runlevel.
fn links(fs: &MemoryFs, service: &str) -> String {
    let all = links_in_memory(fs, "/etc/rc.d");
    let runlevel = |level: u8| {
        let folder = format!("/etc/rc.d/rc{level}.d/");
        let names = all.iter().filter_map(|(path, target)| {
            let name = path.strip_prefix(&folder)?;
            let of_service = name.get(3..) == Some(service);
            assert!(!of_service || *target == format!("../init.d/{service}"));
            of_service.then_some(&name[..3])
        });
        names.collect::<Vec<_>>().join("+")
    };
    (0..7).map(runlevel).collect::<Vec<_>>().join(" ")
}

#[test]
fn chkconfig_on_and_off() {
    let mut fs = in_memory(AMAZON_LINUX_1);
    assert_eq!(services::state(&fs, "ntpd").unwrap(), State::Disabled);
    set(&mut fs, "ntpd", Wish::Enabled).unwrap();
    assert_eq!(links(&fs, "ntpd"), "K74 K74 S58 S58 S58 S58 K74");
    assert_eq!(services::state(&fs, "ntpd").unwrap(), State::Enabled);
    set(&mut fs, "ntpd", Wish::Disabled).unwrap();
    assert_eq!(links(&fs, "ntpd"), "K74 K74 K74 K74 K74 K74 K74");

    // A link with another priority in runlevels that `off` does not concern stays.
    assert_eq!(links(&fs, "docker"), "K05   S95  S95 ");
    set(&mut fs, "docker", Wish::Disabled).unwrap();
    assert_eq!(links(&fs, "docker"), "K05 K95 K95 K95 K95 K95 K95");
    assert_eq!(services::state(&fs, "docker").unwrap(), State::Disabled);
    assert_eq!(
        links(&fs, "network"),
        "   S12   ",
        "others stay as they were"
    );
}

#[test]
fn chkconfig_add_fills_in_the_defaults() {
    let mut fs = in_memory(AMAZON_LINUX_1);
    set(&mut fs, "ntpd", Wish::Preset).unwrap();
    assert_eq!(links(&fs, "ntpd"), "K74 K74 K74 K74 K74 K74 K74");
    set(&mut fs, "network", Wish::Preset).unwrap();
    assert_eq!(links(&fs, "network"), "K90 K90 S10 S12 S10 S10 K90");
    set(&mut fs, "lsb", Wish::Preset).unwrap();
    assert_eq!(links(&fs, "lsb"), "K50 K50 K50 S50 K50 S50 K50");
}

#[test]
fn some_runlevels_only() {
    let mut fs = in_memory(AMAZON_LINUX_1);
    let levels = Runlevels::parse("35").unwrap();
    sysv::set(&mut Editor::new(&mut fs), "ntpd", LinkWish::On(levels)).unwrap();
    assert_eq!(links(&fs, "ntpd"), "K74 K74 K74 S58 K74 S58 K74");
}

#[test]
fn priorities_follow_what_the_lsb_block_requires() {
    let mut fs = in_memory(AMAZON_LINUX_1);
    set(&mut fs, "early", Wish::Enabled).unwrap();
    // The network starts at 12 by its link and stops at 90 by its header.
    assert_eq!(links(&fs, "early"), "K89 K89 S13 S13 S13 S13 K89");
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let mut fs = in_memory(AMAZON_LINUX_1);
    let mut error = |service, wish| set(&mut fs, service, wish).unwrap_err().to_string();
    assert_eq!(
        error("nptd", Wish::Enabled),
        "there is no service nptd in the image"
    );
    assert_eq!(
        error("bare", Wish::Enabled),
        "/etc/rc.d/init.d/bare has neither a `# chkconfig:` line nor an LSB block"
    );
    assert_eq!(
        error("docker", Wish::Masked),
        "docker is an init script, which cannot be masked"
    );
    assert_eq!(
        error("../passwd", Wish::Enabled),
        "\"../passwd\" is not the name of a service"
    );
}

#[test]
fn upstart_jobs_have_an_override() {
    let mut fs = in_memory(AMAZON_LINUX_1);
    let text = |fs: &MemoryFs| read_file(fs, &path("/etc/init/ecs.override"), 100).ok();
    assert_eq!(services::state(&fs, "ecs").unwrap(), State::Enabled);
    set(&mut fs, "ecs", Wish::Disabled).unwrap();
    assert_eq!(text(&fs).as_deref(), Some(&b"manual\n"[..]));
    assert_eq!(services::state(&fs, "ecs").unwrap(), State::Disabled);
    set(&mut fs, "ecs", Wish::Enabled).unwrap();
    assert_eq!(text(&fs), None);

    add(&mut fs, &[("/etc/init/ecs.override", "env A=1")]);
    set(&mut fs, "ecs", Wish::Disabled).unwrap();
    assert_eq!(text(&fs).as_deref(), Some(&b"env A=1\nmanual\n"[..]));
    set(&mut fs, "ecs", Wish::Enabled).unwrap();
    assert_eq!(text(&fs).as_deref(), Some(&b"env A=1\n"[..]));

    let never = set(&mut fs, "hand", Wish::Enabled);
    assert!(
        matches!(never, Err(Error::NeverStarted { .. })),
        "{never:?}"
    );
}

/// Shaped like Debian with `SysV` init.
const DEBIAN: Files<'_> = &[
    ("/etc/inittab", "id:2:initdefault:\n"),
    (
        "/etc/init.d/procps",
        "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: procps\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n### END INIT INFO\n",
    ),
    ("/etc/rc0.d/", ""),
];

#[test]
fn debian_links_are_those_of_update_rc() {
    if !need::root() || !need::tools(&["update-rc.d", "unshare"]) {
        return;
    }
    // With `DPKG_ROOT` it makes links there, but looks for them in the host's /etc.
    let update_rc = |folder: &std::path::Path, verb: &str| {
        const SCRIPT: &str = "mount --bind \"$1\" /etc && exec update-rc.d procps \"$2\"";
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", SCRIPT, "sh"])
            .arg(folder.join("etc"))
            .arg(verb)
            .env("_SKIP_SYSTEMD_NATIVE", "1");
        command::run(&mut command);
    };
    for (ours, theirs) in [
        (Wish::Enabled, "defaults"),
        (Wish::Preset, "defaults"),
        (Wish::Disabled, "defaults-disabled"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        on_host(folder.path(), DEBIAN);
        update_rc(folder.path(), theirs);
        let mut fs = in_memory(DEBIAN);
        set(&mut fs, "procps", ours).unwrap();
        assert_eq!(
            links_in_memory(&fs, "/etc"),
            links_on_host(folder.path(), "/etc"),
            "{theirs}"
        );

        let toggled = match ours {
            Wish::Disabled => ("enable", Wish::Enabled),
            _ => ("disable", Wish::Disabled),
        };
        update_rc(folder.path(), toggled.0);
        set(&mut fs, "procps", toggled.1).unwrap();
        assert_eq!(
            links_in_memory(&fs, "/etc"),
            links_on_host(folder.path(), "/etc")
        );
    }
}
