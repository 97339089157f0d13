//! The `IMAGE` argument that most commands share.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::Output;
use super::progress::Bars;
use crate::environment::Environment;
use imgasm_block::Recovery;
use imgasm_container::Cache;
use imgasm_disk::{Disk, Place};
use imgasm_fs::FileSystem;

/// Which image, and which filesystem in it.
#[derive(Debug, clap::Args)]
pub(super) struct ImageArgs {
    /// A disk image in any container that can be read, or a bare filesystem.
    pub(super) image: PathBuf,
    /// Take this partition as the root, instead of the one that is found.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
}

/// An image opened for reading.
pub(super) struct Image {
    /// The disk in it.
    pub(super) disk: Disk,
    /// What the disk was wrapped in, outermost first.
    pub(super) wrapping: Vec<String>,
    partition: Option<u32>,
}

/// The cache of unpacked images, in the folder that users expect.
pub(super) fn cache(environment: &Environment) -> Result<Cache, Failure> {
    let dir = environment.cache_dir.as_ref().ok_or_else(|| {
        Failure::new("there is no folder to unpack images into")
            .with_hint("set IMGASM_CACHE to a folder with room for the unpacked disk")
    })?;
    Ok(Cache::new(dir))
}

/// Opens an image for reading.
pub(super) fn open(
    args: &ImageArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<Image, Failure> {
    open_path(&args.image, args.partition, environment, output)
}

/// Opens the image in a file for reading, with its root in this partition where one is given.
pub(super) fn open_path(
    path: &Path,
    partition: Option<u32>,
    environment: &Environment,
    output: &mut Output,
) -> Result<Image, Failure> {
    let bars = Bars::new();
    let image = cache(environment)?.open(path, &bars.reading("reading"))?;
    bars.finish();
    if let Some(recovery) = &image.recovery {
        tell_recovery(path, recovery, output);
    }
    let disk = Disk::open(image.device).map_err(|error| {
        Failure::from(error).in_context(format!("cannot open {}", path.display()))
    })?;
    Ok(Image {
        disk,
        wrapping: image.wrapping,
        partition,
    })
}

/// Tells what was done about a change that had been interrupted.
pub(super) fn tell_recovery(path: &Path, recovery: &Recovery, output: &mut Output) {
    output.warning(match recovery {
        Recovery::NotBegun => {
            format!(
                "{}: an interrupted change had not begun; the image is as it was",
                path.display()
            )
        }
        Recovery::RolledBack { bytes } => format!(
            "{}: an interrupted change was undone ({bytes} bytes put back); the image is as it was",
            path.display()
        ),
    });
}

impl Image {
    /// Where the root filesystem is.
    pub(super) fn root_place(&self) -> Result<Place, Failure> {
        Ok(self.disk.root(self.partition)?)
    }

    /// The root filesystem.
    pub(super) fn root(&self) -> Result<Box<dyn FileSystem>, Failure> {
        Ok(self.disk.open_filesystem(self.root_place()?)?)
    }
}
