//! The arguments by which a recipe is given.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::image;
use super::output::Output;
use super::progress::Bars;
use crate::build::Build;
use crate::config::Epoch;
use crate::environment::Environment;
use crate::manifest::Manifest;
use crate::recipe::{Base, Options, Recipe};

/// Which recipe, and what it is given.
#[derive(Debug, clap::Args)]
pub(super) struct RecipeArgs {
    /// The recipe.
    #[arg(short, long, value_name = "FILE", default_value = "imgasm.toml")]
    file: PathBuf,
    /// Set a variable of the recipe.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

/// `NAME=VALUE`, as `--set` takes it.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is not of the form NAME=VALUE".to_owned()),
    }
}

/// Reads the recipe.
pub(super) fn load(args: &RecipeArgs, environment: &Environment) -> Result<Recipe, Failure> {
    load_file(&args.file, &args.set, environment)
}

/// Reads the recipe in a file, with values for its variables.
pub(super) fn load_file(
    file: &Path,
    set: &[(String, String)],
    environment: &Environment,
) -> Result<Recipe, Failure> {
    Ok(Recipe::load(
        file,
        &Options {
            set: set.to_vec(),
            source_date_epoch: environment.source_date_epoch()?,
        },
    )?)
}

/// Reads the recipe with the variables and the time that a manifest records.
pub(super) fn load_recorded(args: &RecipeArgs, manifest: &Manifest) -> Result<Recipe, Failure> {
    let variables = manifest.variables.iter();
    let epoch = Epoch::try_from(manifest.source_date_epoch)
        .map_err(|problem| Failure::new(format!("the manifest's time: {problem}")))?;
    Ok(Recipe::load(
        &args.file,
        &Options {
            set: variables
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
            source_date_epoch: Some(epoch),
        },
    )?)
}

/// The arguments that give a recipe with the values of its variables, for another run.
pub(super) fn arguments(recipe: &Recipe) -> Vec<String> {
    let mut arguments = vec!["--file".to_owned(), recipe.source.name().to_owned()];
    for (name, value) in recipe.variables.iter() {
        arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    arguments
}

/// Builds the recipe's image in memory.
pub(super) fn prepare(
    recipe: &Recipe,
    environment: &Environment,
    output: &mut Output,
) -> Result<Build, Failure> {
    let bars = Bars::new();
    let build = Build::prepare(recipe, &image::cache(environment)?, &bars.reading("base"))?;
    bars.finish();
    if let (Some(recovery), Base::File { path, .. }) = (&build.recovery, &recipe.base) {
        image::tell_recovery(path, recovery, output);
    }
    Ok(build)
}
