//! Packages that `imgasm apply` installs, looked at with Debian's rpm on a mount of the image.

use crate::support::rpms;
use imgasm_testkit::need;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::example;
use crate::support::rpms::{Lab, TOOLS, rpm};

/// Something of everything that a package can have.
const RICH: &str = r"Epoch: 1
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
";

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

/// Installs packages with Debian's rpm, as on a system for programs of 32 and of 64 bit.
fn rpm_of_both(root: &Path, packages: &[&Path]) {
    let both = [
        "--define",
        "_transaction_color 3",
        "--define",
        "_prefer_color 2",
    ];
    let names = packages.iter().map(|path| path.to_str().unwrap());
    let arguments: Vec<_> = both.into_iter().chain(["-i"]).chain(names).collect();
    rpm(root, &arguments);
}

#[test]
fn of_programs_at_one_place_that_for_64_bit_stays() {
    if !need::mounts(&TOOLS) {
        return;
    }
    // The beginning of a program: its kind, and the machine that it is for.
    let package = |lab: &Lab, name: &str, class: &str, machine: &str| {
        let head = format!(
            "\\177ELF\\00{class}\\001\\001\\000\\000\\000\\000\\000\\000\\000\\000\\000\\002\\000\\{machine}\\000\\001"
        );
        let spec = format!(
            "%define _binaries_in_noarch_packages_terminate_build 0\n%define __os_install_post %{{nil}}\n\
             %description\nx\n%install\nmkdir -p %{{buildroot}}/opt\nprintf '{head}' > %{{buildroot}}/opt/tool\n\
             head -c 64 /dev/zero >> %{{buildroot}}/opt/tool\nchmod 755 %{{buildroot}}/opt/tool\n\
             %files\n/opt/tool\n"
        );
        lab.rpmbuild(name, "1", &spec)
    };
    // Together in either order, and one after the other.
    for orders in [&[&[1, 2][..]][..], &[&[2, 1]], &[&[2], &[1]]] {
        let [lab, twin] = [Lab::new(), Lab::new()];
        let first = lab.rpmbuild("first", "1", "%description\nx\n%files\n");
        let tools = [
            package(&lab, "small", "1", "003"),
            package(&lab, "tool", "2", "076"),
        ];
        for one in [&lab, &twin] {
            one.edit(|root| rpm_of_both(root, &[&first]));
        }
        for order in orders {
            let packages: Vec<&Path> = order.iter().map(|one| tools[one - 1].as_path()).collect();
            let listed: Vec<_> = packages.iter().map(|path| (*path, "")).collect();
            lab.install(&listed).unwrap();
            twin.edit(|root| rpm_of_both(root, &packages));
        }
        let states = ["-q", "--state", "small", "tool"];
        assert_eq!(
            lab.rpm(&states),
            "wrong color   /opt/tool\nnormal        /opt/tool\n"
        );
        assert_eq!(lab.rpm(&states), twin.rpm(&states), "{orders:?}");
        assert_eq!(lab.rpm(&["-V", "small", "tool"]), "");
        let read = |one: &Lab| one.look(|root| fs::read(root.join("opt/tool")).unwrap());
        assert_eq!(read(&lab)[4], 2);
        assert_eq!(read(&lab), read(&twin));
    }
    // What is installed for 32 bit is not taken away.
    let lab = Lab::new();
    let first = lab.rpmbuild("first", "1", "%description\nx\n%files\n");
    lab.edit(|root| rpm_of_both(root, &[&first]));
    let tools = [
        package(&lab, "small", "1", "003"),
        package(&lab, "tool", "2", "076"),
    ];
    lab.install(&[(&tools[0], "")]).unwrap();
    let refused = lab.install(&[(&tools[1], "")]).unwrap_err();
    assert!(refused.contains("/opt/tool"), "{refused}");
}

#[test]
fn a_package_is_installed_as_rpm_does_it() {
    if !need::mounts(&TOOLS) {
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

#[test]
fn every_packing_and_both_formats() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let spec = "%description\nx\n%install\nmkdir -p %{buildroot}/opt/NAME\nseq 50000 > \
                %{buildroot}/opt/NAME/a\nln %{buildroot}/opt/NAME/a %{buildroot}/opt/NAME/b\n\
                ln -s a %{buildroot}/opt/NAME/c\n%files\n/opt/NAME\n";
    let mut packages = Vec::new();
    for (name, packing) in [
        ("plain", "w.ufdio"),
        ("gzip", "w9.gzdio"),
        ("bzip2", "w9.bzdio"),
        ("xz", "w6.xzdio"),
        ("lzma", "w6.lzdio"),
        ("zstd", "w3.zstdio"),
    ] {
        let spec = format!(
            "%define _binary_payload {packing}\n{}",
            spec.replace("NAME", name)
        );
        packages.push(lab.rpmbuild(name, "1", &spec));
    }
    let large = "x".repeat(300_000);
    for (name, config) in [
        ("fourth", rpm::BuildConfig::v4()),
        ("sixth", rpm::BuildConfig::v6()),
    ] {
        let path = |file: &str| format!("/opt/{name}/{file}");
        let mut builder = rpm::PackageBuilder::new(name, "1", "MIT", "noarch", "x");
        builder.using_config(config);
        let contents = |builder: &mut rpm::PackageBuilder, file: &str, content: &str| {
            let options = rpm::FileOptions::new(path(file)).hardlink("the-same");
            let options = if file.starts_with("link") {
                options
            } else {
                rpm::FileOptions::new(path(file)).permissions(0o750)
            };
            builder.with_file_contents(content, options).unwrap();
        };
        contents(&mut builder, "large", &large);
        contents(&mut builder, "link1", "hello");
        contents(&mut builder, "link2", "hello");
        contents(&mut builder, "small", "1");
        builder
            .with_symlink(rpm::FileOptions::symlink(path("symlink"), "large"))
            .unwrap();
        packages.push(lab.built(&builder.build().unwrap()));
    }
    let list: Vec<_> = packages.iter().map(|path| (path.as_path(), "")).collect();
    lab.install(&list).unwrap();
    lab.look(|root| {
        assert_eq!(rpm(root, &["-Va", "--nodeps"]), "");
        for name in ["plain", "gzip", "bzip2", "xz", "lzma", "zstd"] {
            let folder = root.join("opt").join(name);
            let first = fs::metadata(folder.join("a")).unwrap();
            let second = fs::metadata(folder.join("b")).unwrap();
            assert_eq!((first.ino(), first.nlink()), (second.ino(), 2), "{name}");
            assert_eq!(fs::read_link(folder.join("c")).unwrap(), Path::new("a"));
        }
        for name in ["fourth", "sixth"] {
            let folder = root.join("opt").join(name);
            assert_eq!(fs::read_to_string(folder.join("symlink")).unwrap(), large);
            assert_eq!(fs::read_to_string(folder.join("link2")).unwrap(), "hello");
            assert_eq!(fs::metadata(folder.join("link1")).unwrap().nlink(), 2);
        }
    });
}

/// A package with these further lines before its description, and a file of its own.
fn small(lab: &Lab, name: &str, version: &str, preamble: &str) -> std::path::PathBuf {
    let spec = format!(
        "{preamble}\n%description\nx\n%install\nmkdir -p %{{buildroot}}/opt\necho {version} > \
         %{{buildroot}}/opt/{name}\n%files\n/opt/{name}\n"
    );
    lab.rpmbuild(name, version, &spec)
}

#[test]
fn dependencies_are_met_or_named() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let library = small(&lab, "library", "2", "Provides: lib(x) = 2");
    let newer = small(&lab, "library", "3", "Provides: lib(x) = 3");
    let old = small(&lab, "library", "1", "");
    let user = small(
        &lab,
        "user",
        "1",
        "Requires: lib(x) >= 2, lib(x) < 3\nRequires: /opt/library\n\
         Requires: (nothing if other)\nRequires: (library or nothing)",
    );
    let unmet = lab.install(&[(&user, "")]).unwrap_err();
    for missing in [
        "lib(x) >= 2",
        "lib(x) < 3",
        "/opt/library",
        "(library or nothing)",
    ] {
        let wanted = format!("user-1-1.noarch requires `{missing}`");
        assert!(unmet.contains(&wanted), "{wanted}: {unmet}");
    }
    assert!(!unmet.contains("nothing if other"), "{unmet}");
    lab.install(&[(&library, ""), (&user, "")]).unwrap();
    assert_eq!(lab.rpm(&["-V", "user", "library"]), "");
    let unmet = lab.install(&[(&newer, "")]).unwrap_err();
    assert!(
        unmet.contains("user-1-1.noarch, which is installed, requires `lib(x) < 3`"),
        "{unmet}"
    );
    let older = lab.install(&[(&old, "")]).unwrap_err();
    assert!(
        older.contains("library-1-1.noarch is older than library-2-1.noarch, which is installed"),
        "{older}"
    );
    let enemy = small(&lab, "enemy", "1", "Conflicts: library < 3");
    let conflict = lab.install(&[(&enemy, "")]).unwrap_err();
    assert!(
        conflict.contains("enemy-1-1.noarch conflicts with library-2-1.noarch"),
        "{conflict}"
    );
    let heir = small(
        &lab,
        "heir",
        "1",
        "Obsoletes: library < 3\nProvides: lib(x) = 2.5\nProvides: library = 9\n\
         Provides: /opt/library",
    );
    lab.install(&[(&heir, "")]).unwrap();
    assert_eq!(lab.rpm(&["-qa"]).lines().count(), 2);
    lab.look(|root| assert!(!root.join("opt/library").exists()));
}

#[test]
fn each_bad_input_is_one_clear_error() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let one = small(&lab, "one", "1", "");
    let whole = fs::read(&one).unwrap();
    let broken = |bytes: &[u8]| {
        let path = lab.fresh().join("x.rpm");
        fs::write(&path, bytes).unwrap();
        path
    };
    let other = lab.rpmbuild(
        "other",
        "1",
        "%description\nx\n%install\nmkdir -p %{buildroot}/opt\necho other > %{buildroot}/opt/one\n\
         %files\n/opt/one\n",
    );
    let built = |path: &str, user: &str, arch: &str| {
        let mut builder = rpm::PackageBuilder::new("odd", "1", "MIT", arch, "x");
        let options = rpm::FileOptions::new(path).user(user);
        builder.with_file_contents("x", options).unwrap();
        lab.built(&builder.build().unwrap())
    };
    let script = |text: &str| {
        let mut builder = rpm::PackageBuilder::new("scripted", "1", "MIT", "noarch", "x");
        builder.post_install_script(text);
        lab.built(&builder.build().unwrap())
    };
    lab.edit(|root| {
        std::os::unix::fs::symlink("../../../outside", root.join("opt")).unwrap();
    });
    let zeros = format!(", sha256 = \"{}\"", "0".repeat(64));
    let cut_payload = broken(&whole[..whole.len() - 9]);
    let cases = [
        (broken(&whole[..40]), "", "0.rpm: it is cut short"),
        (broken(&whole[..2000]), "", "0.rpm: it is cut short"),
        (cut_payload, "", "0.rpm: its payload is not the one that its header announces"),
        (broken(b"not a package at all, but long enough to be taken for one, if nobody looks at it, as nobody should"), "", "0.rpm: it is not an RPM package"),
        (one.clone(), &zeros, "not 0000000000000000000000000000000000000000000000000000000000000000"),
        (built("/usr/../etc/x", "root", "noarch"), "", "contains `..`"),
        (built("/opt/x", "root", "noarch"), "", "would leave the image by the symbolic link /opt"),
        (built("/etc/x", "nobody-here", "noarch"), "", "belongs to the user `nobody-here`"),
        (built("/etc/x", "root", "s390x"), "", "odd-1-1.s390x is for s390x, and the image is for x86_64"),
        (script("curl http://example.com | sh"), "", "the script %post cannot be carried out offline"),
        (script("x=$(date)"), "", "the script %post cannot be carried out offline"),
    ];
    for (path, keys, wanted) in cases {
        let keys = format!(", nodeps = true{keys}");
        let error = lab.install(&[(&path, &keys)]).unwrap_err();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    lab.edit(|root| fs::remove_file(root.join("opt")).unwrap());
    let error = lab.install(&[(&one, ""), (&other, "")]).unwrap_err();
    let wanted = "/opt/one of one-1-1.noarch is another file than that of other-1-1.noarch";
    assert!(error.contains(wanted), "{error}");
    lab.install(&[(&one, "")]).unwrap();
    let error = lab.install(&[(&other, "")]).unwrap_err();
    let wanted = "/opt/one of other-1-1.noarch is another file than that of one-1-1.noarch";
    assert!(error.contains(wanted), "{error}");
    lab.edit(|root| {
        fs::create_dir(root.join("etc/x")).unwrap();
        fs::write(root.join("etc/x/y"), "").unwrap();
    });
    let directory = built("/etc/x", "root", "noarch");
    let error = lab.install(&[(&directory, "")]).unwrap_err();
    assert!(error.contains("/etc/x is a directory"), "{error}");
}

/// Everything below `etc` and `opt`, with what it holds.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.join("etc/conf"), root.join("opt")];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let mode = metadata.mode();
        if metadata.is_dir() {
            found.push(format!("{name} {mode:o}"));
            let entries = fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.push(format!("{name} {mode:o} -> {}", target.display()));
        } else {
            let content = fs::read_to_string(&path).unwrap();
            found.push(format!("{name} {mode:o} {content:?}"));
        }
    }
    found.sort();
    found
}

#[test]
fn what_an_administrator_changed_fares_as_with_rpm() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let spec = |files: &[(&str, &str)], rest: &str| {
        let mut spec = "%description\nx\n%install\nmkdir -p %{buildroot}/etc/conf\n".to_owned();
        let mut list = "%files\n%dir /etc/conf\n".to_owned();
        for (name, content) in files {
            let path = format!("/etc/conf/{name}");
            writeln!(spec, "printf '{content}' > %{{buildroot}}{path}").unwrap();
            let kind = match name.split('-').next() {
                Some("keep") => "%config(noreplace) ",
                Some("save") => "%config ",
                _ => "",
            };
            writeln!(list, "{kind}{path}").unwrap();
        }
        spec + &list + rest
    };
    let same = [
        ("keep-same", "1"),
        ("keep-changed", "1"),
        ("save-same", "1"),
        ("save-changed", "1"),
        ("plain", "1"),
    ];
    let mut old = same.to_vec();
    old.extend([
        ("keep-new", "1"),
        ("save-new", "1"),
        ("keep-both", "1"),
        ("save-both", "1"),
        ("keep-there", "1"),
        ("save-there", "1"),
        ("save-gone", "1"),
        ("save-gone-changed", "1"),
        ("plain-gone", "1"),
    ]);
    let mut new = same.to_vec();
    new.extend([
        ("keep-new", "2"),
        ("save-new", "2"),
        ("keep-both", "2"),
        ("save-both", "2"),
        ("keep-there", "2"),
        ("save-there", "2"),
        ("plain-new", "2"),
    ]);
    let first = lab.rpmbuild("conf", "1", &spec(&old, ""));
    let second = lab.rpmbuild("conf", "2", &spec(&new, ""));
    let before = |root: &Path| {
        fs::create_dir_all(root.join("etc/conf")).unwrap();
        fs::write(root.join("etc/conf/keep-there"), "mine").unwrap();
        fs::write(root.join("etc/conf/save-there"), "mine").unwrap();
    };
    let between = |root: &Path| {
        for name in [
            "keep-changed",
            "save-changed",
            "keep-both",
            "save-both",
            "save-gone-changed",
        ] {
            fs::write(root.join("etc/conf").join(name), "changed").unwrap();
        }
    };
    lab.edit(before);
    lab.install(&[(&first, "")]).unwrap();
    let ours_first = lab.look(listing);
    lab.edit(between);
    lab.install(&[(&second, "")]).unwrap();

    let twin = Lab::new();
    twin.edit(before);
    let upgrade = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        twin.edit(|root| rpm(root, &["-U", "--nodeps", &path]));
    };
    upgrade(&first);
    assert_eq!(ours_first, twin.look(listing));
    twin.edit(between);
    upgrade(&second);
    assert_eq!(lab.look(listing), twin.look(listing));
    assert_eq!(lab.rpm(&["-qa"]), twin.rpm(&["-qa"]));
    let verified = |lab: &Lab| {
        lab.look(|root| {
            let result = rpms::rpm_output(root, &["-V", "--nodeps", "conf"]);
            let said = String::from_utf8(result.stdout).unwrap();
            // When a file was changed differs between two machines.
            said.replace('T', ".")
        })
    };
    assert_eq!(verified(&lab), verified(&twin));
}

#[test]
fn scripts_are_carried_out_where_their_effect_is_known() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let spec = "%description\nx\n\
        %pre\n\
        getent group web >/dev/null || groupadd -r -g 155 web\n\
        getent passwd web > /dev/null 2>&1 || \\\n  useradd -r -u 155 -g web -d /srv -s /sbin/nologin -c \"The web\" web\n\
        exit 0\n\
        %post\n\
        if [ $1 -eq 1 ] && [ -x \"/usr/bin/systemctl\" ]; then\n  # Initial installation\n  /usr/bin/systemctl --no-reload preset web.service || :\nfi\n\
        /sbin/ldconfig\n\
        %install\n\
        mkdir -p %{buildroot}/usr/lib/systemd/system %{buildroot}/usr/bin %{buildroot}/srv/web %{buildroot}/usr/lib/sysusers.d\n\
        echo 'u worker 166 \"A worker\" /srv' > %{buildroot}/usr/lib/sysusers.d/worker.conf\n\
        : > %{buildroot}/usr/bin/systemctl\n: > %{buildroot}/srv/web/job\n\
        printf '[Service]\\nExecStart=/x\\n[Install]\\nWantedBy=multi-user.target\\n' > %{buildroot}/usr/lib/systemd/system/web.service\n\
        %files\n/usr/lib/systemd/system/web.service\n%attr(0755,root,root) /usr/bin/systemctl\n\
        %dir %attr(0750,web,web) /srv/web\n%attr(0640,worker,worker) /srv/web/job\n/usr/lib/sysusers.d/worker.conf\n";
    let package = lab.rpmbuild("web", "1", spec);
    lab.install(&[(&package, ", nodeps = true")]).unwrap();
    lab.look(|root| {
        assert_eq!(rpm(root, &["-V", "--nodeps", "web"]), "");
        let link = root.join("etc/systemd/system/multi-user.target.wants/web.service");
        let target = fs::read_link(link).unwrap();
        assert_eq!(target, Path::new("/usr/lib/systemd/system/web.service"));
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert!(
            passwd.contains("web:x:155:155:The web:/srv:/sbin/nologin\n"),
            "{passwd}"
        );
        assert!(
            passwd.contains("worker:x:166:166:A worker:/srv:/usr/sbin/nologin\n"),
            "{passwd}"
        );
        let folder = fs::metadata(root.join("srv/web")).unwrap();
        assert_eq!((folder.uid(), folder.gid()), (155, 155));
        assert_eq!(fs::metadata(root.join("srv/web/job")).unwrap().uid(), 166);
    });
    let before = lab.bytes();
    lab.install(&[(&package, ", nodeps = true")]).unwrap();
    assert!(lab.bytes() == before, "the second time must change nothing");
}

#[test]
fn a_recipe_installs_packages_and_the_manifest_tells() {
    if !need::mounts(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let mut builder = rpm::PackageBuilder::new("scripted", "1.5", "MIT", "noarch", "x");
    builder.post_install_script("curl http://example.com | sh\n");
    let options = rpm::FileOptions::new("/etc/scripted.conf");
    builder.with_file_contents("x", options).unwrap();
    let package = lab.built(&builder.build().unwrap());
    let folder = lab.fresh();
    fs::copy(&package, folder.join("scripted.rpm")).unwrap();
    fs::copy(lab.image(), folder.join("base.raw")).unwrap();
    let digest = imgasm_block::Digest::of(&fs::read(&package).unwrap());
    let recipe = format!(
        "name = \"x\"\nbase = {{ file = \"base.raw\" }}\nsource_date_epoch = 1700000000\n\
         [[package]]\npath = \"scripted.rpm\"\nsha256 = \"{digest}\"\nnodeps = true\n\
         scriptlets = \"skip\"\n\
         [[expect]]\npackage = \"scripted\"\nversion = \"1.5\"\n"
    );
    fs::write(folder.join("imgasm.toml"), recipe).unwrap();
    let imgasm = |args: &[&str]| {
        let mut command = example::imgasm();
        command.args(args).current_dir(&folder);
        command.env("XDG_CACHE_HOME", folder.join("cache"));
        imgasm_testkit::command::output(&mut command)
    };
    let build = imgasm(&["build", "-o", "out"]);
    assert!(
        build.status.success(),
        "{}",
        imgasm_testkit::command::text(&build)
    );
    let manifest = fs::read_to_string(folder.join("out/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let recorded = &manifest["packages"][0];
    assert_eq!(recorded["name"], "scripted");
    assert_eq!(recorded["version"], "1.5-1");
    assert_eq!(recorded["sha256"], digest.to_string());
    assert_eq!(
        recorded["skipped"][0],
        "%post of scripted-1.5-1.noarch: skipped from `curl http://example.com | sh` on"
    );
    let verify = imgasm(&["verify", "out/x.raw", "-f", "imgasm.toml", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&verify.stdout).unwrap();
    let results = said["results"].as_array().unwrap();
    let mut results = results.iter();
    let check = results.find(|r| r["check"] == "package scripted has version 1.5");
    assert_eq!(check.unwrap()["status"], "passed");
}

#[test]
fn only_packages_of_the_keyring_are_let_in() {
    if !need::mounts(&TOOLS) || !need::tools(&["gpg", "rpmsign"]) {
        return;
    }
    let lab = Lab::new();
    let home = lab.fresh();
    let gpg = |args: &[&str]| {
        let mut command = std::process::Command::new("gpg");
        command.arg("--homedir").arg(&home).arg("--batch");
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]);
        imgasm_testkit::command::run(command.args(args))
    };
    for name in ["Friend", "Stranger"] {
        gpg(&["--quick-generate-key", name, "rsa2048", "sign", "never"]);
    }
    let package = small(&lab, "signed", "1", "");
    let unsigned = fs::read(&package).unwrap();
    let mut sign = std::process::Command::new("rpmsign");
    sign.arg("--define")
        .arg(format!("_gpg_path {}", home.display()));
    sign.args([
        "--define",
        "_gpg_name Friend",
        "--define",
        "__gpg /usr/bin/gpg",
        "--addsign",
    ])
    .arg(&package);
    imgasm_testkit::command::run(&mut sign);
    let with = |keyring: &str, bytes: &[u8], keys: &str| {
        let folder = lab.fresh();
        let armoured = gpg(&["--armor", "--export", keyring]);
        let begin = armoured.find("-----BEGIN").unwrap();
        let last = "-----END PGP PUBLIC KEY BLOCK-----\n";
        let end = armoured.find(last).unwrap() + last.len();
        fs::write(folder.join("keys"), &armoured[begin..end]).unwrap();
        fs::write(folder.join("x.rpm"), bytes).unwrap();
        fs::copy(home.join("x.sig"), folder.join("x.sig")).unwrap();
        let digest = imgasm_block::Digest::of(bytes);
        let step = format!(
            "[[step]]\npackage = [{{ path = \"x.rpm\", sha256 = \"{digest}\", {keys} }}]\n"
        );
        fs::write(folder.join("overlay.toml"), step).unwrap();
        lab.apply(&folder)
    };
    // A signature beside another package, which has none inside.
    let beside = small(&lab, "beside", "1", "");
    let output = home.join("x.sig");
    let output = ["--output", output.to_str().unwrap()];
    let sign = ["--local-user", "Friend", "--armor", "--detach-sign"];
    gpg(&[&output[..], &sign, &[beside.to_str().unwrap()]].concat());
    let beside = fs::read(&beside).unwrap();
    let detached = "keyring = \"keys\", signature = \"x.sig\"";
    for (keyring, bytes) in [("Stranger", &beside), ("Friend", &unsigned)] {
        let error = with(keyring, bytes, detached).unwrap_err();
        let wanted = "x.rpm is not signed by a key of keys";
        assert!(error.contains(wanted), "{error}");
    }
    let error = with("Friend", &beside, "signature = \"x.sig\"").unwrap_err();
    assert!(error.contains("no `keyring` says whose"), "{error}");
    with("Friend", &beside, detached).unwrap();
    assert_eq!(lab.rpm(&["-q", "beside"]), "beside-1-1.noarch\n");

    let overlay = |keyring: &str, bytes: &[u8]| with(keyring, bytes, "keyring = \"keys\"");
    let signed = fs::read(&package).unwrap();
    let error = overlay("Friend", &unsigned).unwrap_err();
    assert!(
        error.contains("x.rpm is not signed by a key of keys: it has no signature"),
        "{error}"
    );
    let error = overlay("Stranger", &signed).unwrap_err();
    assert!(
        error.contains("x.rpm is not signed by a key of keys"),
        "{error}"
    );
    overlay("Friend", &signed).unwrap();
    assert_eq!(lab.rpm(&["-q", "signed"]), "signed-1-1.noarch\n");
}
