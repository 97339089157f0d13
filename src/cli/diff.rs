//! `imgasm diff OLD NEW`

use std::io::Write;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::Output;
use super::recipe::assignment;
use super::side::{self, Image, Side};
use super::{Outcome, image};
use crate::diff::render::json::Document;
use crate::diff::render::text::{Detail, render};
use crate::diff::render::{html, markdown};
use crate::diff::{self, Incomplete, Options, Policy, Report, raw, record};
use crate::environment::Environment;
use crate::manifest::Manifest;
use imgasm_block::shared;

/// Show what differs between two images: partitions, filesystems, files. Exit status 1 where
/// something does.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    /// The image before: in any container, or a recipe (`.toml`), a manifest, `-`.
    old: PathBuf,
    /// The image after, likewise.
    new: PathBuf,
    /// Only count the paths.
    #[arg(long, conflicts_with_all = ["json", "patch"])]
    stat: bool,
    /// Show the lines that differ in text files.
    #[arg(short = 'p', long, conflicts_with = "json")]
    patch: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// As Markdown for a pull request comment, bounded in size.
    #[arg(long, conflicts_with_all = ["json", "patch", "stat"])]
    markdown: bool,
    /// Also write the report as one self-contained page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A file whose modification time alone differs counts as changed.
    #[arg(long)]
    times: bool,
    /// Pass over the changes that this file expects; see docs/diff.md.
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// Set a variable of the recipes that are compared.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if args.old == Path::new("-") && args.new == Path::new("-") {
        return Err(Failure::new("only one side can be standard input"));
    }
    let policy = args.allow.as_deref().map(Policy::load).transpose()?;
    let old = side::open(&args.old, &args.set, environment, output)?;
    let new = side::open(&args.new, &args.set, environment, output)?;
    let (report, failure) = match compare(&old, &new, Options { times: args.times }, environment) {
        Ok(report) => (report, None),
        Err(Incomplete { report, error }) => (*report, Some(Failure::from(error))),
    };
    // What is wrong with a whole side explains what is wrong with its parts.
    let failure = [old, new].into_iter().find_map(Side::damage).or(failure);
    let report = match &policy {
        Some(policy) => policy.outside(&report),
        None => report,
    };
    if let Some(path) = &args.html {
        let name = |path: &PathBuf| path.display().to_string();
        let page = html::render(&report, &name(&args.old), &name(&args.new));
        write(path, &page)?;
    }
    print(args, &report, failure.as_ref(), output)?;
    match failure {
        Some(failure) => {
            Err(failure.with_hint("what could be compared is printed, and is not all that differs"))
        }
        None if report.is_empty() => Ok(Outcome::Done),
        None => Ok(Outcome::Differs),
    }
}

/// Prints a report in the form that is asked for; nothing where there is nothing to say.
fn print(
    args: &Args,
    report: &Report,
    failure: Option<&Failure>,
    output: &mut Output,
) -> Result<(), Failure> {
    if report.is_empty() && failure.is_none() {
        return Ok(());
    }
    if args.json {
        let document = Document::from(report);
        output.json(&match failure {
            // Its causes are on stderr.
            Some(failure) => document.with_error(failure.message()),
            None => document,
        })
    } else if args.markdown {
        let (old, new) = (args.old.display(), args.new.display());
        let text = markdown::render(report, &old.to_string(), &new.to_string());
        output.bytes(text.as_bytes())
    } else {
        let detail = match (args.stat, args.patch) {
            (true, _) => Detail::Stat,
            (_, true) => Detail::Patch,
            _ => Detail::Paths,
        };
        render(report, detail, &mut |text| output.styled(text))
    }
}

/// Compares what is there to compare.
fn compare(
    old: &Side,
    new: &Side,
    options: Options,
    environment: &Environment,
) -> Result<Report, Incomplete> {
    let of_record = |record: &Manifest, side: diff::Side, image: &Image| {
        let digest = image.digest();
        let digest = digest.map_err(|source| diff::Error::Device {
            side: !side,
            source,
        })?;
        record::compare_with_disk(record, side, &image.disk, digest)
    };
    match (old, new) {
        (Side::Disk(old), Side::Disk(new)) => compare_disks(old, new, options, environment),
        (Side::Record(old), Side::Record(new)) => Ok(record::compare(old, new)),
        (Side::Record(old), Side::Disk(new)) => Ok(of_record(old, diff::Side::Old, new)?),
        (Side::Disk(old), Side::Record(new)) => Ok(of_record(new, diff::Side::New, old)?),
    }
}

/// Compares two disks, with what is known of them, and remembers how they differ.
fn compare_disks(
    old: &Image,
    new: &Image,
    options: Options,
    environment: &Environment,
) -> Result<Report, Incomplete> {
    if let (Some(before), Some(after)) = (&old.chunk_map, &new.chunk_map) {
        let suspects = raw::differing_chunks(before, after);
        return diff::compare(&old.disk, &new.disk, Some(&suspects), options);
    }
    let cache = image::cache(environment).ok();
    let compared = cache.as_ref().zip(old.file().zip(new.file()));
    let compared = compared.and_then(|(cache, files)| {
        let compared = cache.compared(files.0, files.1)?;
        Some((cache, files, compared))
    });
    let known = compared
        .as_ref()
        .and_then(|(cache, _, compared)| cache.known_difference(compared));
    let unshared = || {
        let unshared = shared::unshared(old.file()?, new.file()?)?;
        Some(raw::union(&unshared, &[]))
    };
    let suspects = known.clone().or_else(unshared);
    let report = diff::compare(&old.disk, &new.disk, suspects.as_ref(), options)?;
    if let Some((cache, files, compared)) = compared.filter(|_| known.is_none()) {
        cache.keep_difference(compared, files, &report.changed);
    }
    Ok(report)
}

/// Writes a whole file or none.
fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let output = imgasm_block::Output::create(path)?;
    output.file().write_all(content.as_bytes())?;
    output.commit()?;
    Ok(())
}
