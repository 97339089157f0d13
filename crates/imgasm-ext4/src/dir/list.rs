//! All entries of a directory.

use super::at_file_block;
use crate::format::dirent;
use crate::format::inode::{I_BLOCK_LEN, Inode, flags};
use crate::format::numbers::{FileBlock, InodeNumber};
use crate::inline;
use crate::problem::at_inode;
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::types::{DirEntry, FileType, NodeId};

impl Ext4 {
    /// All entries but `.` and `..`.
    pub(crate) fn list(&self, number: InodeNumber, inode: &Inode) -> Result<Vec<DirEntry>> {
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
        let (in_block, rest) = content.split_at(content.len().min(I_BLOCK_LEN));
        let mut list = Vec::new();
        for area in [in_block.get(PARENT_LEN..).unwrap_or_default(), rest] {
            self.list_area(number, FileBlock(0), area, &mut list)?;
        }
        Ok(list)
    }
}
