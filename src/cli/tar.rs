//! `imgasm tar IMAGE [PATH]`

use std::io::{self, IsTerminal};

use super::failure::Failure;
use super::image::ImageArgs;
use super::output::Output;
use super::{Outcome, confine, image};
use crate::environment::Environment;
use crate::export;
use crate::sandbox::Needs;
use imgasm_fs::path::ImagePath;

/// Print a tree of an image as a tar archive, with owners and extended attributes.
///
/// The same tree gives the same bytes. A recipe takes such an archive as `base.rootfs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Path of a directory or a file inside the image.
    #[arg(default_value = "/", value_parser = image::path())]
    path: ImagePath,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        confine::reading(confine::of_image(&self.image.image))
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::new("an archive is not for a terminal")
            .with_hint("send it to a file or a program: `imgasm tar IMAGE >root.tar`"));
    }
    let fs = image::root(&args.image, environment, output)?;
    let fs = fs.as_ref();
    let start = imgasm_fs::tree::resolve(fs, &args.path, imgasm_fs::tree::LastLink::Keep)
        .map_err(|error| image::explained(fs, error))?
        .1;
    let sockets = export::tar(fs, &start, |bytes| output.bytes(bytes))?;
    if sockets > 0 {
        output.warning(format_args!("{sockets} sockets are left out"));
    }
    Ok(Outcome::Done)
}
