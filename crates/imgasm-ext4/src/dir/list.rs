//! All entries of a directory.

use std::borrow::Cow;

use super::{at_file_block, nokey};
use crate::format::features::Compat;
use crate::format::inode::{I_BLOCK_LEN, Inode, flags};
use crate::format::numbers::{FileBlock, InodeNumber};
use crate::format::{dirent, htree};
use crate::inline;
use crate::problem::at_inode;
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::types::{DirEntry, FileType, NodeId};

/// How the names of a directory are stored.
#[derive(Clone, Copy)]
enum Names<'a> {
    /// As they are.
    Plain,
    /// Encrypted; with the directory, and how its names are hashed.
    Encrypted(&'a Inode, Option<u8>),
}

impl Ext4 {
    /// All entries but `.` and `..`.
    pub(crate) fn list(&self, number: InodeNumber, inode: &Inode) -> Result<Vec<DirEntry>> {
        if inode.has_flag(flags::INLINE_DATA) {
            let content = inline::content(number, inode)?;
            return self.list_inline(number, inode, &content);
        }
        let mut list = Vec::new();
        let names = self.shown_names(number, inode)?;
        self.for_each_block(number, inode, |file_block, _, area| {
            self.list_area(number, file_block, area, names, &mut list)?;
            Ok(true)
        })?;
        Ok(list)
    }

    /// How the names of a directory are shown.
    fn shown_names<'a>(&self, number: InodeNumber, inode: &'a Inode) -> Result<Names<'a>> {
        if !inode.has_flag(flags::ENCRYPT) {
            return Ok(Names::Plain);
        }
        // A kernel that reads the directory in the order of hashes shows the hash with the name.
        let has_index = self.geometry.features().compat.contains(Compat::DIR_INDEX);
        let is_small = inode.has_flag(flags::INLINE_DATA) || self.size_in_blocks(inode) == 1;
        let version = if self.is_indexed(inode) {
            let block = self.directory_block(number, inode, FileBlock(0))?;
            let root = htree::root_info(&self.stage.peek(block)?)
                .map_err(|p| p.at(at_file_block(number, FileBlock(0))))?;
            Some(root.hash_version)
        } else {
            (has_index && is_small).then_some(self.superblock.s_def_hash_version)
        };
        Ok(Names::Encrypted(inode, version))
    }

    fn shown_name<'a>(&self, names: Names<'_>, name: &'a [u8]) -> Cow<'a, [u8]> {
        match names {
            Names::Plain => Cow::Borrowed(name),
            Names::Encrypted(inode, version) => {
                let hash = version.and_then(|version| self.index_hash(inode, version, name));
                let hash = hash.map_or((0, 0), |hash| (hash.major, hash.minor));
                Cow::Owned(nokey::encode(hash, name))
            }
        }
    }

    fn list_area(
        &self,
        number: InodeNumber,
        file_block: FileBlock,
        area: &[u8],
        names: Names<'_>,
        list: &mut Vec<DirEntry>,
    ) -> Result<()> {
        let place = || at_file_block(number, file_block);
        for entry in dirent::entries(area) {
            let entry = entry.map_err(|p| p.at(place()))?;
            let Some(target) = entry.inode else { continue };
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            let name = self.shown_name(names, entry.name);
            self.check_entry(target, &name, place)?;
            let known = dirent::file_type_of(entry.file_type);
            let file_type = match known.filter(|_| self.type_code(FileType::Regular) != 0) {
                Some(file_type) => file_type,
                None => self
                    .read_inode(target)?
                    .file_type()
                    .map_err(|p| p.at(at_inode(target)))?,
            };
            list.push(DirEntry {
                name: name.into_owned(),
                node: NodeId(u64::from(target.0)),
                file_type,
            });
        }
        Ok(())
    }

    /// A directory in its inode: the parent's number in place of `.` and `..`, then entries in
    /// `i_block`, then entries in the attribute.
    fn list_inline(
        &self,
        number: InodeNumber,
        inode: &Inode,
        content: &[u8],
    ) -> Result<Vec<DirEntry>> {
        const PARENT_LEN: usize = 4;
        let (in_block, rest) = content.split_at(content.len().min(I_BLOCK_LEN));
        let mut list = Vec::new();
        let names = self.shown_names(number, inode)?;
        for area in [in_block.get(PARENT_LEN..).unwrap_or_default(), rest] {
            self.list_area(number, FileBlock(0), area, names, &mut list)?;
        }
        Ok(list)
    }
}
