//! The reproducibility kit of `imgasm build`: a second build that is compared, a build from a
//! manifest, the statement of provenance.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::example::{assert_success, build, copy_inputs, imgasm, shrink_disks};
use serde_json::Value;

fn run(folder: &Path, args: &[&str]) -> Output {
    imgasm()
        .arg("build")
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

fn inputs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_inputs(folder.path());
    shrink_disks(folder.path());
    folder
}

#[test]
fn a_second_build_in_another_environment_gives_the_same_bytes() {
    let folder = inputs();
    let args = ["--check-reproducible", "--set", "timezone=Asia/Tokyo"];
    let output = run(folder.path(), &args);
    assert_success(&output);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("a second build gave the same bytes"),
        "{said}"
    );
    let left = fs::read_dir(folder.path().join("out")).unwrap();
    assert_eq!(left.count(), 3, "the second build is gone");
}

#[test]
fn what_a_manifest_records_is_built_from_the_same_inputs_only() {
    let folder = inputs();
    let at = |name: &str| folder.path().join(name);
    let first = run(folder.path(), &["--set", "timezone=Asia/Tokyo"]);
    assert_success(&first);
    let manifest = fs::read(at("out/manifest.json")).unwrap();
    fs::write(at("recorded.json"), &manifest).unwrap();
    let again = ["--from-manifest", "recorded.json", "-o", "again"];
    assert_success(&run(folder.path(), &again));
    assert_eq!(fs::read(at("again/manifest.json")).unwrap(), manifest);

    fs::write(at("overlays/timezone/files/added"), "")
        .or_else(|_| {
            fs::create_dir_all(at("overlays/timezone/files"))?;
            fs::write(at("overlays/timezone/files/added"), "")
        })
        .unwrap();
    let output = run(
        folder.path(),
        &["--from-manifest", "recorded.json", "-o", "other"],
    );
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("overlays.overlays/timezone.sha256"), "{said}");
    assert!(!at("other").exists(), "nothing is written");
}

#[test]
fn provenance_binds_the_digests_of_the_files_to_the_inputs() {
    let folder = inputs();
    let out = build(folder.path());
    let args = ["--provenance", "statement.json"];
    assert_success(&run(folder.path(), &args));
    let text = fs::read(folder.path().join("statement.json")).unwrap();
    let statement: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let subjects = statement["subject"].as_array().unwrap();
    assert_eq!(subjects.len(), 2);
    for subject in subjects {
        let name = subject["name"].as_str().unwrap();
        let sum = Command::new("sha256sum")
            .arg(out.join(name))
            .output()
            .unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        let digest = subject["digest"]["sha256"].as_str().unwrap();
        assert_eq!(Some(digest), sum.split(' ').next());
    }
    let builder = &statement["predicate"]["runDetails"]["builder"]["builderDependencies"][0];
    let tool = Command::new("sha256sum")
        .arg(env!("CARGO_BIN_EXE_imgasm"))
        .output()
        .unwrap();
    let tool = String::from_utf8(tool.stdout).unwrap();
    assert_eq!(builder["digest"]["sha256"].as_str(), tool.split(' ').next());
    let definition = &statement["predicate"]["buildDefinition"];
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let names = definition["resolvedDependencies"]
        .as_array()
        .unwrap()
        .iter();
    let names: Vec<_> = names.map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["base rootfs", "recipe"]);
    assert_eq!(
        names.len(),
        2 + manifest["overlays"].as_array().unwrap().len()
    );
    assert_success(&run(folder.path(), &args));
    assert_eq!(
        fs::read(folder.path().join("statement.json")).unwrap(),
        text
    );
}
