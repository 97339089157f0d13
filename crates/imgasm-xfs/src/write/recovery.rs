//! Changes to inodes during recovery.

use imgasm_fs::{Location, Result};

use crate::ag::read_agi;
use crate::format::extent::Extent;
use crate::format::numbers::{FileBlock, GroupInode, GroupNumber};
use crate::inode::Inode;
use crate::log::Mapping;
use crate::problem::{corrupt, incompatible};
use crate::volume::Volume;
use crate::write::Writer;
use crate::write::content::map_mut;

/// Bits of [`Mapping::flags`]: what is to be done, and more about the extent.
mod flags {
    pub(super) const KIND: u32 = 0xff;
    pub(super) const MAP: u32 = 1;
    pub(super) const UNMAP: u32 = 2;
    pub(super) const UNWRITTEN: u32 = 1 << 30;
}

impl Writer {
    /// Makes a change of a file's mapping that the log says was still to be made.
    pub(crate) fn finish_mapping(&mut self, volume: &Volume, mapping: &Mapping) -> Result<()> {
        let number = mapping.inode;
        let bad = |problem: String| corrupt(Location::Inode(number.0), problem);
        let kind = mapping.flags & flags::KIND;
        if mapping.flags & !(flags::KIND | flags::UNWRITTEN) != 0
            || !matches!(kind, flags::MAP | flags::UNMAP)
        {
            return Err(incompatible(format!(
                "finishing a change of a mapping with flags {:#x}",
                mapping.flags
            )));
        }
        let blocks = u64::from(mapping.blocks);
        let end = mapping.file_block.0.checked_add(blocks).map(FileBlock);
        let end = end.filter(|end| *end <= Extent::MAX_FILE_BLOCK);
        let fits = volume.geometry.holds(mapping.start, blocks) && blocks <= Extent::MAX_BLOCKS;
        let Some(end) = end.filter(|_| fits && blocks > 0) else {
            return Err(bad(format!("its log has {mapping:?}")));
        };
        let map = map_mut(self.regular(volume, number)?)?;
        if kind == flags::UNMAP {
            map.remove(mapping.file_block, end);
            return Ok(());
        }
        if map.range(mapping.file_block, end).next().is_some() {
            return Err(bad(format!("it has blocks where its log has {mapping:?}")));
        }
        map.insert(Extent {
            file_block: mapping.file_block,
            start: mapping.start,
            blocks,
            unwritten: mapping.flags & flags::UNWRITTEN != 0,
        });
        Ok(())
    }

    /// Frees the inodes that have lost their last name while they were open.
    pub(crate) fn free_unlinked(&mut self, volume: &Volume) -> Result<()> {
        for group in volume.geometry.group_numbers() {
            let lists = read_agi(volume, group)?.agi_unlinked;
            if lists.iter().all(|first| first.get() == GroupInode::NONE.0) {
                continue;
            }
            for first in lists {
                self.free_list(volume, group, GroupInode(first.get()))?;
            }
            self.allocator.clear_unlinked(volume, group)?;
        }
        Ok(())
    }

    /// Frees the inodes of a list. A circular list comes back to an inode that is free.
    fn free_list(&mut self, volume: &Volume, group: GroupNumber, first: GroupInode) -> Result<()> {
        let mut next = first;
        while next != GroupInode::NONE {
            let number = volume.geometry.inode_number(group, next);
            self.changed_inode(number)?;
            let core = Inode::read(volume, number)?.core;
            if core.di_nlink.get() != 0 {
                return Err(corrupt(
                    Location::Inode(number.0),
                    format!(
                        "it is said to have lost its last name, but has {}",
                        core.di_nlink
                    ),
                ));
            }
            next = GroupInode(core.di_next_unlinked.get());
            self.free_node(volume, number)?;
        }
        Ok(())
    }
}
