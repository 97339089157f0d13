//! Opening the images that users name.

use std::path::{Path, PathBuf};

use imgasm_block::Recovery;
use imgasm_container::{Cache, Progress};
use imgasm_disk::Disk;

/// Why an image could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container of the disk could not be read.
    #[error(transparent)]
    Container(#[from] imgasm_container::Error),
    /// The disk could not be understood.
    #[error("cannot open {}", path.display())]
    Disk {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: imgasm_disk::Error,
    },
}

/// Opens images for reading, in any container.
pub struct Opener<'a> {
    /// Where unpacked images are kept.
    pub cache: &'a Cache,
    /// Called with how far a file has been read.
    pub progress: &'a Progress<'a>,
    /// Called with what was done about an interrupted change.
    pub recovered: &'a mut dyn FnMut(&Path, &Recovery),
}

/// An image opened for reading.
pub struct Image {
    /// The disk in it.
    pub disk: Disk,
    /// What the disk was wrapped in, outermost first.
    pub wrapping: Vec<String>,
}

impl Opener<'_> {
    /// Opens the image in a file.
    pub fn open(&mut self, path: &Path) -> Result<Image, Error> {
        let image = self.container(path)?;
        let disk = Disk::open(image.device).map_err(|source| Error::Disk {
            path: path.to_owned(),
            source,
        })?;
        Ok(Image {
            disk,
            wrapping: image.wrapping,
        })
    }

    /// The disk in a file, without a look into it.
    pub fn container(&mut self, path: &Path) -> imgasm_container::Result<imgasm_container::Image> {
        let image = self.cache.open(path, self.progress)?;
        if let Some(recovery) = &image.recovery {
            (self.recovered)(path, recovery);
        }
        Ok(image)
    }
}
