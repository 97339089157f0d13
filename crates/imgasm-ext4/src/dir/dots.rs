//! The entries `.` and `..`, with which a directory's first block begins.

use super::at_file_block;
use crate::format::dirent;
use crate::format::htree::Place;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{FileBlock, InodeNumber};
use crate::format::read_u32;
use crate::problem::corrupt;
use crate::stage::Kind;
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::types::FileType;

/// The entries that every directory begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dots {
    /// What `..` names.
    pub parent: InodeNumber,
    /// Where the entry `..` begins.
    pub parent_offset: usize,
}

/// Reads `.` and `..` from a directory's first block.
pub(super) fn dots(number: InodeNumber, first_block: &[u8]) -> Result<Dots> {
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

impl Ext4 {
    fn first_block_kind(&self, number: InodeNumber, inode: &Inode) -> Kind {
        if self.is_indexed(inode) {
            Kind::Index(Place::Root, self.inode_seed(number, inode))
        } else {
            self.leaf_kind(number, inode)
        }
    }

    /// The directory that `..` names.
    pub(crate) fn parent_of(&self, number: InodeNumber, inode: &Inode) -> Result<InodeNumber> {
        if inode.has_flag(flags::INLINE_DATA) {
            return Ok(InodeNumber(read_u32(&inode.head.i_block, 0)));
        }
        let block = self.directory_block(number, inode, FileBlock(0))?;
        let kind = self.first_block_kind(number, inode);
        let bytes = self.stage.get(block, kind)?;
        Ok(dots(number, &bytes)?.parent)
    }

    /// Makes `..` name another directory.
    pub(crate) fn set_parent(
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
    pub(crate) fn init_directory(
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
}
