//! `imgasm check`

use super::Outcome;
use super::failure::Failure;
use super::output::Output;
use super::recipe::{self, RecipeArgs};
use crate::environment::Environment;

/// Check a recipe with its overlays and variables, without opening the base.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let recipe = recipe::load(&args.recipe, environment)?;
    recipe::warn(&recipe, output);
    for overlay in &recipe.overlays {
        overlay.check_files()?;
    }
    for (name, value) in recipe.variables.iter() {
        output.note("variable", format_args!("{name} = {value}"));
    }
    for overlay in &recipe.overlays {
        let steps = overlay.step_count();
        output.note("overlay", format_args!("{}  {steps} steps", overlay.name));
    }
    output.note("recipe", format_args!("{} is well formed", recipe.name));
    Ok(Outcome::Done)
}
