//! `imgasm plan`

use std::path::PathBuf;

use super::failure::Failure;
use super::inert;
use super::output::{Output, bytes};
use super::progress::Bars;
use super::recipe::RecipeArgs;
use super::{Outcome, confine, images, recipe};
use crate::build::Bases;
use crate::config::given::forms;
use crate::diff::render::text::{Detail, render};
use crate::diff::render::{html, markdown};
use crate::diff::{Options, Report};
use crate::environment::Environment;
use crate::plan::{self, Plan};
use crate::recipe::Recipe;
use crate::sandbox::Needs;

/// Show what a build would change, and write nothing.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Only count the paths.
    #[arg(long, conflicts_with_all = ["json", "patch"])]
    stat: bool,
    /// Show the lines that differ in text files.
    #[arg(short = 'p', long, conflicts_with = "json")]
    patch: bool,
    /// As JSON: one document per image.
    #[arg(long)]
    json: bool,
    /// As Markdown for a pull request comment, bounded in size.
    #[arg(long, conflicts_with_all = ["json", "patch", "stat"])]
    markdown: bool,
    /// Also write the plan as one self-contained page; for a recipe with several images, choose one.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show lines with passwords, keys and tokens too.
    #[arg(long)]
    show_secrets: bool,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        let beside = self.html.as_deref().map(confine::folder_of);
        Needs {
            write: beside.into_iter().collect(),
            ..confine::anything()
        }
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let recipes = recipe::load_all(&args.recipe, environment)?;
    if args.html.is_some() && recipes.len() > 1 {
        return Err(Failure::new("a file can be about one image only")
            .with_hint("choose an image with --image"));
    }
    if args.show_secrets {
        inert::hide(std::iter::empty());
    }
    let read: Vec<_> = recipes.iter().flat_map(confine::of_recipe).collect();
    confine::narrow(&read, environment)?;
    let secrets = recipes.iter().flat_map(Recipe::secrets);
    let options = Options {
        show_secrets: args.show_secrets,
        secrets: secrets.flat_map(|(_, value)| forms(&value)).collect(),
        lines: args.patch || args.json || args.markdown || args.html.is_some(),
        ..Options::default()
    };
    let one = |recipe: &Recipe, bases: &Bases, bars: &Bars, output: &mut Output| {
        let build = recipe::prepare(recipe, bases, bars, output)?;
        let report = plan::compare(&build, &options)?;
        let plan = Plan::new(&build, &report);
        let (base, name) = (&build.manifest.base.name, &recipe.name);
        if let Some(path) = &args.html {
            let page = html::render(&report, base, name);
            imgasm_block::Output::write(path, inert::hidden(&page).as_bytes())?;
        }
        if args.json {
            output.json(&plan)
        } else if args.markdown {
            output.text(&markdown::render(&report, base, name))
        } else {
            show(args, &plan, &report, output)
        }
    };
    let (_, outcome) = images::each(&recipes, environment, output, one)?;
    outcome?;
    Ok(Outcome::Done)
}

fn show(args: &Args, plan: &Plan, report: &Report, output: &mut Output) -> Result<(), Failure> {
    let detail = match (args.stat, args.patch) {
        (true, _) => Detail::Stat,
        (_, true) => Detail::Patch,
        _ => Detail::Paths,
    };
    render(report, detail, &mut |text| output.styled(text))?;
    output.note("paths", plan.paths.len());
    let (blocks, changed) = (plan.changed_blocks, bytes(plan.changed_bytes));
    output.note("disk", format_args!("{blocks} blocks, {changed}"));
    let (delta, full) = (bytes(plan.upload_bytes), bytes(plan.full_upload_bytes));
    output.note(
        "upload",
        format_args!("{delta} if the base is known, else {full}"),
    );
    Ok(())
}
