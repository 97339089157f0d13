//! Making a fresh ext4 filesystem, with the features and the layout that mke2fs 1.47 gives it.
//!
//! - [`options`]: what can be chosen.
//! - `geometry`: how many blocks, groups and inodes follow from the size.
//! - `tables`: where everything lies.
//! - `files`: the first files.
//! - `groups`: descriptors, bitmaps, superblocks.

mod files;
mod geometry;
mod groups;
pub(crate) mod options;
mod tables;

use imgasm_block::BlockDevice;
use imgasm_fs::Result;
use options::FormatOptions;
use tables::Layout;

/// Makes a fresh filesystem that fills `device`. Whatever the device held is gone.
///
/// The result is determined by the device's length and the options. Time and memory grow with the
/// number of block groups; what is not written stays a hole.
///
/// # Errors
/// [`imgasm_fs::Error::Unstorable`] for options or a size that the format cannot have; nothing is
/// written then.
pub fn format(device: &dyn BlockDevice, options: &FormatOptions) -> Result<()> {
    options.check()?;
    let (mut superblock, geometry) = geometry::design(device.len(), options)?;
    let mut layout = Layout::new(&geometry)?;
    erase(device)?;
    files::write(device, &mut superblock, &mut layout, options)?;
    groups::write(device, &mut superblock, &layout)
}

/// Makes the whole device read as zeros.
fn erase(device: &dyn BlockDevice) -> Result<()> {
    let mut from = 0;
    while let Some(data) = device.next_data(from)? {
        device.write_zeros(data.start, data.end - data.start)?;
        from = data.end;
    }
    Ok(())
}
