//! What a test needs from the machine: every test that cannot run everywhere asks here.
//!
//! A test that lacks something returns early, so it must not look like one that passed. Each skip
//! is reported on stderr at once, past the capture of the test harness, and appended to the file
//! that [`RECORD`] names, from which `make test` makes its last lines. With [`REQUIRE_ALL`] a skip
//! is a failure that names what is missing.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::path::{Path, PathBuf};

/// The variable that turns skips into failures, if it is `1`.
pub const REQUIRE_ALL: &str = "IMGASM_REQUIRE_ALL";

/// The variable with the file to which each skip is appended: the test, a tab, what is missing.
pub const RECORD: &str = "IMGASM_SKIPPED";

/// Reports that the running test lacks something; gives `false`, for the caller to return.
///
/// # Panics
/// If [`REQUIRE_ALL`] is set.
#[track_caller]
#[must_use]
pub fn lacking(what: &str) -> bool {
    let location = Location::caller();
    let test = std::thread::current()
        .name()
        .filter(|name| *name != "main")
        .map_or_else(|| location.to_string(), str::to_owned);
    record(&test, what);
    let is_required = std::env::var_os(REQUIRE_ALL).is_some_and(|value| value == "1");
    assert!(!is_required, "needs {what}, and {REQUIRE_ALL} is set");
    // Not `eprintln!`, which is captured and shown for failing tests only.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: needs {what}");
    false
}

fn record(test: &str, what: &str) {
    let Some(file) = std::env::var_os(RECORD) else {
        return;
    };
    // Test programs run side by side; a single write to a file that is opened for appending is not
    // torn.
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(format!("{test}\t{what}\n").as_bytes()));
    assert!(
        written.is_ok(),
        "{RECORD}: cannot write {}: {written:?}",
        file.display()
    );
}

/// Whether all of `tools` are installed.
#[track_caller]
#[must_use]
pub fn tools(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| find(tool).is_none())
        .copied()
        .collect();
    missing.is_empty() || lacking(&missing.join(", "))
}

/// Whether this is root.
#[track_caller]
#[must_use]
pub fn root() -> bool {
    rustix::process::geteuid().is_root() || lacking("root")
}

/// Whether images can be mounted here, and all of `tools` are installed.
#[track_caller]
#[must_use]
pub fn mounts(with_tools: &[&str]) -> bool {
    root()
        && (Path::new("/dev/loop-control").exists() || lacking("loop devices"))
        && tools(with_tools)
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// Runs the test below in a process of its own; gives whether it passed, what it said, and
    /// what it recorded.
    fn run(require_all: &str) -> (bool, String, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let record = folder.path().join("skipped");
        let program = std::env::current_exe().expect("this program");
        let output = Command::new(program)
            .args([
                "--exact",
                "need::tests::a_test_that_lacks_a_tool",
                "--ignored",
            ])
            .env(super::REQUIRE_ALL, require_all)
            .env(super::RECORD, &record)
            .output()
            .expect("this program can be run");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let recorded = std::fs::read_to_string(record).unwrap_or_default();
        (output.status.success(), said, recorded)
    }

    #[test]
    #[ignore = "the part of the other tests that runs in a process of its own"]
    fn a_test_that_lacks_a_tool() {
        if !super::tools(&["sh", "no-such-tool"]) {
            return;
        }
        unreachable!("nobody has this tool");
    }

    #[test]
    fn a_skip_is_said_and_recorded() {
        let (passed, said, recorded) = run("");
        assert!(passed, "{said}");
        let line = "skipped: need::tests::a_test_that_lacks_a_tool: needs no-such-tool\n";
        assert!(said.contains(line), "{said}");
        assert_eq!(
            recorded,
            "need::tests::a_test_that_lacks_a_tool\tno-such-tool\n"
        );
    }

    #[test]
    fn a_skip_fails_if_everything_is_required() {
        let (passed, said, recorded) = run("1");
        assert!(!passed, "{said}");
        assert!(said.contains("needs no-such-tool, and"), "{said}");
        assert!(recorded.ends_with("\tno-such-tool\n"), "{recorded}");
    }
}
