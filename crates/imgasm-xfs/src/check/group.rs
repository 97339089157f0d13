//! An allocation group to be checked.

use imgasm_fs::Result;

use crate::ag::{
    FreeSpace, InodeChunks, TreeBlocks, read_free_space, read_inode_chunks, read_owners,
    read_refcounts,
};
use crate::format::btree::records::{OwnerRecord, RefcountRecord};
use crate::format::numbers::GroupNumber;
use crate::volume::Volume;

/// A group whose heads and trees could be read.
pub(super) struct Group {
    pub(super) number: GroupNumber,
    pub(super) free: FreeSpace,
    pub(super) inodes: InodeChunks,
    pub(super) refcounts: Option<(Vec<RefcountRecord>, TreeBlocks)>,
    pub(super) owners: Option<(Vec<OwnerRecord>, TreeBlocks)>,
}

/// Reads a group, whose heads and trees must be sound in themselves.
pub(super) fn read_group(volume: &Volume, number: GroupNumber) -> Result<Group> {
    let free = read_free_space(volume, number)?;
    let inodes = read_inode_chunks(volume, number)?;
    let features = volume.geometry.features;
    let refcounts = features
        .reflink
        .then(|| read_refcounts(volume, number, &free.agf))
        .transpose()?;
    let owners = features
        .rmapbt
        .then(|| read_owners(volume, number, &free.agf))
        .transpose()?;
    Ok(Group {
        number,
        free,
        inodes,
        refcounts,
        owners,
    })
}
