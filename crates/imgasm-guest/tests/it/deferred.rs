//! Scripts of packages that wait for the first boot: run in a root of their own, beside what rpm
//! does there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::transactions::Lab;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{exists, walk};
use imgasm_guest::files::{link_target, read_optional};
use imgasm_guest::packages::{Error, Override, Scriptlets, Verdict};
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::guest_tree::{Files, add, path};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::{need, scratch};

const SYSTEMD: Files<'_> = &[
    ("/etc/systemd/system/", ""),
    ("/sbin/init", "->../lib/systemd/systemd"),
];
const RED_HAT: Files<'_> = &[
    ("/etc/inittab", ""),
    ("/etc/init.d", "->rc.d/init.d"),
    ("/etc/rc.d/init.d/", ""),
    ("/etc/rc.d/rc3.d/", ""),
];
const FOLDER: &str = "/usr/libexec/firstboot/packages";
const UNIT: &str = "/etc/systemd/system/firstboot-packages.service";
const LINK: &str = "/etc/systemd/system/sysinit.target.wants/firstboot-packages.service";

/// Writes down what a script is given.
const RECORD: &str = "#!/bin/sh\n\
    { echo \"$# $*\"; pwd; umask; echo \"$PATH\"; env | grep ^RPM_INSTALL | sort; wc -c; } \
    >>/var/log/record\n";

/// What a package must provide whose scripts have these interpreters.
const PROVIDED: &str = "Provides: /bin/sh /bin/bash /usr/bin/perl /usr/local/bin/record";

/// This machine's own programs with a layer above them, in which everything is that changes.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    /// `None` if this machine cannot have one.
    fn new() -> Option<Self> {
        if !need::root() || !need::tools(&["unshare", "rpm", "perl"]) {
            return None;
        }
        // In memory, because an overlay's upper layer cannot lie on an overlay.
        let root = Self {
            folder: scratch::folder(),
        };
        for folder in ["upper", "work", "merged"] {
            fs::create_dir(root.folder.path().join(folder)).unwrap();
        }
        root.put("/usr/local/bin/record", RECORD.as_bytes(), 0o755);
        Some(root)
    }

    fn upper(&self, name: &str) -> PathBuf {
        self.folder.path().join("upper").join(&name[1..])
    }

    fn put(&self, name: &str, content: &[u8], mode: u32) {
        let to = self.upper(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, content).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Puts in what an image has below these folders.
    fn put_all(&self, image: &MemoryFs, folders: &[&str]) {
        for folder in folders {
            for entry in walk(image, &path(folder)).unwrap() {
                let entry = entry.unwrap();
                let name = entry.path.to_string();
                let mode = entry.metadata.permissions.into();
                match entry.metadata.file_type {
                    FileType::Regular => {
                        let content = read_optional(image, &entry.path).unwrap().unwrap();
                        self.put(&name, &content, mode);
                    }
                    FileType::Symlink => {
                        let target = link_target(image, &entry.path).unwrap().unwrap();
                        let to = self.upper(&name);
                        fs::create_dir_all(to.parent().unwrap()).unwrap();
                        symlink(String::from_utf8(target).unwrap(), to).unwrap();
                    }
                    _ => fs::create_dir_all(self.upper(&name)).unwrap(),
                }
            }
        }
    }

    /// Runs a command of a shell there; gives whether it succeeds, and what it says.
    fn run(&self, command: &str) -> (bool, String) {
        let place = |name: &str| self.folder.path().join(name).display().to_string();
        let script = format!(
            "mount -t overlay overlay -o lowerdir=/,upperdir={},workdir={} {merged} && \
             mount --rbind /dev {merged}/dev && exec chroot {merged} sh -c '{command}'",
            place("upper"),
            place("work"),
            merged = place("merged"),
        );
        let result = output(Command::new("unshare").args(["-m", "sh", "-c", &script]));
        (result.status.success(), text(&result))
    }

    fn is_there(&self, name: &str) -> bool {
        self.upper(name).symlink_metadata().is_ok()
    }

    fn recorded(&self) -> String {
        fs::read_to_string(self.upper("/var/log/record")).unwrap()
    }
}

fn waiting(fs: &MemoryFs) -> Vec<String> {
    let queue = path(&format!("{FOLDER}/queue"));
    let entries = walk(fs, &queue).unwrap().map(Result::unwrap);
    let names = entries.filter_map(|entry| entry.path.file_name().map(<[u8]>::to_vec));
    let mut names: Vec<_> = names.map(|name| String::from_utf8(name).unwrap()).collect();
    names.retain(|name| name != "queue");
    names.sort();
    names
}

fn has(fs: &MemoryFs, name: &str) -> bool {
    exists(fs, &path(name)).unwrap()
}

#[test]
fn what_waits_is_run_as_rpm_runs_it() {
    let (Some(mut lab), Some(root), Some(twin)) = (Lab::new(), Root::new(), Root::new()) else {
        return;
    };
    add(&mut lab.fs, SYSTEMD);
    let scripts = [
        "%post\n/usr/local/bin/record \"$-\" \"$@\"\n",
        "%post -p \"/bin/sh -e\"\n/usr/local/bin/record \"$-\" \"$@\"\nfalse\necho never >>/var/log/record\n",
        "%post -p /bin/bash\n/usr/local/bin/record ${BASH_VERSION:+bash} \"it's $1\"\n",
        "%post -p /usr/bin/perl\nsystem(\"/usr/local/bin/record\", \"perl\", @ARGV);\n",
        "%post -p /usr/local/bin/record\n",
        "Prefix: /opt\nPrefix: /srv/own\n%post\n/usr/local/bin/record\n",
        "%posttrans\ncd /tmp; /usr/local/bin/record \"$@\"\n",
    ];
    let mut packages = vec![lab.package("providers", "1", PROVIDED, &[])];
    for (number, script) in scripts.iter().enumerate() {
        // Only a package with files is relocatable.
        let files: &[_] = if script.starts_with("Prefix") {
            &[("/opt/p", "")]
        } else {
            &[]
        };
        packages.push(lab.package(&format!("p{number}"), "1", script, files));
    }
    let paths: Vec<&Path> = packages.iter().map(PathBuf::as_path).collect();
    let wanted: Vec<_> = paths
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    let done = lab.transact(&paths, Scriptlets::FirstBoot, &[]).unwrap();
    assert_eq!(done.scripts.len(), scripts.len());
    let verdicts = done.scripts.iter().map(|script| &script.verdict);
    assert!(
        verdicts
            .clone()
            .all(|verdict| matches!(verdict, Verdict::Deferred(_)))
    );
    assert_eq!(waiting(&lab.fs).len(), scripts.len());

    root.put_all(&lab.fs, &["/usr/libexec", "/etc/systemd"]);
    let (is_done, said) = root.run(&format!("{FOLDER}/run"));
    // The second script is to fail.
    assert!(
        !is_done && said.contains("p1-1-1.noarch.post failed with the status 1"),
        "{said}"
    );

    // rpm, one package after the other.
    for (path, name) in paths.iter().zip(&wanted) {
        let name = format!("/packages/{}", name.display());
        twin.put(&name, &fs::read(path).unwrap(), 0o644);
        twin.run(&format!("rpm --dbpath /rpmdb -i --nodeps {name}"));
    }
    assert_eq!(root.recorded(), twin.recorded());
    assert!(root.recorded().contains("RPM_INSTALL_PREFIX1=/srv/own\n"));
}

#[test]
fn a_script_waits_whole_or_is_carried_out_whole() {
    let Some(mut lab) = Lab::new() else { return };
    add(&mut lab.fs, SYSTEMD);
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let half = "%post\necho a >/etc/half\nrm -rf /opt\nunknown-program\n\
                %posttrans\ntouch /etc/late\n";
    let half = lab.package("half", "1", half, &[("/opt/half", "x")]);
    let whole = lab.package("whole", "1", "%post\ntouch /etc/whole\n", &[]);
    let done = lab.transact(&[&shell, &half, &whole], Scriptlets::FirstBoot, &[]);
    let done = done.unwrap();
    let scripts: Vec<_> = done.scripts.iter().map(ToString::to_string).collect();
    let waits = "deferred to the first boot";
    let wanted = [
        format!("%post of half-1-1.noarch: {waits}: `unknown-program`"),
        "%post of whole-1-1.noarch: carried out".to_owned(),
        format!("%posttrans of half-1-1.noarch: {waits}: an earlier script of the package waits"),
    ];
    assert_eq!(scripts, wanted);
    assert_eq!(done.installed[1].skipped, [&*scripts[0], &*scripts[2]]);
    for (name, is_there) in [
        ("/etc/half", false),
        ("/opt/half", true),
        ("/etc/late", false),
        ("/etc/whole", true),
        (LINK, true),
    ] {
        assert_eq!(has(&lab.fs, name), is_there, "{name}");
    }
    // Another transaction adds to the queue.
    let third = lab.package("third", "1", "%post\nunknown-program\n", &[]);
    lab.transact(&[&third], Scriptlets::FirstBoot, &[]).unwrap();
    let wanted = [
        "000001-half-1-1.noarch.post",
        "000002-half-1-1.noarch.posttrans",
        "000003-third-1-1.noarch.post",
    ];
    assert_eq!(waiting(&lab.fs), wanted);
}

#[test]
fn what_cannot_wait_is_refused() {
    let Some(mut lab) = Lab::new() else { return };
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let late = lab.package("late", "1", "%post\nunknown-program\n", &[]);
    let early = lab.package("early", "1", "%pre\nunknown-program\n", &[]);
    let lua = lab.package("lua", "1", "%post -p <lua>\nposix.frob()\n", &[]);
    let macros = lab.package("macros", "1", "%post -e\necho %%{_host} >/etc/x\n", &[]);
    let before = lab.fs.dump();
    // Nothing would run it.
    let error = lab.transact(&[&shell, &late], Scriptlets::FirstBoot, &[]);
    assert!(matches!(error, Err(Error::NoInit { .. })), "{error:?}");
    lab.fs = {
        let fresh = Lab::new().unwrap();
        assert_eq!(fresh.fs.dump(), before);
        fresh.fs
    };
    add(&mut lab.fs, SYSTEMD);
    for (package, what) in [
        (&early, "unknown-program"),
        (&lua, "a script for <lua>"),
        (&macros, "macros in the script"),
    ] {
        let mut fs = lab.fs.clone();
        std::mem::swap(&mut fs, &mut lab.fs);
        let error = lab.transact(&[&shell, package], Scriptlets::FirstBoot, &[]);
        let error = error.unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint().is_some());
        lab.fs = fs;
    }
}

#[test]
fn each_runs_once_and_a_failure_is_seen() {
    let (Some(mut lab), Some(root)) = (Lab::new(), Root::new()) else {
        return;
    };
    for system in [SYSTEMD, RED_HAT] {
        add(&mut lab.fs, system);
    }
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let one = lab.package(
        "one",
        "1",
        "%post\n/usr/local/bin/record one; exit 4\n",
        &[],
    );
    let two = lab.package("two", "1", "%post\n/usr/local/bin/record two\n", &[]);
    lab.transact(&[&shell, &one, &two], Scriptlets::FirstBoot, &[])
        .unwrap();
    root.put_all(&lab.fs, &["/usr/libexec", "/etc/systemd"]);
    let run = format!("{FOLDER}/run");
    let (is_done, said) = root.run(&run);
    assert!(
        !is_done && said.contains("%post of one-1-1.noarch\n"),
        "{said}"
    );
    let before = root.recorded();
    assert!(
        before.contains("1 one\n") && before.contains("1 two\n"),
        "{before}"
    );
    assert!(root.is_there(&format!("{FOLDER}/failed/000001-one-1-1.noarch.post")));
    assert!(root.is_there(UNIT));
    assert!(
        fs::read_dir(root.upper(&format!("{FOLDER}/queue")))
            .unwrap()
            .next()
            .is_none()
    );
    root.run(&run);
    assert_eq!(root.recorded(), before);
}

#[test]
fn nothing_is_left_behind() {
    let init = "/etc/rc.d/init.d/firstboot-packages";
    for (system, program) in [
        (SYSTEMD, format!("{FOLDER}/run")),
        (RED_HAT, format!("{init} start")),
    ] {
        let (Some(mut lab), Some(root)) = (Lab::new(), Root::new()) else {
            return;
        };
        add(&mut lab.fs, system);
        let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
        let one = lab.package("one", "1", "%post\n/usr/local/bin/record\n", &[]);
        lab.transact(&[&shell, &one], Scriptlets::FirstBoot, &[])
            .unwrap();
        root.put_all(&lab.fs, &["/usr/libexec", "/etc"]);
        let services = [UNIT, LINK, init, "/etc/rc.d/rc3.d/S00firstboot-packages"];
        let there = |name: &&&str| root.is_there(name);
        assert_eq!(services.iter().filter(there).count(), 2);
        if system == RED_HAT {
            let script = root.upper(init);
            if need::tools(&["shellcheck"]) {
                run(Command::new("shellcheck").arg(&script));
            }
        }
        if need::tools(&["shellcheck"]) {
            run(Command::new("shellcheck").arg(root.upper(&format!("{FOLDER}/run"))));
        }
        let (is_done, said) = root.run(&program);
        assert!(is_done, "{said}");
        assert!(root.recorded().starts_with("0 \n"));
        assert_eq!(services.iter().filter(there).count(), 0);
        assert!(!root.is_there(FOLDER));
    }
}

#[test]
fn systemd_understands_the_unit() {
    let Some(mut lab) = Lab::new() else { return };
    add(&mut lab.fs, SYSTEMD);
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let late = lab.package("late", "1", "%post\nunknown-program\n", &[]);
    lab.transact(&[&shell, &late], Scriptlets::FirstBoot, &[])
        .unwrap();
    let unit = read_optional(&lab.fs, &path(UNIT)).unwrap().unwrap();
    // The program must be there for the check.
    let unit = String::from_utf8(unit).unwrap();
    let unit = unit.replace(&format!("ExecStart={FOLDER}/run"), "ExecStart=/bin/true");
    let file = lab.folder.path().join("firstboot-packages.service");
    fs::write(&file, unit).unwrap();
    if need::tools(&["systemd-analyze"]) {
        let said = output(Command::new("systemd-analyze").arg("verify").arg(&file));
        let said = text(&said);
        assert!(!said.contains("firstboot-packages"), "{said}");
    }
}

#[test]
fn steps_take_the_place_of_a_script() {
    let Some(mut lab) = Lab::new() else { return };
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let script = "%pre\nunknown-program\n%post\nunknown-program\n";
    let odd = lab.package("odd", "1", script, &[("/opt/odd", "")]);
    let folder = |name: &'static str| {
        move |editor: &mut imgasm_fs::tree::Editor<'_>| {
            let path = ImagePath::parse(name).unwrap();
            Ok(editor.mkdir_all(&path, imgasm_fs::tree::Attributes::default())?)
        }
    };
    let (pre, post) = (folder("/opt/pre"), folder("/opt/post"));
    let one = |package, script, act| Override {
        package,
        script,
        act,
    };
    let overrides = [one("odd", "pre", &pre), one("odd", "post", &post)];
    let unused = [overrides[0], overrides[1], one("odd", "preun", &pre)];
    let before = lab.fs.clone();
    let error = lab.transact(&[&shell, &odd], Scriptlets::Native, &unused);
    assert!(
        matches!(error, Err(Error::UnusedOverride { .. })),
        "{error:?}"
    );
    lab.fs = before;
    let done = lab.transact(&[&shell, &odd], Scriptlets::Native, &overrides);
    let done = done.unwrap();
    assert!(
        done.scripts
            .iter()
            .all(|script| script.verdict == Verdict::Overridden)
    );
    assert!(has(&lab.fs, "/opt/pre") && has(&lab.fs, "/opt/post"));
    assert!(
        done.installed
            .iter()
            .all(|outcome| outcome.skipped.is_empty())
    );
    // It is there already: nothing is done, and nothing is missing.
    let writes = lab.fs.writes;
    lab.transact(&[&odd], Scriptlets::Native, &overrides)
        .unwrap();
    assert_eq!(lab.fs.writes, writes);
}
