//! `imgasm diff OLD NEW`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::inert;
use super::output::Output;
use super::recipe::OutsideArgs;
use super::variables::VariableArgs;
use super::{Outcome, confine, image};
use crate::compare::{self, Side};
use crate::config::digest::Folders;
use crate::diff::render::json::Document;
use crate::diff::render::text::{Detail, render};
use crate::diff::render::{html, markdown};
use crate::diff::{Incomplete, Options, Policy, Report};
use crate::environment::Environment;
use crate::recipe::{self, Recipe};
use crate::sandbox::Needs;

/// Show what differs between two images: partitions, filesystems, files. Exit status 1 if something
/// does.
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
    /// Show lines with passwords, keys and tokens too, which are hidden otherwise.
    #[arg(long)]
    show_secrets: bool,
    /// Leave out the changes that this file expects; see docs/diff.md.
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    #[command(flatten)]
    variables: VariableArgs,
    /// Which image of the recipes that are compared, if they have several.
    #[arg(long = "image", value_name = "NAME")]
    which: Option<String>,
    #[command(flatten)]
    outside: OutsideArgs,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        Needs {
            write: self
                .html
                .as_deref()
                .map(confine::folder_of)
                .into_iter()
                .collect(),
            ..confine::anything()
        }
    }

    /// What is read, when it is known what is compared, and the values of the recipes' sensitive
    /// variables.
    fn inputs(&self, options: &recipe::Options) -> Result<(Vec<PathBuf>, Vec<String>), Failure> {
        let mut files = Vec::new();
        let mut secrets = Vec::new();
        for path in [&self.old, &self.new] {
            if compare::is_recipe(path) {
                let recipe = Recipe::load(path, options)?;
                files.extend(confine::of_recipe(&recipe));
                secrets.extend(recipe.secrets().map(|(_, value)| value));
            } else if path == Path::new("-") {
                // Where it is a file, it is opened by its name.
                files.extend(fs::canonicalize("/dev/stdin"));
            } else {
                files.extend(confine::of_image(path));
                if compare::may_be_manifest(path) {
                    files.push(confine::folder_of(path));
                }
            }
        }
        Ok((files, secrets))
    }
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
    let options = recipe::Options {
        values: args.variables.values(environment)?,
        image: args.which.clone(),
        // The variable has no effect on images.
        source_date_epoch: if [&args.old, &args.new]
            .iter()
            .any(|path| compare::is_recipe(path))
        {
            environment.source_date_epoch()?
        } else {
            None
        },
        allow_outside: args.outside.allow_outside.clone(),
        downloads: environment.downloads(),
        folders: Folders::default(),
    };
    let (files, secrets) = args.inputs(&options)?;
    confine::narrow(&files, environment)?;
    let hidden = secrets.iter().filter(|_| !args.show_secrets);
    inert::hide(hidden.map(String::as_str));
    let mut side = |path: &Path| {
        image::opening(environment, output, |opener| {
            compare::open(path, &options, opener).map_err(explained)
        })
    };
    let (old, new) = (side(&args.old)?, side(&args.new)?);
    let cache = image::cache(environment)?;
    let options = Options {
        times: args.times,
        show_secrets: args.show_secrets,
        secrets,
        lines: args.patch || args.json || args.markdown || args.html.is_some(),
    };
    let (report, failure) = match compare::compare(&old, &new, &options, &cache) {
        Ok(report) => (report, None),
        Err(Incomplete { report, error }) => (*report, Some(Failure::from(error))),
    };
    // Damage to a whole side explains what is wrong with its parts.
    let damage = [old, new].into_iter().find_map(Side::damage);
    let failure = damage.map(explained).or(failure);
    let report = match &policy {
        Some(policy) => policy.outside(&report),
        None => report,
    };
    if let Some(path) = &args.html {
        let name = |path: &PathBuf| path.display().to_string();
        let page = html::render(&report, &name(&args.old), &name(&args.new));
        write(path, &inert::hidden(&page))?;
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

fn explained(error: compare::Error) -> Failure {
    let hint = error.hint();
    Failure::advised(error, hint)
}

/// Prints a report in the form that is asked for; nothing if there is nothing to say.
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
        output.text(&text)
    } else {
        let detail = match (args.stat, args.patch) {
            (true, _) => Detail::Stat,
            (_, true) => Detail::Patch,
            _ => Detail::Paths,
        };
        render(report, detail, &mut |text| output.styled(text))
    }
}

/// Writes a whole file or none.
fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let output = imgasm_block::Output::create(path)?;
    output.file().write_all(content.as_bytes())?;
    output.commit()?;
    Ok(())
}
