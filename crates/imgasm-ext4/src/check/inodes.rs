//! The pass over the inode tables.

use super::Check;
use super::nodes::Node;
use crate::format::extent::Extent;
use crate::format::group::INODE_UNINIT;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{GroupNumber, InodeNumber, to_usize};
use crate::mapping::Mapping;
use crate::{at_inode, bitmap};
use imgasm_fs::error::{Error, Location, Result};
use imgasm_fs::types::FileType;

impl Check<'_> {
    /// Looks at every inode that may be in use.
    pub(super) fn inodes(&mut self) -> Result<()> {
        for group in (0..self.fs.geometry.group_count).map(GroupNumber) {
            if !self.fs.is_uninit(group, INODE_UNINIT) {
                self.group_inodes(group)?;
            }
        }
        Ok(())
    }

    /// Inodes of a group that may be in use; those after them never were.
    fn inodes_in_use(&self, group: GroupNumber) -> u32 {
        let geometry = &self.fs.geometry;
        let unused = if geometry.features().group_checksums() {
            self.fs.groups.get(group).itable_unused()
        } else {
            0
        };
        geometry.inodes_per_group.saturating_sub(unused)
    }

    fn group_inodes(&mut self, group: GroupNumber) -> Result<()> {
        let geometry = &self.fs.geometry;
        let (inode_len, block_len) = (usize::from(geometry.inode_size), geometry.block_size.len());
        let per_block = block_len / inode_len;
        let table = self.fs.groups.get(group).inode_table();
        let bits = self.fs.inode_bitmap(group);
        let bits = self.note_refused(bits)?;
        let in_use = to_usize(self.inodes_in_use(group));
        for (block, start) in (0..).zip((0..in_use).step_by(per_block)) {
            let bytes = self.fs.stage.peek(table.plus(block))?;
            let end = in_use.min(start + per_block);
            for (index, raw) in (start..end).zip(bytes.chunks_exact(inode_len)) {
                let index = u32::try_from(index).expect("below the inodes of a group");
                let number = self.fs.geometry.inode_at(group, index);
                let is_marked = bits.as_ref().map(|bits| bitmap::is_set(bits, index));
                self.inode(number, raw, is_marked)?;
            }
        }
        Ok(())
    }

    /// Looks at an inode. `is_marked` says what its bitmap does, where that can be read.
    fn inode(&mut self, number: InodeNumber, raw: &[u8], is_marked: Option<bool>) -> Result<()> {
        let is_reserved = number != InodeNumber::ROOT && number.0 < self.fs.geometry.first_inode;
        let decoded = Inode::decode(raw).map_err(|problem| problem.at(at_inode(number)));
        let links = u16::from_le_bytes([raw[0x1a], raw[0x1b]]);
        let is_in_use = links > 0 || is_reserved;
        if let Some(is_marked) = is_marked
            && is_marked != is_in_use
        {
            let problem = if is_marked {
                "it has no links, but the bitmap says that it is in use"
            } else if is_reserved {
                "it is reserved, but the bitmap says that it is free"
            } else {
                "it has links, but the bitmap says that it is free"
            };
            self.note(at_inode(number), problem);
        }
        if !is_in_use {
            return Ok(());
        }
        let Some(inode) = self.note_refused(decoded)? else {
            self.nodes.insert(number, Node::default());
            return Ok(());
        };
        if self.fs.geometry.features().metadata_csum() {
            let checked = inode.verify_checksum(self.fs.inode_seed(number, &inode));
            self.note_refused(checked.map_err(|problem| problem.at(at_inode(number))))?;
        }
        let file_type = inode.file_type();
        if let Err(problem) = &file_type
            && !is_reserved
        {
            self.note(at_inode(number), problem.to_string());
        }
        self.nodes.insert(
            number,
            Node {
                file_type: file_type.ok(),
                links,
                is_indexed: inode.has_flag(flags::INDEX),
                hidden: is_reserved
                    || inode.has_flag(flags::EA_INODE)
                    || self.hidden.contains(&number),
                ..Node::default()
            },
        );
        let deleted = inode.head.i_dtime.get();
        if links > 0 && deleted != 0 {
            self.note(
                at_inode(number),
                format!("it has links, but was deleted at {deleted}"),
            );
        }
        let fragment = inode.head.i_obso_faddr.get();
        if fragment != 0 {
            self.note(
                at_inode(number),
                format!("i_faddr is {fragment}, expected 0"),
            );
        }
        self.content(number, &inode)
    }

    /// Looks at what an inode holds.
    fn content(&mut self, number: InodeNumber, inode: &Inode) -> Result<()> {
        let file_type = self.nodes.get(number).and_then(|node| node.file_type);
        let xattr_blocks = self.attributes(number, inode)?;
        let has_blocks = match file_type {
            _ if inode.has_flag(flags::INLINE_DATA) => false,
            Some(FileType::Symlink) => !self.fs.is_target_in_inode(inode),
            Some(FileType::Regular | FileType::Directory) | None => true,
            Some(_) => false,
        };
        let mapping = if has_blocks {
            let mapping = self.fs.mapping(number, inode);
            let Some(mapping) = self.note_refused(mapping)? else {
                return Ok(());
            };
            mapping
        } else {
            Mapping::default()
        };
        self.claim_mapping(number, &mapping);
        self.size(number, inode, &mapping, file_type)?;

        let block_size = self.fs.geometry.block_size;
        let (stated, counted) = (
            inode.sectors(block_size),
            (mapping.blocks() + xattr_blocks) * block_size.sectors(),
        );
        // With clusters, i_blocks counts what is taken and not what is mapped.
        if stated != counted && self.fs.geometry.cluster_blocks == 1 {
            self.note(
                at_inode(number),
                format!("i_blocks says {stated} sectors, its blocks have {counted}"),
            );
        }
        Ok(())
    }

    /// Takes the blocks of a file.
    fn claim_mapping(&mut self, number: InodeNumber, mapping: &Mapping) {
        let nodes = mapping.nodes.iter().map(|node| (node.0, 1));
        let data = mapping
            .extents
            .iter()
            .map(|extent| (extent.start.0, u64::from(extent.len)));
        let runs: Vec<(u64, u64)> = nodes.chain(data).collect();
        let cluster = u64::from(self.fs.geometry.cluster_blocks);
        let mut last_cluster = None;
        for (mut start, len) in runs {
            let end = start + len;
            if number == InodeNumber::RESIZE
                && self
                    .fs
                    .zone
                    .overlaps(crate::format::numbers::BlockNumber(start), len)
            {
                // The blocks that are kept for the descriptor table are both.
                continue;
            }
            if cluster > 1 && last_cluster == Some(start / cluster) {
                start = ((start / cluster) + 1) * cluster;
            }
            if start < end {
                self.claim(number, start, end);
            }
            last_cluster = Some((end - 1) / cluster);
        }
    }

    /// Takes a run of blocks for a file.
    pub(super) fn claim(&mut self, number: InodeNumber, start: u64, end: u64) {
        if let Some(block) = self.usage.claim(start..end) {
            self.note(
                at_inode(number),
                format!("it lays claim to {block}, which is something else's too"),
            );
        }
    }

    /// Compares a file's size with where it has blocks.
    fn size(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        mapping: &Mapping,
        file_type: Option<FileType>,
    ) -> Result<()> {
        let size = inode.size();
        let block_size = self.fs.geometry.block_size.bytes64();
        let blocks = self.fs.size_in_blocks(inode);
        let problem = match file_type {
            Some(FileType::Directory) if !inode.has_flag(flags::INLINE_DATA) => {
                let is_whole = size > 0 && size.is_multiple_of(block_size);
                let is_full = mapping.end() == blocks && mapping.data_blocks() == blocks;
                (!is_whole || !is_full).then(|| {
                    format!(
                        "the directory has {size} bytes and {} blocks up to block {}",
                        mapping.data_blocks(),
                        mapping.end()
                    )
                })
            }
            Some(FileType::Symlink) => self.link_problem(number, inode, mapping)?,
            Some(FileType::Regular)
                if !inode.has_flag(flags::VERITY) && number != InodeNumber::RESIZE =>
            {
                let last = mapping
                    .extents
                    .iter()
                    .rev()
                    .find(|extent| !extent.unwritten)
                    .map_or(0, Extent::end);
                let most = self.fs.largest_size(inode);
                if last > blocks {
                    Some(format!(
                        "it has {size} bytes, but written blocks up to block {last}"
                    ))
                } else if size > most {
                    Some(format!("it has {size} bytes, at most {most} are possible"))
                } else {
                    None
                }
            }
            _ => None,
        };
        if let Some(problem) = problem {
            self.note(at_inode(number), problem);
        }
        Ok(())
    }

    /// What is wrong with the target of a symbolic link. Behind it comes a zero byte, as far as
    /// there is room for one.
    fn link_problem(
        &self,
        number: InodeNumber,
        inode: &Inode,
        mapping: &Mapping,
    ) -> Result<Option<String>> {
        if inode.has_flag(flags::ENCRYPT) {
            return Ok(None);
        }
        let target = match self.fs.symlink_target(number, inode) {
            Err(Error::Corrupt { problem, .. }) => return Ok(Some(problem)),
            target => target?,
        };
        let stored = match mapping.extents.first() {
            Some(extent) => self.fs.stage.peek(extent.start)?.to_vec(),
            None if inode.has_flag(flags::INLINE_DATA) => Vec::new(),
            None => inode.head.i_block.to_vec(),
        };
        let problem = if target.is_empty() {
            "the link's target is empty"
        } else if target.contains(&0) {
            "the link's target has a zero byte"
        } else if stored.get(target.len()).is_some_and(|&byte| byte != 0) {
            "the link's target goes on behind its size"
        } else {
            return Ok(None);
        };
        Ok(Some(problem.to_owned()))
    }

    /// A place in a group's bitmap.
    pub(super) fn at_group(group: GroupNumber) -> Location {
        Location::Group(group.0)
    }
}
