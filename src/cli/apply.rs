//! `imgasm apply IMAGE OVERLAY…`

use std::path::PathBuf;

use super::failure::Failure;
use super::image::{self, ImageArgs};
use super::inert;
use super::output::Output;
use super::variables::VariableArgs;
use super::{Outcome, confine};
use crate::apply::{self, Options};
use crate::environment::Environment;
use crate::sandbox::Needs;
use imgasm_fs::FileType;

/// Apply overlays to a raw image in place: a partitioned disk or a bare filesystem.
///
/// The image is changed as a whole or not at all. A change that is interrupted is undone when the
/// image is opened again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Folders with an overlay.toml, applied in this order.
    #[arg(required = true, value_name = "OVERLAY")]
    overlays: Vec<PathBuf>,
    #[command(flatten)]
    variables: VariableArgs,
    /// As JSON: one object per changed path.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        let mut needs = confine::changing(&self.image.image);
        needs.read.extend(self.overlays.iter().cloned());
        needs.read.extend(self.variables.files());
        needs
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let overlays = apply::load(&args.overlays, &args.variables.values(environment)?)?;
    let secrets = overlays
        .iter()
        .flat_map(|overlay| overlay.variables.sensitive());
    let secrets: Vec<String> = secrets.map(|(_, value)| value.to_string()).collect();
    inert::hide(secrets.iter().map(String::as_str));
    let path = &args.image.image;
    let options = Options {
        partition: args.image.partition,
        now: environment.now()?,
        with_digests: args.json,
    };
    let image = image::to_change(path, output)?;
    let changed =
        apply::apply(image, &overlays, &options).map_err(|error| image::unchanged(path, error))?;
    for change in &changed {
        if args.json {
            output.json_line(&crate::build::change(change))?;
        } else {
            let what = change.file_type.map_or("removed", FileType::name);
            let (path, overlay, step, kind) =
                (&change.path, &change.overlay, change.step, change.kind);
            output.line(format_args!(
                "{what:<9} {path}  ({overlay}, step {step}: {kind})"
            ))?;
        }
    }
    Ok(Outcome::Done)
}
