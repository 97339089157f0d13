//! Changes of a directory in memory.

use imgasm_fs::FileType;

use crate::dir::{DataBlock, Directory, LENGTH_CLASSES};
use crate::format::bytes::as_u32;
use crate::format::dir::data;
use crate::format::dir::data::entry_len;
use crate::format::dir::entry::Entry;
use crate::format::dir::index::space;
use crate::format::geometry::Geometry;
use crate::format::numbers::{DirectoryBlock, InodeNumber};

impl DataBlock {
    /// Where there is room for an entry of `len` bytes between two bounds.
    fn find_room(&mut self, geometry: &Geometry, len: u32, first: u32, end: u32) -> Option<u32> {
        let used_to = self
            .entries
            .last_key_value()
            .map_or(first, |(offset, entry)| {
                offset + entry_len(geometry, entry.name.len())
            });
        if used_to + len <= end {
            return Some(used_to);
        }
        if self.longest_gap < len {
            return None;
        }
        let gaps = data::unused_runs(&self.entries, geometry, first, used_to);
        let found = gaps.iter().find(|(_, gap)| *gap >= len);
        if found.is_none() {
            self.longest_gap = gaps.iter().map(|(_, gap)| *gap).max().unwrap_or(0);
        }
        found.map(|(offset, _)| *offset)
    }
}

impl Directory {
    /// Where entries can begin in a data block.
    pub(crate) fn first_in(geometry: &Geometry, block: DirectoryBlock) -> u32 {
        if block == DirectoryBlock::FIRST {
            data::first_offset(geometry)
        } else {
            data::header_len(geometry)
        }
    }

    /// Adds a name that is not there; false if the directory has no room for any more.
    #[must_use]
    pub(crate) fn insert(
        &mut self,
        geometry: &Geometry,
        name: &[u8],
        inode: InodeNumber,
        file_type: FileType,
    ) -> bool {
        debug_assert!(!self.names.contains_key(name), "the name is new");
        let len = entry_len(geometry, name.len());
        let class = (len / 8) as usize;
        let end = geometry.directory_block_size;
        let mut candidates = self.blocks.range_mut(self.candidates[class]..);
        let found = candidates.find_map(|(&number, block)| {
            let first = Self::first_in(geometry, number);
            let offset = block.find_room(geometry, len, first, end)?;
            Some((number, offset))
        });
        let (block, offset) = found.unwrap_or_else(|| {
            let block = self.unused_number();
            (block, Self::first_in(geometry, block))
        });
        if u64::from(block.0) >= space::INDEX / u64::from(geometry.directory_block_size) {
            return false;
        }
        self.candidates[class] = block;
        self.changed.insert(block);
        let entry = Entry {
            name: name.to_vec(),
            inode,
            file_type: Some(file_type),
        };
        self.place(block, offset, entry)
    }

    /// The lowest number that no data block has.
    fn unused_number(&self) -> DirectoryBlock {
        let count = as_u32(self.blocks.len());
        match self.blocks.last_key_value() {
            Some((last, _)) if last.0 + 1 == count => DirectoryBlock(count),
            _ => (0..=count)
                .map(DirectoryBlock)
                .find(|number| !self.blocks.contains_key(number))
                .expect("there are only `count` blocks"),
        }
    }

    /// Removes a name; gives what it named.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Entry> {
        let (number, offset) = self.names.remove(name)?;
        let block = self.blocks.get_mut(&number)?;
        let entry = block.entries.remove(&offset)?;
        block.longest_gap = u32::MAX;
        self.changed.insert(number);
        if block.entries.is_empty() && number != DirectoryBlock::FIRST {
            self.blocks.remove(&number);
            self.changed.remove(&number);
        }
        for candidate in &mut self.candidates {
            *candidate = (*candidate).min(number);
        }
        Some(entry)
    }

    /// Makes an existing name refer to another inode; gives what it named before.
    pub(crate) fn replace(
        &mut self,
        name: &[u8],
        inode: InodeNumber,
        file_type: FileType,
    ) -> Option<Entry> {
        let (number, offset) = *self.names.get(name)?;
        let entry = self.blocks.get_mut(&number)?.entries.get_mut(&offset)?;
        let before = entry.clone();
        entry.inode = inode;
        entry.file_type = Some(file_type);
        self.changed.insert(number);
        Some(before)
    }

    /// Makes `..` refer to another directory.
    pub(crate) fn set_parent(&mut self, parent: InodeNumber) {
        self.parent = parent;
        self.changed.insert(DirectoryBlock::FIRST);
    }

    /// Moves all names together, into the first block, which must have room for them.
    pub(super) fn pack(&mut self, geometry: &Geometry) {
        let blocks = std::mem::take(&mut self.blocks);
        self.names.clear();
        self.blocks
            .insert(DirectoryBlock::FIRST, DataBlock::default());
        let mut offset = data::first_offset(geometry);
        for entry in blocks
            .into_values()
            .flat_map(|block| block.entries.into_values())
        {
            let len = entry_len(geometry, entry.name.len());
            self.place(DirectoryBlock::FIRST, offset, entry);
            offset += len;
        }
        self.candidates = [DirectoryBlock::FIRST; LENGTH_CLASSES];
        self.changed = [DirectoryBlock::FIRST].into();
    }
}
