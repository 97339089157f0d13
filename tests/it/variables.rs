//! What variables may hold, and the ways in which they are set, through the program.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::example::{assert_success, imgasm};

const RECIPE: &str = r#"
name = "variables"
base = { rootfs = "rootfs", size = "64 MiB" }
overlays = ["overlay"]

[variables]
stage = { default = "dev", choices = ["dev", "prod"] }
zone = { default = "a1", pattern = "[a-z][0-9]" }
port = { type = "integer", min = 1024, max = 65535, default = 8080 }
hosts = { type = "list", pattern = "[a-z.]+", default = ["one"] }
token = { required = true, help = "what it is called" }
"#;

const OVERLAY: &str = r#"
[variables]
stage = "none"
zone = ""
port = { type = "integer" }
hosts = []
token = ""

[[step]]
write = { path = "/etc/values", content = "{{ stage }} {{ zone }} {{ port }} {{ hosts }} {{ token }}" }
"#;

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("imgasm.toml", RECIPE),
        ("overlay/overlay.toml", OVERLAY),
        ("rootfs/etc/os-release", "ID=debian\n"),
        (
            "values.toml",
            "stage = \"prod\"\nport = 9000\nhosts = [\"a.b\", \"c\"]\ntoken = \"of the file\"\n",
        ),
        ("token", "of its own\n"),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn imgasm_in(dir: &Path, args: &[&str]) -> Output {
    imgasm()
        .args(args)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap()
}

fn values(dir: &Path) -> String {
    let output = imgasm_in(dir, &["cat", "out/variables.raw", "/etc/values"]);
    assert_success(&output);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_file_sets_several_and_arguments_take_precedence() {
    let dir = project();
    let build = ["build", "--var-file", "values.toml", "--set", "zone=b2"];
    assert_success(&imgasm_in(dir.path(), &build));
    let expected = "prod b2 9000 [\"a.b\", \"c\"] of the file";
    assert_eq!(values(dir.path()), expected);
    let build = [
        &build[..],
        &["--set", "stage=dev", "--set-file", "token=token"],
    ]
    .concat();
    assert_success(&imgasm_in(dir.path(), &build));
    let expected = "dev b2 9000 [\"a.b\", \"c\"] of its own";
    assert_eq!(values(dir.path()), expected);
    // The same where there is no recipe.
    let apply = [
        "apply",
        "out/variables.raw",
        "overlay",
        "--var-file",
        "values.toml",
    ];
    let apply = [
        &apply[..],
        &["--set-file", "token=token", "--set", "zone=c3"],
    ]
    .concat();
    assert_success(&imgasm_in(dir.path(), &apply));
    assert_eq!(
        values(dir.path()),
        "prod c3 9000 [\"a.b\", \"c\"] of its own"
    );
}

#[test]
fn what_a_variable_may_not_hold_is_refused_wherever_it_comes_from() {
    let dir = project();
    let dir = dir.path();
    for (set, said) in [
        ("stage=test", "\"test\" is none of the choices: dev, prod"),
        ("zone=a11", "\"a11\" does not match \"[a-z][0-9]\""),
        ("port=80", "is less than 1024"),
        ("port=70000", "is more than 65535"),
        ("port=web", "\"web\" is not a whole number"),
        ("hosts=[\"a\", \"B\"]", "does not match \"[a-z.]+\""),
    ] {
        let args = ["check", "--set", "token=x", "--set", set];
        let output = imgasm_in(dir, &args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{set}: {stderr}");
        assert!(stderr.contains(said), "{set}: {stderr}");
        let (name, value) = set.split_once('=').unwrap();
        let value = if value.starts_with('[') || value.parse::<u32>().is_ok() {
            value.to_owned()
        } else {
            format!("\"{value}\"")
        };
        fs::write(
            dir.join("wrong.toml"),
            format!("token = \"x\"\n{name} = {value}\n"),
        )
        .unwrap();
        let output = imgasm_in(dir, &["check", "--var-file", "wrong.toml"]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{set}: {stderr}");
        assert!(stderr.contains(said), "{set}: {stderr}");
    }
    let output = imgasm_in(dir, &["check"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("the variable `token` has no default and is not set"),
        "{stderr}"
    );
    fs::write(dir.join("wrong.toml"), "token = \"x\"\nstag = \"dev\"\n").unwrap();
    let output = imgasm_in(dir, &["check", "--var-file", "wrong.toml"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("did you mean `stage`?"), "{stderr}");
}

#[test]
fn a_declaration_that_contradicts_itself_is_refused() {
    let dir = project();
    for (declaration, said) in [
        (
            "{ default = \"x\", choices = [\"y\"] }",
            "has a default that is wrong: \"x\" is none of the choices: y",
        ),
        (
            "{ default = \"x\", pattern = \"y\" }",
            "has a default that is wrong",
        ),
        (
            "{ default = \"x\", type = \"integer\" }",
            "\"x\" is not a whole number",
        ),
        (
            "{ type = \"integer\", choices = [\"y\"] }",
            "has a choice that is wrong",
        ),
        (
            "{ default = \"x\", required = true }",
            "its default is never used",
        ),
        ("{ required = false }", "it needs a default"),
        (
            "{ default = \"x\", pattern = \"(\" }",
            "is not a regular expression",
        ),
        ("{ default = 1, min = \"a\" }", "a bound is a number"),
        (
            "{ default = 1, type = \"word\" }",
            "`word` is not known here",
        ),
        ("{ default = 1, least = 1 }", "unknown key `least`"),
    ] {
        let recipe = RECIPE.replace(
            "[variables]\n",
            &format!("[variables]\nnew = {declaration}\n"),
        );
        fs::write(dir.path().join("imgasm.toml"), recipe).unwrap();
        let output = imgasm_in(dir.path(), &["check", "--set", "token=x", "--set", "new=1"]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{declaration}: {stderr}");
        assert!(stderr.contains(said), "{declaration}: {stderr}");
    }
}
