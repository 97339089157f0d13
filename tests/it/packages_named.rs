//! Packages by their files and URLs: locked once, fetched by digest, and known to the solver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use crate::packages_lock::{House, serve};
use crate::support::rpms::rpm;
use imgasm_block::Digest;
use imgasm_testkit::command::run;
use imgasm_testkit::need;

/// A folder that is served, and somebody who signs what is in it.
pub(crate) struct Site {
    folder: PathBuf,
    home: PathBuf,
}

impl Site {
    pub(crate) fn new(house: &House) -> Self {
        let site = Self {
            folder: house.lab.fresh(),
            home: house.lab.fresh(),
        };
        for name in ["Friend", "Stranger"] {
            site.gpg(&["--quick-generate-key", name, "rsa2048", "sign", "never"]);
            let keys = house.folder.join(format!("{name}.keys"));
            let keys = keys.to_str().unwrap();
            site.gpg(&["--yes", "--armor", "--output", keys, "--export", name]);
        }
        site
    }

    fn gpg(&self, args: &[&str]) {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.home).arg("--batch");
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]);
        run(command.args(args));
    }

    /// Puts a package there, with a signature beside it; gives its digest.
    fn put(&self, package: &Path) -> Digest {
        let path = self.folder.join("tool.noarch.rpm");
        fs::copy(package, &path).unwrap();
        let path = path.to_str().unwrap();
        let signature = format!("{path}.asc");
        let output = ["--yes", "--armor", "--output", &signature];
        let sign = ["--local-user", "Friend", "--detach-sign", path];
        self.gpg(&[&output[..], &sign].concat());
        Digest::of(&fs::read(path).unwrap())
    }
}

/// A house with a repository, in which nothing has the tool, and the tool itself.
fn house() -> Option<(House, PathBuf)> {
    if !need::tools(&["gpg"]) {
        return None;
    }
    let house = House::new()?;
    house.add("library", "1", "");
    house.add("other", "1", "Requires: tool-feature");
    let spec = "Requires: library\nProvides: tool-feature = 1";
    let tool = house.add("tool", "1", spec);
    let away = house.folder.join("tool.rpm");
    fs::rename(tool, &away).unwrap();
    house.index();
    Some((house, away))
}

fn installed(root: &Path) -> Vec<String> {
    let mut installed: Vec<_> = rpm(root, &["-qa"]).lines().map(str::to_owned).collect();
    installed.sort();
    installed
}

#[test]
fn a_signed_file_on_a_server_is_pinned_and_the_solver_knows_it() {
    let Some((house, tool)) = house() else { return };
    let site = Site::new(&house);
    let digest = site.put(&tool);
    let (url, asked) = serve(site.folder.clone());
    let count = || asked.load(Ordering::SeqCst);
    let place = format!("{url}/moved/tool.noarch.rpm");
    let named = |keys: &str| {
        format!(
            "install = ['other']\n[[package]]\npath = '{place}'\nkeyring = '{keys}'\n\
             signature = '{url}/tool.noarch.rpm.asc'"
        )
    };
    house.recipe(&named("Stranger.keys"));
    let (status, said) = house.imgasm(&["lock"]);
    assert!(
        status == 2 && said.contains("is not signed by a key of Stranger.keys"),
        "{said}"
    );
    assert!(!house.folder.join("imgasm.lock").exists());
    fs::remove_dir_all(house.folder.join("cache")).unwrap();

    house.recipe(&named("Friend.keys"));
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("imgasm.lock is not there"),
        "{said}"
    );
    let (status, said) = house.imgasm(&["lock", "--max-size", "1000 B"]);
    assert!(
        status == 2 && said.contains("more than 1000 bytes"),
        "{said}"
    );
    let said = house.done(&["lock"]);
    for line in ["library-1-1", "other-1-1", "tool-1-1"] {
        assert!(said.contains(&format!("+ install {line}.noarch")), "{said}");
    }
    let lock = house.lock();
    let size = fs::metadata(&tool).unwrap().len();
    let entry = format!(
        "name = \"tool\"\nversion = \"1-1\"\narch = \"noarch\"\nlocation = \"{place}\"\n\
         size = {size}\nsha256 = \"{digest}\"\n"
    );
    assert!(lock.contains(&entry), "{lock}");

    // Nobody is asked again.
    let before = count();
    house.done(&["lock", "--check"]);
    house.done(&["fetch"]);
    house.done(&[
        "build",
        "--locked",
        "--check-reproducible",
        "--provenance",
        "p.json",
    ]);
    assert_eq!(count(), before);
    house.look(|root| {
        let wanted = ["library-1-1.noarch", "other-1-1.noarch", "tool-1-1.noarch"];
        assert_eq!(installed(root), wanted);
    });
    let provenance = fs::read_to_string(house.folder.join("p.json")).unwrap();
    assert!(provenance.contains(&digest.to_string()), "{provenance}");
    let manifest = fs::read_to_string(house.folder.join("out/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let packages = manifest["packages"].as_array().unwrap();
    let tool = packages.iter().find(|one| one["name"] == "tool").unwrap();
    assert_eq!(tool["sha256"], digest.to_string());
    assert_ne!(tool["unsigned"], true, "{tool}");

    // The lock is all that is needed, and what it says is held to.
    let cache = house.folder.join("cache");
    fs::remove_dir_all(&cache).unwrap();
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("tool.noarch.rpm") && said.contains("imgasm fetch"),
        "{said}"
    );
    house.done(&["fetch", "--vendor"]);
    let vendor = house.folder.join("vendor");
    for end in ["rpm", "rpm.sig"] {
        assert!(vendor.join(format!("{digest}.{end}")).is_file());
    }
    house.done(&["build"]);
    fs::remove_dir_all(&vendor).unwrap();
    let newer = house.add("tool", "2", "Requires: library\nProvides: tool-feature = 2");
    let newer_digest = site.put(&newer);
    fs::remove_file(newer).unwrap();
    for command in ["fetch", "lock"] {
        let (status, said) = house.imgasm(&[command]);
        assert!(
            status == 2 && said.contains("`imgasm lock --update tool`"),
            "{said}"
        );
    }
    assert_eq!(house.lock(), lock);
    let said = house.done(&["lock", "--update", "tool"]);
    assert!(said.contains("+ install tool-2-1.noarch"), "{said}");
    assert!(house.lock().contains(&newer_digest.to_string()));
    house.done(&["build"]);

    // Other keys count for what is locked, too.
    house.recipe(&named("Stranger.keys"));
    let (status, said) = house.imgasm(&["build"]);
    assert!(status == 2 && said.contains("is not signed"), "{said}");
}

#[test]
fn a_file_of_the_project_is_pinned_as_it_is() {
    let Some((house, tool)) = house() else { return };
    let named = "[[package]]\npath = 'tool.rpm'";
    house.recipe(named);
    house.done(&["lock"]);
    assert!(house.lock().contains("location = \"tool.rpm\"\n"));
    let said = house.done(&["build"]);
    assert!(said.contains("tool"), "{said}");
    house.look(|root| assert_eq!(installed(root), ["library-1-1.noarch", "tool-1-1.noarch"]));
    let other = house.add("tool", "2", "Requires: library");
    fs::rename(other, &tool).unwrap();
    let (status, said) = house.imgasm(&["build"]);
    assert!(status == 2 && said.contains("has the SHA-256"), "{said}");
    let (status, said) = house.imgasm(&["lock", "--check"]);
    assert!(
        status == 1 && said.contains("+ install tool-2-1.noarch"),
        "{said}"
    );
    house.done(&["lock"]);
    house.done(&["build"]);

    // What cannot be had together is told by the names that the recipe has.
    let enemy = house.add("enemy", "1", "Conflicts: tool");
    fs::rename(enemy, house.folder.join("enemy.rpm")).unwrap();
    house.recipe(&format!("{named}\n[[package]]\npath = 'enemy.rpm'"));
    let (status, said) = house.imgasm(&["lock"]);
    assert!(
        status == 2 && said.contains("`enemy.rpm` is wished for") && said.contains("conflicts"),
        "{said}"
    );
    // An older version is none that a file asks for.
    let newer = house.add("tool", "3", "");
    let newer = newer.to_str().unwrap();
    house.lab.edit(|root| rpm(root, &["-i", "--nodeps", newer]));
    house.recipe(named);
    let (status, said) = house.imgasm(&["lock"]);
    assert!(
        status == 2 && said.contains("tool-2-1.noarch is older than tool-3-1.noarch"),
        "{said}"
    );
}

#[test]
fn a_digest_in_the_recipe_needs_no_lock() {
    let Some((house, tool)) = house() else { return };
    let site = house.lab.fresh();
    fs::copy(&tool, site.join("tool.noarch.rpm")).unwrap();
    let digest = Digest::of(&fs::read(&tool).unwrap());
    let (url, asked) = serve(site);
    let recipe = |keys: &str| {
        let base = house.lab.image();
        let base = base.display();
        let recipe = format!(
            "name = 'web'\nbase = {{ file = '{base}' }}\n[[package]]\nnodeps = true\n{keys}\n"
        );
        fs::write(house.folder.join("imgasm.toml"), recipe).unwrap();
    };
    let path = format!("path = '{url}/tool.noarch.rpm'");
    recipe(&path);
    let (status, said) = house.imgasm(&["lock"]);
    assert!(
        status == 2 && said.contains("is on a server, and needs"),
        "{said}"
    );
    recipe(&format!("{path}\nsha256 = '{}'", Digest::of(b"else")));
    let (status, said) = house.imgasm(&["fetch"]);
    assert!(status == 2 && said.contains("has the SHA-256"), "{said}");
    recipe(&format!("{path}\nsha256 = '{digest}'"));
    let (status, said) = house.imgasm(&["build"]);
    assert!(status == 2 && said.contains("imgasm fetch"), "{said}");
    house.done(&["fetch"]);
    let before = asked.load(Ordering::SeqCst);
    house.done(&["fetch"]);
    house.done(&["build"]);
    assert_eq!(asked.load(Ordering::SeqCst), before);
    assert!(!house.folder.join("imgasm.lock").exists());
    let image = house.folder.join("out/web.raw");
    let image = image.to_str().unwrap();
    assert!(house.done(&["cat", image, "/opt/tool"]).starts_with('1'));
}
