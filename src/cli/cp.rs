//! `imgasm cp IMAGE:/PATH LOCAL` and `imgasm cp LOCAL IMAGE:/PATH`

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::failure::Failure;
use super::image::{self, ImageArgs};
use super::output::Output;
use super::{Outcome, confine, target};
use crate::apply::{self, Options};
use crate::environment::Environment;
use crate::sandbox::Needs;
use crate::transfer;
use imgasm_fs::path::{ImagePath, PathError};
use imgasm_fs::tree::{self, At, LastLink};
use imgasm_fs::{FileSystem, FileType};

/// Copy a file or a folder out of an image, or into one.
///
/// One of the two paths is in an image: `IMAGE:/PATH`. If the target is a folder, the copy gets its name
/// in that folder. Modes are kept, without set-ID bits. What is copied into an image belongs to root;
/// the image must be raw, and is changed as a whole or not at all.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is copied: a path of this machine, or `IMAGE:/PATH`.
    #[arg(value_parser = OsStringValueParser::new().try_map(Side::parse))]
    from: Side,
    /// Where to: a path of this machine, or `IMAGE:/PATH`.
    #[arg(value_parser = OsStringValueParser::new().try_map(Side::parse))]
    to: Side,
    /// Copy folders with all that is in them.
    #[arg(short, long)]
    recursive: bool,
    /// Replace a file of this machine that is there.
    #[arg(long)]
    force: bool,
    /// Take this partition as the root, instead of the one that is found.
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
}

/// One of the two paths.
#[derive(Debug, Clone)]
enum Side {
    Local(PathBuf),
    Image { image: PathBuf, path: ImagePath },
}

impl Side {
    fn parse(argument: OsString) -> Result<Self, PathError> {
        let bytes = argument.as_bytes();
        match bytes.windows(2).position(|pair| pair == b":/") {
            Some(colon) if colon > 0 => Ok(Self::Image {
                path: ImagePath::parse(&bytes[colon + 1..])?,
                image: OsString::from_vec(bytes[..colon].to_vec()).into(),
            }),
            _ => Ok(Self::Local(argument.into())),
        }
    }
}

impl Args {
    /// What it needs, and whether that includes the cache.
    pub(super) fn needs(&self) -> (Needs, bool) {
        match (&self.from, &self.to) {
            (Side::Image { image, .. }, Side::Local(to)) => {
                let mut needs = confine::reading(confine::of_image(image));
                needs.write.push(if to.is_dir() {
                    to.clone()
                } else {
                    confine::folder_of(to)
                });
                needs.makes_links = self.recursive;
                (needs, true)
            }
            (Side::Local(from), Side::Image { image, .. }) => {
                let mut needs = confine::changing(image);
                needs.read.push(from.clone());
                (needs, false)
            }
            _ => (Needs::default(), false),
        }
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    match (&args.from, &args.to) {
        (Side::Image { image, path }, Side::Local(to)) => {
            take(args, image, path, to, environment, output)
        }
        (Side::Local(from), Side::Image { image, path }) => {
            put(args, from, image, path, environment, output)
        }
        _ => Err(
            Failure::new("one of the two paths must be in an image, and the other not")
                .with_hint("a path in an image is written IMAGE:/PATH"),
        ),
    }
}

fn take(
    args: &Args,
    image: &Path,
    from: &ImagePath,
    to: &Path,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let image = ImageArgs {
        image: image.to_owned(),
        partition: args.partition,
    };
    let fs = image::root(&image, environment, output)?;
    let fs = fs.as_ref();
    let to = if to.is_dir() {
        let Some(name) = from.file_name() else {
            return Err(Failure::new("/ has no name that it could have in a folder")
                .with_hint("name a folder that is not there yet"));
        };
        to.join(OsString::from_vec(name.to_vec()))
    } else {
        to.to_owned()
    };
    target::refuse_existing(&to, args.force)?;
    let left_out = transfer::take(fs, from, &to, args.recursive, args.force);
    let left_out = left_out.map_err(|error| match error {
        transfer::Error::Tree(error) => image::explained(fs, error),
        error => explained(error),
    })?;
    if left_out > 0 {
        output.warning(format_args!(
            "{left_out} devices, pipes and sockets are left out"
        ));
    }
    Ok(Outcome::Done)
}

fn put(
    args: &Args,
    from: &Path,
    image: &Path,
    to: &ImagePath,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let options = Options {
        partition: args.partition,
        now: environment.now()?,
        with_digests: false,
    };
    let in_place = image::to_change(image, output)?;
    let copied = apply::change(in_place, &options, |applier| {
        let done = applier.edit("cp", "copy", |editor, _| {
            let to = below_directory(editor.fs(), from, to)?;
            transfer::put(editor, from, &to, args.recursive)
        });
        Ok(done?)
    });
    copied.map_err(|error| image::unchanged(image, error))?;
    Ok(Outcome::Done)
}

/// Where a copy goes: if a directory is there, under its own name in that directory.
fn below_directory(fs: &dyn FileSystem, from: &Path, to: &ImagePath) -> tree::Result<ImagePath> {
    if !tree::exists(fs, to)? {
        return Ok(to.clone());
    }
    let (node, path) = tree::resolve(fs, to, LastLink::Follow)?;
    let metadata = fs.metadata(node).at("read", &path)?;
    match from.file_name() {
        Some(name) if metadata.file_type == FileType::Directory => Ok(path.child(name.as_bytes())),
        _ => Ok(to.clone()),
    }
}

fn explained(error: transfer::Error) -> Failure {
    let is_directory = matches!(error, transfer::Error::IsDirectory { .. });
    let failure = Failure::from(error);
    if is_directory {
        failure.with_hint("-r copies a folder with all that is in it")
    } else {
        failure
    }
}
