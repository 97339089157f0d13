//! The `IMAGE` argument that most commands share.

use std::path::PathBuf;
use std::sync::Arc;

use super::failure::Failure;
use crate::block::{BlockDevice, FileDevice, InPlace};
use crate::disk::Disk;
use crate::fs::FileSystem;

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
    pub(super) disk: Disk,
    partition: Option<u32>,
}

/// Opens an image for reading.
pub(super) fn open(args: &ImageArgs) -> Result<Image, Failure> {
    let path = &args.image;
    let context = || format!("cannot open {}", path.display());
    InPlace::recover(path).map_err(|error| Failure::from(error).in_context(context()))?;
    let device = FileDevice::open(path).map_err(|e| Failure::from(e).in_context(context()))?;
    let device: Arc<dyn BlockDevice> = Arc::new(device);
    let disk = Disk::open(device).map_err(|error| Failure::from(error).in_context(context()))?;
    Ok(Image {
        disk,
        partition: args.partition,
    })
}

impl Image {
    /// The root filesystem.
    pub(super) fn root(&self) -> Result<Box<dyn FileSystem>, Failure> {
        let place = self.disk.root(self.partition)?;
        Ok(self.disk.open_filesystem(place)?)
    }
}
