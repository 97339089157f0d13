//! Opening a filesystem that was not unmounted: its log is replayed, and what it had begun is
//! finished.
//!
//! - here: the order of things.
//! - [`space`]: the trees that follow from the files, made anew.

mod space;

use std::sync::Arc;

use imgasm_block::{BlockDevice, Delta};
use imgasm_fs::{Result, Timestamp, WriteOptions};

use crate::ag::{read_agf, read_agi};
use crate::format::geometry::Geometry;
use crate::format::numbers::GroupNumber;
use crate::format::superblock::Superblock;
use crate::log;
use crate::log::Mapping;
use crate::volume::{Volume, read_superblock};
use crate::write::{Writer, check_features};

/// Nothing here depends on the time, and no inode is made.
const OPTIONS: WriteOptions = WriteOptions {
    now: Timestamp {
        seconds: 0,
        nanoseconds: 0,
    },
    seed: [0; 16],
};

/// Recovers a filesystem in memory: gives a device that reads as the recovered one. The device
/// below stays as it is.
///
/// If it has a feature that we cannot write, pending work is not finished: inodes that have lost
/// their last name stay in use.
pub(super) fn in_memory(below: &Volume, superblock: &Superblock) -> Result<Arc<Delta>> {
    superblock.check_log_features()?;
    let delta = Arc::new(Delta::new(Arc::clone(&below.device)));
    let volume = Volume::new(delta.clone(), below.geometry.clone())?;
    let replayed = log::replay(&volume)?;
    // The log may have held a newer superblock, of a filesystem that has grown.
    let mut superblock = read_superblock(&*delta)?;
    let volume = Volume::new(delta.clone(), Geometry::of(&superblock))?;
    match (check_features(&superblock), replayed.unfinished) {
        (Ok(()), unfinished) => {
            count(&volume, &mut superblock)?;
            finish(&volume, &mut superblock, unfinished)?;
        }
        (Err(_), None) => {}
        (Err(refusal), Some(_)) => return Err(refusal),
    }
    Ok(delta)
}

/// Recovers a filesystem on its device, which is not touched before all of it has succeeded.
pub(super) fn on_device(volume: &Volume, superblock: &Superblock) -> Result<()> {
    let delta = in_memory(volume, superblock)?;
    Ok(delta.copy_changes(&delta.changes()?, &volume.device)?)
}

/// Sets the superblock's counters to the groups' totals, because they are not logged, and clears
/// the mark that the log holds what not every kernel can replay.
fn count(volume: &Volume, superblock: &mut Superblock) -> Result<()> {
    let (mut free, mut inodes, mut free_inodes) = (0, 0, 0);
    for group in volume.geometry.group_numbers() {
        let agf = read_agf(volume, group)?;
        let agi = read_agi(volume, group)?;
        free += u64::from(agf.agf_freeblks.get())
            + u64::from(agf.agf_flcount.get())
            + u64::from(agf.agf_btreeblks.get());
        inodes += u64::from(agi.agi_count.get());
        free_inodes += u64::from(agi.agi_freecount.get());
    }
    let raw = &mut superblock.raw;
    raw.sb_fdblocks = free.into();
    raw.sb_icount = inodes.into();
    raw.sb_ifree = free_inodes.into();
    raw.sb_features_log_incompat = 0.into();
    let mut sector = volume.read_sector(GroupNumber::FIRST, 0)?;
    superblock.encode_into(&mut sector);
    Ok(volume.device.write_at(0, &sector)?)
}

/// Finishes what was begun, frees what is staged for copy on write, and frees the inodes that lost
/// their last name while they were open.
fn finish(
    volume: &Volume,
    superblock: &mut Superblock,
    unfinished: Option<Vec<Mapping>>,
) -> Result<()> {
    let mut writer = Writer::new(volume, superblock, OPTIONS)?;
    let follows = unfinished.is_none() && !space::has_staged(volume)?;
    for mapping in unfinished.into_iter().flatten() {
        writer.finish_mapping(volume, &mapping)?;
    }
    writer.flush(volume, superblock)?;
    if !follows {
        space::rebuild(volume, superblock)?;
    }
    let mut writer = Writer::new(volume, superblock, OPTIONS)?;
    writer.free_unlinked(volume)?;
    writer.flush(volume, superblock)
}
