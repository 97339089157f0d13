//! The arguments that select a recipe.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::image;
use super::inert;
use super::output::Output;
use super::progress::Bars;
use super::variables::VariableArgs;
use crate::build::{Bases, Build};
use crate::config::digest::Folders;
use crate::config::{self, Epoch};
use crate::environment::Environment;
use crate::manifest::Manifest;
use crate::recipe::{Base, Options, Recipe};

/// Which recipe, and the values of its variables.
#[derive(Debug, clap::Args)]
pub(super) struct RecipeArgs {
    /// The recipe; else the imgasm.toml of this folder or of the nearest one above it.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    variables: VariableArgs,
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

impl RecipeArgs {
    /// Whether anything says which recipe, or what is wanted of it.
    pub(super) fn is_given(&self) -> bool {
        self.names_file() || self.variables.is_given() || !self.images.is_empty()
    }

    /// Whether the file of the recipe is named.
    pub(super) fn names_file(&self) -> bool {
        self.file.is_some()
    }

    /// The image that is named, where one is meant.
    fn image(&self) -> Result<Option<String>, Failure> {
        match &self.images[..] {
            [] => Ok(None),
            [image] => Ok(Some(image.clone())),
            _ => Err(Failure::new(
                "this is about one image, but several are named",
            )),
        }
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
pub(super) fn nearest() -> Result<PathBuf, Failure> {
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
    load_one(args, args.image()?, environment)
}

/// Reads the recipe, of the image in this file: the one that is named, or that the file is called after.
pub(super) fn load_for(
    args: &RecipeArgs,
    file: &Path,
    environment: &Environment,
) -> Result<Recipe, Failure> {
    let mut image = args.image()?;
    if image.is_none() {
        let options = Options {
            allow_outside: args.outside.allow_outside.clone(),
            ..Options::default()
        };
        let mut images = Recipe::images(&args.path()?, &options)?.into_iter();
        image = images.find(|image| file.file_stem() == Some(OsStr::new(image)));
    }
    load_one(args, image, environment)
}

fn load_one(
    args: &RecipeArgs,
    image: Option<String>,
    environment: &Environment,
) -> Result<Recipe, Failure> {
    let options = options(&args.variables, image, &args.outside, environment)?;
    let recipe = Recipe::load(&args.path()?, &options)?;
    hide_secrets_of(std::slice::from_ref(&recipe));
    Ok(recipe)
}

/// Reads the recipe, of each of its images or of those that are named.
pub(super) fn load_all(
    args: &RecipeArgs,
    environment: &Environment,
) -> Result<Vec<Recipe>, Failure> {
    let path = args.path()?;
    let options = options(&args.variables, None, &args.outside, environment)?;
    let names = match &args.images[..] {
        [] => Recipe::images(&path, &options)?,
        named => named.to_vec(),
    };
    // A recipe without several images has one without a name.
    let images = if names.is_empty() {
        vec![None]
    } else {
        names.into_iter().map(Some).collect()
    };
    let recipes = images.into_iter().map(|image| {
        let options = Options {
            image,
            ..options.clone()
        };
        Recipe::load(&path, &options)
    });
    let recipes = recipes.collect::<config::Result<Vec<_>>>()?;
    hide_secrets_of(&recipes);
    Ok(recipes)
}

fn options(
    variables: &VariableArgs,
    image: Option<String>,
    outside: &OutsideArgs,
    environment: &Environment,
) -> Result<Options, Failure> {
    Ok(Options {
        values: variables.values(environment)?,
        image,
        source_date_epoch: environment.source_date_epoch()?,
        allow_outside: outside.allow_outside.clone(),
        downloads: environment.downloads(),
        folders: Folders::default(),
    })
}

/// From here on, the values of the recipes' sensitive variables are not printed, and all others are.
fn hide_secrets_of(recipes: &[Recipe]) {
    let secrets = recipes.iter().flat_map(Recipe::secrets);
    let secrets: Vec<String> = secrets.map(|(_, value)| value).collect();
    inert::hide(secrets.iter().map(String::as_str));
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
pub(super) fn load_recorded(
    args: &RecipeArgs,
    manifest: &Manifest,
    environment: &Environment,
) -> Result<Recipe, Failure> {
    let variables = manifest.variables.iter();
    let mut values = args.variables.values(environment)?;
    values
        .set
        .extend(variables.map(|(name, value)| (name.clone(), value.to_string())));
    let epoch = Epoch::try_from(manifest.source_date_epoch)
        .map_err(|problem| Failure::new(format!("the manifest's time: {problem}")))?;
    let mut options = Options {
        values,
        image: None,
        source_date_epoch: Some(epoch),
        allow_outside: args.outside.allow_outside.clone(),
        downloads: environment.downloads(),
        folders: Folders::default(),
    };
    let path = args.path()?;
    let images = Recipe::images(&path, &options)?;
    options.image = images.into_iter().find(|image| *image == manifest.name);
    let recipe = Recipe::load(&path, &options)?;
    hide_secrets_of(std::slice::from_ref(&recipe));
    Ok(recipe)
}

/// The arguments that select a recipe's image and give it the values of its variables, but for those
/// that are sensitive, for another run.
pub(super) fn settings(recipe: &Recipe) -> impl Iterator<Item = String> {
    let variables = recipe.variables.plain();
    let settings =
        variables.flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]);
    let image = recipe.image.iter();
    settings.chain(image.flat_map(|image| ["--image".to_owned(), image.clone()]))
}

/// Builds the recipe's image in memory.
pub(super) fn prepare(
    recipe: &Recipe,
    bases: &Bases,
    bars: &Bars,
    output: &mut Output,
) -> Result<Build, Failure> {
    let build = Build::prepare(recipe, bases, &bars.reading("base"));
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
