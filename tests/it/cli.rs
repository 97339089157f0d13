//! The command line as its users and their scripts see it: what each command prints about the
//! example image, and what it says and exits with when something is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::example::{build, copy_inputs, imgasm, same_bytes};
use imgasm_testkit::images::sparse;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use tempfile::TempDir;

/// The example, built once.
fn project() -> &'static Path {
    static PROJECT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROJECT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("project");
        copy_inputs(&path);
        build(&path);
        (folder, path)
    });
    path
}

/// What a command said: its exit status, stdout and stderr, without the folder that it ran in.
fn said(args: &[&str]) -> String {
    said_in(project(), args)
}

fn said_in(folder: &Path, args: &[&str]) -> String {
    let output = imgasm()
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", project().join("cache"))
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let status = output.status.code().expect("no signal ended it");
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).expect("all of it is text");
        without_aws(&text.replace(folder.to_str().unwrap(), "FOLDER"))
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    format!("exit status {status}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

/// The list of commands as it is without the feature `aws`.
fn without_aws(text: &str) -> String {
    let is_aws = |line: &&str| {
        ["  import  ", "  pull  ", "  gc  "]
            .iter()
            .any(|it| line.starts_with(it))
    };
    text.split_inclusive('\n')
        .filter(|line| !is_aws(line))
        .collect()
}

#[test]
fn what_the_commands_take() {
    insta::assert_snapshot!("help", said(&["--help"]));
    for command in [
        "init", "check", "build", "plan", "apply", "grow", "ls", "cat", "cp", "edit", "find",
        "tar", "diff", "inspect", "verify", "boot", "convert",
    ] {
        insta::assert_snapshot!(format!("help-{command}"), said(&[command, "--help"]));
    }
}

#[test]
fn what_the_commands_print() {
    insta::assert_snapshot!("build", said(&["build"]));
    insta::assert_snapshot!("plan", said(&["plan"]));
    insta::assert_snapshot!("inspect", said(&["inspect", "out/ecs.raw"]));
    insta::assert_snapshot!("inspect-json", said(&["inspect", "--json", "out/ecs.raw"]));
    insta::assert_snapshot!("ls", said(&["ls", "out/ecs.raw", "/etc/sysconfig"]));
    insta::assert_snapshot!("ls-l", said(&["ls", "-l", "out/ecs.raw", "/home/ec2-user"]));
    insta::assert_snapshot!(
        "ls-json",
        said(&[
            "ls",
            "--json",
            "--digest",
            "out/ecs.raw",
            "/etc/cloud/cloud.cfg"
        ])
    );
    insta::assert_snapshot!("cat", said(&["cat", "out/ecs.raw", "/etc/sysconfig/clock"]));
    insta::assert_snapshot!(
        "verify",
        said(&["verify", "out/ecs.raw", "-f", "imgasm.toml"])
    );
}

#[test]
fn a_difference_and_a_failed_check_exit_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fs::write(
        folder.path().join("imgasm.toml"),
        "name = \"x\"\nbase = { file = \"x\" }\n[[expect]]\nservice = \"docker\"\nstate = \"enabled\"\n",
    )
    .unwrap();
    let recipe = format!("{path}/imgasm.toml");
    let verified = said(&["verify", "out/ecs.raw", "-f", &recipe]);
    assert!(verified.starts_with("exit status 1\n"), "{verified}");
    assert!(
        verified.contains("FAILED   service docker is enabled: it is disabled\n"),
        "{verified}"
    );
    assert!(
        verified.ends_with("2 failed, 1 warned, 0 skipped\n--- stderr\n"),
        "{verified}"
    );
    let same = said(&["diff", "out/ecs.raw", "out/ecs.raw"]);
    assert_eq!(same, "exit status 0\n--- stdout\n--- stderr\n");
    let other = said(&["diff", "--stat", "out/ecs.raw", "out/ecs-docker.raw"]);
    assert!(other.starts_with("exit status 1\n"), "{other}");
}

/// Each is one error that says what is wrong, with exit status 2 and nothing on stdout.
#[test]
fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::write(dir.join("empty"), "").unwrap();
    fs::write(dir.join("text"), "no image\n".repeat(1000)).unwrap();
    let mut disk = vec![0; 1 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(dir.join("disk"), disk).unwrap();
    fs::write(dir.join("cut.gz"), b"\x1f\x8b\x08\0\0\0\0\0\0\x03").unwrap();
    fs::write(
        dir.join("unknown-key.toml"),
        "name = \"x\"\nbase = { file = \"b\" }\noverlay = []\n",
    )
    .unwrap();
    fs::write(
        dir.join("missing-variable.toml"),
        "name = \"x-{{ release }}\"\nbase = { file = \"b\" }\n",
    )
    .unwrap();
    fs::write(
        dir.join("wrong-digest.toml"),
        format!(
            "name = \"x\"\nbase = {{ file = \"disk\", sha256 = \"{}\" }}\n",
            "0".repeat(64)
        ),
    )
    .unwrap();
    let image = project().join("out/ecs.raw");
    let image = image.to_str().unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("no-command", &[]),
        ("unknown-command", &["resize"]),
        ("no-image", &["ls", "absent.raw", "/"]),
        ("empty-image", &["inspect", "empty"]),
        ("not-an-image", &["ls", "text", "/"]),
        ("cut-image", &["inspect", "cut.gz"]),
        ("no-path", &["cat", image, "/etc/absent"]),
        ("relative-path", &["cat", image, "etc/passwd"]),
        ("cat-directory", &["cat", image, "/etc"]),
        ("no-partition", &["ls", "--partition", "7", image, "/"]),
        (
            "partition-without-filesystem",
            &["ls", "--partition", "128", image, "/"],
        ),
        ("no-recipe", &["build"]),
        ("unknown-key", &["build", "-f", "unknown-key.toml"]),
        ("missing-variable", &["plan", "-f", "missing-variable.toml"]),
        ("wrong-digest", &["build", "-f", "wrong-digest.toml"]),
        (
            "undeclared-variable",
            &["build", "-f", "wrong-digest.toml", "--set", "a=b"],
        ),
        ("no-overlay", &["apply", image, "absent"]),
    ];
    for (name, args) in cases {
        let said = said_in(dir, args).replace(image, "IMAGE");
        assert!(
            said.starts_with("exit status 2\n--- stdout\n--- stderr\n"),
            "{said}"
        );
        insta::assert_snapshot!(format!("wrong-{name}"), said);
    }
    assert!(!dir.join("out").exists(), "nothing is written");
}

#[test]
fn an_image_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.raw");
    fs::copy(project().join("out/ecs.raw"), &image).unwrap();
    let image = image.to_str().unwrap();
    let args = ["apply", image, "overlays/timezone", "--set", "timezone=UTC"];
    insta::assert_snapshot!("apply", said(&args).replace(image, "IMAGE"));
    let clock = said(&["cat", image, "/etc/sysconfig/clock"]);
    assert!(clock.contains("ZONE=\"UTC\"\n"), "{clock}");
    // What cannot be done changes nothing.
    let before = folder.path().join("before.raw");
    fs::copy(image, &before).unwrap();
    let args = [
        "apply",
        image,
        "overlays/cloud-init",
        "overlays/timezone",
        "--set",
        "timezone=Mars/Olympus",
    ];
    let said = said(&args);
    assert!(said.starts_with("exit status 2\n"), "{said}");
    assert!(said.contains("Mars/Olympus"), "{said}");
    assert!(same_bytes(Path::new(image), &before));
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = said(&["completions", shell]);
        assert!(said.starts_with("exit status 0\n"), "{said}");
        assert!(said.contains("inspect") && said.contains("partition"));
        assert!(said.contains("trust-cache") && !said.contains("boot-relay"));
    }
    let page = said(&["man"]);
    assert!(page.starts_with("exit status 0\n"), "{page}");
    assert!(page.contains(".TH imgasm 1"), "{page}");
}

#[test]
fn manual_pages_say_more_than_the_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let said = said_in(folder.path(), &["man", "-o", "man"]);
    assert!(said.starts_with("exit status 0\n"), "{said}");
    let page = |name: &str| fs::read_to_string(folder.path().join("man").join(name)).unwrap();
    for (name, words) in [
        ("imgasm.1", "imgasm build"),
        ("imgasm-build.1", "SOURCE_DATE_EPOCH"),
        ("imgasm-diff.1", "The two sides differ"),
        ("imgasm-apply.1", "imgasm\\-undo"),
    ] {
        let page = page(name);
        for section in ["EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "FILES"] {
            let is_there = page.contains(&format!(".SH \"{section}\""))
                || page.contains(&format!(".SH {section}"));
            assert!(is_there, "{name}: {section}\n{page}");
        }
        assert!(page.contains(words), "{name}: {words}\n{page}");
    }
}

#[test]
fn what_is_read_cached_and_decided_is_said_if_asked_for() {
    if !need::tools(&["mke2fs", "gzip"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.raw");
    sparse(&image, 8 << 20);
    run("mke2fs", ["-q", "-t", "ext4", image.to_str().unwrap()]);
    run("gzip", ["-k", image.to_str().unwrap()]);
    let said = |args: &[&str]| {
        let output = imgasm()
            .args(args)
            .current_dir(folder.path())
            .env("IMGASM_CACHE", folder.path().join("cache"))
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said(&["ls", "disk.raw"]), "");
    let first = said(&["-v", "ls", "disk.raw.gz"]);
    assert!(
        first.contains("disk.raw.gz: unpacked into the cache"),
        "{first}"
    );
    let second = said(&["-v", "ls", "disk.raw.gz"]);
    assert!(second.contains(": taken from the cache"), "{second}");
    let raw = said(&["-v", "ls", "disk.raw"]);
    assert!(raw.contains("disk.raw: read where it lies"), "{raw}");
    let overlay = folder.path().join("o");
    fs::create_dir(&overlay).unwrap();
    let toml = "[[step]]\nmkdir = { path = \"/a\" }\nwhen = { os = \"none\" }\n";
    fs::write(overlay.join("overlay.toml"), toml).unwrap();
    let applied = said(&["-v", "apply", "disk.raw", "o"]);
    let words = "overlay `o`, step 1 (`mkdir`): passed over by its guard";
    assert!(applied.contains(words), "{applied}");
    let recipe = "name = \"locked\"\nbase = { file = \"disk.raw.gz\" }\n";
    fs::write(folder.path().join("imgasm.toml"), recipe).unwrap();
    let bound = |flags: &[&str]| {
        let all = said(&[&["build"], flags].concat());
        let manifest = fs::read(folder.path().join("out/manifest.json")).expect(&all);
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["base"]["bound"].clone()
    };
    assert_eq!(bound(&[]), "trusted-cache");
    assert_eq!(bound(&["--locked"]), "compared");
    let both = said(&["build", "--locked", "--trust-cache"]);
    assert!(both.contains("cannot be used with"), "{both}");
}
