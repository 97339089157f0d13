//! Files that the image's own configuration leaves out, by rpm with the same macros and here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::transactions::{Lab, host_listing, memory_listing};
use imgasm_guest::packages::Wishes;
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::guest_tree::{add, on_host};

/// Builds a package with files of all kinds that can be left out; the content of each is its version.
fn package(folder: &Path, version: &str) -> PathBuf {
    let files = [
        "/usr/share/locale/de/x.mo",
        "/usr/share/locale/fr/x.mo",
        "/usr/share/locale/fr_CA/x.mo",
        "/usr/share/doc/x/README",
        "/usr/share/doc/x/more/a",
        "/usr/share/doc/y",
        "/srv/shared/a",
        "/srv/sharedb",
        "/srv/sub/b",
        "/srv/sub/deep/c",
        "/opt/plain",
        "/opt/one",
        "/opt/two",
        "/opt/several",
    ];
    let mut install = String::new();
    for file in &files {
        let line = format!(
            "mkdir -p $(dirname %{{buildroot}}{file})\necho {version} >%{{buildroot}}{file}\n"
        );
        install.push_str(&line);
    }
    let spec = format!(
        "Name: x\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
         AutoReqProv: no\n%description\nx\n%install\n{install}\
         ln -f %{{buildroot}}/opt/one %{{buildroot}}/opt/two\n%files\n\
         %lang(de) /usr/share/locale/de/x.mo\n%lang(fr) /usr/share/locale/fr/x.mo\n\
         %lang(fr_CA) /usr/share/locale/fr_CA/x.mo\n%dir /usr/share/doc/x\n%dir /usr/share/locale/de\n\
         %doc /usr/share/doc/x/README\n%doc /usr/share/doc/x/more\n/usr/share/doc/y\n\
         /srv/shared\n/srv/sharedb\n/srv/sub\n/opt/plain\n/opt/one\n%lang(fi) /opt/two\n/opt/several\n"
    );
    let top = folder.join(format!("omit{version}"));
    fs::create_dir(&top).unwrap();
    fs::write(top.join("x.spec"), spec).unwrap();
    let mut command = Command::new("rpmbuild");
    command
        .arg("--define")
        .arg(format!("_topdir {}", top.display()));
    run(command.arg("-bb").arg(top.join("x.spec")));
    top.join(format!("RPMS/noarch/x-{version}-1.noarch.rpm"))
}

/// Installs a package by both; the trees and the states of files must be the same.
fn both(lab: &mut Lab, package: &Path, tsflags: &[&str]) {
    lab.change(&[package], &Wishes::default()).unwrap();
    let root = lab.root();
    let place = |path: &str| format!("{}/{path}", root.display());
    // What the image's own rpm reads.
    let macros = [
        "usr/lib/rpm/macros",
        "usr/lib/rpm/macros.d/macros.*",
        "etc/rpm/macros.*",
        "etc/rpm/macros",
    ];
    let macros = format!("/usr/lib/rpm/macros:{}", macros.map(place).join(":"));
    let mut command = Command::new("rpm");
    command
        .args(["--macros", &macros, "--root"])
        .arg(&root)
        .args(["--dbpath", "/var/lib/rpm", "--nodeps", "-U"]);
    let result = output(command.args(tsflags).arg(package));
    assert!(result.status.success(), "{}", text(&result));
    assert_eq!(
        memory_listing(&lab.fs),
        host_listing(&root),
        "{}",
        package.display()
    );
    let mut command = Command::new("rpm");
    command
        .arg("--root")
        .arg(&root)
        .args(["--dbpath", "/var/lib/rpm", "-q", "-s", "x"]);
    let theirs = text(&output(&mut command));
    let (_, ours) = lab.ask(&["-q", "-s", "x"]);
    assert_eq!(ours, theirs);
    let (is_whole, said) = lab.ask(&["-Va", "--nomtime"]);
    assert!(is_whole, "{said}");
}

#[test]
fn files_are_left_out_as_rpm_leaves_them_out() {
    let all: [(&str, &[&str]); 5] = [
        ("%_install_langs de:en_US\n", &[]),
        (
            "%langs fr_FR\n%_install_langs %{langs}:C\n%_excludedocs 1\n",
            &[],
        ),
        (
            "%_netsharedpath /srv/shared:/srv/sub/:\\\n/opt/several\n",
            &[],
        ),
        ("%_install_langs all\n%_excludedocs 0\n", &["--excludedocs"]),
        ("%_install_langs de:all\n", &[]),
    ];
    for (macros, flags) in all {
        // Once by itself, and once in the place of one of which nothing was left out.
        for is_update in [false, true] {
            let Some(mut lab) = Lab::new() else { return };
            if is_update {
                let first = package(lab.folder.path(), "1");
                both(&mut lab, &first, &[]);
            }
            let mut files = vec![("/etc/rpm/macros.image-language", macros)];
            if !flags.is_empty() {
                files.push((
                    "/etc/dnf/dnf.conf",
                    "[main]\ngpgcheck=1\ntsflags=nocontexts,nodocs\n",
                ));
            }
            files.push(("/etc/rpm/macros.d/", ""));
            files.push(("/etc/rpm/macros.zz.rpmnew", "%_install_langs none\n"));
            add(&mut lab.fs, &files);
            on_host(&lab.root(), &files);
            let second = package(lab.folder.path(), "2");
            both(&mut lab, &second, flags);
        }
    }
}

#[test]
fn a_macro_that_only_rpm_can_fill_in_is_refused() {
    let Some(mut lab) = Lab::new() else { return };
    let package = package(lab.folder.path(), "1");
    // Each is twenty of the next, and the last is nothing.
    let many = |n| format!("%m{n} {}\n", format!("%m{}", n + 1).repeat(20));
    let many = format!("%m0\n{}%m12 %nil", (0..12).map(many).collect::<String>());
    for value in [
        "%(echo de)",
        "%{?x:de}",
        "%{lua: x}",
        "%_install_langs",
        &many,
    ] {
        let lines = format!("%_install_langs {value}\n");
        add(&mut lab.fs, &[("/etc/rpm/macros", &lines)]);
        let error = lab.change(&[&package], &Wishes::default()).unwrap_err();
        assert!(error.to_string().contains("_install_langs"), "{error}");
    }
}
