//! Compares what our checkers say about images with what the formats' own checkers say.
//!
//! ```text
//! cargo run -p imgasm-testkit --example corpus -- FOLDER_OR_IMAGE…
//! ```
//!
//! Images may be packed (`.gz`, `.xz`, `.bz2`, `.zst`). A filesystem that we do not know is skipped.
//! Each other image gets one line; the last one counts the differences, and the exit code is 1 if
//! there are more than `--allow` permits.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use imgasm_block::{BlockDevice as _, FileDevice};
use imgasm_testkit::command::{output, text};
use imgasm_testkit::engine::image;
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::scratch;

/// Compare our checkers with the formats' own on a collection of images.
#[derive(Parser)]
struct Arguments {
    /// Images, and folders of images.
    #[arg(required = true)]
    places: Vec<PathBuf>,
    /// Images of this format only: `ext`, `xfs`, `vfat`.
    #[arg(long)]
    only: Option<String>,
    /// Differences to accept, in per cent.
    #[arg(long, default_value_t = 2.0)]
    allow: f64,
    /// Print what both found, for every image.
    #[arg(long)]
    verbose: bool,
}

/// What a checker found.
struct Verdict {
    /// Whether it has nothing to repair.
    clean: bool,
    /// What it said, one line per finding.
    words: Vec<String>,
    took: Duration,
}

/// What `e2fsck` says before it goes on with a copy of the superblock. With `-n` that does not change
/// its exit code, though no kernel mounts the image.
const NO_SUPERBLOCK: &str = "Superblock invalid, trying backup blocks";

/// The format's own checker: its exit code decides, because some print what they would change for the
/// sake of order in a filesystem that they call clean.
///
/// We judge what will be there once the journal was replayed; `e2fsck -n` judges without. So a kernel
/// replays it first, if it mounts the image.
fn theirs(kind: &str, path: &Path) -> Verdict {
    if kind == "ext" && has_log(path) {
        drop(Mount::try_new(path, Kind::Ext, Access::ReadOnly));
    }
    let (tool, arguments): (&str, &[&str]) = match kind {
        // It looks at a filesystem of a single group only if it is told to.
        "xfs" => ("xfs_repair", &["-n", "-f", "-o", "force_geometry"]),
        "vfat" => ("fsck.fat", &["-n"]),
        _ => ("e2fsck", &["-fn"]),
    };
    let before = Instant::now();
    let result = output(
        Command::new("timeout")
            .arg("60")
            .arg(tool)
            .args(arguments)
            .arg(path),
    );
    let said = text(&result);
    Verdict {
        clean: result.status.success() && !said.contains(NO_SUPERBLOCK),
        took: before.elapsed(),
        words: said
            .lines()
            .filter(|line| {
                !line.is_empty() && !line.starts_with("Pass ") && !line.ends_with(" blocks")
            })
            .map(str::to_owned)
            .collect(),
    }
}

/// Whether the journal of an ext filesystem has to be replayed (`s_feature_incompat`, bit
/// `EXT3_FEATURE_INCOMPAT_RECOVER`).
fn has_log(path: &Path) -> bool {
    let mut incompat = [0; 4];
    let read = FileDevice::open(path).map(|device| device.read_at(1024 + 96, &mut incompat));
    matches!(read, Ok(Ok(()))) && u32::from_le_bytes(incompat) & 4 != 0
}

/// Our checker: it fails on errors only.
fn ours(path: &Path) -> Verdict {
    let before = Instant::now();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let checked = imgasm_disk::open(image(path)).and_then(|fs| {
        fs.check(&mut |finding| {
            let list = if finding.is_error() {
                &mut errors
            } else {
                &mut warnings
            };
            list.push(format!("{}: {}", finding.at, finding.problem));
        })
    });
    if let Err(error) = checked {
        errors.push(error.to_string());
    }
    let clean = errors.is_empty();
    let warnings = warnings.into_iter().map(|line| format!("warning: {line}"));
    Verdict {
        clean,
        words: errors.into_iter().chain(warnings).collect(),
        took: before.elapsed(),
    }
}

/// All files below a place, in the order of their names.
fn files(place: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !place.is_dir() {
        found.push(place.to_owned());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(place)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| files(entry, found))
}

/// Puts an image into `to`, unpacked.
fn unpack(from: &Path, to: &Path) -> std::io::Result<bool> {
    let program = match from.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip",
        Some("xz") => "xz",
        Some("bz2") => "bzip2",
        Some("zst") => "zstd",
        _ => {
            std::fs::copy(from, to)?;
            return Ok(true);
        }
    };
    let status = Command::new(program)
        .arg("-dc")
        .stdin(File::open(from)?)
        .stdout(File::create(to)?)
        .stderr(Stdio::null())
        .status()?;
    Ok(status.success())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut images = Vec::new();
    for place in &arguments.places {
        if let Err(error) = files(place, &mut images) {
            eprintln!("{}: {error}", place.display());
            return ExitCode::from(2);
        }
    }
    let folder = scratch::folder();
    let unpacked = folder.path().join("image");
    let (mut seen, mut alarms, mut missed) = (0_u32, 0_u32, 0_u32);
    for path in &images {
        if !matches!(unpack(path, &unpacked), Ok(true)) {
            continue;
        }
        let Some(kind) = kind_of(&unpacked) else {
            continue;
        };
        if arguments.only.as_deref().is_some_and(|only| only != kind) {
            continue;
        }
        let ours = ours(&unpacked);
        let theirs = theirs(kind, &unpacked);
        seen += 1;
        let word = match (theirs.clean, ours.clean) {
            (true, true) => "clean",
            (false, false) => "faults",
            (true, false) => {
                alarms += 1;
                "FALSE ALARM"
            }
            (false, true) => {
                missed += 1;
                "MISSED"
            }
        };
        println!(
            "{word:11} {kind:4} {} ({} ms, {} ms here)",
            path.display(),
            theirs.took.as_millis(),
            ours.took.as_millis()
        );
        let differs = theirs.clean != ours.clean;
        let most = if arguments.verbose { usize::MAX } else { 4 };
        if differs || arguments.verbose {
            for line in theirs.words.iter().take(most) {
                println!("    theirs: {line}");
            }
            for line in ours.words.iter().take(most) {
                println!("    ours:   {line}");
            }
        }
    }
    println!("{seen} images: {alarms} false alarms, {missed} missed");
    if f64::from(alarms + missed) * 100.0 > arguments.allow * f64::from(seen) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What filesystem an image holds, if it is one of ours.
fn kind_of(path: &Path) -> Option<&'static str> {
    let device = FileDevice::open(path).ok()?;
    if device.len() == 0 {
        return None;
    }
    match imgasm_disk::probe(&device).ok().flatten()? {
        "ext2" | "ext3" | "ext4" => Some("ext"),
        kind @ ("xfs" | "vfat") => Some(kind),
        _ => None,
    }
}
