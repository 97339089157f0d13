//! `imgasm verify IMAGE`

use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::failure::Failure;
use super::image::{self, Image, ImageArgs};
use super::output::Output;
use super::recipe::assignment;
use super::{Outcome, recipe};
use crate::build;
use crate::environment::Environment;
use crate::recipe::Recipe;
use crate::recipe::volume::{Content, Filesystem};
use crate::verify::boot::{self, KnownFilesystem, Machine};
use crate::verify::expect::{Evaluator, InstalledPackages};
use crate::verify::{CheckResult, Verdict, consistency};
use imgasm_disk::Disk;
use imgasm_fs::tree;
use imgasm_guest::known_path;

/// Check an image without starting it: its filesystems, whether it can boot, what a recipe expects.
///
/// With a recipe, the data volumes that a build left beside the image are checked too. The exit
/// status is 1 where a check fails.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The recipe whose expectations the image is to meet.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set a variable of the recipe.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment, requires = "file")]
    set: Vec<(String, String)>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What was found, counted.
#[derive(Debug, Serialize)]
struct Report {
    passed: usize,
    warned: usize,
    failed: usize,
    skipped: usize,
    results: Vec<CheckResult>,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let recipe = match &args.file {
        Some(file) => Some(recipe::load_file(file, &args.set, environment)?),
        None => None,
    };
    let boot_mode = match &recipe {
        Some(recipe) => recipe.boot_mode()?,
        None => None,
    };
    let image = image::open(&args.image, environment, output)?;
    let mut results = Vec::new();
    results.push(check_table(&image.disk));
    check_filesystems(&image, &mut results)?;
    let root = image.root()?;
    let mut known = boot::filesystems(&image.disk)?;
    if let Some(recipe) = &recipe {
        check_volumes(
            recipe,
            &args.image.image,
            &mut known,
            &mut results,
            environment,
            output,
        )?;
    }
    if tree::exists(root.as_ref(), &known_path("/etc"))? {
        results.extend(boot::lint(&Machine {
            root: root.as_ref(),
            disk: image.disk.table()?.is_some().then_some(&image.disk),
            filesystems: known,
            boot_mode,
        }));
    } else {
        let message = "there is no /etc: this is not the root of a system".to_owned();
        results.push(CheckResult {
            check: "the machine can boot".to_owned(),
            verdict: Verdict::Skipped { message },
        });
    }
    let evaluator = Evaluator {
        fs: root.as_ref(),
        packages: &InstalledPackages::of(root.as_ref()),
    };
    for expectation in recipe.iter().flat_map(|recipe| &recipe.expectations) {
        results.extend(evaluator.check(expectation));
    }
    let report = count(results);
    if args.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(if report.failed == 0 {
        Outcome::Done
    } else {
        Outcome::Differs
    })
}

/// Checks what lies outside the filesystems.
fn check_table(disk: &Disk) -> CheckResult {
    let message = disk.warnings().join("; ");
    CheckResult {
        check: "partition table".to_owned(),
        verdict: if message.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Warned { message }
        },
    }
}

/// Checks every filesystem on the disk.
fn check_filesystems(image: &Image, results: &mut Vec<CheckResult>) -> Result<(), Failure> {
    let root = image.root_place()?;
    for place in image.disk.places() {
        let Some(kind) = image.disk.probe(place)? else {
            continue;
        };
        let name = if place == root {
            "root filesystem".to_owned()
        } else {
            format!("{kind} of {place}")
        };
        match image.disk.open_filesystem(place) {
            Ok(fs) => results.extend(consistency::check(&name, fs.as_ref())),
            // Without its root nothing else can be told of an image.
            Err(error) if place == root => return Err(error.into()),
            Err(error) => results.push(CheckResult {
                check: format!("{name} is consistent"),
                verdict: Verdict::Skipped {
                    message: error.to_string(),
                },
            }),
        }
    }
    Ok(())
}

/// Checks the volumes of a recipe that lie beside the image, and adds all of them to what the
/// machine will have.
fn check_volumes(
    recipe: &Recipe,
    image: &Path,
    known: &mut Vec<KnownFilesystem>,
    results: &mut Vec<CheckResult>,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    for volume in &recipe.volumes {
        let Content::Filesystem(filesystem) = &volume.content else {
            continue;
        };
        let expected = KnownFilesystem {
            kind: filesystem.kind.name().to_owned(),
            label: filesystem.label.as_str().as_bytes().to_vec(),
            uuid: build::volume_uuid(recipe, volume).to_string(),
            ..KnownFilesystem::default()
        };
        let path = image.with_file_name(build::volume_file(recipe, filesystem));
        results.extend(check_volume(
            filesystem,
            &expected,
            &path,
            environment,
            output,
        )?);
        known.push(expected);
    }
    Ok(())
}

fn check_volume(
    filesystem: &Filesystem,
    expected: &KnownFilesystem,
    path: &Path,
    environment: &Environment,
    output: &mut Output,
) -> Result<Vec<CheckResult>, Failure> {
    let name = format!("volume {}", filesystem.label.as_str());
    let result = |verdict| CheckResult {
        check: format!("{name} is as the recipe has it"),
        verdict,
    };
    if !path.exists() {
        let message = format!("there is no {}", path.display());
        return Ok(vec![result(Verdict::Skipped { message })]);
    }
    let opened = image::open_path(path, None, environment, output)?;
    let fs = opened.root()?;
    let mut results = consistency::check(&name, fs.as_ref());
    let size = (opened.disk.device().len(), filesystem.size.bytes());
    let found = boot::filesystems(&opened.disk)?;
    let verdict = if size.0 != size.1 {
        let message = format!("it has {} bytes, {} are expected", size.0, size.1);
        Verdict::Failed { message }
    } else if found.iter().any(|found| found == expected) {
        Verdict::Passed
    } else {
        let message = format!(
            "it holds {}, expected is {expected}",
            found
                .first()
                .map_or_else(|| "no filesystem".to_owned(), ToString::to_string)
        );
        Verdict::Failed { message }
    };
    results.push(result(verdict));
    Ok(results)
}

fn count(results: Vec<CheckResult>) -> Report {
    let of = |is: fn(&Verdict) -> bool| results.iter().filter(|r| is(&r.verdict)).count();
    Report {
        passed: of(|verdict| matches!(verdict, Verdict::Passed)),
        warned: of(|verdict| matches!(verdict, Verdict::Warned { .. })),
        failed: of(|verdict| matches!(verdict, Verdict::Failed { .. })),
        skipped: of(|verdict| matches!(verdict, Verdict::Skipped { .. })),
        results,
    }
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    for CheckResult { check, verdict } in &report.results {
        let (word, colour, message) = match verdict {
            Verdict::Passed => ("ok", AnsiColor::Green, None),
            Verdict::Warned { message } => ("warning", AnsiColor::Yellow, Some(message)),
            Verdict::Failed { message } => ("FAILED", AnsiColor::Red, Some(message)),
            Verdict::Skipped { message } => ("skipped", AnsiColor::BrightBlack, Some(message)),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        let message = message.map_or_else(String::new, |message| format!(": {message}"));
        output.styled(&format!("{style}{word:<8}{style:#} {check}{message}\n"))?;
    }
    output.line(format_args!(
        "{} passed, {} failed, {} warned, {} skipped",
        report.passed, report.failed, report.warned, report.skipped
    ))
}
