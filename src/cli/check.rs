//! `imgasm check`

use super::failure::Failure;
use super::output::Output;
use super::recipe::{self, RecipeArgs};
use super::{Outcome, confine};
use crate::environment::Environment;
use crate::recipe::Recipe;

/// Check a recipe with its overlays and variables, without opening the base.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Print the recipe as one text: with what it extends and what the image changes.
    #[arg(long)]
    resolved: bool,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let recipes = recipe::load_all(&args.recipe, environment)?;
    let read: Vec<_> = recipes.iter().flat_map(confine::of_recipe).collect();
    confine::narrow(&read, environment)?;
    for recipe in &recipes {
        recipe::announce(recipe, output);
        if args.resolved {
            output.text(&recipe.resolved()?)?;
        } else {
            check(recipe, output)?;
        }
    }
    Ok(Outcome::Done)
}

fn check(recipe: &Recipe, output: &mut Output) -> Result<(), Failure> {
    for overlay in &recipe.overlays {
        overlay.check_files()?;
    }
    for (name, value) in recipe.variables.plain() {
        output.note("variable", format_args!("{name} = {value}"));
    }
    for (name, _) in recipe.variables.sensitive() {
        output.note("variable", format_args!("{name} is sensitive"));
    }
    for overlay in &recipe.overlays {
        let steps = overlay.step_count();
        output.note("overlay", format_args!("{}  {steps} steps", overlay.name));
    }
    output.note("recipe", format_args!("{} is well formed", recipe.name));
    Ok(())
}
