//! `imgasm grow IMAGE SIZE`

use super::failure::Failure;
use super::image::{self, ImageArgs};
use super::output::Output;
use super::{Outcome, confine};
use crate::environment::Environment;
use crate::grow;
use crate::sandbox::Needs;
use imgasm_block::ByteSize;
use imgasm_disk::Growth;
use imgasm_fs::WriteOptions;

/// Make a raw image larger in place, with its last partition and the filesystem in it.
///
/// The image is changed as a whole or not at all. With the size that the image has, only the
/// partition and its filesystem grow, into room that is there already.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The size of the whole image: 20GiB, or a number of bytes.
    #[arg(value_name = "SIZE")]
    size: ByteSize,
}

/// Growing makes nothing that needs an identity.
const SEED: [u8; 16] = *b"imgasm grow     ";

impl Args {
    pub(super) fn needs(&self) -> Needs {
        confine::changing(&self.image.image)
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let path = &args.image.image;
    let options = WriteOptions {
        now: environment.now()?,
        seed: SEED,
    };
    let image = image::to_change(path, output)?;
    let grown = grow::grow(image, args.size.0, args.image.partition, options);
    let (place, Growth { kind, bytes }) = grown.map_err(|error| {
        Failure::from(error).in_context(format!("cannot make {} larger", path.display()))
    })?;
    let kind = kind.unwrap_or("no known filesystem");
    match bytes {
        Some((before, after)) => {
            output.line(format_args!(
                "{place}: {kind}, {before} bytes before, {after} now"
            ))?;
        }
        None => output.warning(format!(
            "{place}: it holds {kind}, which has to be made larger by its own tools"
        )),
    }
    Ok(Outcome::Done)
}
