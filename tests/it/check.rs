//! `imgasm check`, and how a recipe is found.

use std::fs;
use std::path::Path;
use std::process::Output;

use imgasm_testkit::need;
use imgasm_testkit::tools;

use crate::support::example::{assert_success, copy_inputs, imgasm};

fn run(folder: &Path, args: &[&str]) -> Output {
    imgasm()
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

/// What a command that is refused says.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A recipe with one overlay that copies a file.
fn project(overlay: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("o/files")).unwrap();
    let recipe = "name = 'x'\nbase = { file = 'absent.raw' }\noverlays = ['o']\n";
    fs::write(dir.path().join("imgasm.toml"), recipe).unwrap();
    fs::write(dir.path().join("o/overlay.toml"), overlay).unwrap();
    dir
}

#[test]
fn the_example_is_well_formed_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    copy_inputs(dir.path());
    let output = run(dir.path(), &["check"]);
    assert_success(&output);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("ecs is well formed"), "{said}");
    assert!(!said.contains("warning"), "{said}");
    assert!(!dir.path().join("cache").exists() && !dir.path().join("out").exists());
}

#[test]
fn the_base_is_not_looked_for_but_the_files_of_overlays_are() {
    let step = "[[step]]\ncopy = { from = 'there', to = '/x' }\n";
    let dir = project(step);
    let said = refused(dir.path(), &["check"]);
    assert!(
        said.contains("overlay.toml:2:1") && said.contains("there"),
        "{said}"
    );
    fs::write(dir.path().join("o/there"), "").unwrap();
    assert_success(&run(dir.path(), &["check"]));
}

#[test]
fn a_step_that_is_wrong_is_shown_with_its_place() {
    let dir = project("[[step]]\nset = { path = '/x', key = 'a' }\n");
    let said = refused(dir.path(), &["check"]);
    assert!(said.contains("the key `value` is missing"), "{said}");
    let dir = project("[[step]]\nwrite = 7\n");
    let said = refused(dir.path(), &["check"]);
    assert!(
        said.contains("expected a table") && !said.contains("struct"),
        "{said}"
    );
}

#[test]
fn a_recipe_is_found_in_a_folder_above() {
    let dir = project("");
    let deep = dir.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    assert_success(&run(&deep, &["check"]));
    let empty = tempfile::tempdir().unwrap();
    for command in ["check", "build", "plan"] {
        let said = refused(empty.path(), &[command]);
        assert!(
            said.contains("no imgasm.toml") && said.contains("imgasm init"),
            "{said}"
        );
    }
}

#[test]
fn a_mistyped_path_in_an_image_has_a_hint_and_ls_lists_the_root() {
    if !need::tools(&["mkfs.ext4"]) {
        return;
    }
    let dir = project(
        "[[step]]\nmkdir = { path = '/etc' }\n[[step]]\nwrite = { path = '/etc/passwd', content = '' }\n",
    );
    let image = fs::File::create(dir.path().join("image")).unwrap();
    image.set_len(16 << 20).unwrap();
    tools::run(
        "mkfs.ext4",
        ["-q".as_ref(), dir.path().join("image").as_os_str()],
    );
    assert_success(&run(dir.path(), &["apply", "image", "o"]));
    for command in ["cat", "ls"] {
        let said = refused(dir.path(), &[command, "image", "/etc/paswd"]);
        assert!(said.contains("did you mean /etc/passwd?"), "{said}");
        let said = refused(dir.path(), &[command, "image", "/ect/passwd"]);
        assert!(said.contains("did you mean /etc?"), "{said}");
    }
    let (root, named) = (
        run(dir.path(), &["ls", "image"]),
        run(dir.path(), &["ls", "image", "/"]),
    );
    assert_success(&root);
    assert_eq!(root.stdout, named.stdout);
    assert!(String::from_utf8_lossy(&root.stdout).contains("lost+found"));
}

#[test]
fn what_is_wrong_with_a_base_has_its_place_and_no_words_of_the_program() {
    let dir = project("");
    let recipe = |base: &str| {
        let text = format!("name = 'x'\nbase = {base}\n");
        fs::write(dir.path().join("imgasm.toml"), text).unwrap();
        refused(dir.path(), &["plan"])
    };
    let said = recipe("'absent.raw'");
    assert!(
        said.contains("imgasm.toml:2:8") && said.contains("expected a table"),
        "{said}"
    );
    assert!(!said.contains("RawBase"), "{said}");
    let said = recipe("{ file = 'absent.raw' }");
    assert!(said.contains("imgasm.toml:2:8"), "{said}");
    assert!(
        said.contains("absent.raw") && said.contains("relative to its folder"),
        "{said}"
    );
}
