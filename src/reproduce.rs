//! Whether the same inputs give the same bytes.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::diff::{self, raw, record};
use crate::lock::store;
use crate::manifest::Manifest;
use crate::private;
use imgasm_block::{BlockDevice, FileDevice};

/// Why a second build could not be compared with the first.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the program could not be used.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An output could not be read.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
    /// The outputs could not be compared.
    #[error(transparent)]
    Diff(#[from] diff::Error),
    /// The second build failed.
    #[error("building again failed:\n{said}")]
    Build {
        /// What it said.
        said: String,
    },
}

/// The second build: how to run it, and what to give it.
pub struct Again<'a> {
    /// The program and the arguments that build the same recipe, without `--output`. Relative paths
    /// are not allowed, because it runs in another folder.
    pub command: &'a [std::ffi::OsString],
    /// The time that the first build gave to everything, in seconds since 1970.
    pub source_date_epoch: i64,
    /// Variables of the environment that the recipe needs, with their values.
    pub environment: &'a [(String, String)],
    /// The folder with the package files that were fetched, where there is one.
    pub packages: Option<&'a Path>,
    /// The folder with the first outputs; the second ones are put beside them temporarily.
    pub out: &'a Path,
    /// The first outputs.
    pub outputs: &'a [PathBuf],
}

/// An output that differs in a second build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The first output.
    pub path: PathBuf,
    /// How many bytes differ.
    pub bytes: u64,
}

/// Builds again, in another folder, with nothing but packages in the cache, and in another environment
/// (time zone, locale, home, umask, folder), and compares all outputs. Gives what differs.
pub fn check(again: &Again<'_>) -> Result<Vec<Difference>, Error> {
    // Beside the first outputs, if there is as much room.
    let folder = private::folder(".imgasm-again-").tempdir_in(again.out)?;
    let whole = fs::canonicalize(folder.path())?;
    let (home, out) = (whole.join("home"), whole.join("out"));
    let cache = whole.join("cache");
    fs::create_dir(&home)?;
    fs::create_dir(&cache)?;
    if let Some(packages) = again.packages {
        symlink(fs::canonicalize(packages)?, store::packages_in(&cache))?;
    }
    let run = Command::new("sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .args(again.command)
        .arg("--output")
        .arg(&out)
        .current_dir(&home)
        .env_clear()
        .envs(again.environment.iter().map(|(name, value)| (name, value)))
        .env("SOURCE_DATE_EPOCH", again.source_date_epoch.to_string())
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &home)
        .env("IMGASM_CACHE", &cache)
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        return Err(Error::Build {
            said: said.trim_end().to_owned(),
        });
    }
    let mut differences = Vec::new();
    for path in again.outputs {
        let other = out.join(path.strip_prefix(again.out).unwrap_or(path));
        let (first, second) = (FileDevice::open(path)?, FileDevice::open(&other)?);
        let differing = raw::differing(&first, &second, None)?;
        if first.len() != second.len() || !differing.is_empty() {
            differences.push(Difference {
                path: path.clone(),
                bytes: raw::total(&differing),
            });
        }
    }
    Ok(differences)
}

/// What is not as a manifest records it, one line per field.
pub fn not_as_recorded(recorded: &Manifest, now: &Manifest) -> Vec<String> {
    let report = record::compare(recorded, now);
    let value = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let fields = report.record.into_iter().chain(report.disk);
    fields
        .map(|field| {
            let (old, new) = (value(field.old), value(field.new));
            format!("{}: {old} -> {new}", field.name)
        })
        .collect()
}
