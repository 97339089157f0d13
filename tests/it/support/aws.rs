//! What the tests of `import`, `pull` and `gc` share: the test server and what is asked of it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use imgasm_testkit::need;
use serde_json::Value;

use super::example::{self, copy_inputs, project, shrink_volume};

/// The variable with the path of a tool that has the feature `aws`. With it, what talks to AWS is
/// tested without compiling the SDK for the tests, too.
const TOOL: &str = "IMGASM_WITH_AWS";

/// The tool that talks to AWS.
pub fn tool() -> Option<PathBuf> {
    let ours = cfg!(feature = "aws").then(|| env!("CARGO_BIN_EXE_imgasm").into());
    std::env::var_os(TOOL).or(ours).map(PathBuf::from)
}

/// Whether there is a tool that talks to AWS.
#[track_caller]
pub fn is_here() -> bool {
    tool().is_some() || need::lacking("a tool with the feature `aws`, as `make test` has")
}

/// The Python with what `tests/aws/requirements.txt` lists, which `make test-aws-tools` installs, if
/// there is a tool for it to serve.
#[track_caller]
pub fn python() -> Option<PathBuf> {
    if !is_here() {
        return None;
    }
    let python = project().join("target/aws-venv/bin/python");
    let is_there = python.exists() || need::lacking("the Python of `make test-aws-tools`");
    is_there.then_some(python)
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

/// A command of imgasm on the example in `dir`, with no environment of AWS or of a proxy.
pub fn command(dir: &Path, name: &str) -> Command {
    let tool = tool().expect("the test asked whether it is here");
    let mut command = example::interruptible(&tool);
    command
        .arg(name)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .env("HOME", dir)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        let is_ours = text.starts_with("AWS_") || text.ends_with("_PROXY");
        if is_ours && text != "AWS_EC2_METADATA_DISABLED" {
            command.env_remove(name);
        }
    }
    command
}

/// Starts a command and waits until it has come far enough, or has ended.
pub fn started(command: &mut Command, is_far_enough: impl Fn() -> bool) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while !is_far_enough() && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(1));
    }
    child
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

/// One error, in words, with what to do about it.
pub fn is_one_error(said: &str, words: &[&str]) {
    let errors = said
        .lines()
        .filter(|line| line.starts_with("error: "))
        .count();
    assert_eq!(errors, 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
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
    set_base(dir, "{ rootfs = \"rootfs\", size = \"256MiB\" }");
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let (from, to) = (
        text.find("[[volume]]").unwrap(),
        text.find("\n[ami]").unwrap(),
    );
    fs::write(&recipe, format!("{}{}", &text[..from], &text[to..])).unwrap();
}

/// Gives the recipe in `dir` another base.
pub fn set_base(dir: &Path, base: &str) {
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let from = text.find("\nbase = ").unwrap() + 1;
    let to = from + text[from..].find('\n').unwrap();
    fs::write(
        &recipe,
        format!("{}base = {base}{}", &text[..from], &text[to..]),
    )
    .unwrap();
}

/// Makes the overlays of the recipe in `dir` a single one, which changes one small file.
pub fn make_small_change(dir: &Path) {
    let overlay = dir.join("overlays/small");
    fs::create_dir_all(&overlay).unwrap();
    let steps = "description = \"A small change\"\n[[step]]\nwrite = { path = \"/etc/motd\", content = \"small\\n\" }\n";
    fs::write(overlay.join("overlay.toml"), steps).unwrap();
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let from = text.find("overlays = [").unwrap();
    let to = from + text[from..].find(']').unwrap() + 1;
    let overlays = "overlays = [\"overlays/small\"]";
    fs::write(
        &recipe,
        format!("{}{overlays}{}", &text[..from], &text[to..]),
    )
    .unwrap();
}
