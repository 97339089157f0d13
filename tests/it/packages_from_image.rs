//! Packages by name from the repositories that the base itself is configured with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages_lock::{House, serve};
use crate::support::rpms::rpm;
use imgasm_testkit::command::run;
use imgasm_testkit::need;

/// A key of somebody's, with which packages can be signed.
struct Signer {
    home: PathBuf,
}

impl Signer {
    fn new(home: PathBuf) -> Self {
        let signer = Self { home };
        signer.gpg(&["--quick-generate-key", "Friend", "rsa2048", "sign", "never"]);
        signer
    }

    fn gpg(&self, args: &[&str]) -> String {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.home).arg("--batch");
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]);
        run(command.args(args))
    }

    fn sign(&self, package: &Path) {
        let mut command = Command::new("rpmsign");
        let home = format!("_gpg_path {}", self.home.display());
        command.args(["--define", &home, "--define", "_gpg_name Friend"]);
        command.args(["--define", "__gpg /usr/bin/gpg", "--addsign"]);
        run(command.arg(package));
    }

    fn key(&self) -> String {
        let path = self.home.join("exported");
        self.gpg(&["--armor", "--output", path.to_str().unwrap(), "--export"]);
        let key = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        key
    }
}

fn recipe(house: &House, repositories: &str, wishes: &str) {
    let base = house.lab.image();
    let recipe = format!(
        "name = 'web'\nbase = {{ file = '{}' }}\n{repositories}[packages]\n{wishes}\n",
        base.display()
    );
    fs::write(house.folder.join("imgasm.toml"), recipe).unwrap();
}

#[test]
fn repositories_variables_and_keys_are_those_of_the_base() {
    if !need::tools(&["gpg", "rpmsign"]) {
        return;
    }
    let Some(house) = House::new() else { return };
    let signer = Signer::new(house.lab.fresh());
    let release = "Provides: system-release(releasever) = 2023.9.1";
    let release = house.add("system-release", "2023.9", release);
    signer.sign(&house.add("tool", "1", "Requires: library"));
    signer.sign(&house.add("library", "1", ""));
    signer.sign(&house.add("library", "2", ""));
    house.add("unsigned", "1", "");
    house.index();
    let (url, _) = serve(house.folder.clone());
    let lists = house.folder.join("2023.9.1/core");
    fs::create_dir_all(&lists).unwrap();
    fs::write(lists.join("mirror.list"), format!("{url}/repo/\n")).unwrap();
    let configuration = format!(
        "[core]\nname=x\nmirrorlist={url}/$releasever/$product/mirror.list\ngpgcheck=1\n\
         gpgkey=file:///etc/pki/rpm-gpg/KEY-$product\nexclude=library-2*\n\
         [off]\nbaseurl={url}/nowhere\nenabled=0\n"
    );
    house.lab.edit(|root| {
        rpm(root, &["-i", "--nodeps", release.to_str().unwrap()]);
        for (path, content) in [
            ("etc/yum.repos.d/core.repo", configuration.as_str()),
            ("etc/pki/rpm-gpg/KEY-core", &signer.key()),
            ("etc/dnf/vars/product", "core\n"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    });
    let of_image = "[[repository]]\nfrom_image = true\n";
    recipe(&house, of_image, "install = ['tool']");
    house.done(&["lock"]);
    let lock = house.lock();
    for part in [
        "id = \"core\"",
        &format!("{url}/repo/"),
        "library",
        "keys = [",
    ] {
        assert!(lock.contains(part), "{part}: {lock}");
    }
    house.done(&["build"]);
    house.look(|root| {
        let mut names: Vec<_> = rpm(root, &["-qa"]).lines().map(str::to_owned).collect();
        names.sort();
        let wanted = [
            "library-1-1.noarch",
            "system-release-2023.9-1.noarch",
            "tool-1-1.noarch",
        ];
        assert_eq!(names, wanted);
    });
    // Nobody signed it.
    recipe(&house, of_image, "install = ['unsigned']");
    let (status, said) = house.imgasm(&["lock"]);
    assert!(
        status == 2 && said.contains("is not signed by a key of"),
        "{said}"
    );
    // A repository of the recipe takes the place of that of the same name.
    let own = "[[repository]]\nid = 'core'\nbaseurl = 'file:repo'\ngpgcheck = false\n";
    recipe(
        &house,
        &format!("{of_image}{own}"),
        "install = ['unsigned', 'library']",
    );
    house.done(&["lock", "--update"]);
    assert!(
        house.lock().contains("version = \"2-1\""),
        "{}",
        house.lock()
    );
    // Another key in the base is not the one that was locked.
    recipe(&house, of_image, "install = ['tool']");
    house.done(&["lock"]);
    let other = Signer::new(house.lab.fresh());
    house
        .lab
        .edit(|root| fs::write(root.join("etc/pki/rpm-gpg/KEY-core"), other.key()).unwrap());
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("a repository or its keys changed"),
        "{said}"
    );
    // What is wrong with the base's configuration is said with its place.
    house.lab.edit(|root| {
        let path = root.join("etc/yum.repos.d/core.repo");
        fs::write(path, "[core]\nbaseurl=file:///srv\n").unwrap();
    });
    let (status, said) = house.imgasm(&["lock"]);
    let wanted = "/etc/yum.repos.d/core.repo: [core] is at file:///srv";
    assert!(status == 2 && said.contains(wanted), "{said}");
    recipe(
        &house,
        "[[repository]]\nfrom_image = true\nid = 'x'\n",
        "install = ['tool']",
    );
    let (status, said) = house.imgasm(&["check"]);
    assert!(status == 2 && said.contains("no other key"), "{said}");
}
