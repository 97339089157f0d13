//! Whether the same inputs give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Outcome;
use super::failure::Failure;
use super::output::Output;
use super::recipe;
use crate::diff::{raw, record};
use crate::manifest::Manifest;
use crate::recipe::Recipe;
use imgasm_block::{BlockDevice, FileDevice};

/// Most differences that are named.
const MOST_NAMED: usize = 10;

/// Builds a recipe again, in another folder, with an empty cache and in another environment (time
/// zone, locale, home, umask, folder), and compares all that came out.
pub(super) fn check(
    recipe: &Recipe,
    out: &Path,
    paths: &[PathBuf],
    output: &mut Output,
) -> Result<Outcome, Failure> {
    // Beside the first outputs, where there is as much room.
    let folder = tempfile::Builder::new()
        .prefix(".imgasm-again-")
        .tempdir_in(out)?;
    let (home, again) = (folder.path().join("home"), folder.path().join("out"));
    fs::create_dir(&home)?;
    let mut arguments = recipe::arguments(recipe);
    let whole = fs::canonicalize(&arguments[1])?;
    arguments[1] = whole.to_string_lossy().into_owned();
    let program = std::env::current_exe()?;
    let run = Command::new("sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(&program)
        .args(["build", "--output"])
        .arg(fs::canonicalize(folder.path())?.join("out"))
        .args(&arguments)
        .current_dir(&home)
        .env_clear()
        .env("SOURCE_DATE_EPOCH", recipe.source_date_epoch.to_string())
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &home)
        .env(
            "IMGASM_CACHE",
            fs::canonicalize(folder.path())?.join("cache"),
        )
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        return Err(Failure::new(format!(
            "building again failed:\n{}",
            said.trim_end()
        )));
    }
    let mut outcome = Outcome::Done;
    for path in paths {
        let other = again.join(path.file_name().unwrap_or_default());
        let (first, second) = (FileDevice::open(path)?, FileDevice::open(&other)?);
        let differing = raw::differing(&first, &second, None)?;
        if first.len() != second.len() || !differing.is_empty() {
            let bytes = raw::total(&differing);
            output.warning(format_args!(
                "{} is not reproducible: {bytes} bytes differ in a second build",
                path.display()
            ));
            outcome = Outcome::Differs;
        }
    }
    if outcome == Outcome::Done {
        output.note("reproduced", "a second build gave the same bytes");
    }
    Ok(outcome)
}

/// What has become another since a manifest was written.
pub(super) fn not_the_recorded(recorded: &Manifest, now: &Manifest) -> Failure {
    let report = record::compare(recorded, now);
    let fields = [report.record, report.disk].concat();
    let value = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let mut lines: Vec<String> = fields
        .into_iter()
        .map(|field| {
            format!(
                "\n  {}: {} -> {}",
                field.name,
                value(field.old),
                value(field.new)
            )
        })
        .collect();
    let more = lines.len().saturating_sub(MOST_NAMED);
    lines.truncate(MOST_NAMED);
    if more > 0 {
        lines.push(format!("\n  and {more} more"));
    }
    Failure::new(format!(
        "these inputs do not give what the manifest records:{}",
        lines.concat()
    ))
    .with_hint("give the recipe, the base and the version of imgasm that the manifest was made of")
}
