//! Orphans: inodes that lost their last name while they were open, and files that were being
//! truncated. The kernel finishes what it had begun with them at the next mount; so do we.
//!
//! Kernel documentation, ext4, "Orphan file"; without that feature they form a list through
//! `s_last_orphan` and `i_dtime`.

use zerocopy::little_endian::U32;

use super::bitmap;
use super::format::checksum::InodeSeed;
use super::format::features::RoCompat;
use super::format::inode::{Inode, TimeField, flags};
use super::format::numbers::{BlockNumber, InodeNumber, to_u64};
use super::format::{put_u32, read_u32};
use super::stage::Kind;
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Location, Result};

/// `ob_magic` at the end of each block of the orphan file.
const BLOCK_MAGIC: u32 = 0x0b10_ca04;
/// Bytes of magic number and checksum at the end of each block of the orphan file.
const TAIL_LEN: usize = 8;

impl Ext4 {
    /// Finishes all of them.
    pub(super) fn finish_orphans(&mut self) -> Result<()> {
        if self.superblock.s_last_orphan.get() != 0 {
            self.change(Self::finish_list)?;
        }
        if self.superblock.has_orphans() {
            self.change(Self::finish_file)?;
        }
        Ok(())
    }

    /// Finishes those in the list.
    fn finish_list(&mut self) -> Result<()> {
        let mut next = self.superblock.s_last_orphan.get();
        // A circular list comes back to an inode that is finished, and so no longer in use.
        while next != 0 {
            let number = InodeNumber(next);
            let inode = self.orphan(number)?;
            next = inode.head.i_dtime.get();
            self.finish(number, inode)?;
        }
        self.superblock.s_last_orphan = U32::ZERO;
        Ok(())
    }

    /// Looks at the orphan file; gives the number of inodes in it.
    pub(super) fn orphans_in_file(&self) -> Result<u64> {
        let number = InodeNumber(self.superblock.s_orphan_file_inum.get());
        let file = self.read_inode_unchecked(number)?;
        let seed = self.inode_seed(number, &file);
        let mapping = self.mapping(number, &file)?;
        if mapping.data_blocks() != self.size_in_blocks(&file)
            || mapping.data_blocks() != mapping.end()
            || mapping.extents.iter().any(|extent| extent.unwritten)
        {
            return Err(corrupt(
                at_inode(number),
                "the orphan file has holes, or blocks behind its end",
            ));
        }
        let mut found = 0;
        for extent in mapping.extents {
            for n in 0..u64::from(extent.len) {
                let block = extent.start.plus(n);
                let bytes = self.stage.peek(block)?;
                let end = self.check_orphan_block(block, &bytes, seed)?;
                let entries = bytes[..end].chunks_exact(4);
                found += to_u64(entries.filter(|entry| read_u32(entry, 0) != 0).count());
            }
        }
        Ok(found)
    }

    /// Checks magic number and checksum of a block of the orphan file; gives where they begin.
    fn check_orphan_block(
        &self,
        block: BlockNumber,
        bytes: &[u8],
        seed: InodeSeed,
    ) -> Result<usize> {
        let end = bytes.len() - TAIL_LEN;
        let magic = read_u32(bytes, end);
        if magic != BLOCK_MAGIC {
            return Err(corrupt(
                Location::Block(block.0),
                format!("orphan block has magic {magic:#010x}, expected {BLOCK_MAGIC:#010x}"),
            ));
        }
        let (stored, expected) = (
            read_u32(bytes, end + 4),
            orphan_checksum(block, &bytes[..end], seed),
        );
        if self.geometry.features().metadata_csum() && stored != expected {
            return Err(corrupt(
                Location::Block(block.0),
                format!("orphan block checksum is {stored:#010x}, computed {expected:#010x}"),
            ));
        }
        Ok(end)
    }

    /// Finishes those in the orphan file, whose blocks are empty after that.
    fn finish_file(&mut self) -> Result<()> {
        let number = InodeNumber(self.superblock.s_orphan_file_inum.get());
        let file = self.read_inode(number)?;
        let seed = self.inode_seed(number, &file);
        let mapping = self.mapping(number, &file)?;
        for extent in mapping.extents {
            for n in 0..u64::from(extent.len) {
                self.finish_block(extent.start.plus(n), seed)?;
            }
        }
        let bits = self.superblock.s_feature_ro_compat.get() & !RoCompat::ORPHAN_PRESENT.bits();
        self.superblock.s_feature_ro_compat = U32::new(bits);
        Ok(())
    }

    fn finish_block(&mut self, block: BlockNumber, seed: InodeSeed) -> Result<()> {
        let bytes = self.stage.get(block, Kind::Plain)?;
        let end = self.check_orphan_block(block, &bytes, seed)?;
        for entry in bytes[..end].chunks_exact(4) {
            let number = InodeNumber(read_u32(entry, 0));
            if number.0 != 0 {
                let inode = self.orphan(number)?;
                self.finish(number, inode)?;
            }
        }
        let empty = vec![0; end];
        let has_checksums = self.geometry.features().metadata_csum();
        let bytes = self.stage.change(block, Kind::Plain)?;
        bytes[..end].copy_from_slice(&empty);
        if has_checksums {
            put_u32(bytes, end + 4, orphan_checksum(block, &empty, seed));
        }
        Ok(())
    }

    /// Reads an inode that is said to be an orphan.
    fn orphan(&self, number: InodeNumber) -> Result<Inode> {
        let in_use = match self.geometry.locate_inode(number) {
            Some((group, index)) if self.is_file_inode(number) => {
                bitmap::is_set(&self.inode_bitmap(group)?, index)
            }
            _ => false,
        };
        if !in_use {
            return Err(corrupt(
                at_inode(number),
                "it is said to be an orphan, but is not in use",
            ));
        }
        self.read_inode_unchecked(number)
    }

    /// Frees an inode without names; truncates one with names to its size.
    fn finish(&mut self, number: InodeNumber, mut inode: Inode) -> Result<()> {
        inode.head.i_dtime = U32::ZERO;
        if inode.head.i_links_count.get() == 0 {
            return self.release_inode(number, &mut inode);
        }
        if inode.has_flag(flags::INLINE_DATA) {
            return self.write_inode(number, &mut inode);
        }
        let before = self.mapping(number, &inode)?;
        let mut after = before.clone();
        let cut = after.cut(self.size_in_blocks(&inode)..1 << 32);
        self.free_extents(&cut)?;
        self.store_mapping(number, &mut inode, &before, &mut after)?;
        self.touch(&mut inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, &mut inode)?;
        self.zero_to_block_end(&after, inode.size(), None)
    }
}

/// The checksum of a block of the orphan file.
fn orphan_checksum(block: BlockNumber, entries: &[u8], seed: InodeSeed) -> u32 {
    seed.over(&[&block.0.to_le_bytes(), entries])
}
