//! Packages by their names: `imgasm lock`, `fetch` and `build`, from a repository of `createrepo_c`,
//! looked at with Debian's rpm on a mount of the image.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::example;
use crate::support::rpms::{Lab, TOOLS, rpm};
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;

/// A lab with a repository and a recipe.
pub(crate) struct House {
    pub(crate) lab: Lab,
    pub(crate) folder: PathBuf,
}

impl House {
    pub(crate) fn new() -> Option<Self> {
        let tools = [TOOLS.as_slice(), &["createrepo_c", "dnf"]].concat();
        if !need::mounts(&tools) {
            return None;
        }
        let lab = Lab::new();
        let folder = lab.fresh();
        fs::create_dir(folder.join("repo")).unwrap();
        // The base lies above the recipe.
        fs::write(lab.image().with_file_name("imgasm.root"), "").unwrap();
        Some(Self { lab, folder })
    }

    /// Puts a package with one file into the repository; gives its path.
    pub(crate) fn add(&self, name: &str, version: &str, spec: &str) -> PathBuf {
        let file = format!("/opt/{name}");
        let spec = format!(
            "{spec}\n%description\nx\n%install\nmkdir -p %{{buildroot}}/opt\n\
             echo {version} > %{{buildroot}}{file}\n%files\n{file}\n"
        );
        let path = self.lab.rpmbuild(name, version, &spec);
        let target = self.folder.join("repo").join(path.file_name().unwrap());
        fs::copy(&path, &target).unwrap();
        target
    }

    pub(crate) fn index(&self) {
        run(Command::new("createrepo_c")
            .arg("-q")
            .arg(self.folder.join("repo")));
    }

    pub(crate) fn recipe(&self, wishes: &str) {
        let base = self.lab.image();
        let recipe = format!(
            "name = 'web'\nbase = {{ file = '{}' }}\n[[repository]]\nid = 'r'\n\
             baseurl = 'file:repo'\ngpgcheck = false\n[packages]\n{wishes}\n",
            base.display()
        );
        fs::write(self.folder.join("imgasm.toml"), recipe).unwrap();
    }

    /// Runs imgasm; gives its status, and what it says.
    pub(crate) fn imgasm(&self, args: &[&str]) -> (i32, String) {
        let mut command = example::imgasm();
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        command
            .args(args)
            .current_dir(&self.folder)
            .env("IMGASM_CACHE", self.folder.join("cache"))
            .env("SOURCE_DATE_EPOCH", "1700000000");
        let result = output(&mut command);
        (result.status.code().unwrap(), text(&result))
    }

    /// As [`House::imgasm`], which must succeed.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let (status, said) = self.imgasm(args);
        assert_eq!(status, 0, "{args:?}: {said}");
        said
    }

    pub(crate) fn lock(&self) -> String {
        fs::read_to_string(self.folder.join("imgasm.lock")).unwrap()
    }

    pub(crate) fn built(&self) -> Vec<u8> {
        fs::read(self.folder.join("out/web.raw")).unwrap()
    }

    /// Asks Debian's rpm and dnf about the image that was built.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        let copy = self.folder.join("copy.raw");
        fs::copy(self.folder.join("out/web.raw"), &copy).unwrap();
        run(Command::new("e2fsck").arg("-fn").arg(&copy));
        let mount = Mount::new(&copy, Kind::Ext, Access::ReadWrite);
        let result = look(mount.path());
        assert_eq!(rpm(mount.path(), &["-Va"]), "");
        // Debian's dnf looks for the database in the home.
        symlink("lib/rpm", mount.path().join("var/.rpmdb")).unwrap();
        let mut command = Command::new("dnf");
        command
            .env("HOME", "/var")
            .args(["-q", "--releasever=2023", "check"]);
        command.arg("--installroot").arg(mount.path());
        assert_eq!(text(&output(&mut command)), "");
        mount.finish().unwrap();
        result
    }
}

#[test]
fn names_become_packages_in_the_image() {
    let Some(house) = House::new() else { return };
    let gone = house.add("gone", "1", "");
    let library = house.add("library", "1", "");
    for path in [&gone, &library] {
        let path = path.to_str().unwrap();
        house.lab.edit(|root| rpm(root, &["-i", "--nodeps", path]));
    }
    house.add("library", "2", "");
    house.add("tool", "1", "Requires: library >= 2");
    house.index();
    house.recipe("install = ['tool']\nremove = ['gone']");

    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("imgasm.lock is not there"),
        "{said}"
    );
    let said = house.done(&["lock"]);
    for line in [
        "+ install library-2-1.noarch (replaces 1-1)",
        "+ install tool-1-1.noarch",
        "+ remove gone-1-1.noarch",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let lock = house.lock();
    assert!(house.done(&["lock"]).contains("as before"));
    assert_eq!(house.lock(), lock);
    fs::remove_dir_all(house.folder.join("cache/packages")).unwrap();
    let (status, said) = house.imgasm(&["build"]);
    assert!(status == 2 && said.contains("imgasm fetch"), "{said}");
    house.done(&["fetch"]);
    // A build needs no repository.
    fs::rename(house.folder.join("repo"), house.folder.join("away")).unwrap();
    house.done(&["build"]);
    let first = house.built();
    house.done(&["build"]);
    assert!(house.built() == first, "a second build gives other bytes");
    house.look(|root| {
        let mut installed: Vec<_> = rpm(root, &["-qa"]).lines().map(str::to_owned).collect();
        installed.sort();
        assert_eq!(installed, ["library-2-1.noarch", "tool-1-1.noarch"]);
        assert!(!root.join("opt/gone").exists());
        assert_eq!(fs::read_to_string(root.join("opt/library")).unwrap(), "2\n");
    });
    let manifest = fs::read_to_string(house.folder.join("out/manifest.json")).unwrap();
    assert!(manifest.contains("\"removed_packages\""), "{manifest}");
}

#[test]
fn a_lock_holds_until_it_is_updated() {
    let Some(house) = House::new() else { return };
    house.add("tool", "1", "");
    house.index();
    house.recipe("install = ['tool']");
    house.done(&["lock"]);
    let first = house.lock();
    house.add("tool", "2", "");
    house.add("other", "1", "");
    house.index();
    // The repository is another, but the package stays.
    let (status, said) = house.imgasm(&["lock", "--check"]);
    assert_eq!(status, 1, "{said}");
    house.done(&["lock"]);
    assert!(house.lock().contains("version = \"1-1\"") && house.lock() != first);
    house.done(&["lock", "--update", "other"]);
    assert!(house.lock().contains("version = \"1-1\""));
    assert!(
        house
            .done(&["lock", "--update", "tool"])
            .contains("+ install tool-2-1.noarch")
    );
    assert_eq!(house.imgasm(&["lock", "--check"]).0, 0);
    house.done(&["fetch", "--vendor"]);
    assert!(house.folder.join("vendor/tool-2-1.noarch.rpm").is_file());
    // Other wishes, or another base, need another lock.
    house.recipe("install = ['tool', 'other']");
    let (status, said) = house.imgasm(&["build", "--locked"]);
    assert!(
        status == 2 && said.contains("does not fit any more"),
        "{said}"
    );
    house.recipe("install = ['tool']");
    let path = house.folder.join("repo/other-1-1.noarch.rpm");
    let path = path.to_str().unwrap();
    house.lab.edit(|root| rpm(root, &["-i", "--nodeps", path]));
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("installed in the base changed"),
        "{said}"
    );
}

/// An advisory about a package at a version.
fn advisory(id: &str, kind: &str, severity: &str, (name, version): (&str, &str)) -> String {
    format!(
        "<update type='{kind}'><id>{id}</id><severity>{severity}</severity><pkglist><collection>\
         <package name='{name}' arch='noarch' version='{version}' release='1'/></collection>\
         </pkglist></update>"
    )
}

#[test]
fn the_lock_says_why_a_package_becomes_newer() {
    let Some(house) = House::new() else { return };
    let old = house.add("library", "1", "");
    let old = old.to_str().unwrap();
    house.lab.edit(|root| rpm(root, &["-i", "--nodeps", old]));
    house.add("library", "3", "");
    house.add("tool", "1", "");
    house.index();
    let publish = |more: &str| {
        let known = [
            advisory("A-1", "security", "Critical", ("library", "1")),
            advisory("A-2", "bugfix", "", ("library", "2")),
            advisory("A-3", "security", "Important", ("library", "3")),
            advisory("A-4", "security", "Critical", ("library", "4")),
            advisory("A-5", "newpackage", "", ("tool", "1")),
        ];
        let text = format!("<updates>{}{more}</updates>", known.concat());
        let path = house.folder.join("updateinfo.xml");
        fs::write(&path, text).unwrap();
        let mut command = Command::new("modifyrepo_c");
        run(command.arg(path).arg(house.folder.join("repo/repodata")));
    };
    publish("");
    house.recipe("install = ['tool']\nupgrade = ['library']");
    let said = house.done(&["lock"]);
    for line in [
        "+ install library-3-1.noarch (replaces 1-1; A-3 security important, A-2 bugfix)\n",
        "+ install tool-1-1.noarch\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let lock = house.lock();
    assert_eq!(lock.matches("advisories").count(), 1, "{lock}");
    assert!(
        lock.contains("advisories = [\n    \"A-2\",\n    \"A-3\",\n]")
            || lock.contains("advisories = [\"A-2\", \"A-3\"]"),
        "{lock}"
    );
    assert!(house.done(&["lock"]).contains("as before"));
    // There may be many, and a new one is seen all the same.
    let many = (10..16).map(|number| {
        let id = format!("B-{number}");
        advisory(&id, "bugfix", "", ("library", "2"))
    });
    let many: Vec<_> = many.collect();
    publish(&many.concat());
    let line = "install library-3-1.noarch (replaces 1-1; A-3 security important, A-2 bugfix, \
                B-10 bugfix and 5 more)\n";
    assert!(house.done(&["lock"]).contains(&format!("+ {line}")));
    publish(&many[1..].concat());
    let said = house.done(&["lock"]);
    assert!(
        said.contains("B-11 bugfix and 4 more)") && said.contains("- install"),
        "{said}"
    );
    house.done(&["build"]);
    fs::write(house.folder.join("updateinfo.xml"), "<updates>").unwrap();
    let mut command = Command::new("modifyrepo_c");
    command.arg(house.folder.join("updateinfo.xml"));
    run(command.arg(house.folder.join("repo/repodata")));
    let (status, said) = house.imgasm(&["lock"]);
    assert!(
        status == 2 && said.contains("updateinfo") && said.contains("cut short"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_is_explained_and_nothing_is_written() {
    let Some(house) = House::new() else { return };
    house.add("tool", "1", "Requires: nobody");
    house.index();
    for (wishes, wanted) in [
        ("install = ['tool']", "nothing provides `nobody`"),
        ("install = ['missing']", "`missing`"),
        ("install = ['tool >']", "`tool >`"),
        ("instal = ['tool']", "unknown"),
    ] {
        house.recipe(wishes);
        let (status, said) = house.imgasm(&["lock"]);
        assert!(status == 2 && said.contains(wanted), "{wishes}: {said}");
        assert!(!house.folder.join("imgasm.lock").exists());
    }
    // A package whose file is another than the one that the repository names.
    let path = house.add("sound", "1", "");
    house.index();
    house.recipe("install = ['sound']");
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (status, said) = house.imgasm(&["lock"]);
    assert!(status == 2 && said.contains("has the SHA-256"), "{said}");
    assert!(!house.folder.join("imgasm.lock").exists());
    // And one that is another than the one that was locked.
    fs::write(&path, whole).unwrap();
    house.done(&["lock"]);
    fs::write(&path, bytes).unwrap();
    fs::remove_dir_all(house.folder.join("cache/packages")).unwrap();
    let (status, said) = house.imgasm(&["fetch"]);
    assert!(status == 2 && said.contains("has the SHA-256"), "{said}");
    fs::write(house.folder.join("imgasm.lock"), "version = 9\n").unwrap();
    let (status, said) = house.imgasm(&["build"]);
    assert!(status == 2 && said.contains("imgasm.lock"), "{said}");
}

/// Serves a folder on the loopback, and cuts the first answer that is a package; sends whoever asks for
/// something in `moved` to the same beside it. Gives its URL and how often it was asked.
pub(crate) fn serve(folder: PathBuf) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    thread::spawn(move || {
        let mut is_cut = false;
        for mut stream in listener.incoming().map_while(Result::ok) {
            counter.fetch_add(1, Ordering::SeqCst);
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().trim_start_matches('/');
            if let Some(path) = path.strip_prefix("moved/") {
                let head = format!(
                    "HTTP/1.1 302 Found\r\nLocation: /{path}\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                );
                let _ = stream.write_all(head.as_bytes());
                continue;
            }
            let body = fs::read(folder.join(path)).unwrap_or_default();
            let length = body.len();
            let is_whole = is_cut || !path.contains("noarch");
            is_cut |= !is_whole;
            let sent = if is_whole { length } else { length / 2 };
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), &body[..sent]].concat());
        }
    });
    (url, asked)
}

#[test]
fn a_server_is_asked_by_lock_and_fetch_and_never_by_build() {
    let Some(house) = House::new() else { return };
    house.add("tool", "1", "Requires: library");
    house.add("library", "1", "");
    house.index();
    house.recipe("install = ['tool']");
    let (url, asked) = serve(house.folder.join("repo"));
    let path = house.folder.join("imgasm.toml");
    let recipe = fs::read_to_string(&path).unwrap();
    fs::write(&path, recipe.replace("file:repo", &url)).unwrap();
    house.done(&["lock"]);
    assert!(house.lock().contains(&url));
    house.done(&["fetch"]);
    let before = asked.load(Ordering::SeqCst);
    // repomd, primary, and two packages, one of them twice.
    assert_eq!(before, 5);
    house.done(&["fetch"]);
    house.done(&["build", "--locked", "--check-reproducible"]);
    house.done(&["plan"]);
    assert_eq!(asked.load(Ordering::SeqCst), before);
    house.look(|root| {
        let installed = rpm(root, &["-qa"]);
        assert_eq!(installed.lines().count(), 2, "{installed}");
    });
}

#[test]
fn what_a_script_needs_is_there_before_it_and_one_that_fails_ends_the_build() {
    let Some(house) = House::new() else { return };
    let shell = house.add("shell", "1", "Provides: /bin/sh");
    let shell = shell.to_str().unwrap();
    house.lab.edit(|root| rpm(root, &["-i", "--nodeps", shell]));
    // By its name it would come last.
    house.add("zebra", "1", "");
    house.add(
        "asks",
        "1",
        "Requires(pre): zebra\n%pre\n\
         if [ -e /opt/zebra ]; then groupadd -r yes; else groupadd -r no; fi\n",
    );
    house.add("fails", "1", "%pre\necho no; exit 1\n");
    house.index();
    house.recipe("install = ['asks']");
    house.done(&["lock"]);
    house.done(&["fetch"]);
    house.done(&["build"]);
    house.look(|root| {
        let groups = fs::read_to_string(root.join("etc/group")).unwrap();
        assert!(groups.contains("\nyes:"), "{groups}");
    });
    let before = house.built();
    let lock = house.lock();
    house.recipe("install = ['asks', 'fails']");
    for command in ["lock", "build"] {
        let (status, said) = house.imgasm(&[command]);
        let wanted = ["fails-1-1.noarch", "does not fit any more"];
        assert!(
            status == 2 && wanted.iter().any(|it| said.contains(it)),
            "{said}"
        );
    }
    assert!(house.built() == before && house.lock() == lock);
}

#[test]
fn what_becomes_of_scripts_is_known_when_the_lock_is_made() {
    let Some(house) = House::new() else { return };
    let shell = house.add("shell", "1", "Provides: /bin/sh");
    let shell = shell.to_str().unwrap();
    house.lab.edit(|root| rpm(root, &["-i", "--nodeps", shell]));
    house.add("known", "1", "%post\ntouch /opt/yes\n");
    house.add("odd", "1", "%post\ntouch /opt/no\nunknown-program\n");
    house.index();
    let wishes = "install = ['known', 'odd']";
    house.recipe(wishes);
    let (status, said) = house.imgasm(&["lock"]);
    assert!(status == 2 && said.contains("`unknown-program`"), "{said}");
    assert!(
        said.contains("hint: with `scriptlets = \"first-boot\"`"),
        "{said}"
    );

    house.recipe(&format!("{wishes}\nscriptlets = 'first-boot'"));
    let said = house.done(&["lock"]);
    let verdict = "deferred to the first boot: `unknown-program`";
    assert!(
        said.contains(&format!("warning: %post of odd-1-1.noarch: {verdict}")),
        "{said}"
    );
    assert!(
        said.contains("+ script known-1-1.noarch %post: carried out"),
        "{said}"
    );
    let line = format!("\"odd-1-1.noarch %post\" = \"{verdict}\"");
    assert!(house.lock().contains(&line), "{}", house.lock());
    for command in ["build", "plan"] {
        let said = house.done(&[command]);
        assert!(
            said.contains(&format!("warning: odd: %post of odd-1-1.noarch: {verdict}")),
            "{said}"
        );
    }
    let queue = "usr/libexec/firstboot/packages/queue/000001-odd-1-1.noarch.post";
    house.look(|root| {
        assert!(root.join(queue).is_file() && root.join("opt/yes").is_file());
        assert!(!root.join("opt/no").exists());
    });

    // Something else than what was locked.
    house.recipe(&format!("{wishes}\nscriptlets = 'skip'"));
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("what becomes of the scripts"),
        "{said}"
    );
    let (status, said) = house.imgasm(&["lock", "--check"]);
    assert!(
        status == 1 && said.contains("- script odd-1-1.noarch %post: deferred"),
        "{said}"
    );

    let instead = "[[packages.override.odd.post]]\nwrite = { path = '/opt/odd.d', content = '{{ v }}' }\n\
                   [variables.v]\ndefault = 'instead'";
    house.recipe(&format!("{wishes}\n{instead}"));
    house.done(&["lock"]);
    assert!(
        house
            .lock()
            .contains("\"odd-1-1.noarch %post\" = \"overridden\"")
    );
    let said = house.done(&["build"]);
    assert!(!said.contains("warning"), "{said}");
    house.look(|root| {
        let content = fs::read_to_string(root.join("opt/odd.d")).unwrap();
        assert_eq!(content, "instead");
        assert!(!root.join(queue).exists());
    });
    for (instead, wanted) in [
        (
            "[packages.override.odd]\nposst = []",
            "packages have no script `posst`",
        ),
        (
            "[packages.override.odd]\npost = 1",
            "`packages.override.odd.post` must be a list",
        ),
        ("[packages.override]\nodd = 1", "must be a table"),
        (
            "[[packages.override.odd.post]]\ncopy = { from = 'x', to = '/x' }",
            "have no files of their own",
        ),
        (
            "[[packages.override.odd.post]]\nremove = { path = '/nothing/*', missing_ok = false }",
            "nothing in the image matches",
        ),
        (
            "[packages.override.odd]\npost = []\n[packages.override.known]\npreun = []",
            "%preun of known is overridden",
        ),
    ] {
        house.recipe(&format!("{wishes}\n{instead}"));
        let (status, said) = house.imgasm(&["lock"]);
        assert!(status == 2 && said.contains(wanted), "{instead}: {said}");
    }
}

#[test]
fn a_recipe_without_wishes_has_nothing_to_lock_or_fetch() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("imgasm.toml"),
        "name = 'x'\nbase = { file = 'base.raw' }\n",
    )
    .unwrap();
    let wanted = [
        ("lock", "wishes for no packages"),
        ("fetch", "has nothing on a server"),
    ];
    for (command, wanted) in wanted {
        let mut tool = example::imgasm();
        let output = tool
            .arg(command)
            .current_dir(folder.path())
            .env("IMGASM_CACHE", folder.path().join("cache"))
            .output()
            .unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains(wanted), "{command}: {said}");
    }
}

#[test]
fn a_package_is_the_one_that_its_repository_announces() {
    let Some(house) = House::new() else { return };
    let old = house.add("tool", "1", "");
    house.index();
    // The metadata names another version of the same file.
    let folder = house.folder.join("repo/repodata");
    let primary = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let primary = primary
        .into_iter()
        .find(|path| path.to_string_lossy().contains("primary.xml"))
        .unwrap();
    let script = format!(
        "zcat {0} | sed 's/ver=\"1\"/ver=\"2\"/' > {1}/p.xml && rm {0}",
        primary.display(),
        folder.display()
    );
    run(Command::new("sh").args(["-ec", &script]));
    let text = fs::read(folder.join("p.xml")).unwrap();
    let repomd = format!(
        "<repomd><data type='primary'><checksum type='sha256'>{}</checksum>\
         <location href='repodata/p.xml'/></data></repomd>",
        imgasm_block::Digest::of(&text)
    );
    fs::write(folder.join("repomd.xml"), repomd).unwrap();
    house.recipe("install = ['tool']");
    let (status, said) = house.imgasm(&["lock"]);
    assert_eq!(status, 2, "{said}");
    let problem = "is tool-1-1.noarch, and its repository calls it tool-2-1.noarch";
    assert!(said.contains(problem), "{said}");
    assert!(!house.folder.join("imgasm.lock").exists());
    assert!(old.exists());
}

#[test]
fn a_folder_of_packages_lies_where_the_recipe_says_that_names_it() {
    let Some(house) = House::new() else { return };
    house.add("tool", "1", "");
    house.index();
    house.recipe("install = ['tool']");
    let web = house.folder.join("machines/web");
    fs::create_dir_all(&web).unwrap();
    fs::write(
        web.join("imgasm.toml"),
        "extends = '../../imgasm.toml'\nname = 'other'\n",
    )
    .unwrap();
    let said = house.done(&["lock", "-f", "machines/web/imgasm.toml"]);
    assert!(said.contains("+ install tool-1-1.noarch"), "{said}");
}
