//! The arguments that select a recipe.

use std::collections::BTreeMap;
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

/// Which recipe, and the values of its variables.
#[derive(Debug, clap::Args)]
pub(super) struct RecipeArgs {
    /// The recipe; else the imgasm.toml of this folder or of the nearest one above it.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set a variable of the recipe.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Only these of the recipe's images, if it has several.
    #[arg(long = "image", value_name = "NAME")]
    images: Vec<String>,
    #[command(flatten)]
    outside: OutsideArgs,
}

/// What a recipe may name outside of its project.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct OutsideArgs {
    /// Let the recipe use files in this folder too, although it lies outside of the project: the
    /// nearest folder above the recipe with `.git` or `imgasm.root`.
    #[arg(long, value_name = "DIR")]
    pub(super) allow_outside: Vec<PathBuf>,
}

/// `NAME=VALUE`, the argument of `--set`.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is not of the form NAME=VALUE".to_owned()),
    }
}

impl RecipeArgs {
    /// Whether a recipe was named.
    pub(super) fn is_given(&self) -> bool {
        self.file.is_some() || !self.set.is_empty()
    }

    /// The file of the recipe.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => nearest(),
        }
    }
}

/// The default name of a recipe.
const FILE_NAME: &str = "imgasm.toml";

/// The recipe in this folder or the nearest one above it, by its relative path.
fn nearest() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()?;
    let mut way = PathBuf::new();
    for folder in here.ancestors() {
        if folder.join(FILE_NAME).is_file() {
            return Ok(way.join(FILE_NAME));
        }
        way.push("..");
    }
    let what = format!("there is no {FILE_NAME} here, nor in a folder above");
    Err(Failure::new(what).with_hint("`imgasm init .` makes one; `-f FILE` names another"))
}

/// Reads the recipe, of one image.
pub(super) fn load(args: &RecipeArgs, environment: &Environment) -> Result<Recipe, Failure> {
    let image = match &args.images[..] {
        [] => None,
        [image] => Some(image.clone()),
        _ => {
            return Err(Failure::new(
                "this is about one image, but several are named",
            ));
        }
    };
    let options = options(&args.set, image, &args.outside, environment)?;
    Ok(Recipe::load(&args.path()?, &options)?)
}

/// Reads the recipe, of each of its images or of those that are named.
pub(super) fn load_all(
    args: &RecipeArgs,
    environment: &Environment,
) -> Result<Vec<Recipe>, Failure> {
    let path = args.path()?;
    let options = options(&args.set, None, &args.outside, environment)?;
    let names = match &args.images[..] {
        [] => Recipe::images(&path, &options)?,
        named => named.to_vec(),
    };
    if names.is_empty() {
        return Ok(vec![Recipe::load(&path, &options)?]);
    }
    let recipes = names.into_iter().map(|name| {
        let image = Some(name);
        Ok(Recipe::load(
            &path,
            &Options {
                image,
                ..options.clone()
            },
        )?)
    });
    recipes.collect()
}

/// Reads the recipe in a file, of the image with this name if it has several.
pub(super) fn load_file(
    file: &Path,
    set: &[(String, String)],
    image: Option<String>,
    outside: &OutsideArgs,
    environment: &Environment,
) -> Result<Recipe, Failure> {
    let options = options(set, image, outside, environment)?;
    Ok(Recipe::load(file, &options)?)
}

fn options(
    set: &[(String, String)],
    image: Option<String>,
    outside: &OutsideArgs,
    environment: &Environment,
) -> Result<Options, Failure> {
    Ok(Options {
        set: set.to_vec(),
        image,
        source_date_epoch: environment.source_date_epoch()?,
        allow_outside: outside.allow_outside.clone(),
    })
}

/// Says which image is next, if there are several.
pub(super) fn announce(recipe: &Recipe, output: &mut Output) {
    if let Some(image) = &recipe.image {
        output.note("image", image);
    }
    warn(recipe, output);
}

/// Prints warnings about what in a recipe is probably not meant.
pub(super) fn warn(recipe: &Recipe, output: &mut Output) {
    for warning in &recipe.warnings {
        output.warning(warning);
    }
}

/// Reports what of the installation of packages was not done: once, however many need it.
fn warn_of_packages(manifest: &Manifest, output: &mut Output) {
    let installed = manifest.packages.iter();
    let installed = installed.map(|package| (&package.name, &package.skipped));
    let removed = manifest.removed_packages.iter();
    let removed = removed.map(|package| (&package.name, &package.skipped));
    let mut by_line: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, skipped) in installed.chain(removed) {
        for line in skipped {
            by_line.entry(line).or_default().push(name);
        }
    }
    for (line, names) in by_line {
        output.warning(format_args!("{}: {line}", names.join(", ")));
    }
}

/// Reads the recipe with the variables and the time that a manifest records.
pub(super) fn load_recorded(args: &RecipeArgs, manifest: &Manifest) -> Result<Recipe, Failure> {
    let variables = manifest.variables.iter();
    let epoch = Epoch::try_from(manifest.source_date_epoch)
        .map_err(|problem| Failure::new(format!("the manifest's time: {problem}")))?;
    let mut options = Options {
        set: variables
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
        image: None,
        source_date_epoch: Some(epoch),
        allow_outside: args.outside.allow_outside.clone(),
    };
    let path = args.path()?;
    let images = Recipe::images(&path, &options)?;
    options.image = images.into_iter().find(|image| *image == manifest.name);
    Ok(Recipe::load(&path, &options)?)
}

/// The arguments that select a recipe's image and give it the values of its variables, for another
/// run.
pub(super) fn settings(recipe: &Recipe) -> impl Iterator<Item = String> {
    let variables = recipe.variables.iter();
    let settings =
        variables.flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]);
    let image = recipe.image.iter();
    settings.chain(image.flat_map(|image| ["--image".to_owned(), image.clone()]))
}

/// Builds the recipe's image in memory.
pub(super) fn prepare(
    recipe: &Recipe,
    environment: &Environment,
    output: &mut Output,
) -> Result<Build, Failure> {
    let bars = Bars::new();
    let build = Build::prepare(recipe, &image::cache(environment)?, &bars.reading("base"));
    bars.finish();
    let build = build.map_err(|error| {
        Failure::from(error).with_room_hint(
            "`disk_size` in the recipe makes the disk larger, with its last partition and the \
             filesystem in it",
        )
    })?;
    if let (Some(recovery), Base::File { path, .. }) = (&build.recovery, &recipe.base) {
        image::tell_recovery(path, recovery, output);
    }
    warn_of_packages(&build.manifest, output);
    Ok(build)
}
