//! Making a fresh filesystem, with the features and the layout that `mkfs.xfs` gives it.
//!
//! - [`options`]: what can be chosen.
//! - `geometry`: how many blocks and groups follow from the size, and where the log is.
//! - `inodes`: the first inodes.

mod geometry;
mod inodes;
pub(crate) mod options;

use imgasm_block::BlockDevice;
use imgasm_fs::Result;

use crate::alloc::fresh::FreshGroup;
use crate::format::geometry::Geometry;
use crate::format::numbers::GroupNumber;
use crate::log;
use crate::problem::unstorable;
use crate::writes::Writes;
use options::FormatOptions;

/// Makes a fresh filesystem that fills `device`. Whatever the device held is gone.
///
/// The result is determined by the device's length and the options. Time grows with the number of
/// allocation groups, memory does not; what is not written stays a hole.
///
/// # Errors
/// [`imgasm_fs::Error::Unstorable`] for options or a size that the format cannot have; nothing is
/// written then.
pub fn format(device: &dyn BlockDevice, options: &FormatOptions) -> Result<()> {
    options.check()?;
    let mut superblock = geometry::design(device.len(), options)?;
    let geometry = Geometry::of(&superblock);
    let log = log::empty(&geometry)?;
    let align = inodes::alignment(&superblock);
    let make = |number: GroupNumber| -> Result<FreshGroup> {
        let mut group = FreshGroup::new(&geometry, number);
        if number == log.group {
            group.put_log(log.blocks.clone());
        }
        group.fill_list(&geometry);
        if number == GroupNumber::FIRST && !group.make_inodes(&geometry, align, inodes::COUNT) {
            return Err(unstorable(
                "a root directory",
                "the first group has no room for it",
            ));
        }
        Ok(group)
    };
    let mut free = 0;
    for number in geometry.group_numbers() {
        free += make(number)?.free_blocks();
    }
    let inodes = make(GroupNumber::FIRST)?.inodes();
    let number = |index| {
        geometry
            .inode_number(GroupNumber::FIRST, inodes.start.plus(index))
            .0
    };
    let count = inodes.end.since(inodes.start);
    let raw = &mut superblock.raw;
    raw.sb_rootino = number(0).into();
    raw.sb_rbmino = number(1).into();
    raw.sb_rsumino = number(2).into();
    raw.sb_icount = u64::from(count).into();
    raw.sb_ifree = u64::from(count - inodes::COUNT).into();
    raw.sb_fdblocks = free.into();
    erase(device)?;
    device.write_at(log.offset, &log.bytes)?;
    // The first group, whose superblock is the one that counts, comes last.
    for number in geometry.group_numbers().rev() {
        let group = make(number)?;
        let mut writes = Writes::default();
        let mut sector = vec![0; geometry.sector_size as usize];
        superblock.encode_into(&mut sector);
        group.write(&geometry, sector, &mut writes);
        if number == GroupNumber::FIRST {
            inodes::write(&geometry, &superblock, &group, options, &mut writes);
        }
        writes.write(device)?;
    }
    Ok(())
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
