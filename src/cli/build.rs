//! `imgasm build`

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::{Output, bytes};
use super::recipe::RecipeArgs;
use super::{Outcome, image, recipe};
use crate::manifest::{self, Manifest};

/// Build the image of a recipe: NAME.raw, one raw file a formatted volume, manifest.json.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The folder for the outputs.
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    output: PathBuf,
    /// Replace an image that another recipe has built there.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let recipe = recipe::load(&args.recipe)?;
    if !args.force {
        refuse_foreign(&args.output.join(manifest::FILE_NAME), &recipe.name)?;
    }
    let build = recipe::prepare(&recipe, output)?;
    let manifest = &build.manifest;
    let paths = build.commit(&args.output, &image::cache()?)?;
    output.note(
        "base",
        format_args!("{}  {}", manifest.base.name, manifest.base.digest),
    );
    for overlay in &manifest.overlays {
        let changes = manifest
            .changes
            .iter()
            .filter(|change| change.overlay == overlay.name);
        output.note(
            "overlay",
            format_args!("{}  {} paths", overlay.name, changes.count()),
        );
    }
    for volume in &manifest.volumes {
        let device = &volume.device_name;
        if let Some(filesystem) = &volume.filesystem {
            let (kind, label) = (&filesystem.kind, &filesystem.label);
            let size = bytes(filesystem.size);
            output.note(
                "volume",
                format_args!("{device}  {size} {kind}, label {label}"),
            );
        }
    }
    output.note(
        "image",
        format_args!("{}  {}", bytes(manifest.image.size), manifest.image.digest),
    );
    for path in paths {
        output.line(path.display())?;
    }
    Ok(Outcome::Done)
}

/// Refuses to take the place of what a recipe of another name has built.
fn refuse_foreign(path: &Path, name: &str) -> Result<(), Failure> {
    let Ok(json) = fs::read(path) else {
        return Ok(());
    };
    let what = match serde_json::from_slice::<Manifest>(&json) {
        Ok(manifest) if manifest.name == name => return Ok(()),
        Ok(manifest) => format!("is of the image `{}`", manifest.name),
        Err(error) => format!("is not a manifest: {error}"),
    };
    Err(Failure::new(format!("{} {what}", path.display()))
        .with_hint("choose another folder with -o, or replace it with --force"))
}
