//! The values of sensitive variables are in the image, and nowhere else.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::example::{assert_success, imgasm};

/// With signs that JSON, TOML and HTML escape.
const SECRET: &str = r#"tOp"s<c>r&t\1'/x"#;

const RECIPE: &str = r#"
name = 'x'
base = { rootfs = 'rootfs' }
overlays = ['app', { path = 'other', variables = { text = "a {{ token }} b", plain = "{{ stage }}" } }]
[variables]
token = { sensitive = true, help = "the key of the service" }
stage = "live"
"#;

const APP: &str = r#"
[variables]
token = "none"
[[step]]
write = { path = "/etc/token", content = "{{ token }}" }
"#;

const OTHER: &str = r#"
[variables]
text = "none"
plain = "none"
[[step]]
write = { path = "/etc/text", content = "{{ text }}\n{{ plain }}\n" }
"#;

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for made in ["app", "other", "rootfs/etc"] {
        fs::create_dir_all(at(made)).unwrap();
    }
    fs::write(at("rootfs/etc/os-release"), "ID=amzn\n").unwrap();
    fs::write(at("rootfs/etc/text"), "old\n").unwrap();
    fs::write(at("rootfs/etc/app.json"), "{\"token\": \"none\"}\n").unwrap();
    fs::write(at("app/overlay.toml"), APP).unwrap();
    fs::write(at("other/overlay.toml"), OTHER).unwrap();
    fs::write(at("imgasm.toml"), RECIPE).unwrap();
    fs::write(at("secret"), format!("{SECRET}\n")).unwrap();
    dir
}

fn run(folder: &Path, args: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut child = imgasm()
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    no_secret(
        &format!("{args:?}"),
        &[&output.stdout[..], &output.stderr].concat(),
    );
    output
}

fn with_file(folder: &Path, args: &[&str]) -> Output {
    run(
        folder,
        &[args, &["--set-file", "token=secret"]].concat(),
        &[],
        "",
    )
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Neither the secret nor a form of it is in a text.
#[track_caller]
fn no_secret(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let json = serde_json::to_string(SECRET).unwrap();
    let written_out = SECRET.replace('\\', "\\x5c");
    for part in [
        SECRET,
        &json[1..json.len() - 1],
        &written_out,
        "r&t\\",
        "r&amp;t\\",
        "s<c>r",
        "s&lt;c",
        "s\\u003cc",
    ] {
        assert!(!text.contains(part), "{what}: {text}");
    }
}

fn manifest(folder: &Path, out: &str) -> Value {
    let json = fs::read(folder.join(out).join("manifest.json")).unwrap();
    no_secret(out, &json);
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn a_value_is_in_the_image_and_nowhere_else() {
    let dir = project();
    let folder = dir.path();
    let build = ["-vv", "build", "-o", "a", "--provenance", "provenance.json"];
    assert_success(&with_file(folder, &build));
    let read = imgasm()
        .args(["cat", "a/x.raw", "/etc/token"])
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap();
    assert_eq!(read.stdout, SECRET.as_bytes());
    no_secret(
        "the provenance",
        &fs::read(folder.join("provenance.json")).unwrap(),
    );
    let by_file = manifest(folder, "a");
    let digest = &by_file["sensitive_variables"]["token"];
    assert_eq!(digest.as_str().map(str::len), Some(64));
    assert_eq!(by_file["variables"]["token"], Value::Null);
    assert_eq!(by_file["variables"]["stage"], "live");
    // What an overlay makes of it is as sensitive.
    let overlays = &by_file["overlays"];
    assert_eq!(&overlays[0]["sensitive_variables"]["token"], digest);
    assert_eq!(overlays[0]["variables"], serde_json::json!({}));
    assert!(overlays[1]["sensitive_variables"]["text"].is_string());
    assert_eq!(
        overlays[1]["variables"],
        serde_json::json!({ "plain": "live" })
    );

    let by_input = ["build", "-o", "b", "--set-file", "token=-"];
    assert_success(&run(folder, &by_input, &[], SECRET));
    let environment = [("IMGASM_VAR_token", SECRET)];
    let again = ["build", "-o", "c", "--check-reproducible"];
    assert_success(&run(folder, &again, &environment, ""));
    let recorded = ["build", "-o", "d", "--from-manifest", "a/manifest.json"];
    assert_success(&run(folder, &recorded, &environment, ""));
    for out in ["b", "c", "d"] {
        assert_eq!(manifest(folder, out), by_file, "{out}");
    }
    // Another value is noticed.
    let other = [("IMGASM_VAR_token", "another secret")];
    let output = run(folder, &recorded, &other, "");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("sensitive_variables.token"),
        "{}",
        said(&output)
    );
    assert!(!said(&output).contains("another secret"));
}

#[test]
fn nothing_shows_it() {
    let dir = project();
    let folder = dir.path();
    let checked = with_file(folder, &["check"]);
    assert_success(&checked);
    assert!(
        said(&checked).contains("token is sensitive"),
        "{}",
        said(&checked)
    );
    for form in [&["plan", "-p"][..], &["plan", "--json"]] {
        assert_success(&with_file(folder, form));
    }
    let plan = said(&with_file(folder, &["plan", "-p"]));
    assert!(
        plan.contains("hidden") && plan.contains("/etc/text"),
        "{plan}"
    );
    fs::write(folder.join("rootfs/etc/token"), "x").unwrap();
    assert_success(&with_file(folder, &["build"]));
    fs::write(folder.join("new"), "another-secret\n").unwrap();
    let page = folder.join("page.html");
    for form in [
        &["-p"][..],
        &["--json"],
        &["--markdown"],
        &["--html", "page.html"],
    ] {
        let sides = [&["diff", "out/x.raw", "imgasm.toml"], form].concat();
        let output = with_file(folder, &sides);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let changed = [&sides[..], &["--set-file", "token=new"]].concat();
        let output = run(folder, &changed, &[], "");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(
            !said(&output).contains("another-secret"),
            "{}",
            said(&output)
        );
    }
    let page = fs::read_to_string(page).unwrap();
    assert!(
        !page.contains("another-secret") && page.contains("changed (hidden)"),
        "{page}"
    );
    // Unless it is asked for.
    let shown = imgasm()
        .args(["plan", "-p", "--show-secrets", "--set-file", "token=secret"])
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap();
    assert!(said(&shown).contains(SECRET), "{}", said(&shown));
}

#[test]
fn it_is_hidden_however_it_is_written_out() {
    let dir = project();
    let folder = dir.path();
    let steps = r#"
[[step]]
xattr = { path = "/etc/os-release", name = "user.token", value = "{{ token }}" }
[[step]]
set = { path = "/etc/app.json", key = "token", value = "{{ token }}" }
[[step]]
symlink = { path = "/etc/link", target = "{{ token }}" }
"#;
    fs::write(folder.join("app/overlay.toml"), format!("{APP}{steps}")).unwrap();
    for form in [&["-p"][..], &["--json"], &["--html", "page.html"]] {
        let output = with_file(folder, &[&["plan"][..], form].concat());
        assert_success(&output);
        assert!(said(&output).contains("/etc/app.json"), "{}", said(&output));
    }
    no_secret("page", &fs::read(folder.join("page.html")).unwrap());
    assert_success(&with_file(folder, &["build"]));
    manifest(folder, "out");
}

#[test]
fn what_would_reveal_it_is_refused() {
    let dir = project();
    let folder = dir.path();
    let refused = |args: &[&str], input: &str, expected: &str| {
        let output = run(folder, args, &[], input);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(
            said(&output).contains(expected),
            "{args:?}: {}",
            said(&output)
        );
        assert!(!folder.join("out").exists(), "{args:?}");
    };
    let by_input = ["build", "--set-file", "token=-"];
    refused(&["build"], "", "--set-file token=FILE");
    refused(&["build"], "", "the key of the service");
    refused(&["build", "--set", "token=0123456"], "", "IMGASM_VAR_token");
    refused(&by_input, "abc", "4 bytes at least");
    refused(
        &["build", "--set-file", "token=absent"],
        "",
        "cannot set token from absent",
    );
    refused(&["build", "--set-file", "tokem=secret"], "", "did you mean");
    refused(
        &["verify", "secret", "--set-file", "token=secret"],
        "",
        "about a recipe, and none is given",
    );
    let recipe = |from: &str, to: &str| {
        let text = RECIPE.replace(from, to);
        assert_ne!(text, RECIPE);
        fs::write(folder.join("imgasm.toml"), text).unwrap();
    };
    recipe("sensitive = true", "sensitive = true, default = 'known'");
    refused(&by_input, SECRET, "so it has no default");
    // In a message about what a template gives.
    recipe("'rootfs' }", "'rootfs', size = '{{ token }}' }");
    refused(&by_input, SECRET, "(hidden)");
    recipe("live", "sesame-open");
    refused(&by_input, "sesame-open", "a variable holds its value");
    fs::write(folder.join("imgasm.toml"), RECIPE).unwrap();
    let path = "[[step]]\nwrite = { path = '/etc/{{ token }}', content = '' }\n";
    fs::write(folder.join("app/overlay.toml"), format!("{APP}{path}")).unwrap();
    refused(&by_input, r#"a\b"c.d"#, "a path holds its value");
    for use_of_it in [
        "{{ token | upper }}",
        "{{ 'x' ~ token }}",
        "{% if token %}x{% endif %}",
    ] {
        let step =
            format!("[[step]]\nappend_line = {{ path = '/etc/text', line = \"{use_of_it}\" }}\n");
        fs::write(folder.join("app/overlay.toml"), format!("{APP}{step}")).unwrap();
        refused(&by_input, SECRET, "stands here as a part of an expression");
    }
    fs::write(
        folder.join("imgasm.toml"),
        format!("{RECIPE}[ami]\nami_name = 'x'\ntags = {{ Key = '{{{{ token }}}}' }}\n"),
    )
    .unwrap();
    refused(&by_input, SECRET, "an AMI is seen by others");
    fs::write(folder.join("imgasm.toml"), RECIPE).unwrap();
    let step = "[[step]]\nwrite = { path = '/etc/{{ token }}', content = 'x' }\n";
    fs::write(folder.join("app/overlay.toml"), format!("{APP}{step}")).unwrap();
    refused(&by_input, "sesame-open", "a path holds its value");
}
