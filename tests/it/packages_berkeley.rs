//! Packages that are installed into an image of the shape of Amazon Linux 1, whose RPM database is in
//! Berkeley DB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages_database::{berkeley, empty_tree};
use crate::support::rpms::{DATABASE, Lab, TOOLS, rpm};
use imgasm_testkit::command::run;
use imgasm_testkit::need;

/// The indexes that RPM 4.11 keeps.
const INDEXES: [&str; 12] = [
    "Basenames",
    "Conflictname",
    "Dirnames",
    "Group",
    "Installtid",
    "Name",
    "Obsoletename",
    "Providename",
    "Requirename",
    "Sha1header",
    "Sigmd5",
    "Triggername",
];

/// Puts a Berkeley DB with the same packages in the place of an image's database in SQLite. Its indexes
/// are empty.
fn use_berkeley(root: &Path) {
    let folder = root.join(&DATABASE[1..]);
    let sqlite = folder.join("rpmdb.sqlite");
    let headers: Vec<Vec<u8>> = {
        let database = rusqlite::Connection::open(&sqlite).unwrap();
        let mut query = database.prepare("SELECT blob FROM Packages").unwrap();
        let blobs = query.query_map([], |row| row.get(0)).unwrap();
        blobs.map(Result::unwrap).collect()
    };
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let packages = berkeley(scratch.path(), &headers);
    fs::write(folder.join("Packages"), packages).unwrap();
    for index in INDEXES {
        fs::write(folder.join(index), empty_tree(scratch.path())).unwrap();
    }
    // A running RPM leaves these.
    fs::write(folder.join("__db.001"), "pages of old").unwrap();
}

/// A package of the kind that Amazon Linux 1 has.
fn package(lab: &Lab, name: &str, preamble: &str, scripts: &str) -> PathBuf {
    let spec = format!(
        "{preamble}%description\nA test.\n%install\n\
         mkdir -p %{{buildroot}}/usr/share/{name} %{{buildroot}}/etc/{name}\n\
         for i in $(seq 200); do echo $i > %{{buildroot}}/usr/share/{name}/part-$i; done\n\
         echo {name} > %{{buildroot}}/etc/{name}/{name}.conf\n{scripts}\
         %files\n/usr/share/{name}\n%config(noreplace) /etc/{name}\n"
    );
    lab.rpmbuild(name, "1.0", &spec)
}

#[test]
fn amazon_linux_1_gets_packages_and_loses_them() {
    if !need::mounts(&TOOLS) || !need::tools(&["db5.3_load", "db5.3_verify", "rpmdb"]) {
        return;
    }
    let lab = Lab::new();
    let bash = package(&lab, "bash", "Provides: /bin/sh\nProvides: python\n", "");
    let (old, other) = ("Provides: json\n", "Requires: json\n");
    let old = package(&lab, "jq-old", old, "");
    let other = package(&lab, "other", other, "");
    lab.edit(|root| {
        for path in [&bash, &old, &other] {
            rpm(root, &["-i", path.to_str().unwrap()]);
        }
        use_berkeley(root);
    });
    let jq = package(&lab, "jq", "Provides: json\nObsoletes: jq-old\n", "");
    let logs = package(
        &lab,
        "awslogs",
        "Requires: jq, /bin/sh\n",
        "%post\n[ -e /etc/awslogs/awslogs.conf ] && touch /etc/awslogs/ready\n",
    );
    let init = package(
        &lab,
        "aws-cfn-bootstrap",
        "Requires: python\nRequires(post): awslogs\n",
        "",
    );
    lab.install(&[(&init, ""), (&logs, ""), (&jq, "")]).unwrap();
    lab.look(|root| {
        let folder = root.join(&DATABASE[1..]);
        let files = INDEXES.into_iter().chain(["Packages"]);
        let files: Vec<_> = files.map(|name| folder.join(name)).collect();
        run(Command::new("db5.3_verify").args(&files));
        assert!(!folder.join("__db.001").exists());
        let mut names: Vec<_> = rpm(root, &["-qa", "--qf", "%{name}\\n"])
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        assert_eq!(names, ["aws-cfn-bootstrap", "awslogs", "bash", "jq", "other"]);
        assert_eq!(rpm(root, &["-Va"]), "");
        assert!(root.join("etc/awslogs/ready").exists());
        for (question, answer) in [
            (&["-qf", "/usr/share/jq/part-77"][..], "jq-1.0-1.noarch\n"),
            (&["-q", "--whatprovides", "json"], "jq-1.0-1.noarch\n"),
            (&["-q", "--whatrequires", "jq"], "awslogs-1.0-1.noarch\n"),
        ] {
            assert_eq!(rpm(root, question), answer);
        }
        // All of it can be taken into another database.
        let script = format!(
            "rpmdb --root '{0}' --dbpath {DATABASE} --exportdb > '{0}/list' && mkdir '{0}/other' && \
             rpmdb --root '{0}/other' --dbpath {DATABASE} --importdb < '{0}/list'",
            root.display()
        );
        run(Command::new("sh").args(["-c", &script]));
        let moved = rpm(&root.join("other"), &["-qa", "--qf", "%{name}\\n"]);
        assert_eq!(moved.lines().count(), names.len());
    });
    let before = lab.bytes();
    lab.install(&[(&init, ""), (&logs, ""), (&jq, "")]).unwrap();
    assert!(lab.bytes() == before, "the second time must change nothing");
}
