//! `imgasm plan`

use super::failure::Failure;
use super::output::{Output, bytes};
use super::recipe::RecipeArgs;
use super::{Outcome, recipe};
use crate::diff::Options;
use crate::diff::render::text::{Detail, render};
use crate::environment::Environment;
use crate::plan::{self, Plan};

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
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Show lines with passwords, keys and tokens too.
    #[arg(long)]
    show_secrets: bool,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let recipe = recipe::load(&args.recipe, environment)?;
    recipe::warn(&recipe, output);
    let build = recipe::prepare(&recipe, environment, output)?;
    let options = Options {
        show_secrets: args.show_secrets,
        ..Options::default()
    };
    let report = plan::compare(&build, options)?;
    let plan = Plan::new(&build, &report);
    if args.json {
        output.json(&plan)?;
        return Ok(Outcome::Done);
    }
    let detail = match (args.stat, args.patch) {
        (true, _) => Detail::Stat,
        (_, true) => Detail::Patch,
        _ => Detail::Paths,
    };
    render(&report, detail, &mut |text| output.styled(text))?;
    output.note("paths", plan.paths.len());
    let (blocks, changed) = (plan.changed_blocks, bytes(plan.changed_bytes));
    output.note("disk", format_args!("{blocks} blocks, {changed}"));
    let (delta, full) = (bytes(plan.upload_bytes), bytes(plan.full_upload_bytes));
    output.note(
        "upload",
        format_args!("{delta} if the base is known, else {full}"),
    );
    Ok(Outcome::Done)
}
