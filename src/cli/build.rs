//! `imgasm build`

use std::path::PathBuf;

use super::failure::Failure;
use super::output::{Output, bytes};
use super::recipe::RecipeArgs;
use super::{Outcome, recipe};

/// Build the image of a recipe: NAME.raw, one raw file a formatted volume, manifest.json.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Where the outputs go; by default beside the recipe's folder of the same name, `out`.
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    output: PathBuf,
    /// Replace an image that another recipe has built there.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let recipe = recipe::load(&args.recipe)?;
    let build = recipe::prepare(&recipe, output)?;
    let manifest = &build.manifest;
    let paths = build.commit(&args.output)?;
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
