//! `imgasm recover IMAGE`

use std::path::PathBuf;

use super::failure::Failure;
use super::image::tell_recovery;
use super::output::Output;
use super::{Outcome, confine};
use crate::sandbox::Needs;
use imgasm_block::InPlace;

/// Put an image back as it was before a change in place that was interrupted.
///
/// Commands that only read refuse an image that is half-changed; `apply` puts it back by itself.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A raw image: a file or a block device.
    image: PathBuf,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        confine::changing(&self.image)
    }
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let path = &args.image;
    let image = InPlace::open(path)?;
    match image.recovery() {
        Some(recovery) => tell_recovery(path, recovery, output),
        None => output.note("whole", format_args!("{}: nothing to undo", path.display())),
    }
    Ok(Outcome::Done)
}
