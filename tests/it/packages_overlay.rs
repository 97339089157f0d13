//! `package` steps that name packages, and patterns of files: locked with the recipe of the overlay.

use std::fs;
use std::path::Path;

use crate::packages_lock::House;
use crate::packages_named::Site;
use crate::support::rpms::rpm;
use imgasm_testkit::need;

/// A house whose base has two packages, and whose repository has others.
fn house() -> Option<House> {
    let house = House::new()?;
    for name in ["old", "stays"] {
        let package = house.add(name, "1", "");
        let path = package.to_str().unwrap();
        house.lab.edit(|root| rpm(root, &["-i", "--nodeps", path]));
    }
    for name in ["tool", "other", "library"] {
        house.add(
            name,
            "1",
            if name == "library" {
                ""
            } else {
                "Requires: library"
            },
        );
    }
    house.index();
    Some(house)
}

/// Writes an overlay of this name.
fn overlay(house: &House, name: &str, steps: &str) {
    let folder = house.folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("overlay.toml"), steps).unwrap();
}

/// Writes a recipe with a repository, these overlays, and these keys after them.
fn recipe(house: &House, overlays: &str, keys: &str) {
    let base = house.lab.image();
    let recipe = format!(
        "name = 'web'\nbase = {{ file = '{}' }}\noverlays = {overlays}\n[[repository]]\nid = 'r'\n\
         baseurl = 'file:repo'\ngpgcheck = false\n{keys}",
        base.display()
    );
    fs::write(house.folder.join("imgasm.toml"), recipe).unwrap();
}

fn installed(root: &Path) -> Vec<String> {
    let all = rpm(root, &["-qa", "--qf", "%{NAME}\\n"]);
    let mut names: Vec<_> = all.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn what_overlays_name_is_locked_with_the_recipe() {
    let Some(house) = house() else { return };
    let steps = "
        [variables.feature]
        default = 'tool'
        [[step]]
        package = { install = ['{{ feature }} = 1'], remove = ['old'] }
        [[step]]
        copy = { from_image = '/opt/tool', to = '/opt/copy' }
        [[step]]
        package = ['absent-everywhere']
        when = { os = 'elsewhere' }
    ";
    overlay(&house, "web", steps);
    recipe(&house, "['web']", "");
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("imgasm.lock is not there"),
        "{said}"
    );
    let said = house.done(&["lock"]);
    for line in [
        "+ install library-1-1.noarch",
        "+ install tool-1-1.noarch",
        "+ remove old-1-1.noarch",
    ] {
        assert!(said.contains(line), "{said}");
    }
    // Who wishes for it makes no difference.
    assert!(
        house.lock().contains("reason = \"user\""),
        "{}",
        house.lock()
    );
    house.done(&["build"]);
    let first = house.built();
    house.look(|root| {
        assert_eq!(installed(root), ["library", "stays", "tool"]);
    });
    house.done(&["build"]);
    assert!(house.built() == first);
    house.done(&["lock", "--check"]);

    // The recipe's own wishes come with them.
    recipe(&house, "['web']", "[packages]\ninstall = ['other']\n");
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("does not fit any more"),
        "{said}"
    );
    house.done(&["lock"]);
    house.done(&["build"]);
    house.look(|root| {
        assert_eq!(installed(root), ["library", "other", "stays", "tool"]);
    });

    // Another name makes the lock a stale one, and so does the value of a variable.
    recipe(
        &house,
        "[{ path = 'web', variables = { feature = 'other' } }]",
        "[packages]\ninstall = ['other']\n",
    );
    let (status, said) = house.imgasm(&["build"]);
    assert!(
        status == 2 && said.contains("what overlays name changed"),
        "{said}"
    );
}

#[test]
fn guards_are_asked_of_the_base() {
    let Some(house) = house() else { return };
    let steps = "
        [[step]]
        remove = { path = '/opt/stays' }
        [[step]]
        package = ['tool']
        when = { exists = '/opt/stays' }
        [[step]]
        write = { path = '/opt/flag', content = '' }
        [[step]]
        package = ['other']
        when = { exists = '/opt/flag' }
    ";
    overlay(&house, "web", steps);
    recipe(&house, "['web']", "[packages]\nexclude = ['nothing']\n");
    house.done(&["lock"]);
    house.done(&["build"]);
    let lock = house.lock();
    assert!(lock.contains("name = \"tool\""), "{lock}");
    assert!(!lock.contains("name = \"other\""), "{lock}");
}

#[test]
fn only_a_recipe_has_a_lock() {
    let Some(house) = house() else { return };
    for steps in [
        "[[step]]\npackage = ['tool']",
        "[[step]]\npackage = { remove = ['old'] }",
    ] {
        overlay(&house, "web", steps);
        let said = house.lab.apply(&house.folder.join("web")).unwrap_err();
        assert!(
            said.contains("names packages, which only a lock knows"),
            "{said}"
        );
        assert!(said.contains("overlay.toml:2"), "{said}");
    }
    overlay(
        &house,
        "web",
        "[[step]]\npackage = ['tool']\nwhen = { os = 'elsewhere' }",
    );
    house.lab.apply(&house.folder.join("web")).unwrap();

    // Nor does a build know a package of no repository.
    overlay(&house, "web", "[[step]]\npackage = ['tool']");
    let base = house.lab.image();
    let recipe = format!(
        "name = 'web'\nbase = {{ file = '{}' }}\noverlays = ['web']\n",
        base.display()
    );
    fs::write(house.folder.join("imgasm.toml"), recipe).unwrap();
    let (status, said) = house.imgasm(&["lock"]);
    assert!(
        status == 2 && said.contains("names packages, and the recipe has no repository"),
        "{said}"
    );
    // What goes needs none.
    overlay(&house, "web", "[[step]]\npackage = { remove = ['old'] }");
    house.done(&["lock"]);
    house.done(&["build"]);
    house.look(|root| assert_eq!(installed(root), ["stays"]));
}

#[test]
fn a_pattern_names_all_its_files() {
    if !need::tools(&["gpg"]) {
        return;
    }
    let Some(house) = house() else { return };
    overlay(
        &house,
        "web",
        "[[step]]\npackage = ['library', { path = 'rpms/*.noarch.rpm' }]",
    );
    let folder = house.folder.join("web/rpms");
    fs::create_dir(&folder).unwrap();
    let names = ["tool-1-1.noarch.rpm", "other-1-1.noarch.rpm"];
    for name in names {
        fs::copy(house.folder.join("repo").join(name), folder.join(name)).unwrap();
    }
    recipe(&house, "['web']", "");
    house.done(&["lock"]);
    let said = house.done(&["build"]);
    for name in ["tool-1-1", "other-1-1", "library-1-1"] {
        let line = format!("unsigned {name}: no key had to have signed it");
        assert!(said.contains(&line), "{said}");
    }
    house.look(|root| {
        assert_eq!(
            installed(root),
            ["library", "old", "other", "stays", "tool"]
        );
    });

    let wrong = [
        ("{ path = 'rpms/*.deb' }", "matches nothing in the overlay"),
        (
            "{ path = 'rpms/*.rpm', sha256 = '0000000000000000000000000000000000000000000000000000000000000000' }",
            "is a pattern, and `sha256` and `signature` are those of one file",
        ),
        ("{ path = '../repo/*.rpm' }", "it contains `..`"),
        (
            "{ path = 'rpms/*.rpm', keyring = 'KEYS' }",
            "not signed by a key of",
        ),
        ("[]", "the name of a package, or a table"),
        ("3", "the name of a package, or a table"),
        ("{ name = 'tool' }", "unknown key `name`"),
    ];
    Site::new(&house);
    let keys = house.folder.join("web/KEYS");
    fs::copy(house.folder.join("Friend.keys"), keys).unwrap();
    for (file, problem) in wrong {
        overlay(&house, "web", &format!("[[step]]\npackage = [{file}]"));
        let said = house.lab.apply(&house.folder.join("web")).unwrap_err();
        assert!(said.contains(problem), "{file}: {said}");
    }
}
