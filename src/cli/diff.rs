//! `imgasm diff OLD NEW`

use std::path::PathBuf;

use super::failure::Failure;
use super::image::ImageArgs;
use super::output::Output;
use super::{Outcome, image};
use crate::diff::render::json::Document;
use crate::diff::render::text::{Detail, render};
use crate::diff::{self, Options};

/// Show what differs between two images: partitions, filesystems, files. Exit status 1 where
/// something does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The image before.
    old: PathBuf,
    /// The image after.
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
    /// A file whose modification time alone differs counts as changed.
    #[arg(long)]
    times: bool,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let open = |path: &PathBuf| {
        image::open(&ImageArgs {
            image: path.clone(),
            partition: None,
        })
    };
    let (old, new) = (open(&args.old)?, open(&args.new)?);
    let report = diff::compare(&old.disk, &new.disk, None, Options { times: args.times })?;
    if report.is_empty() {
        return Ok(Outcome::Done);
    }
    if args.json {
        output.json(&Document::from(&report))?;
    } else {
        let detail = match (args.stat, args.patch) {
            (true, _) => Detail::Stat,
            (_, true) => Detail::Patch,
            _ => Detail::Paths,
        };
        output.styled(&render(&report, detail))?;
    }
    Ok(Outcome::Differs)
}
