//! The effect of an overlay as a whole: applied again, it reports and writes nothing, even if its
//! steps undo one another on the way. Also the effect of the environment's time.

use std::fs;
use std::path::Path;

use crate::support::example::{assert_success, imgasm};
use crate::support::overlay::folder;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use tempfile::TempDir;

/// A system in an ext4 or XFS filesystem; `None` if its tool is missing.
fn system(kind: &str) -> Option<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let file = fs::File::create(&image).unwrap();
    file.set_len(if kind == "ext4" { 32 << 20 } else { 320 << 20 })
        .unwrap();
    let tool = format!("mkfs.{kind}");
    if !need::tools(&[tool.as_str()]) {
        return None;
    }
    run(&tool, [&image]);
    let base = folder(
        "[[step]]\nmkdir = { path = '/etc' }\n\
         [[step]]\nwrite = { path = '/etc/os-release', content = 'ID=x' }\n\
         [[step]]\nwrite = { path = '/etc/a.json', content = '{\"old\": 1}' }\n",
        &[],
    );
    apply(&image, base.path(), &[]);
    Some(dir)
}

fn apply(image: &Path, overlay: &Path, args: &[&str]) -> String {
    let output = imgasm()
        .arg("apply")
        .args([image, overlay])
        .args(args)
        .output()
        .unwrap();
    assert_success(&output);
    String::from_utf8(output.stdout).unwrap()
}

/// Steps whose later ones undo what earlier ones do.
const OVERLAY: &str = "
[[step]]
set = { path = '/etc/a.json', key = 'new', value = 2 }
[[step]]
chmod = { path = '/etc/tool', mode = '0700' }
[[step]]
copy = { from = 'other', to = '/etc/copied', mode = '0644' }
[[step]]
chmod = { path = '/etc/copied', mode = '0600' }
[[step]]
append_line = { path = '/etc/copied', line = 'appended' }
[[step]]
write = { path = '/etc/passing', content = 'x' }
[[step]]
remove = { path = '/etc/passing' }
[[step]]
symlink = { path = '/etc/was-a-file', target = 'tool' }
";

const FILES: &[(&str, &str)] = &[
    ("files/etc/a.json", "{\"from\": \"files\"}"),
    ("files/etc/tool!", "#!/bin/sh\n"),
    ("files/etc/was-a-file", "content"),
    ("other", "other\n"),
];

#[test]
fn an_overlay_applied_twice_reports_and_writes_nothing_the_second_time() {
    for kind in ["ext4", "xfs"] {
        let Some(dir) = system(kind) else { continue };
        let image = dir.path().join("image");
        let overlay = folder(OVERLAY, FILES);
        let first = apply(&image, overlay.path(), &[]);
        let paths: Vec<_> = first
            .lines()
            .map(|line| line.split_whitespace().nth(1).unwrap())
            .collect();
        let expected = ["/etc/a.json", "/etc/copied", "/etc/tool", "/etc/was-a-file"];
        assert_eq!(paths, expected, "{kind}: {first}");
        let before = fs::read(&image).unwrap();
        assert_eq!(apply(&image, overlay.path(), &[]), "", "{kind}");
        assert!(
            fs::read(&image).unwrap() == before,
            "{kind}: the second run wrote"
        );

        // What someone changed since is changed back, and nothing else is reported.
        let meddle = folder(
            "[[step]]\nchmod = { path = '/etc/tool', mode = '0755' }\n",
            &[],
        );
        apply(&image, meddle.path(), &[]);
        let again = apply(&image, overlay.path(), &[]);
        assert_eq!(again.lines().count(), 1, "{kind}: {again}");
        assert!(again.contains("/etc/tool"), "{kind}: {again}");
    }
}

#[test]
fn a_time_that_is_no_number_is_an_error_everywhere() {
    let Some(dir) = system("ext4") else { return };
    let image = dir.path().join("image");
    let overlay = folder("[[step]]\nmkdir = { path = '/new' }\n", &[]);
    let recipe = dir.path().join("imgasm.toml");
    fs::write(&recipe, "name = 'x'\nbase = { file = 'image' }\n").unwrap();
    let before = fs::read(&image).unwrap();
    let (image, overlay) = (image.to_str().unwrap(), overlay.path().to_str().unwrap());
    let recipe = recipe.to_str().unwrap();
    for time in ["-5", "yesterday", "1.5", "+1"] {
        for args in [
            &["apply", image, overlay][..],
            &["plan", "-f", recipe],
            &["verify", image, "-f", recipe],
        ] {
            let output = imgasm()
                .args(args)
                .env("SOURCE_DATE_EPOCH", time)
                .env("IMGASM_CACHE", dir.path().join("cache"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
            assert!(
                said.contains("SOURCE_DATE_EPOCH") && said.contains(time),
                "{said}"
            );
        }
    }
    assert!(fs::read(image).unwrap() == before);
    // What needs no time still works.
    let listed = imgasm()
        .args(["ls", image, "/"])
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .output();
    assert_success(&listed.unwrap());
}
