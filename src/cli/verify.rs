//! `imgasm verify [IMAGE]`

use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::failure::Failure;
use super::output::Output;
use super::progress::Bars;
use super::recipe::{self, RecipeArgs};
use super::{Outcome, confine, image, images};
use crate::build::Bases;
use crate::environment::Environment;
use crate::opener::{self, Opener};
use crate::recipe::Recipe;
use crate::sandbox::Needs;
use crate::verification::{self, Subject, Summary};
use crate::verify::{CheckResult, Verdict};
use imgasm_fs::text::shown;

/// Check an image without starting it: its filesystems, whether it can boot, what a recipe expects.
///
/// With a recipe, which -f names, the data volumes that a build left beside the image are checked too.
/// Without an image, all that a build has made of the recipe are checked. The exit status is 1 if a check fails.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A disk image in any container that can be read, or a bare filesystem; without one, what the
    /// recipe's build has made. Of a recipe with several images, it is the one that the file is called
    /// after, or that --image names.
    image: Option<PathBuf>,
    /// Take this partition as the root, instead of the one that is found.
    #[arg(long, value_name = "N", requires = "image")]
    partition: Option<u32>,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The folder with what a build has made, if no image is named.
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "out",
        conflicts_with = "image"
    )]
    output: PathBuf,
    /// As JSON; without an image, a list.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        match &self.image {
            Some(image) if !self.recipe.names_file() => confine::reading(confine::of_image(image)),
            _ => confine::anything(),
        }
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    match &args.image {
        Some(image) => one(args, image, environment, output),
        None => all(args, environment, output),
    }
}

/// Checks the image in a file.
fn one(
    args: &Args,
    path: &Path,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if args.recipe.is_given() && !args.recipe.names_file() {
        let what = "--set, --set-file and --image are about a recipe, and none is given";
        return Err(Failure::new(what).with_hint("`-f FILE` names it"));
    }
    let recipe = if args.recipe.names_file() {
        Some(recipe::load_for(&args.recipe, path, environment)?)
    } else {
        None
    };
    if let Some(recipe) = &recipe {
        confine::narrow(&confine::of_built(path, recipe), environment)?;
    }
    let summary = image::opening(environment, output, |opener| {
        check(path, args.partition, recipe.as_ref(), opener)
    })?;
    if args.json {
        output.json(&summary)?;
    } else {
        print(&summary, output)?;
    }
    Ok(outcome([&summary]))
}

/// An image that was built and checked, for programs.
#[derive(Serialize)]
struct Checked<'c> {
    /// Which of the recipe's images it is, if the recipe has several.
    image: Option<&'c str>,
    file: &'c Path,
    #[serde(flatten)]
    summary: &'c Summary,
}

/// Checks what the recipe's build has made.
fn all(args: &Args, environment: &Environment, output: &mut Output) -> Result<Outcome, Failure> {
    let recipes = recipe::load_all(&args.recipe, environment)?;
    let file = |recipe: &Recipe| {
        let name = format!("{}.raw", recipe.name);
        recipe.outputs(&args.output).join(name)
    };
    let read = recipes
        .iter()
        .flat_map(|one| confine::of_built(&file(one), one));
    confine::narrow(&read.collect::<Vec<_>>(), environment)?;
    let check = |recipe: &Recipe, bases: &Bases, bars: &Bars, output: &mut Output| {
        let path = file(recipe);
        let summary = check(
            &path,
            recipe.base.partition(),
            Some(recipe),
            &mut Opener {
                cache: bases.cache(),
                progress: &bars.reading("reading"),
                recovered: &mut |path, recovery| image::tell_recovery(path, recovery, output),
            },
        )?;
        if !args.json {
            print(&summary, output)?;
        }
        Ok((recipe.image.clone(), path, summary))
    };
    let (checked, ended) = images::each(&recipes, environment, output, check)?;
    if args.json {
        let all = checked.iter().map(|(image, file, summary)| Checked {
            image: image.as_deref(),
            file,
            summary,
        });
        output.json(&all.collect::<Vec<_>>())?;
    }
    ended?;
    Ok(outcome(checked.iter().map(|(_, _, summary)| summary)))
}

fn check(
    path: &Path,
    partition: Option<u32>,
    recipe: Option<&Recipe>,
    opener: &mut Opener<'_>,
) -> Result<Summary, Failure> {
    let opener::Image { disk, .. } = opener.open(path)?;
    let subject = Subject {
        path,
        disk: &disk,
        partition,
        recipe,
    };
    Ok(verification::verify(&subject, opener)?)
}

fn outcome<'s>(summaries: impl IntoIterator<Item = &'s Summary>) -> Outcome {
    if summaries.into_iter().all(|summary| summary.failed == 0) {
        Outcome::Done
    } else {
        Outcome::Differs
    }
}

fn print(summary: &Summary, output: &mut Output) -> Result<(), Failure> {
    for result in &summary.results {
        print_result(result, output)?;
    }
    output.line(format_args!(
        "{} passed, {} failed, {} warned, {} skipped",
        summary.passed, summary.failed, summary.warned, summary.skipped
    ))
}

/// Prints a result as a line.
pub(super) fn print_result(result: &CheckResult, output: &mut Output) -> Result<(), Failure> {
    let (word, colour, message) = match &result.verdict {
        Verdict::Passed => ("ok", AnsiColor::Green, None),
        Verdict::Warned { message } => ("warning", AnsiColor::Yellow, Some(message)),
        Verdict::Failed { message } => ("FAILED", AnsiColor::Red, Some(message)),
        Verdict::Skipped { message } => ("skipped", AnsiColor::BrightBlack, Some(message)),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    let what = format!("{}{message}", result.check);
    let what = shown(&what);
    output.styled(&format!("{style}{word:<8}{style:#} {what}\n"))
}
