//! Making a raw image larger where it lies, with its last partition and the filesystem in it.

use std::sync::Arc;

use imgasm_block::{BlockDevice, Delta, InPlace};
use imgasm_disk::{Disk, Growth, Place};
use imgasm_fs::WriteOptions;

/// Why an image could not be made larger. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It would become smaller.
    #[error("the image has {now} bytes, which is more than {asked}: an image can only grow")]
    Shrink {
        /// Its bytes.
        now: u64,
        /// The bytes asked for.
        asked: u64,
    },
    /// The partition table has no partition that could grow.
    #[error("the disk has no partition that could grow")]
    NoPartition,
    /// The table or the filesystem could not be made larger.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The changes could not be written.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

/// Makes an image `len` bytes long. The partition with this number, or else the last one, gets the
/// room that the disk gains, and its filesystem fills it. Gives the place of that filesystem, and how
/// it has grown.
pub fn grow(
    image: InPlace,
    len: u64,
    partition: Option<u32>,
    options: WriteOptions,
) -> Result<(Place, Growth), Error> {
    let base: Arc<dyn BlockDevice> = image.device().clone();
    if len < base.len() {
        return Err(Error::Shrink {
            now: base.len(),
            asked: len,
        });
    }
    let delta = Arc::new(Delta::grown(base, len));
    let mut disk = Disk::open(delta.clone())?;
    let place = disk.grow(partition)?.ok_or(Error::NoPartition)?;
    let growth = disk.grow_filesystem(place, options)?;
    image.commit(&delta)?;
    Ok((place, growth))
}
