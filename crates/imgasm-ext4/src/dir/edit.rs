//! Adding, removing and changing entries.

use super::leaf::{self, NewEntry};
use super::{Found, LARGE, at_file_block, index};
use crate::content::block_limit;
use crate::format::dirent;
use crate::format::extent::Extent;
use crate::format::features::Compat;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{BlockNumber, FileBlock, InodeNumber, to_u32};
use crate::problem::Problem;
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};

impl Ext4 {
    /// Adds an entry for a name that is not there. The inode is changed, but not staged.
    pub(crate) fn insert(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        new: &NewEntry<'_>,
    ) -> Result<()> {
        if self.is_indexed(inode) {
            return self.insert_indexed(number, inode, new);
        }
        // An index that is not kept up to date must not be trusted if `dir_index` is turned on
        // later.
        inode.clear_flag(flags::INDEX);
        if let Some(block) = self.block_with_room(number, inode, new.name)?
            && self.insert_in_block(number, inode, block, new)?
        {
            return Ok(());
        }
        let index = self.geometry.features().compat.contains(Compat::DIR_INDEX);
        if index && self.directory_blocks(number, inode)? == 1 && self.can_index(inode) {
            self.make_index(number, inode)?;
            return self.insert_indexed(number, inode, new);
        }
        let kind = self.leaf_kind(number, inode);
        let (file_block, block) = self.append_block(number, inode)?;
        let (area, has_checksums) = (self.area_len(), self.has_checksums());
        let bytes = self.stage.create(block, kind);
        leaf::fill(&mut bytes[..area], std::slice::from_ref(new));
        if has_checksums {
            dirent::put_tail(bytes);
        }
        self.note_added(number, file_block, block, new.name)
    }

    /// A block of a directory without an index that may have room for a name.
    fn block_with_room(
        &self,
        number: InodeNumber,
        inode: &Inode,
        name: &[u8],
    ) -> Result<Option<FileBlock>> {
        if self.directory_blocks(number, inode)? >= LARGE {
            self.remember_names(number, inode)?;
            let mut known = self.names.borrow_mut();
            return Ok(known.get(number).and_then(|names| names.room_for(name)));
        }
        let mut fits = None;
        self.for_each_block(number, inode, |file_block, _, area| {
            let room = leaf::room(area, name.len())
                .map_err(|p| p.at(at_file_block(number, file_block)))?;
            fits = room.map(|_| file_block);
            Ok(fits.is_none())
        })?;
        Ok(fits)
    }

    /// Adds an entry to a block; false if it does not fit.
    pub(super) fn insert_in_block(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        file_block: FileBlock,
        new: &NewEntry<'_>,
    ) -> Result<bool> {
        let block = self.directory_block(number, inode, file_block)?;
        let kind = self.leaf_kind(number, inode);
        let area = self.area_len();
        let problem = |p: Problem| p.at(at_file_block(number, file_block));
        let bytes = self.stage.get(block, kind)?;
        let Some(offset) = leaf::room(&bytes[..area], new.name.len()).map_err(problem)? else {
            return Ok(false);
        };
        drop(bytes);
        let bytes = self.stage.change(block, kind)?;
        leaf::insert(&mut bytes[..area], offset, new).map_err(problem)?;
        self.note_added(number, file_block, block, new.name)?;
        Ok(true)
    }

    /// Keeps the remembered names of a directory up to date.
    fn note_added(
        &self,
        number: InodeNumber,
        file_block: FileBlock,
        block: BlockNumber,
        name: &[u8],
    ) -> Result<()> {
        if let Some(names) = self.names.borrow_mut().get(number) {
            let bytes = self.stage.peek(block)?;
            names
                .added(name, file_block, &bytes[..self.area_len()])
                .map_err(|p| p.at(at_file_block(number, file_block)))?;
        }
        Ok(())
    }

    /// Removes an entry.
    pub(crate) fn remove_entry(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        found: Found,
        name: &[u8],
    ) -> Result<()> {
        let (kind, area) = (self.leaf_kind(number, inode), self.area_len());
        let problem = |p: Problem| p.at(at_file_block(number, found.file_block));
        let bytes = self.stage.change(found.block, kind)?;
        leaf::remove(&mut bytes[..area], found.position).map_err(problem)?;
        if let Some(names) = self.names.get_mut().get(number) {
            names
                .removed(name, found.file_block, &bytes[..area])
                .map_err(problem)?;
        }
        Ok(())
    }

    /// Makes an entry name another inode.
    pub(crate) fn set_entry(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        found: Found,
        target: InodeNumber,
        file_type: u8,
    ) -> Result<()> {
        let kind = self.leaf_kind(number, inode);
        let bytes = self.stage.change(found.block, kind)?;
        dirent::set_target(bytes, found.position.offset, target, file_type);
        Ok(())
    }

    /// Appends a block to a directory; the caller fills it.
    pub(super) fn append_block(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
    ) -> Result<(FileBlock, BlockNumber)> {
        let index = self.size_in_blocks(inode);
        let size = (index + 1) * self.geometry.block_size.bytes64();
        let first = u32::try_from(size)
            .map(|_| FileBlock(to_u32(usize::try_from(index).unwrap_or(usize::MAX))))
            .map_err(|_| Error::NoSpace {
                unit: "bytes in a directory",
                needed: size,
                free: u64::from(u32::MAX),
            })?;
        index::storable(first)?;
        let before = self.mapping_to_change(number, inode, index..index + 1)?;
        let goal = before
            .extents
            .last()
            .map_or(self.goal_of(number), |e| e.start.plus(u64::from(e.len)));
        let block = self.allocate_block(goal, block_limit(inode))?;
        let mut after = before.clone();
        let extent = Extent {
            first,
            len: 1,
            start: block,
            unwritten: false,
        };
        after.insert(extent, Self::longest_extent(inode));
        self.store_mapping(number, inode, &before, &mut after)?;
        inode.set_size(size);
        Ok((first, block))
    }
}
