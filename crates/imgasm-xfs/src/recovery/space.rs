//! The trees of free, shared and owned blocks, made anew from the files.
//!
//! If a log ends between a change of a file and the changes of these trees that follow from it, the
//! kernel makes those one by one. All of them follow from the files, so here the trees are derived
//! from all files at once, whatever was still to be done.

use imgasm_fs::Result;

use crate::ag::read_agf;
use crate::ag::read_refcounts;
use crate::alloc::Allocator;
use crate::alloc::commit::{OwnerChanges, count_changes};
use crate::check::derive::derive;
use crate::format::numbers::GroupNumber;
use crate::format::superblock::Superblock;
use crate::volume::Volume;
use crate::writes::Writes;

/// Whether blocks are staged for copy on write. For which file is no longer known.
pub(super) fn has_staged(volume: &Volume) -> Result<bool> {
    if !volume.geometry.features.reflink {
        return Ok(false);
    }
    for group in volume.geometry.group_numbers() {
        let (records, _) = read_refcounts(volume, group, &read_agf(volume, group)?)?;
        if records.iter().any(|record| record.staged) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the trees anew.
pub(super) fn rebuild(volume: &Volume, superblock: &mut Superblock) -> Result<()> {
    let derived = derive(volume)?;
    let mut allocator = Allocator::new(volume, superblock)?;
    for space in &derived.groups {
        allocator.replace(volume, space.group, &space.free, &space.shared)?;
    }
    let owners = OwnerChanges::all(derived.owners);
    let mut writes = Writes::default();
    let counters = allocator.commit(volume, &owners, [0; 16], &mut writes)?;
    count_changes(superblock, &counters)?;
    let mut sector = volume.read_sector(GroupNumber::FIRST, 0)?;
    superblock.encode_into(&mut sector);
    writes.put(0, sector);
    writes.write(&volume.device)
}
