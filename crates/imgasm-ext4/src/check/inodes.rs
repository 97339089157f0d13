//! The pass over the inode tables.

use super::nodes::Node;
use super::{Check, fields};
use crate::bitmap;
use crate::format::extent::Extent;
use crate::format::features::RoCompat;
use crate::format::group::INODE_UNINIT;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{BlockNumber, GroupNumber, InodeNumber, to_u64, to_usize};
use crate::format::read_u16;
use crate::inline;
use crate::mapping::Mapping;
use crate::problem::at_inode;
use imgasm_block::bytes::is_zero;
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

    /// Looks at an inode. `is_marked` says what its bitmap does, if that can be read.
    fn inode(&mut self, number: InodeNumber, raw: &[u8], is_marked: Option<bool>) -> Result<()> {
        let is_reserved = self.is_reserved(number);
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
        // A table that nobody has written to yet has no checksums.
        if !is_in_use && is_zero(raw) {
            return Ok(());
        }
        let decoded = Inode::decode(raw).map_err(|problem| problem.at(at_inode(number)));
        let Some(inode) = self.note_refused(decoded)? else {
            if is_in_use {
                self.nodes.insert(number, Node::default());
            }
            return Ok(());
        };
        if self.fs.geometry.features().metadata_csum() {
            let checked = inode.verify_checksum(self.fs.inode_seed(number, &inode));
            self.note_refused(checked.map_err(|problem| problem.at(at_inode(number))))?;
        }
        if !is_in_use {
            if inode.head.i_mode.get() != 0 && inode.head.i_dtime.get() == 0 {
                self.note(
                    at_inode(number),
                    "it has a mode but no links, and does not say when it was deleted",
                );
            }
            return Ok(());
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
                is_value: inode.has_flag(flags::EA_INODE),
                hidden: is_reserved || self.hidden.contains(&number),
                ..Node::default()
            },
        );
        for problem in fields::problems(self.fs, number, &inode) {
            self.note(at_inode(number), problem);
        }
        if fields::is_frozen(&inode) {
            self.warn(
                at_inode(number),
                "it is neither a file nor a directory, but immutable or append-only",
            );
        }
        self.content(number, &inode)
    }

    /// Whether no directory may name an inode because of its number.
    fn is_reserved(&self, number: InodeNumber) -> bool {
        number != InodeNumber::ROOT && number.0 < self.fs.geometry.first_inode
    }

    /// Looks at what an inode holds.
    fn content(&mut self, number: InodeNumber, inode: &Inode) -> Result<()> {
        let file_type = self.nodes.get(number).and_then(|node| node.file_type);
        let xattr_blocks = self.attributes(number, inode)?;
        self.encryption(number, inode)?;
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
        let clusters = self.claim_mapping(number, &mapping) + xattr_blocks;
        self.size(number, inode, &mapping, file_type)?;

        let geometry = &self.fs.geometry;
        let block_size = geometry.block_size;
        let (stated, counted) = (
            inode.sectors(block_size),
            clusters * u64::from(geometry.cluster_blocks) * block_size.sectors(),
        );
        if stated != counted && !geometry.is_hurd {
            self.note(
                at_inode(number),
                format!("i_blocks says {stated} sectors, its blocks have {counted}"),
            );
        }
        Ok(())
    }

    /// Takes the blocks of a file; gives the number of clusters that they lie in, as `i_blocks`
    /// counts them: neighbours in one cluster count once.
    fn claim_mapping(&mut self, number: InodeNumber, mapping: &Mapping) -> u64 {
        let geometry = &self.fs.geometry;
        let cluster = u64::from(geometry.cluster_blocks);
        let nodes = mapping.nodes.iter().map(|node| (None, node.0, 1));
        let data = mapping
            .extents
            .iter()
            .map(|extent| (Some(extent.first), extent.start.0, u64::from(extent.len)));
        if number == InodeNumber::RESIZE {
            // All but the first block are the descriptor table's, too, and each counts for itself.
            if let Some(first) = mapping.nodes.first().map(|node| node.0)
                && !self.fs.zone.overlaps(BlockNumber(first), 1)
            {
                self.claim(number, first, first + 1);
            }
            return mapping.blocks();
        }
        let mut clusters = 0;
        let mut last_cluster = None;
        for (first, start, len) in nodes.chain(data) {
            if let Some(first) = first
                && u64::from(first.0) % cluster != start % cluster
            {
                self.note(
                    at_inode(number),
                    format!("{first} lies on {start}, at another place of its cluster"),
                );
            }
            let (from, to) = (start / cluster, (start + len - 1) / cluster + 1);
            let from = from + u64::from(last_cluster == Some(from));
            last_cluster = Some(to - 1);
            clusters += to - from;
            if from < to {
                self.claim(number, (from * cluster).max(start), start + len);
            }
        }
        clusters
    }

    /// Takes a run of blocks for a file.
    pub(super) fn claim(&mut self, number: InodeNumber, start: u64, end: u64) {
        let may_share = self.fs.has_ro(RoCompat::SHARED_BLOCKS);
        if let Some(block) = self.usage.claim(start..end)
            && !may_share
        {
            self.note(
                at_inode(number),
                format!("it claims {block}, which something else has, too"),
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
                let kept = u64::from(self.fs.superblock.s_prealloc_dir_blocks);
                let is_full = (blocks..=blocks + kept).contains(&mapping.end())
                    && mapping.data_blocks() == mapping.end()
                    && !mapping.extents.iter().any(|extent| extent.unwritten);
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
                // One block behind the end is accepted.
                if last.saturating_sub(1) * block_size > size {
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
        let size = inode.size();
        let is_inline = inode.has_flag(flags::INLINE_DATA);
        let stored = match mapping.extents.first() {
            _ if is_inline => match inline::content(number, inode) {
                Err(Error::Corrupt { problem, .. }) => return Ok(Some(problem)),
                content => content?,
            },
            Some(extent) if extent.first.0 == 0 && mapping.data_blocks() == 1 => {
                self.fs.stage.peek(extent.start)?.to_vec()
            }
            Some(_) => return Ok(Some("the link has more than its first block".to_owned())),
            None => inode.head.i_block.to_vec(),
        };
        let is_encrypted = inode.has_flag(flags::ENCRYPT);
        let len = if is_encrypted && !is_inline {
            // The length of what is encrypted comes before it.
            usize::from(read_u16(&stored, 0)) + 2
        } else {
            let end = stored.iter().position(|&byte| byte == 0);
            end.unwrap_or(stored.len())
        };
        let problem = if size == 0 || inode.head.i_size_high.get() != 0 {
            format!(
                "the link's target has {size} bytes, with {} in i_size_high",
                inode.head.i_size_high.get()
            )
        } else if inode.has_flag(flags::INDEX) {
            "the link has the flag of an indexed directory".to_owned()
        } else if to_u64(len) != size {
            format!("the link's target has {len} bytes, its size is {size}")
        } else if len >= stored.len() && !is_inline {
            "the link's target has no end".to_owned()
        } else {
            return Ok(None);
        };
        Ok(Some(problem))
    }

    /// A place in a group's bitmap.
    pub(super) fn at_group(group: GroupNumber) -> Location {
        Location::Group(group.0)
    }
}
