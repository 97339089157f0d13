//! Packages that `imgasm apply` installs, looked at with Debian's rpm on a mount of the image.

#[path = "support/rpms.rs"]
mod rpms;
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rpms::{Lab, TOOLS, rpm};
use support::command::can_mount;

/// Something of everything that a package can have.
const RICH: &str = r#"Epoch: 1
Requires: /bin/sh
Provides: virtual = 3
%description
A test.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc/rich.d %{buildroot}/usr/share/rich %{buildroot}/var/log
echo 'echo hi' > %{buildroot}/usr/bin/rich
echo 'a = 1' > %{buildroot}/etc/rich.conf
ln -s rich %{buildroot}/usr/bin/alias
for i in 1 2 3; do seq 20000 > %{buildroot}/usr/share/rich/first; done
ln %{buildroot}/usr/share/rich/first %{buildroot}/usr/share/rich/second
ln %{buildroot}/usr/share/rich/first %{buildroot}/usr/share/rich/third
: > %{buildroot}/usr/share/rich/empty
echo ghost > %{buildroot}/var/log/rich.log
%files
%attr(4755,root,daemon) %caps(cap_net_raw=ep) /usr/bin/rich
/usr/bin/alias
%config(noreplace) %attr(0600,daemon,daemon) /etc/rich.conf
%dir %attr(0750,root,daemon) /etc/rich.d
/usr/share/rich
%dev(c,1,3) %attr(0666,root,root) /usr/share/rich/null
%ghost /var/log/rich.log
"#;

/// The parts of a database that two of them must have in common.
fn rows(database: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(database).unwrap();
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
                 AND name != 'Packages' AND name != 'Installtid' ORDER BY name";
    let mut names = database.prepare(names).unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut rows = Vec::new();
    for name in names {
        let query = format!("SELECT quote(key), hnum, idx FROM '{name}' ORDER BY rowid");
        let mut query = database.prepare(&query).unwrap();
        let found = query.query_map([], |row| {
            let (key, number, index): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(format!("{name}: {key} {number} {index}"))
        });
        rows.extend(found.unwrap().map(Result::unwrap));
    }
    rows
}

/// The header that a database holds for its only package, without the times of its installation.
fn header(database: &Path) -> Vec<u8> {
    let database = rusqlite::Connection::open(database).unwrap();
    let query = "SELECT blob FROM Packages";
    let mut blob: Vec<u8> = database.query_row(query, [], |row| row.get(0)).unwrap();
    let number = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap());
    let entries = number(0) as usize;
    let store = 8 + 16 * entries;
    let entries = (0..entries).map(|index| 8 + 16 * index);
    let times: Vec<_> = entries
        .filter(|&at| [1008, 1128].contains(&number(at)))
        .map(|at| store + number(at + 8) as usize)
        .collect();
    assert_eq!(times.len(), 2);
    for at in times {
        blob[at..at + 4].fill(0);
    }
    blob
}

#[test]
fn a_package_is_installed_as_rpm_does_it() {
    if !can_mount(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let package = lab.rpmbuild("rich", "1.2", RICH);
    lab.install(&[(&package, ", nodeps = true")]).unwrap();

    let twin = Lab::new();
    let path = package.to_str().unwrap();
    twin.edit(|root| rpm(root, &["-i", "--nodeps", path]));

    assert_eq!(lab.rpm(&["-q", "rich"]), "rich-1.2-1.noarch\n");
    assert_eq!(lab.rpm(&["-V", "--nodeps", "rich"]), "");
    for query in [
        &["-ql", "rich"][..],
        &["-q", "--provides", "rich"],
        &["-q", "--state", "rich"],
    ] {
        assert_eq!(lab.rpm(query), twin.rpm(query));
    }
    lab.look(|ours| {
        twin.look(|theirs| {
            let database = "var/lib/rpm/rpmdb.sqlite";
            assert_eq!(rows(&ours.join(database)), rows(&theirs.join(database)));
            let same = header(&ours.join(database)) == header(&theirs.join(database));
            assert!(same, "the records differ");
            for path in rpm(ours, &["-ql", "rich"]).lines() {
                let path = path.trim_start_matches('/');
                let stat = |root: &Path| {
                    let found = fs::symlink_metadata(root.join(path)).ok()?;
                    let is_directory = found.is_dir();
                    let times = (!is_directory).then(|| found.mtime());
                    let links = (!is_directory).then(|| found.nlink());
                    Some((
                        found.mode(),
                        found.uid(),
                        found.gid(),
                        found.rdev(),
                        links,
                        times,
                    ))
                };
                assert_eq!(stat(ours), stat(theirs), "{path}");
            }
        });
    });

    let before = lab.bytes();
    lab.install(&[(&package, ", nodeps = true")]).unwrap();
    assert!(lab.bytes() == before, "the second time must change nothing");
}
