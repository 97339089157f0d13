//! Names in directories.
//!
//! - [`leaf`]: one block of entries; pure.
//! - [`index`]: directories with a hash index.
//! - [`list`], [`edit`]: all entries; adding, removing and changing them.
//! - [`nokey`]: what encrypted names look like without the key.
//! - [`dots`]: `.` and `..`.
//!
//! A directory is a list of blocks of entries. With an index (`dir_index`), its first block is the
//! index's root, and some others are nodes of it, which hold no entries.

mod dots;
mod edit;
mod index;
mod leaf;
mod list;
pub mod nokey;

use super::name_cache::Names;
pub use leaf::{NewEntry, Position};

use super::format::dirent;
use super::format::features::{Compat, Incompat};
use super::format::htree::{self};
use super::format::inode::{Inode, flags};
use super::format::numbers::{BlockNumber, FileBlock, InodeNumber};
use super::inode_table::refuse_to_change;
use super::stage::Kind;
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Location, Result};
use imgasm_fs::types::{FileType, NodeId};

/// The names of a directory without an index are remembered if it has at least so many blocks.
const LARGE: u32 = 4;

/// An entry that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its block in the directory.
    pub file_block: FileBlock,
    /// The same block on the disk.
    pub block: BlockNumber,
    /// Where it is in the block.
    pub position: Position,
}

pub fn at_file_block(number: InodeNumber, block: FileBlock) -> Location {
    Location::FileBlock {
        inode: u64::from(number.0),
        block: u64::from(block.0),
    }
}

impl Ext4 {
    /// Whether blocks of directories end with a checksum.
    fn has_checksums(&self) -> bool {
        self.geometry.features().metadata_csum()
    }

    /// Bytes of a block that entries fill.
    fn area_len(&self) -> usize {
        dirent::entries_len(self.geometry.block_size.len(), self.has_checksums())
    }

    fn leaf_kind(&self, number: InodeNumber, inode: &Inode) -> Kind {
        Kind::Entries(self.inode_seed(number, inode))
    }

    /// Whether a directory has a hash index.
    pub(super) fn is_indexed(&self, inode: &Inode) -> bool {
        let on = self.geometry.features().compat.contains(Compat::DIR_INDEX);
        on && inode.has_flag(flags::INDEX)
    }

    /// The code for a file type in a directory entry: 0 if the filesystem does not store it.
    pub(super) fn type_code(&self, file_type: FileType) -> u8 {
        let kept = self
            .geometry
            .features()
            .incompat
            .contains(Incompat::FILETYPE);
        if kept {
            dirent::file_type_code(file_type)
        } else {
            0
        }
    }

    /// A directory whose names are to be changed. One that lies in its inode moves to a block.
    pub(super) fn directory_to_change(&mut self, number: InodeNumber) -> Result<Inode> {
        let mut inode = self.directory(number)?;
        refuse_to_change(number, &inode)?;
        if inode.has_flag(flags::INLINE_DATA) {
            self.move_names_out_of_inode(number, &mut inode)?;
        }
        Ok(inode)
    }

    /// Moves a directory that lies in its inode to a block.
    fn move_names_out_of_inode(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        let entries = self.list(number, inode)?;
        let parent = self.parent_of(number, inode)?;
        self.empty_inline(number, inode)?;
        self.init_directory(number, inode, parent)?;
        for entry in entries {
            let new = NewEntry {
                inode: self.inode_number(entry.node)?,
                file_type: self.type_code(entry.file_type),
                name: &entry.name,
            };
            self.insert(number, inode, &new)?;
        }
        self.write_inode(number, inode)
    }

    /// A directory.
    pub(super) fn directory(&self, number: InodeNumber) -> Result<Inode> {
        let inode = self.read_inode(number)?;
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        if file_type != FileType::Directory {
            return Err(Error::WrongType {
                node: NodeId(u64::from(number.0)),
                expected: "a directory",
            });
        }
        Ok(inode)
    }

    /// Blocks of a directory.
    fn directory_blocks(&self, number: InodeNumber, inode: &Inode) -> Result<u32> {
        let size = inode.size();
        let block_size = self.geometry.block_size.bytes64();
        u32::try_from(size / block_size)
            .ok()
            .filter(|&blocks| blocks > 0 && size.is_multiple_of(block_size))
            .ok_or_else(|| {
                corrupt(
                    at_inode(number),
                    format!("the directory has {size} bytes, expected a multiple of {block_size}"),
                )
            })
    }

    /// Where a block of a directory lies.
    fn directory_block(
        &self,
        number: InodeNumber,
        inode: &Inode,
        block: FileBlock,
    ) -> Result<BlockNumber> {
        let blocks = self.directory_blocks(number, inode)?;
        if block.0 >= blocks {
            return Err(corrupt(
                at_file_block(number, block),
                format!("the directory has only {blocks} blocks"),
            ));
        }
        self.file_block(number, inode, block)?
            .ok_or_else(|| corrupt(at_file_block(number, block), "the directory has a hole"))
    }

    /// Calls `visit` with each block of entries and its place in the directory.
    fn for_each_block(
        &self,
        number: InodeNumber,
        inode: &Inode,
        mut visit: impl FnMut(FileBlock, BlockNumber, &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let blocks = self.directory_blocks(number, inode)?;
        let mapping = self.mapping(number, inode)?;
        let indexed = self.is_indexed(inode);
        let kind = self.leaf_kind(number, inode);
        for index in 0..blocks {
            let file_block = FileBlock(index);
            let Some(extent) = mapping.find(file_block).filter(|e| !e.unwritten) else {
                return Err(corrupt(
                    at_file_block(number, file_block),
                    "the directory has a hole",
                ));
            };
            let block = extent.start.plus(u64::from(index - extent.first.0));
            if indexed && (index == 0 || htree::looks_like_node(&self.stage.peek(block)?)) {
                continue;
            }
            let bytes = self.stage.get(block, kind)?;
            if !visit(file_block, block, &bytes[..self.area_len()])? {
                break;
            }
        }
        Ok(())
    }

    fn check_entry(
        &self,
        target: InodeNumber,
        name: &[u8],
        place: impl FnOnce() -> Location,
    ) -> Result<()> {
        let problem = if !self.is_file_inode(target) {
            format!("names {target}, which is not a file's")
        } else if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            "has a name that is empty or has a slash or a zero byte".to_owned()
        } else {
            return Ok(());
        };
        Err(corrupt(
            place(),
            format!("the entry {:?} {problem}", String::from_utf8_lossy(name)),
        ))
    }

    /// The inode that a name stands for.
    pub(super) fn target_of(
        &self,
        number: InodeNumber,
        inode: &Inode,
        name: &[u8],
    ) -> Result<Option<InodeNumber>> {
        if inode.has_flag(flags::INLINE_DATA | flags::ENCRYPT | flags::CASEFOLD) {
            let entries = self.list(number, inode)?;
            let found = entries.into_iter().find(|entry| entry.name == name);
            return found.map(|entry| self.inode_number(entry.node)).transpose();
        }
        let Some(found) = self.find(number, inode, name)? else {
            return Ok(None);
        };
        let target = found.position.inode;
        self.check_entry(target, name, || at_file_block(number, found.file_block))?;
        Ok(Some(target))
    }

    /// Finds a name.
    pub(super) fn find(
        &self,
        number: InodeNumber,
        inode: &Inode,
        name: &[u8],
    ) -> Result<Option<Found>> {
        if self.is_indexed(inode) {
            if let Some(path) = self.probe(number, inode, name)? {
                return self.find_along(number, inode, path, name);
            }
        } else if self.directory_blocks(number, inode)? >= LARGE {
            self.remember_names(number, inode)?;
            let mut names = self.names.borrow_mut();
            let block = names.get(number).and_then(|names| names.block_of(name));
            drop(names);
            return match block {
                Some(block) => self.find_in_block(number, inode, block, name),
                None => Ok(None),
            };
        }
        let mut found = None;
        self.for_each_block(number, inode, |file_block, block, area| {
            let position =
                leaf::find(area, name).map_err(|p| p.at(at_file_block(number, file_block)))?;
            found = position.map(|position| Found {
                file_block,
                block,
                position,
            });
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    fn find_in_block(
        &self,
        number: InodeNumber,
        inode: &Inode,
        file_block: FileBlock,
        name: &[u8],
    ) -> Result<Option<Found>> {
        let block = self.directory_block(number, inode, file_block)?;
        let bytes = self.stage.get(block, self.leaf_kind(number, inode))?;
        let position = leaf::find(&bytes[..self.area_len()], name)
            .map_err(|p| p.at(at_file_block(number, file_block)))?;
        Ok(position.map(|position| Found {
            file_block,
            block,
            position,
        }))
    }

    /// Reads the names of a directory without an index, unless they are known.
    fn remember_names(&self, number: InodeNumber, inode: &Inode) -> Result<()> {
        if self.names.borrow_mut().get(number).is_some() {
            return Ok(());
        }
        let mut names = Names::default();
        self.for_each_block(number, inode, |file_block, _, area| {
            names
                .add_block(area)
                .map_err(|p| p.at(at_file_block(number, file_block)))?;
            Ok(true)
        })?;
        self.names.borrow_mut().put(number, names);
        Ok(())
    }
}
