//! Which lines a comparison shows, and which it hides.

use std::fs;
use std::path::Path;

use crate::support::example;
use imgasm_testkit::images::sparse;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

const HASH: &str = "$6$saltsalt$Vu3dN0tToBeSeenAnywhere";
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const TOKEN: &str = "ghp_0123456789abcdefNotToBeSeen";

fn image(folder: &Path, name: &str, number: usize) {
    let tree = folder.join(format!("tree-{name}"));
    for directory in ["etc/ssh", "root/.aws", "opt"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    let write = |path: &str, content: String| fs::write(tree.join(path), content).unwrap();
    write(
        "etc/shadow",
        format!("root:{HASH}{number}:19000:0:99999:7:::\n"),
    );
    write("etc/gshadow", format!("wheel:{HASH}{number}::\n"));
    write(
        "etc/ssh/ssh_host_rsa_key",
        format!("{KEY}\nkeyNotToBeSeen{number}\n"),
    );
    write(
        "root/.aws/credentials",
        format!("[default]\nx = NotToBeSeen{number}\n"),
    );
    write("opt/key", format!("{KEY}\nkeyNotToBeSeen{number}\n"));
    write("opt/app.env", format!("GITHUB_TOKEN={TOKEN}{number}\n"));
    let lines = |number| format!("middle{number}NotToBeSeen\n");
    let body: String = (0..20)
        .map(|line| lines(if line == 10 { number } else { 0 }))
        .collect();
    write("opt/long", format!("{KEY}\n{body}"));
    write("etc/motd", format!("welcome to {number}\n"));
    let path = folder.join(name);
    sparse(&path, 8 << 20);
    let paths = [tree.to_str().unwrap(), path.to_str().unwrap()];
    run(
        "mke2fs",
        ["-q", "-t", "ext4", "-d"].into_iter().chain(paths),
    );
}

#[test]
fn secrets_are_hidden_unless_they_are_asked_for() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    image(dir.path(), "old.raw", 1);
    image(dir.path(), "new.raw", 2);
    let diff = |arguments: &[&str]| {
        let output = example::imgasm()
            .args(["diff", "old.raw", "new.raw", "--html", "page.html"])
            .args(arguments)
            .current_dir(dir.path())
            .env("IMGASM_CACHE", dir.path().join("cache"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let page = fs::read_to_string(dir.path().join("page.html")).unwrap();
        (String::from_utf8(output.stdout).unwrap(), page)
    };
    for form in ["--patch", "--json", "--markdown"] {
        let (text, page) = diff(&[form]);
        for shown in [&text, &page] {
            assert!(!shown.contains("NotToBeSeen"), "{form}: {shown}");
            assert!(!shown.contains("N0tToBeSeen"), "{form}: {shown}");
            assert!(shown.contains("welcome to 2"), "{form}: {shown}");
        }
        let hidden = match form {
            "--json" => text.matches("\"hidden\": true").count(),
            _ => text.matches("changed (hidden)").count(),
        };
        assert_eq!(hidden, 7, "{form}: {text}");
        assert_eq!(page.matches("changed (hidden)").count(), 7, "{page}");
        let (text, page) = diff(&[form, "--show-secrets"]);
        for shown in [&text, &page] {
            assert!(shown.contains("N0tToBeSeenAnywhere2"), "{form}: {shown}");
            assert!(shown.contains(&format!("{TOKEN}2")), "{form}: {shown}");
        }
    }
}
