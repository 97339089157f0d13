//! Turning what a filesystem does not use into holes.

use super::{FileSystem, Result};
use imgasm_block::BlockDevice;

/// Makes a hole of every range of `device` that the filesystem on it does not use, so that what was
/// deleted is gone and takes no room. Gives the number of bytes that were free.
///
/// What is staged must have been flushed: the free blocks are those that the filesystem would give
/// away next.
///
/// # Errors
/// Those of [`FileSystem::info`] and [`FileSystem::used_extents`]; [`Error::Block`](super::Error::Block)
/// if the device fails.
pub fn sparsify(fs: &dyn FileSystem, device: &dyn BlockDevice) -> Result<u64> {
    let end = fs.info()?.total_bytes.min(device.len());
    let mut free = 0;
    let mut from = 0;
    for used in fs.used_extents()? {
        if from < used.start {
            device.write_zeros(from, used.start - from)?;
            free += used.start - from;
        }
        from = used.end;
    }
    if from < end {
        device.write_zeros(from, end - from)?;
        free += end - from;
    }
    Ok(free)
}
