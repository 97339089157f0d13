//! Untrusted text reaches no terminal, log or page as it is.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::example;
use imgasm_fs::text::is_hidden;
use imgasm_testkit::images::sparse;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// What a stranger may have put anywhere: a build service's command after a line's end, escape
/// sequences, characters that are invisible or change the direction of others, markup.
const HOSTILE: &str = "x\n::error file=a::spoofed\r  ::stop-commands::tok ##[add-mask]y ##vso[z]\
    \x1b[2J\x1b]0;title\x07\u{202e}gnp\u{200b}\u{2028}::debug::\u{feff}<script>alert(1)</script>`'\"";

/// An image with hostile names, texts and labels.
fn image(folder: &Path, name: &str, number: usize) {
    let tree = folder.join(format!("tree-{name}"));
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::create_dir_all(tree.join("sbin")).unwrap();
    let write = |path: &str, content: &str| fs::write(tree.join(path), content).unwrap();
    let quoted = HOSTILE.replace(['"', '`'], "");
    write(
        "etc/os-release",
        &format!("ID=amzn\nPRETTY_NAME=\"{quoted}\"\n"),
    );
    let octal = "x\\012::error\\040file=a::spoofed\\012";
    write(
        "etc/fstab",
        &format!("/dev/{octal} /{octal} ext4 defaults z z\nLABEL={octal} / ext4 x 0 0\n"),
    );
    write(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\n\u{202e}e\x1b[1m:x:7:7::/:/bin/sh\n",
    );
    write(&format!("::error::{number}"), "");
    write(
        "same",
        &format!("{number}\n::warning::line\n  ::x::\n{HOSTILE}\n"),
    );
    write(
        "lines",
        &format!("{number}\n::warning::line\n  ::x::\n##[y] \u{202e}\u{2028}z\n"),
    );
    let hostile = HOSTILE.replace('/', "|");
    write(&format!("{number}{hostile}"), "");
    std::os::unix::fs::symlink(&hostile, tree.join(format!("link{number}"))).unwrap();
    let path = folder.join(name);
    sparse(&path, 8 << 20);
    let label = format!("{number}\u{202e}::l");
    let arguments = ["-q", "-t", "ext4", "-L", &label, "-d"];
    let paths = [tree.to_str().unwrap(), path.to_str().unwrap()];
    run("mke2fs", arguments.into_iter().chain(paths));
}

fn imgasm(folder: &Path, arguments: &[&str]) -> Output {
    example::imgasm()
        .args(arguments)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

fn check(what: &str, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap();
    for line in text.split(['\n', '\r']) {
        assert!(!line.trim_start().starts_with("::"), "{what}: {line:?}");
    }
    let hidden = text
        .chars()
        .find(|c| is_hidden(*c) && !matches!(c, '\n' | '\t'));
    assert_eq!(hidden, None, "{what}: {text:?}");
    for mark in ["##[", "##vso["] {
        assert!(!text.contains(mark), "{what}: {text:?}");
    }
}

#[test]
fn what_strangers_wrote_commands_nobody() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    image(dir.path(), "old.raw", 1);
    image(dir.path(), "new.raw", 2);
    let commands: [&[&str]; 16] = [
        &["inspect", "old.raw"],
        &["inspect", "--json", "old.raw"],
        &["ls", "old.raw", "/"],
        &["ls", "-lR", "old.raw", "/"],
        &["ls", "--json", "-R", "old.raw", "/"],
        &["ls", "old.raw", "/none\u{202e}\x1b[1m\n::error::"],
        &["cat", "old.raw", "/etc"],
        &["verify", "old.raw"],
        &["verify", "--json", "old.raw"],
        &["diff", "old.raw", "new.raw"],
        &["diff", "-p", "old.raw", "new.raw"],
        &["diff", "--json", "old.raw", "new.raw"],
        &["diff", "--markdown", "old.raw", "new.raw"],
        &[
            "diff",
            "--stat",
            "--html",
            "page.html",
            "old.raw",
            "new.raw",
        ],
        &["-vv", "inspect", "old.raw"],
        &["inspect", "none\x1b[1m\n::error::"],
    ];
    for command in commands {
        let output = imgasm(dir.path(), command);
        let what = command.join(" ");
        check(&what, &output.stdout);
        check(&what, &output.stderr);
        let len = output.stdout.len() + output.stderr.len();
        assert!(len > 20, "{what}: {output:?}");
    }
    // The same without its colours, and with them.
    let coloured = example::imgasm()
        .args(["diff", "-p", "old.raw", "new.raw"])
        .current_dir(dir.path())
        .env("IMGASM_CACHE", dir.path().join("cache"))
        .env_remove("NO_COLOR")
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(coloured.stdout).unwrap();
    let ours = ["[31m", "[32m", "[33m", "[36m", "[1m", "[0m"];
    assert!(text.contains('\x1b'), "nothing is coloured: {text:?}");
    for sequence in text.split('\x1b').skip(1) {
        assert!(
            ours.iter().any(|ours| sequence.starts_with(ours)),
            "{sequence:?}"
        );
    }
}

#[test]
fn a_page_runs_its_own_script_only() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    image(dir.path(), "old.raw", 1);
    image(dir.path(), "new.raw", 2);
    imgasm(
        dir.path(),
        &["diff", "--html", "page.html", "old.raw", "new.raw"],
    );
    let page = fs::read_to_string(dir.path().join("page.html")).unwrap();
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(
        page.contains("default-src &#x27;none&#x27;; script-src &#x27;sha256-"),
        "{page}"
    );
    assert!(
        !page.contains(" style=") && !page.contains(" onclick"),
        "{page}"
    );
    let hidden = page
        .chars()
        .find(|c| is_hidden(*c) && !matches!(c, '\n' | '\t'));
    assert_eq!(hidden, None);
    assert!(
        page.contains("\\u{202e}") || page.contains("\\xe2\\x80\\xae"),
        "{page}"
    );
}
