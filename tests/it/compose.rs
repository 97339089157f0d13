//! Recipes that extend others, and recipes with several images, through the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::example::{assert_success, imgasm};
use imgasm_testkit::command::run;
use serde_json::Value;

const COMMON: &str = r#"
description = "what all machines have"
base = { rootfs = "rootfs", size = "64 MiB" }
overlays = ["overlays/all", { path = "overlays/motd", variables = { text = "for {{ stage }}" } }]

[variables]
stage = { default = "test", help = "where it is used" }

[[expect]]
path = "/etc/all"
exists = true

[ami]
ami_name = "machine"
tags = { Team = "platform", Stage = "{{ stage }}" }
"#;

const MACHINES: &str = r#"
extends = "../common/imgasm.toml"

[[image]]
name = "web"
overlays = ["web"]

[[image.expect]]
path = "/etc/web"
exists = true

[[image]]
name = "web-prod"
overlays = ["web"]
variables = { stage = "prod" }

[image.ami]
tags = { Team = "web" }

[[image]]
name = "plain"
base = { rootfs = "../common/rootfs-arm64", size = "64 MiB" }
without_overlays = ["../common/overlays/motd"]
"#;

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A project with a common recipe and one of three machines, which extends it.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let step = |path: &str| format!("[[step]]\nwrite = {{ path = \"{path}\", content = \"\" }}\n");
    write(
        dir.path(),
        &[
            ("imgasm.root", ""),
            ("common/imgasm.toml", COMMON),
            ("common/rootfs/etc/os-release", "ID=debian\n"),
            (
                "common/rootfs-arm64/etc/os-release",
                "ID=debian\nNAME=arm\n",
            ),
            ("common/overlays/all/overlay.toml", &step("/etc/all")),
            (
                "common/overlays/motd/overlay.toml",
                "[variables]\ntext = \"\"\n[[step]]\nwrite = { path = \"/etc/motd\", content = \"{{ text }}\" }\n",
            ),
            ("machines/imgasm.toml", MACHINES),
            ("machines/web/overlay.toml", &step("/etc/web")),
        ],
    );
    dir
}

fn imgasm_in(dir: &Path, args: &[&str]) -> Output {
    imgasm()
        .args(args)
        .current_dir(dir.join("machines"))
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert_success(output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is on stderr of a command that fails with status 2.
fn refused(dir: &Path, args: &[&str]) -> String {
    let output = imgasm_in(dir, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    stderr
}

fn cat(dir: &Path, image: &str, path: &str) -> String {
    stdout(&imgasm_in(dir, &["cat", image, path]))
}

#[test]
fn three_images_of_two_recipes_are_built_by_one_command_and_twice_alike() {
    let dir = project();
    let dir = dir.path();
    for out in ["one", "two"] {
        let built = stdout(&imgasm_in(dir, &["build", "-o", out]));
        let images: Vec<_> = built.lines().filter(|line| line.contains(".raw")).collect();
        let expected = ["plain/plain", "web-prod/web-prod", "web/web"];
        let mut sorted = images.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected.map(|name| format!("{out}/{name}.raw")));
    }
    let told = stdout(&imgasm_in(dir, &["build", "-o", "two", "--json"]));
    let told: Vec<Value> = serde_json::from_str(&told).unwrap();
    let names: Vec<&str> = told
        .iter()
        .map(|one| one["image"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["web", "web-prod", "plain"]);
    for one in &told {
        let files = one["files"].as_array().unwrap().iter();
        let files: Vec<&str> = files.map(|file| file.as_str().unwrap()).collect();
        let file = files
            .iter()
            .find(|file| file.ends_with("manifest.json"))
            .unwrap();
        let written = fs::read(dir.join("machines").join(file)).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written, one["manifest"]);
    }
    run(Command::new("diff")
        .args(["-r", "one", "two"])
        .current_dir(dir.join("machines")));
    assert_eq!(cat(dir, "one/web/web.raw", "/etc/motd"), "for test");
    assert_eq!(
        cat(dir, "one/web-prod/web-prod.raw", "/etc/motd"),
        "for prod"
    );
    assert!(cat(dir, "one/plain/plain.raw", "/etc/os-release").contains("arm"));
    let listed = stdout(&imgasm_in(dir, &["ls", "one/plain/plain.raw", "/etc"]));
    assert!(listed.contains("all") && !listed.contains("motd") && !listed.contains("web"));

    // An image is checked by what is expected of the image with its name.
    let verify = ["verify", "one/web/web.raw", "-f", "imgasm.toml"];
    let expects_web = |args: &[&str]| {
        let verified = imgasm_in(dir, args).stdout;
        let verified = String::from_utf8_lossy(&verified).into_owned();
        assert!(verified.contains("/etc/all"), "{verified}");
        verified.contains("/etc/web")
    };
    assert!(expects_web(&verify));
    assert!(!expects_web(&[&verify[..], &["--image", "plain"]].concat()));

    let rebuilt = [
        "build",
        "-o",
        "three",
        "--from-manifest",
        "one/web-prod/manifest.json",
    ];
    stdout(&imgasm_in(dir, &rebuilt));
    run(Command::new("cmp")
        .args(["one/web-prod/web-prod.raw", "three/web-prod/web-prod.raw"])
        .current_dir(dir.join("machines")));
    let reproduced = [
        "build",
        "--image",
        "web-prod",
        "-o",
        "four",
        "--check-reproducible",
    ];
    stdout(&imgasm_in(dir, &reproduced));
}

/// Without a file, all images are checked, and each by what is expected of it.
#[test]
fn all_that_was_built_is_verified() {
    let dir = project();
    let dir = dir.path();
    stdout(&imgasm_in(dir, &["build"]));
    let verified = imgasm_in(dir, &["verify", "--json"]);
    let verified: Vec<Value> = serde_json::from_slice(&verified.stdout).unwrap();
    let files: Vec<_> = verified
        .iter()
        .map(|one| one["file"].as_str().unwrap())
        .collect();
    assert_eq!(
        files,
        ["web", "web-prod", "plain"].map(|name| format!("out/{name}/{name}.raw"))
    );
    let expects = |place: usize, path: &str| {
        let results = verified[place]["results"].as_array().unwrap();
        results
            .iter()
            .any(|one| one["check"] == path && one["status"] == "passed")
    };
    assert!((0..3).all(|place| expects(place, "/etc/all exists")));
    assert!(
        expects(0, "/etc/web exists")
            && !expects(1, "/etc/web exists")
            && !expects(2, "/etc/web exists")
    );

    fs::remove_file(dir.join("machines/out/web-prod/web-prod.raw")).unwrap();
    let output = imgasm_in(dir, &["verify"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("web-prod.raw"), "{stderr}");
    assert!(
        stderr.ends_with("error: 1 of 3 images failed: web-prod\n"),
        "{stderr}"
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout)
            .matches(" passed, ")
            .count(),
        2
    );
    let stderr = refused(dir, &["verify", "out/web/web.raw", "--image", "web"]);
    assert!(stderr.contains("`-f FILE` names it"), "{stderr}");
}

/// What is said comes in the order of the recipe, however many images are under way at once, and each
/// image's lines together; and if one fails, the others are whole.
#[test]
fn the_others_are_finished_if_an_image_fails() {
    let dir = project();
    let dir = dir.path();
    let failing = MACHINES.replace(
        "name = \"web-prod\"",
        "name = \"web-prod\"\nbase = { rootfs = \"../common/rootfs\", size = \"1 MiB\" }",
    );
    write(dir, &[("machines/imgasm.toml", &failing)]);
    let one_core = ["taskset", "-c", "0"];
    let mut said = Vec::new();
    for (out, before) in [("alone", &one_core[..]), ("beside", &["env"])] {
        let mut command = Command::new(before[0]);
        let imgasm = imgasm();
        command
            .args(&before[1..])
            .arg(imgasm.get_program())
            .args(["build", "-o", out])
            .current_dir(dir.join("machines"))
            .envs(
                imgasm
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env_remove("CI")
            .env("IMGASM_CACHE", dir.join("cache"));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(out, "OUT");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let files: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
        let expected = [
            "web/web.raw",
            "web/manifest.json",
            "plain/plain.raw",
            "plain/manifest.json",
        ];
        assert_eq!(files, expected.map(|file| format!("OUT/{file}")));
        assert!(!dir.join("machines").join(out).join("web-prod").exists());
        let verify = format!("{out}/plain/plain.raw");
        stdout(&imgasm_in(dir, &["ls", &verify, "/etc/all"]));
        said.push(text(&output.stderr));
    }
    assert_eq!(said[0], said[1]);
    let stderr = &said[0];
    let places = [
        "image web\n",
        "image web-prod\n",
        "error: ",
        "image plain\n",
        "1 of 3 images failed: web-prod",
    ];
    let mut from = 0;
    for place in places {
        let at = stderr[from..].find(place);
        from += at.unwrap_or_else(|| panic!("{place} after {from} in\n{stderr}"));
    }
    assert_eq!(stderr.matches("error: ").count(), 2, "{stderr}");
}

/// Also where the cache is not trusted, so that each look at a packed file reads all of it.
#[test]
fn a_base_that_several_images_share_is_read_once() {
    let dir = project();
    let dir = dir.path();
    stdout(&imgasm_in(dir, &["build", "--image", "plain"]));
    run(Command::new("gzip").arg(dir.join("machines/out/plain/plain.raw")));
    let images = ["a", "b", "c"].map(|name| format!("[[image]]\nname = \"{name}\"\n"));
    let base = "base = { file = \"out/plain/plain.raw.gz\" }\noverlays = [\"web\"]\n";
    let recipe = format!("{base}{}", images.concat());
    write(dir, &[("machines/imgasm.toml", &recipe)]);
    for _ in 0..2 {
        let output = imgasm()
            .args(["build", "-v", "-o", "packed"])
            .current_dir(dir.join("machines"))
            .env("IMGASM_CACHE", dir.join("cache"))
            .env("CI", "true")
            .output()
            .unwrap();
        assert_success(&output);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(log.matches("taken from the cache").count(), 1, "{log}");
    }
}

/// An overlay brings its own proof, with its own variables.
#[test]
fn what_an_overlay_expects_is_checked_too() {
    let dir = project();
    let overlay = "[variables]\nname = \"web\"\n\n[[step]]\nwrite = { path = \"/etc/{{ name }}\", content = \"\" }\n\n\
                   [[expect]]\npath = \"/etc/{{ name }}\"\nexists = true\n\n[[expect.live]]\nservice = \"{{ name }}\"\n\n\
                   [[expect]]\npath = \"/etc/none\"\nexists = true\n";
    write(dir.path(), &[("machines/web/overlay.toml", overlay)]);
    stdout(&imgasm_in(dir.path(), &["build", "--image", "web"]));
    let verify = ["verify", "out/web/web.raw", "-f", "imgasm.toml"];
    let output = imgasm_in(dir.path(), &verify);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("ok       /etc/web"), "{text}");
    assert!(text.contains("FAILED   /etc/none"), "{text}");

    let wrong = overlay.replace("service = ", "servise = ");
    write(dir.path(), &[("machines/web/overlay.toml", &wrong)]);
    let stderr = refused(dir.path(), &["check"]);
    assert!(stderr.contains("unknown key `servise`"), "{stderr}");
    assert!(stderr.contains("web/overlay.toml:"), "{stderr}");
}

#[test]
fn a_value_from_outside_takes_precedence() {
    let dir = project();
    let args = ["build", "--image", "web-prod", "--set", "stage=demo"];
    stdout(&imgasm_in(dir.path(), &args));
    let motd = cat(dir.path(), "out/web-prod/web-prod.raw", "/etc/motd");
    assert_eq!(motd, "for demo");
}

#[test]
fn a_plan_for_a_pull_request_says_which_step_changes_a_path() {
    let dir = project();
    let plan = [
        "plan",
        "--image",
        "web",
        "--set",
        "stage=demo",
        "--html",
        "plan.html",
    ];
    let markdown = stdout(&imgasm_in(
        dir.path(),
        &[&plan[..], &["--markdown"]].concat(),
    ));
    let line = "- added `/etc/motd` (by `../common/overlays/motd, step 1 (write)`)";
    assert!(markdown.contains(line), "{markdown}");
    assert!(
        markdown.starts_with("### Image diff: `rootfs` → `web`"),
        "{markdown}"
    );
    let page = fs::read_to_string(dir.path().join("machines/plan.html")).unwrap();
    assert!(page.contains("motd, step 1 (write)"));

    // Against an earlier build, only what the variable is about differs.
    stdout(&imgasm_in(dir.path(), &["build", "--image", "web"]));
    let old = "out/web/web.raw";
    let diff = [
        "diff",
        old,
        "imgasm.toml",
        "--image",
        "web",
        "--set",
        "stage=demo",
        "-p",
    ];
    let output = imgasm_in(dir.path(), &diff);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text: String = text.chars().filter(|c| *c != '\u{1b}').collect();
    assert!(
        text.contains("-for test") && text.contains("+for demo"),
        "{text}"
    );
    assert!(!text.contains("/etc/web"), "{text}");
}

#[test]
fn the_resolved_recipe_can_be_seen() {
    let dir = project();
    let args = ["check", "--resolved", "--image", "web-prod"];
    let resolved = stdout(&imgasm_in(dir.path(), &args));
    let resolved: toml::Table = resolved.parse().unwrap();
    let expected: toml::Table = r#"
name = "web-prod"
description = "what all machines have"
base = { rootfs = "../common/rootfs", size = "64 MiB" }
overlays = [
  "../common/overlays/all",
  { path = "../common/overlays/motd", variables = { text = "for {{ stage }}" } },
  "web",
]
variables = { stage = { default = "prod", help = "where it is used" } }
expect = [{ path = "/etc/all", exists = true }]
ami = { ami_name = "machine", tags = { Team = "web", Stage = "{{ stage }}" } }
"#
    .parse()
    .unwrap();
    assert_eq!(resolved, expected);
    // As a recipe of its own it builds the same.
    fs::write(dir.path().join("machines/whole.toml"), resolved.to_string()).unwrap();
    stdout(&imgasm_in(
        dir.path(),
        &["build", "-f", "whole.toml", "-o", "whole"],
    ));
    stdout(&imgasm_in(dir.path(), &["build", "--image", "web-prod"]));
    run(Command::new("cmp")
        .args(["whole/web-prod.raw", "out/web-prod/web-prod.raw"])
        .current_dir(dir.path().join("machines")));
}

#[test]
fn live_expectations_are_joined_in_every_form() {
    let dir = project();
    let live = |port: u32| format!("\n[[expect.live]]\nport = {port}\n");
    // In the common recipe they belong to the last `[[expect]]`; in the other one there is none.
    let common = COMMON.replace("\n[ami]", &format!("{}\n[ami]", live(1)));
    let own = format!(
        "extends = \"../common/imgasm.toml\"\n{}\n[[image]]\nname = \"a\"\n\
         [[image.expect.live]]\nport = 3\n",
        live(2)
    );
    write(
        dir.path(),
        &[
            ("common/imgasm.toml", &common),
            ("machines/imgasm.toml", &own),
        ],
    );
    let resolved = stdout(&imgasm_in(dir.path(), &["check", "--resolved"]));
    for port in 1..=3 {
        assert!(resolved.contains(&format!("port = {port}")), "{resolved}");
    }
    stdout(&imgasm_in(dir.path(), &["check"]));
}

#[test]
fn an_error_is_shown_in_the_recipe_that_it_is_in() {
    let dir = project();
    let wrong = COMMON.replace("exists = true", "exist = true");
    write(dir.path(), &[("common/imgasm.toml", &wrong)]);
    let stderr = refused(dir.path(), &["check"]);
    assert!(stderr.contains("unknown key `exist`"), "{stderr}");
    assert!(stderr.contains("../common/imgasm.toml:"), "{stderr}");
    assert!(stderr.contains("exist = true"), "{stderr}");

    let wrong = COMMON.replace("{{ stage }}\" } }]", "{{ stag }}\" } }]");
    write(dir.path(), &[("common/imgasm.toml", &wrong)]);
    let stderr = refused(dir.path(), &["check"]);
    assert!(
        stderr.contains("the variable `stag` is not defined"),
        "{stderr}"
    );
    assert!(stderr.contains("../common/imgasm.toml:4:"), "{stderr}");
}

#[test]
fn what_cannot_be_composed_is_refused() {
    let dir = project();
    let dir = dir.path();
    let image = "base = { rootfs = \"../common/rootfs\" }\n[[image]]\nname = \"a\"\n";
    let name = "name = \"a\"\nbase = { rootfs = \"../common/rootfs\" }\n";
    let many: Vec<_> = (0..20)
        .map(|n| {
            (
                format!("machines/{n}.toml"),
                format!("extends = \"{}.toml\"\n", n + 1),
            )
        })
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    write(dir, &many);
    for (recipe, said) in [
        ("extends = \"none.toml\"\n", "cannot read none.toml"),
        ("extends = \"imgasm.toml\"\n", "this recipe extends itself"),
        (
            "extends = \"0.toml\"\n",
            "more than 16 recipes extend one another",
        ),
        ("extends = 3\n", "`extends` is the path of a recipe"),
        ("extends = \"/etc/passwd\"\n", "--allow-outside"),
        (&format!("{image}x = 1\n"), "unknown key `x`"),
        (
            &format!("{image}[[image]]\nname = \"a\"\n"),
            "another image already",
        ),
        (&format!("{image}[[image]]\n"), "an image needs a `name`"),
        (
            &format!("{image}[[image]]\nname = \"../a\"\n"),
            "cannot be the name of an image",
        ),
        (
            &format!("{name}image = 3\n"),
            "images are tables `[[image]]`",
        ),
        (
            &format!("{image}without_overlays = [\"x\"]\n"),
            "the recipe has no overlays",
        ),
        (
            &format!("overlays = [\"web\"]\n{image}without_overlays = [\"we\"]\n"),
            "this is none of the recipe's overlays",
        ),
        (
            &format!("overlays = [\"web\"]\n{image}without_overlays = \"web\"\n"),
            "`without_overlays` is a list of overlays",
        ),
        (
            &format!("{name}without_overlays = []\n"),
            "unknown key `without_overlays`",
        ),
    ] {
        write(dir, &[("machines/imgasm.toml", recipe)]);
        let stderr = refused(dir, &["check"]);
        assert!(stderr.contains(said), "{recipe}\n{stderr}");
    }
}

#[test]
fn an_image_is_chosen_where_one_is_needed() {
    let dir = project();
    let dir = dir.path();
    let stderr = refused(dir, &["build", "--image", "wep"]);
    assert!(stderr.contains("the recipe has no image `wep`"), "{stderr}");
    assert!(stderr.contains("did you mean `web`?"), "{stderr}");
    let stderr = refused(dir, &["boot"]);
    assert!(
        stderr.contains("choose one with --image: web, web-prod, plain"),
        "{stderr}"
    );
    let stderr = refused(dir, &["build", "--sbom", "file"]);
    assert!(stderr.contains("choose an image with --image"), "{stderr}");
    assert!(!dir.join("machines/out").exists());
}
