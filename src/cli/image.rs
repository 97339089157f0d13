//! The `IMAGE` argument that most commands share.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::failure::Failure;
use super::output::Output;
use super::progress::Bars;
use crate::apply;
use crate::config::decode;
use crate::environment::Environment;
use crate::opener::{self, Opener};
use imgasm_block::{InPlace, Recovery};
use imgasm_container::Cache;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;
use imgasm_guest::files::list;

/// Which image, and which filesystem in it.
#[derive(Debug, clap::Args)]
pub(super) struct ImageArgs {
    /// A disk image, or a bare filesystem: to be read, in any container; to be changed, raw.
    pub(super) image: PathBuf,
    /// Take this partition as the root, instead of the one that is found.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
}

/// A path inside an image, of any bytes.
pub(super) fn path() -> impl TypedValueParser<Value = ImagePath> {
    OsStringValueParser::new().try_map(|path| ImagePath::parse(path.as_bytes()))
}

/// The cache of unpacked images, in the folder that users expect.
pub(super) fn cache(environment: &Environment) -> Result<Cache, Failure> {
    let dir = environment.cache_dir.as_ref().ok_or_else(|| {
        Failure::new("there is no folder to unpack images into")
            .with_hint("set IMGASM_CACHE to a folder with room for the unpacked disk")
    })?;
    Ok(Cache::new(dir).trusting(environment.trusts_cache))
}

/// Opens images, with progress bars.
pub(super) fn opening<T, E: Into<Failure>>(
    environment: &Environment,
    output: &mut Output,
    open: impl FnOnce(&mut Opener<'_>) -> Result<T, E>,
) -> Result<T, Failure> {
    let cache = cache(environment)?;
    let bars = Bars::new();
    let opened = open(&mut Opener {
        cache: &cache,
        progress: &bars.reading("reading"),
        recovered: &mut |path: &Path, recovery: &Recovery| tell_recovery(path, recovery, output),
    });
    bars.finish();
    opened.map_err(Into::into)
}

/// Opens an image for reading.
pub(super) fn open(
    args: &ImageArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<opener::Image, Failure> {
    opening(environment, output, |opener| opener.open(&args.image))
}

/// The root filesystem of an image.
pub(super) fn root(
    args: &ImageArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<Box<dyn FileSystem>, Failure> {
    let disk = open(args, environment, output)?.disk;
    Ok(disk.open_filesystem(disk.root(args.partition)?)?)
}

/// Opens an image to change it where it lies, and reports what was done about a change that had been
/// interrupted.
pub(super) fn to_change(path: &Path, output: &mut Output) -> Result<InPlace, Failure> {
    let image = InPlace::open(path)?;
    if let Some(recovery) = image.recovery() {
        tell_recovery(path, recovery, output);
    }
    if let Some(format) = imgasm_container::wrapping(image.device(), path)? {
        let problem = format!(
            "{} is {format}, and only raw images are changed",
            path.display()
        );
        return Err(Failure::new(problem).with_hint("`imgasm convert` makes a raw image of it"));
    }
    Ok(image)
}

/// An image is as it was, because a change of its files is impossible.
pub(super) fn unchanged(path: &Path, error: apply::Error) -> Failure {
    Failure::from(error)
        .in_context(format!("cannot change {}", path.display()))
        .with_room_hint("`imgasm grow IMAGE SIZE` makes the image and its filesystem larger")
}

/// A failure about a path in an image, with the name that was probably meant if the path does not
/// exist.
pub(super) fn explained(fs: &dyn FileSystem, error: tree::Error) -> Failure {
    let meant = match &error {
        tree::Error::NotFound { missing, .. } => nearest(fs, missing),
        _ => None,
    };
    let failure = Failure::from(error);
    match meant {
        Some(path) => failure.with_hint(format!("did you mean {path}?")),
        None => failure,
    }
}

/// A path beside a missing one with almost the same name.
fn nearest(fs: &dyn FileSystem, missing: &ImagePath) -> Option<ImagePath> {
    let (parent, name) = (missing.parent()?, missing.file_name()?);
    let name = std::str::from_utf8(name).ok()?;
    let there = list(fs, &parent).ok()?;
    let there = there.iter().map(|(name, _)| std::str::from_utf8(name));
    let there: Vec<&str> = there.filter_map(Result::ok).collect();
    let meant = decode::nearest(name, &there)?;
    Some(parent.child(meant.as_bytes()))
}

/// Reports what was done about a change that had been interrupted.
pub(super) fn tell_recovery(path: &Path, recovery: &Recovery, output: &mut Output) {
    let what = match recovery {
        Recovery::NotBegun => "had not begun".to_owned(),
        Recovery::RolledBack { bytes } => format!("was undone ({bytes} bytes put back)"),
        _ => "is settled".to_owned(),
    };
    output.warning(format!(
        "{}: an interrupted change {what}; the image is as it was",
        path.display()
    ));
}
