//! Scripts that a real shell runs in a root of its own, and that are carried out here: both must
//! leave the same tree and end alike.
//!
//! - [`roots`]: the two roots.
//! - [`commands`]: commands of one line; `scriptlets.txt`: the scripts of packages by their kinds.
//! - [`generated`]: scripts put together at random.

mod commands;
mod generated;
mod roots;

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Given, Interpreter, Spent, Stopped, run};
use commands::COMMANDS;
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;
use imgasm_testkit::command::output;
use roots::{NOW, in_memory, memory_listing, prepare, real_listing, real_root};

/// Runs a script both ways; gives where it was stopped here, if it was.
///
/// # Errors
/// If what they leave differs.
pub(super) fn compare(
    root: &Path,
    script: &str,
    arguments: &[&str],
) -> Result<Option<String>, String> {
    let mut fs = in_memory();
    let mut editor = Editor::new(&mut fs);
    let mut notes = Vec::new();
    let given = Given {
        arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
        ..Given::default()
    };
    let ours = run(
        script,
        Interpreter::Sh,
        given,
        &mut editor,
        NOW,
        &Spent::default(),
        &mut notes,
    );
    let status = match ours {
        Ok(status) => status,
        Err(Stopped::Unknown(statement)) => return Ok(Some(statement)),
        Err(Stopped::Failed(error)) => return Err(format!("{script}\n{error}")),
    };
    prepare(root);
    fs::write(root.join("script"), script).unwrap();
    let mut command = Command::new("chroot");
    command
        .arg(root)
        .args(["/bin/sh", "/script"])
        .args(arguments);
    command
        .env_clear()
        .env("PATH", super::expand::PATH)
        .env("SYSTEMD_OFFLINE", "1")
        .env("SOURCE_DATE_EPOCH", NOW.seconds.to_string());
    let real = output(&mut command);
    let (ours, theirs) = (memory_listing(&fs), real_listing(root));
    let mut differences = Vec::new();
    for path in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(path), theirs.get(path));
        if ours != theirs {
            differences.push(format!("{path}:\n  ours {ours:?}\n  real {theirs:?}"));
        }
    }
    if real.status.code() != Some(i32::from(status)) {
        differences.push(format!(
            "status {status}, and really {:?}",
            real.status.code()
        ));
    }
    if differences.is_empty() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&real.stderr).into_owned();
    differences.dedup();
    Err(format!("{script}\n{}\n{said}", differences.join("\n")))
}

/// The scripts of packages by their kinds: a name, what they are given, the text.
fn scriptlets() -> Vec<(&'static str, Vec<Vec<&'static str>>, &'static str)> {
    let kinds = include_str!("scriptlets.txt").split("%% ").skip(1);
    let kinds = kinds.map(|kind| {
        let (head, text) = kind.split_once('\n').unwrap();
        let (name, given) = head.split_once(" | ").unwrap();
        let given = given.split(' ').map(|one| one.split(',').collect());
        (name, given.collect(), text)
    });
    kinds.collect()
}

#[test]
fn scriptlets_of_each_kind_leave_what_a_real_shell_leaves() {
    let Some(root) = real_root() else { return };
    let mut wrong = Vec::new();
    for (name, given, text) in scriptlets() {
        for arguments in given {
            match compare(root.path(), text, &arguments) {
                Ok(None) => {}
                Ok(Some(statement)) => wrong.push(format!("{name}: refused at `{statement}`")),
                Err(difference) => wrong.push(format!("{name} {arguments:?}: {difference}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
}

#[test]
fn what_is_not_known_stops_a_script_by_name() {
    let stopped = |script: &str, interpreter: Interpreter| {
        let mut fs = in_memory();
        let mut editor = Editor::new(&mut fs);
        let result = run(
            script,
            interpreter,
            Given {
                arguments: vec!["1".to_owned()],
                ..Given::default()
            },
            &mut editor,
            Timestamp::default(),
            &Spent::default(),
            &mut Vec::new(),
        );
        match result {
            Err(Stopped::Unknown(statement)) => statement,
            other => panic!("{script}: {other:?}"),
        }
    };
    for (script, statement) in [
        (
            "curl http://example.com | sh\n",
            "curl http://example.com | sh",
        ),
        ("if true; then\n  x=$(date)\nfi", "date"),
        ("true\nsleep 1 &\ntrue", "sleep 1 &"),
        ("echo $HOME > /x", "echo $HOME > /x"),
        ("cat /proc/cpuinfo", "cat /proc/cpuinfo"),
        ("while :; do :; done", ":"),
        ("f() { f; }; f", "f"),
        ("[ 2 -1ge 2 ]", "[ 2 -1ge 2 ]"),
        ("test a b c d", "test a b c d"),
    ] {
        assert_eq!(stopped(script, Interpreter::Sh), statement);
    }
    for hostile in [
        "(".repeat(100_000),
        "$(".repeat(100_000),
        "if ".repeat(100_000),
        "! ".repeat(100_000),
        "`".repeat(99_999),
        "${a:-".repeat(100_000),
        "cat <<".repeat(1000),
        "\"".repeat(99_999),
        "a{".repeat(100_000),
        format!(": {}x; date", "{".repeat(39)),
        format!(": {}x; date", "{x ".repeat(30_000)),
        format!(": {}{{1..1000}}{{1..9}}; date", "a".repeat(240_000)),
        format!(": {}{{1..1000}}{{1..9}}; date", "'a'".repeat(60_000)),
        format!("x='        '; for i in {}; do x=\"$x$x\"; done; : {}; date", "i ".repeat(16), "$x".repeat(80_000)),
        "x=aaaaaaaa; while :; do x=$x$x; set -- $x \"$@\" \"$@\"; done".to_owned(),
        format!("x=aaaaaaaa; for i in {}; do x=$x$x; done; : {}; date", "i ".repeat(16), "$x ".repeat(80_000)),
        format!("x=aaaaaaaa; for i in {}; do x=$x$x; done; set -- $x $x $x $x $x; : {}; date", "i ".repeat(16), "\"$@\"".repeat(40_000)),
        "x=aaaaaaaa; while :; do x=$x$x; done".to_owned(),
        "x=aaaaaaaa; while :; do echo $x >> /var/x; cat /var/x /var/x > /var/y; cat /var/y >> /var/x; done".to_owned(),
        format!("f() {{ {}f{}; }}; f", "{ ".repeat(30), "; }".repeat(30)),
        format!("x={}; y=${{x%*a*a*b}}; date", "a".repeat(100_000)),
        format!("echo a | sed '{}'", "s/a/&&&&&&&&&&&&&&&&/g;".repeat(8)),
        format!("echo {} | sed '{}'", "a".repeat(50_000), "s/b/c/;".repeat(30_000)),
    ] {
        stopped(&hostile, Interpreter::Bash);
    }
}

#[test]
fn scripts_have_a_bound_each_and_together() {
    let mut fs = in_memory();
    let mut editor = Editor::new(&mut fs);
    let mut stopped = |script: &str, spent: &Spent| {
        let (given, mut notes) = (Given::default(), Vec::new());
        let result = run(
            script,
            Interpreter::Sh,
            given,
            &mut editor,
            NOW,
            spent,
            &mut notes,
        );
        matches!(result, Err(Stopped::Unknown(_)))
    };
    let spent = Spent::default();
    assert!(stopped("while :; do :; done", &spent));
    let script = "for i in 0 1 2 3 4 5 6 7 8 9; do for j in 0 1 2 3 4 5 6 7 8 9; do \
                  for k in 0 1 2 3 4 5 6 7 8 9; do :; :; :; :; :; :; :; :; :; :; done; done; done";
    assert!(!stopped(script, &spent));
    let many = (0..100).take_while(|_| !stopped(script, &spent)).count();
    assert!((20..60).contains(&many), "{many}");
    assert!(!stopped(script, &Spent::default()));
}
