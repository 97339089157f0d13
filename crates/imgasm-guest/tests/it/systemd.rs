//! Units enabled, disabled, masked and preset, against `systemctl --root` on the same tree.

use std::path::Path;
use std::process::Command;

use imgasm_fs::tree::Editor;
use imgasm_guest::services::systemd::several;
use imgasm_guest::services::systemd::units::Scope;
use imgasm_guest::services::{self, Error, Wish};
use imgasm_testkit::guest_tree::{
    Files, folders_in_memory, folders_on_host, in_memory, links_in_memory, links_on_host, on_host,
};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;

const CONFIG: &str = "/etc/systemd/system";

/// One unit of each kind that is enabled differently.
const UNITS: Files<'_> = &[
    ("/etc/systemd/system/", ""),
    (
        "/usr/lib/systemd/system/multi-user.target",
        "[Unit]\nDescription=x\n",
    ),
    (
        "/usr/lib/systemd/system/docker.service",
        "[Unit]\nAfter=network.target\n[Service]\nExecStart=/usr/bin/dockerd\n[Install]\nWantedBy=multi-user.target\nAlso=docker.socket\n",
    ),
    (
        "/usr/lib/systemd/system/docker.socket",
        "[Socket]\nListenStream=/run/docker.sock\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "/usr/lib/systemd/system/timesyncd.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=sysinit.target\nAlias=dbus-org.time1.service\n",
    ),
    (
        "/usr/lib/systemd/system/getty@.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
    ),
    (
        "/usr/lib/systemd/system/plain@.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\nRequiredBy=need-%i.target\n",
    ),
    (
        "/usr/lib/systemd/system/layered@.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=layer@.target\n",
    ),
    (
        "/usr/lib/systemd/system/layered.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=layer@.target\n",
    ),
    (
        "/usr/lib/systemd/system/static.service",
        "[Service]\nExecStart=/x\n",
    ),
    (
        "/usr/lib/systemd/system/indirect.service",
        "[Service]\nExecStart=/x\n[Install]\nAlso=indirect.socket missing.socket\n",
    ),
    (
        "/usr/lib/systemd/system/indirect.socket",
        "[Socket]\nListenStream=/x\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "/usr/lib/systemd/system/required.service",
        "[Service]\nExecStart=/x\n[Install]\nRequiredBy=a.service b.service\nWantedBy=%p-%N.target\n",
    ),
    (
        "/usr/lib/systemd/system/quoted.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=\"one.target\" 'two.target' \\\n  three.target\n# WantedBy=four.target\n",
    ),
    (
        "/usr/lib/systemd/system/dropped.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/etc/systemd/system/dropped.service.d/10-more.conf",
        "[Install]\nWantedBy=graphical.target\n",
    ),
    (
        "/usr/lib/systemd/system/emptied.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/etc/systemd/system/emptied.service.d/10.conf",
        "[Install]\nWantedBy=\nWantedBy=rescue.target\n",
    ),
    (
        "/etc/systemd/system/local.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/etc/systemd/system/overridden.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=local.target\n",
    ),
    (
        "/usr/lib/systemd/system/overridden.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=vendor.target\n",
    ),
    (
        "/usr/local/lib/systemd/system/site.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/opt/app/linked.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/etc/systemd/system/linked.service",
        "->/opt/app/linked.service",
    ),
    ("/etc/systemd/system/masked.service", "->/dev/null"),
    (
        "/usr/lib/systemd/system/masked.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/usr/lib/systemd/system/vendor.service",
        "[Service]\nExecStart=/x\n",
    ),
    (
        "/usr/lib/systemd/system/multi-user.target.wants/vendor.service",
        "->../vendor.service",
    ),
    (
        "/usr/lib/systemd/system/sync.timer",
        "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n",
    ),
    (
        "/usr/lib/systemd/system/loop-a.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\nAlso=loop-b.service\n",
    ),
    (
        "/usr/lib/systemd/system/loop-b.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\nAlso=loop-a.service\n",
    ),
    (
        "/usr/lib/systemd/system/autovt@.service",
        "[Service]\nExecStart=/x\n[Install]\nAlias=vt@.service\n",
    ),
    (
        "/usr/lib/systemd/system/old-alias.service",
        "[Service]\nExecStart=/x\n[Install]\nAlias=multi-user.target.wants/old-alias.service\n",
    ),
    (
        "/usr/lib/systemd/system/wrong-alias.service",
        "[Service]\nExecStart=/x\n[Install]\nAlias=wrong.socket\n",
    ),
    (
        "/usr/lib/systemd/system-preset/90-vendor.preset",
        "disable docker.service\nenable getty@.service tty7 tty8\nenable sync.*\ndisable *\n",
    ),
    (
        "/etc/systemd/system-preset/10-site.preset",
        "enable required.service\n",
    ),
    (
        "/usr/lib/systemd/system-preset/10-site.preset",
        "disable required.service\n",
    ),
];

/// Whether systemctl did it.
fn systemctl(folder: &Path, verb: &str, unit: &str) -> bool {
    let status = Command::new("systemctl")
        .arg(format!("--root={}", folder.display()))
        .args(["--quiet", verb, unit])
        .output()
        .unwrap();
    status.status.success()
}

fn is_enabled(folder: &Path, unit: &str) -> String {
    let output = Command::new("systemctl")
        .arg(format!("--root={}", folder.display()))
        .args(["is-enabled", unit])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn wish(verb: &str) -> Wish {
    match verb {
        "enable" => Wish::Enabled,
        "disable" => Wish::Disabled,
        "mask" => Wish::Masked,
        "unmask" => Wish::Unmasked,
        "preset" => Wish::Preset,
        other => panic!("{other}"),
    }
}

fn set(fs: &mut MemoryFs, verb: &str, unit: &str) -> services::Result<()> {
    services::set(&mut Editor::new(fs), unit, wish(verb))
}

/// Does the steps both ways and compares after each.
fn compare(files: Files<'_>, steps: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    on_host(folder.path(), files);
    let mut fs = in_memory(files);
    for (verb, unit) in steps {
        let theirs = systemctl(folder.path(), verb, unit);
        let ours = set(&mut fs, verb, unit);
        // systemctl only notes that there is nothing to enable.
        let done = ours.is_ok() || matches!(ours, Err(Error::NothingToEnable { .. }));
        assert_eq!(done, theirs, "{steps:?} at {verb} {unit}: {ours:?}");
        if !done {
            // What a failure leaves behind is thrown away with the rest of a build.
            return;
        }
        assert_eq!(
            links_in_memory(&fs, CONFIG),
            links_on_host(folder.path(), CONFIG),
            "{steps:?} after {verb} {unit}"
        );
        assert_eq!(
            folders_in_memory(&fs, CONFIG),
            folders_on_host(folder.path(), CONFIG),
            "{steps:?} after {verb} {unit}"
        );
        let writes = fs.writes;
        let _ = set(&mut fs, verb, unit);
        assert_eq!(fs.writes, writes, "{verb} {unit} a second time");
        let their_state = is_enabled(folder.path(), unit);
        match services::state(&fs, unit) {
            Ok(state) => assert_eq!(state.to_string(), their_state, "{steps:?} {unit}"),
            Err(Error::Unknown { .. }) => {
                assert!(
                    ["", "not-found"].contains(&&*their_state),
                    "{unit}: {their_state}"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn every_unit_is_enabled_and_disabled_as_systemctl_does_it() {
    if !need::tools(&["systemctl"]) {
        return;
    }
    for unit in [
        "docker.service",
        "docker.socket",
        "timesyncd.service",
        "getty@.service",
        "getty@tty9.service",
        "plain@.service",
        "plain@x.service",
        "layered@.service",
        "layered@x.service",
        "layered.service",
        "static.service",
        "indirect.service",
        "required.service",
        "quoted.service",
        "dropped.service",
        "emptied.service",
        "local.service",
        "overridden.service",
        "site.service",
        "linked.service",
        "masked.service",
        "vendor.service",
        "sync.timer",
        "loop-a.service",
        "autovt@.service",
        "old-alias.service",
        "multi-user.target",
    ] {
        compare(UNITS, &[("enable", unit), ("disable", unit)]);
        compare(
            UNITS,
            &[("disable", unit), ("enable", unit), ("mask", unit)],
        );
        compare(
            UNITS,
            &[("preset", unit), ("enable", unit), ("preset", unit)],
        );
    }
}

#[test]
fn an_unknown_unit_is_an_error_but_can_be_masked() {
    let mut fs = in_memory(UNITS);
    for verb in ["enable", "disable", "preset"] {
        let error = set(&mut fs, verb, "not-there").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no service not-there in the image"
        );
    }
    if need::tools(&["systemctl"]) {
        compare(
            UNITS,
            &[
                ("mask", "not-there.service"),
                ("unmask", "not-there.service"),
            ],
        );
    }
}

#[test]
fn masking_and_back() {
    if !need::tools(&["systemctl"]) {
        return;
    }
    compare(
        UNITS,
        &[("mask", "docker.service"), ("unmask", "docker.service")],
    );
    compare(
        UNITS,
        &[("enable", "docker.service"), ("mask", "docker.service")],
    );
    compare(UNITS, &[("mask", "local.service")]);
    compare(
        UNITS,
        &[("unmask", "masked.service"), ("enable", "masked.service")],
    );
    compare(
        UNITS,
        &[("disable", "masked.service"), ("unmask", "site.service")],
    );
}

#[test]
fn links_that_are_there_already() {
    if !need::tools(&["systemctl"]) {
        return;
    }
    let mut files = UNITS.to_vec();
    files.extend([
        (
            "/etc/systemd/system/dbus-org.time1.service",
            "->/usr/lib/systemd/system/other.service",
        ),
        (
            "/etc/systemd/system/multi-user.target.wants/local.service",
            "->../local.service",
        ),
        (
            "/etc/systemd/system/multi-user.target.wants/site.service",
            "->/usr/lib/systemd/system/site.service",
        ),
        (
            "/etc/systemd/system/custom.target.wants/site.service",
            "->/usr/local/lib/systemd/system/site.service",
        ),
        (
            "/etc/systemd/system/other-name.service",
            "->/usr/local/lib/systemd/system/site.service",
        ),
        (
            "/usr/lib/systemd/system/by-vendor.service",
            "->quoted.service",
        ),
        (
            "/etc/systemd/system/custom.target.wants/README",
            "not a link",
        ),
    ]);
    compare(&files, &[("enable", "timesyncd.service")]);
    compare(
        &files,
        &[("enable", "local.service"), ("disable", "local.service")],
    );
    compare(
        &files,
        &[("enable", "site.service"), ("disable", "site.service")],
    );
    compare(&files, &[("disable", "other-name.service")]);
    compare(&files, &[("enable", "other-name.service")]);
    compare(
        &files,
        &[("disable", "docker.service"), ("disable", "site.service")],
    );
}

/// Several units in one command, some of them missing, masked, or other names of others: drawn from a
/// seed, with what the commands before have left.
#[test]
fn several_units_at_once_fare_as_with_systemctl() {
    if !need::tools(&["systemctl"]) {
        return;
    }
    let mut files = UNITS.to_vec();
    files.extend([
        (
            "/etc/systemd/system/nick.service",
            "->/usr/lib/systemd/system/local2.service",
        ),
        (
            "/usr/lib/systemd/system/local2.service",
            "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\nAlias=nick.service\n",
        ),
        ("/usr/lib/systemd/system/vend.service", "->required.service"),
        (
            "/etc/systemd/system/multi-user.target.wants/gone.service",
            "->/usr/lib/systemd/system/gone.service",
        ),
        (
            "/usr/lib/systemd/system-preset/20-more.preset",
            "enable masked.*\nenable local*\nenable static.service\nignore site.*\n",
        ),
    ]);
    let names: Vec<_> = files
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("/usr/lib/systemd/system/"))
        .filter(|name| !name.contains('/') && !name.contains("wrong"))
        .chain(["missing.service", "gone.service", "nick.service"])
        .collect();
    let mut rng = Rng::new(252);
    let mut failures = 0;
    for round in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        on_host(folder.path(), &files);
        let mut fs = in_memory(&files);
        for step in 0..8 {
            let verb = *rng.pick(&[
                "enable",
                "disable",
                "preset",
                "mask",
                "unmask",
                "preset-all",
            ]);
            let count = if verb == "preset-all" {
                0
            } else {
                1 + rng.index(3)
            };
            let units: Vec<_> = (0..count).map(|_| *rng.pick(&names)).collect();
            let case = format!("{round}.{step}: {verb} {units:?}");
            let theirs = Command::new("systemctl")
                .arg(format!("--root={}", folder.path().display()))
                .args(["--quiet", verb])
                .args(&units)
                .output()
                .unwrap();
            let editor = &mut Editor::new(&mut fs);
            let ours = if verb == "preset-all" {
                several::preset_all(editor, Scope::System)
            } else {
                services::set_several(editor, &units, wish(verb), Scope::System)
            };
            let ours = ours.unwrap();
            assert_eq!(
                !ours.is_failure,
                theirs.status.success(),
                "{case}: {ours:?}"
            );
            failures += usize::from(ours.is_failure);
            assert_eq!(
                links_in_memory(&fs, CONFIG),
                links_on_host(folder.path(), CONFIG),
                "{case}: {ours:?}, {}",
                String::from_utf8_lossy(&theirs.stderr)
            );
            assert_eq!(
                folders_in_memory(&fs, CONFIG),
                folders_on_host(folder.path(), CONFIG),
                "{case}"
            );
        }
    }
    assert!(failures > 10, "{failures}");
}

/// The units of the machine that runs the tests, whatever they are.
#[test]
fn real_units() {
    let Ok(entries) = std::fs::read_dir("/usr/lib/systemd/system") else {
        let _ = need::lacking("units of systemd");
        return;
    };
    if !need::tools(&["systemctl"]) {
        return;
    }
    let mut files = vec![("/etc/systemd/system/".to_owned(), String::new())];
    let mut names = Vec::new();
    for entry in entries.map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("/usr/lib/systemd/system/{name}");
        let file_type = entry.file_type().unwrap();
        if file_type.is_symlink() {
            let target = std::fs::read_link(entry.path()).unwrap();
            files.push((path, format!("->{}", target.display())));
        } else if file_type.is_file() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            if text.contains("[Install]") {
                names.push(name);
            }
            files.push((path, text));
        }
    }
    assert!(names.len() > 10, "{names:?}");
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (&**path, &**text))
        .collect();
    for name in &names {
        compare(
            &files,
            &[("enable", name), ("disable", name), ("preset", name)],
        );
    }
}
