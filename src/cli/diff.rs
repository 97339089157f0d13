//! `imgasm diff OLD NEW`

use std::io::Write;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::image::ImageArgs;
use super::output::Output;
use super::{Outcome, image};
use crate::block;
use crate::diff::render::json::Document;
use crate::diff::render::text::{Detail, render};
use crate::diff::render::{html, markdown};
use crate::diff::{self, Options};

/// Show what differs between two images: partitions, filesystems, files. Exit status 1 where
/// something does.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
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
    /// As Markdown for a pull request comment, bounded in size.
    #[arg(long, conflicts_with_all = ["json", "patch", "stat"])]
    markdown: bool,
    /// Also write the report as one self-contained page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A file whose modification time alone differs counts as changed.
    #[arg(long)]
    times: bool,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let mut open = |path: &PathBuf| {
        let image = ImageArgs {
            image: path.clone(),
            partition: None,
        };
        image::open(&image, output)
    };
    let (old, new) = (open(&args.old)?, open(&args.new)?);
    let report = diff::compare(&old.disk, &new.disk, None, Options { times: args.times })?;
    let name = |path: &PathBuf| path.display().to_string();
    let (old_name, new_name) = (name(&args.old), name(&args.new));
    if let Some(path) = &args.html {
        write(
            path,
            &html::render(&report, &name(&args.old), &name(&args.new)),
        )?;
    }
    if report.is_empty() {
        return Ok(Outcome::Done);
    }
    if args.json {
        output.json(&Document::from(&report))?;
    } else if args.markdown {
        output.bytes(markdown::render(&report, &old_name, &new_name).as_bytes())?;
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

/// Writes a whole file or none.
fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let output = block::Output::create(path)?;
    output.file().write_all(content.as_bytes())?;
    output.commit()?;
    Ok(())
}
