//! What the tests of `import`, `pull` and `gc` share: the test server and what is asked of it.
#![allow(dead_code, reason = "each test file uses what it needs of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::example::{copy_inputs, imgasm, project, shrink_volume};

/// The Python with what `tests/aws/requirements.txt` lists; says what is missing where it is not
/// there, because a test is skipped then.
pub fn python() -> Option<PathBuf> {
    let python = project().join("target/aws-venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    assert!(
        std::env::var_os("IMGASM_TEST_AWS").is_none(),
        "{} is not there: `make test-aws-tools` makes it",
        python.display()
    );
    eprintln!("skipped: `make test-aws-tools` makes what this needs");
    None
}

/// The example with a small data volume and an `[ami]`, in `dir`.
pub fn example(dir: &Path, ami: &str) {
    copy_inputs(dir);
    shrink_volume(dir);
    let recipe = dir.join("imgasm.toml");
    let mut text = fs::read_to_string(&recipe).unwrap();
    let have = text.find("\n[ami]");
    text.truncate(have.unwrap_or(text.len()));
    fs::write(&recipe, format!("{text}\n[ami]\n{ami}")).unwrap();
}

/// A command of imgasm on the example in `dir`, with no environment of AWS.
pub fn command(dir: &Path, name: &str) -> Command {
    let mut command = imgasm();
    command
        .arg(name)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .env("HOME", dir)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") && name != "AWS_EC2_METADATA_DISABLED" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that must succeed; gives its stdout.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail as an error does; gives its stderr.
pub fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "{said}");
    said
}

/// What a command said on stderr.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a script of `tests/aws` with a value on its stdin; it must find nothing wrong.
pub fn checked_by(python: &Path, script: &str, value: &Value) {
    let mut child = Command::new(python)
        .arg(project().join("tests/aws").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(value.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}: {printed}\n{value:#}");
}

/// Makes the recipe in `dir` one of a disk of 256 MiB alone.
pub fn make_small(dir: &Path) {
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let small = "base = { rootfs = \"rootfs\", size = \"256MiB\" }";
    let text = text.replace("base = { rootfs = \"rootfs\" }", small);
    let (from, to) = (
        text.find("[[volume]]").unwrap(),
        text.find("\n[ami]").unwrap(),
    );
    fs::write(&recipe, format!("{}{}", &text[..from], &text[to..])).unwrap();
}
