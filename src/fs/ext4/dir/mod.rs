//! Names in directories.
//!
//! - [`leaf`]: one block of entries; pure.
//! - [`index`]: directories with a hash index.
//! - [`names`]: what is remembered of large directories without one.
//!
//! A directory is a list of blocks of entries. With an index (`dir_index`), its first block is the
//! index's root, and some others are nodes of it, which hold no entries.

mod index;
mod leaf;
mod names;

pub use leaf::{NewEntry, Position};
pub use names::NameCache;
use names::Names;

use super::format::dirent::{self, MAX_NAME_LEN};
use super::format::extent::Extent;
use super::format::features::{Compat, Incompat};
use super::format::htree::{self, Place};
use super::format::inode::{Inode, flags};
use super::format::numbers::{BlockNumber, FileBlock, InodeNumber, to_u32};
use super::inode_table::refuse_encrypted;
use super::stage::Kind;
use super::{Ext4, at_inode, corrupt, inline};
use crate::fs::error::{Error, Location, Result};
use crate::fs::types::{DirEntry, FileType, NodeId};

/// The number of blocks from which on names of directories without an index are remembered.
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

/// The entries that every directory begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dots {
    /// What `..` names.
    pub parent: InodeNumber,
    /// Where the entry `..` begins.
    pub parent_offset: usize,
}

/// Reads `.` and `..` from a directory's first block.
fn dots(number: InodeNumber, first_block: &[u8]) -> Result<Dots> {
    let mut entries = dirent::entries(first_block);
    let (dot, dotdot) = (entries.next(), entries.next());
    match (dot, dotdot) {
        (Some(Ok(dot)), Some(Ok(dotdot)))
            if dot.name == b"." && dot.inode == Some(number) && dotdot.name == b".." =>
        {
            dotdot.inode.map(|parent| Dots {
                parent,
                parent_offset: dotdot.offset,
            })
        }
        _ => None,
    }
    .ok_or_else(|| {
        corrupt(
            at_file_block(number, FileBlock(0)),
            "the directory does not begin with `.` and `..`",
        )
    })
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

    /// The code that a directory entry has for a file type: 0 where the filesystem keeps none.
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
        refuse_encrypted(number, &inode)?;
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

    /// All entries but `.` and `..`.
    pub(super) fn list(&self, number: InodeNumber, inode: &Inode) -> Result<Vec<DirEntry>> {
        if inode.has_flag(flags::INLINE_DATA) {
            let content = inline::content(number, inode)?;
            return self.list_inline(number, &content);
        }
        let mut list = Vec::new();
        self.for_each_block(number, inode, |file_block, _, area| {
            self.list_area(number, file_block, area, &mut list)?;
            Ok(true)
        })?;
        Ok(list)
    }

    fn list_area(
        &self,
        number: InodeNumber,
        file_block: FileBlock,
        area: &[u8],
        list: &mut Vec<DirEntry>,
    ) -> Result<()> {
        let place = || at_file_block(number, file_block);
        for entry in dirent::entries(area) {
            let entry = entry.map_err(|p| p.at(place()))?;
            let Some(target) = entry.inode else { continue };
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            self.check_entry(target, entry.name, place)?;
            let known = dirent::file_type_of(entry.file_type);
            let file_type = match known.filter(|_| self.type_code(FileType::Regular) != 0) {
                Some(file_type) => file_type,
                None => self
                    .read_inode(target)?
                    .file_type()
                    .map_err(|p| p.at(at_inode(target)))?,
            };
            list.push(DirEntry {
                name: entry.name.to_vec(),
                node: NodeId(u64::from(target.0)),
                file_type,
            });
        }
        Ok(())
    }

    /// A directory in its inode: the parent's number in place of `.` and `..`, then entries in
    /// `i_block`, then entries in the attribute.
    fn list_inline(&self, number: InodeNumber, content: &[u8]) -> Result<Vec<DirEntry>> {
        const PARENT_LEN: usize = 4;
        let (in_block, rest) =
            content.split_at(content.len().min(super::format::inode::I_BLOCK_LEN));
        let mut list = Vec::new();
        for area in [in_block.get(PARENT_LEN..).unwrap_or_default(), rest] {
            self.list_area(number, FileBlock(0), area, &mut list)?;
        }
        Ok(list)
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
        if inode.has_flag(flags::INLINE_DATA) {
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

    /// Whether a directory has no entries but `.` and `..`.
    pub(super) fn is_empty(&self, number: InodeNumber, inode: &Inode) -> Result<bool> {
        let mut empty = true;
        self.for_each_block(number, inode, |file_block, _, area| {
            for entry in dirent::entries(area) {
                let entry = entry.map_err(|p| p.at(at_file_block(number, file_block)))?;
                let is_dot = entry.name == b"." || entry.name == b"..";
                empty &= entry.inode.is_none() || is_dot;
            }
            Ok(empty)
        })?;
        Ok(empty)
    }

    /// Checks that a name can be stored.
    pub(super) fn check_name(name: &[u8]) -> Result<()> {
        let problem = if name.is_empty() || name == b"." || name == b".." {
            "it is empty, `.` or `..`".to_owned()
        } else if name.len() > MAX_NAME_LEN {
            format!(
                "it has {} bytes, at most {MAX_NAME_LEN} are possible",
                name.len()
            )
        } else if name.contains(&b'/') || name.contains(&0) {
            "it has a slash or a zero byte".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Unstorable {
            what: format!("the name {:?}", String::from_utf8_lossy(name)),
            problem,
        })
    }

    /// Adds an entry for a name that is not there. The inode is changed, but not staged.
    pub(super) fn insert(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        new: &NewEntry<'_>,
    ) -> Result<()> {
        if self.is_indexed(inode) {
            return self.insert_indexed(number, inode, new);
        }
        // An index that is not kept up must not be believed if `dir_index` is turned on later.
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

    /// Adds an entry to a block; false where it does not fit.
    fn insert_in_block(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        file_block: FileBlock,
        new: &NewEntry<'_>,
    ) -> Result<bool> {
        let block = self.directory_block(number, inode, file_block)?;
        let kind = self.leaf_kind(number, inode);
        let area = self.area_len();
        let problem = |p: super::format::Problem| p.at(at_file_block(number, file_block));
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

    /// Keeps what is remembered of a directory's names up to date.
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
    pub(super) fn remove_entry(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        found: Found,
        name: &[u8],
    ) -> Result<()> {
        let (kind, area) = (self.leaf_kind(number, inode), self.area_len());
        let problem = |p: super::format::Problem| p.at(at_file_block(number, found.file_block));
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
    pub(super) fn set_entry(
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

    fn first_block_kind(&self, number: InodeNumber, inode: &Inode) -> Kind {
        if self.is_indexed(inode) {
            Kind::Index(Place::Root, self.inode_seed(number, inode))
        } else {
            self.leaf_kind(number, inode)
        }
    }

    /// The directory that `..` names.
    pub(super) fn parent(&self, number: InodeNumber, inode: &Inode) -> Result<InodeNumber> {
        let block = self.directory_block(number, inode, FileBlock(0))?;
        let kind = self.first_block_kind(number, inode);
        let bytes = self.stage.get(block, kind)?;
        Ok(dots(number, &bytes)?.parent)
    }

    /// Makes `..` name another directory.
    pub(super) fn set_parent(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        parent: InodeNumber,
    ) -> Result<()> {
        let block = self.directory_block(number, inode, FileBlock(0))?;
        let kind = self.first_block_kind(number, inode);
        let dots = dots(number, &self.stage.get(block, kind)?)?;
        let file_type = self.type_code(FileType::Directory);
        let bytes = self.stage.change(block, kind)?;
        dirent::set_target(bytes, dots.parent_offset, parent, file_type);
        Ok(())
    }

    /// The first block of a new directory.
    pub(super) fn init_directory(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        parent: InodeNumber,
    ) -> Result<()> {
        let (_, block) = self.append_block(number, inode)?;
        let kind = self.leaf_kind(number, inode);
        let has_checksums = self.has_checksums();
        let file_type = self.type_code(FileType::Directory);
        let bytes = self.stage.create(block, kind);
        dirent::put_dots(bytes, has_checksums, number, parent, file_type);
        Ok(())
    }

    /// Gives a directory one block more, which the caller fills.
    fn append_block(
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
        let block = self.allocate_block(goal, super::content::block_limit(inode))?;
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
