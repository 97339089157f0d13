//! `imgasm verify IMAGE`

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};

use super::failure::Failure;
use super::image::{self, ImageArgs};
use super::output::Output;
use super::recipe::OutsideArgs;
use super::variables::VariableArgs;
use super::{Outcome, confine, recipe};
use crate::environment::Environment;
use crate::recipe::{Options, Recipe};
use crate::sandbox::Needs;
use crate::verification::{self, Subject, Summary};
use crate::verify::{CheckResult, Verdict};
use imgasm_fs::text::shown;

/// Check an image without starting it: its filesystems, whether it can boot, what a recipe expects.
///
/// With a recipe, the data volumes that a build left beside the image are checked too. The exit
/// status is 1 if a check fails.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The recipe whose expectations the image is to meet.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    variables: VariableArgs,
    /// Which of the recipe's images it is, if that has several; else the one that the file is called
    /// after.
    #[arg(long = "image", value_name = "NAME", requires = "file")]
    which: Option<String>,
    #[command(flatten)]
    outside: OutsideArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        match &self.file {
            Some(_) => confine::anything(),
            None => confine::reading(confine::of_image(&self.image.image)),
        }
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if args.file.is_none() && args.variables.is_given() {
        let what = "--set and --set-file set variables of a recipe, and none is given";
        return Err(Failure::new(what).with_hint("`-f FILE` names it"));
    }
    let recipe = match &args.file {
        Some(file) => Some(recipe::load_file(
            file,
            &args.variables,
            which(args, file)?,
            &args.outside,
            environment,
        )?),
        None => None,
    };
    if let Some(recipe) = &recipe {
        confine::narrow(&confine::of_built(&args.image.image, recipe), environment)?;
    }
    let image = image::open(&args.image, environment, output)?;
    let summary = image::opening(environment, output, |opener| {
        let subject = Subject {
            path: &args.image.image,
            disk: &image.disk,
            partition: args.image.partition,
            recipe: recipe.as_ref(),
        };
        verification::verify(&subject, opener)
    })?;
    if args.json {
        output.json(&summary)?;
    } else {
        print(&summary, output)?;
    }
    Ok(if summary.failed == 0 {
        Outcome::Done
    } else {
        Outcome::Differs
    })
}

/// Which of the recipe's images is checked.
fn which(args: &Args, file: &Path) -> Result<Option<String>, Failure> {
    if args.which.is_some() {
        return Ok(args.which.clone());
    }
    let options = Options {
        allow_outside: args.outside.allow_outside.clone(),
        ..Options::default()
    };
    let stem = args.image.image.file_stem();
    let mut images = Recipe::images(file, &options)?.into_iter();
    Ok(images.find(|image| stem == Some(OsStr::new(image))))
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
