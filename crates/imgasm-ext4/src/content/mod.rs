//! The content of regular files.
//!
//! - [`read`]: reading content, and where it lies.
//! - [`replace`]: new content in place of all that was there.
//! - [`mod@write`]: writing into a part of it.
//!
//! Data goes to the device at once, metadata to the stage.

mod read;
mod replace;
mod write;

use zerocopy::little_endian::U32;

use super::block_map::BLOCK_LIMIT;
use super::format::extent::Extent;
use super::format::features::RoCompat;
use super::format::inode::{Inode, TimeField, flags};
use super::format::numbers::InodeNumber;
use super::inode_table::refuse_to_change;
use super::mapping::Mapping;
use crate::problem::at_inode;
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};
use imgasm_fs::types::FileType;

/// The size in bytes up to which a file does not need the feature `large_file`.
const SMALL_FILE: u64 = 0x7fff_ffff;

impl Ext4 {
    /// A regular file that can be written.
    pub(super) fn regular_file(&self, number: InodeNumber) -> Result<Inode> {
        let inode = self.read_inode(number)?;
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        if file_type != FileType::Regular {
            return Err(Error::WrongType {
                node: super::namespace::node(number),
                expected: "a regular file",
            });
        }
        refuse_to_change(number, &inode)?;
        Ok(inode)
    }

    /// Cuts a file off, or grows it by a hole.
    pub(super) fn resize(&mut self, number: InodeNumber, size: u64) -> Result<()> {
        let mut inode = self.regular_file(number)?;
        let old_size = inode.size();
        self.check_size(number, &inode, size)?;
        self.move_out_of_inode(number, &mut inode)?;
        let before = self.mapping(number, &inode)?;
        let mut after = before.clone();
        if size < old_size {
            let from = self.geometry.block_size.blocks_for(size);
            let cut = after.cut(from..1 << 32);
            self.free_extents(&cut)?;
            self.store_mapping(number, &mut inode, &before, &mut after)?;
        }
        self.set_size_field(&mut inode, size);
        self.touch(&mut inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, &mut inode)?;
        // What lies behind the end must not show when the file grows, now or later.
        self.zero_to_block_end(&after, size.min(old_size), None)
    }

    /// Frees all blocks of an inode.
    pub(super) fn free_content(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        let before = self.mapping(number, inode)?;
        self.free_extents(&before.extents)?;
        self.store_mapping(number, inode, &before, &mut Mapping::default())
    }

    /// Frees runs of blocks.
    pub(super) fn free_extents(&mut self, extents: &[Extent]) -> Result<()> {
        for extent in extents {
            self.free_blocks(extent.start, u64::from(extent.len))?;
        }
        Ok(())
    }

    pub(super) fn check_size(&self, number: InodeNumber, inode: &Inode, size: u64) -> Result<()> {
        let limit = self.largest_size(inode);
        if size > limit {
            return Err(Error::Unstorable {
                what: number.to_string(),
                problem: format!("it cannot have {size} bytes, at most {limit} are possible"),
            });
        }
        Ok(())
    }

    pub(super) fn set_size_field(&mut self, inode: &mut Inode, size: u64) {
        inode.set_size(size);
        if size > SMALL_FILE
            && !self
                .superblock
                .features()
                .ro_compat
                .contains(RoCompat::LARGE_FILE)
        {
            let bits = self.superblock.s_feature_ro_compat.get();
            self.superblock.s_feature_ro_compat = U32::new(bits | RoCompat::LARGE_FILE.bits());
        }
    }
}

/// The first block number that an inode's form cannot hold.
pub fn block_limit(inode: &Inode) -> u64 {
    if inode.has_flag(flags::EXTENTS) {
        u64::MAX
    } else {
        BLOCK_LIMIT
    }
}
