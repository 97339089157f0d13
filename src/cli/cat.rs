//! `imgasm cat IMAGE PATH`

use super::failure::Failure;
use super::image::ImageArgs;
use super::output::Output;
use super::{Outcome, confine, image};
use crate::environment::Environment;
use crate::sandbox::Needs;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink};

/// Bytes read and written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Print the content of a file inside an image.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Path of a file inside the image; symbolic links are followed inside the image.
    #[arg(value_parser = image::path())]
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
    let fs = image::root(&args.image, environment, output)?;
    let fs = fs.as_ref();
    let (node, path) = tree::resolve(fs, &args.path, LastLink::Follow)
        .map_err(|error| image::explained(fs, error))?;
    let found = fs.metadata(node)?.file_type;
    if found != FileType::Regular {
        return Err(tree::Error::WrongType {
            path,
            found,
            expected: "a regular file",
        }
        .into());
    }
    let mut buf = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let read = fs.read_at(node, offset, &mut buf).map_err(|error| {
            Failure::from(error).in_context(format!("cannot read {path} at byte {offset}"))
        })?;
        output.bytes(&buf[..read])?;
        offset += u64::try_from(read).expect("a buffer's length fits 64 bits");
        if read < buf.len() {
            return Ok(Outcome::Done);
        }
    }
}
