//! Making a filesystem larger, as resize2fs and the kernel do it.
//!
//! - [`target`]: how large it becomes, and its new superblock.
//! - [`tables`]: where the bitmaps and inode tables of the new groups lie.
//! - [`resize_inode`]: the file that reserves the room behind the descriptor tables.
//! - [`backups`]: the copies of the superblock and of the descriptors.
//!
//! Nothing that is in use moves. Descriptors for which there is no room behind the table lie in their
//! own groups (`meta_bg`), as the kernel puts them; resize2fs would move inode tables instead.

mod backups;
mod resize_inode;
mod tables;
mod target;

use crate::bitmap;
use crate::format::features::{Compat, Incompat};
use crate::format::group::{BLOCK_UNINIT, INODE_UNINIT};
use crate::format::numbers::{BlockNumber, GroupNumber};
use crate::problem::incompatible;
use crate::stage::Kind;
use crate::volume::Ext4;
use crate::zone::SystemZone;
use imgasm_fs::Result;
use imgasm_fs::error::Error;
use tables::NewGroups;
use target::Target;

impl Ext4 {
    /// Makes the filesystem as large as fits into `bytes` of its device, and flushes it: backups of
    /// the superblock and of the descriptors are written, too. A rest that is too small for a block
    /// group stays unused.
    pub(super) fn grow_within(&mut self, bytes: u64) -> Result<u64> {
        if bytes > self.device.len() {
            return Err(Error::Unstorable {
                what: format!("a filesystem of {bytes} bytes"),
                problem: format!("its device has {}", self.device.len()),
            });
        }
        let features = self.geometry.features();
        if features.compat.contains(Compat::RESIZE_INODE)
            && features.incompat.contains(Incompat::META_BG)
        {
            return Err(incompatible(
                "growing with both resize_inode and meta_bg, which exclude one another,",
            ));
        }
        let blocks = bytes / self.geometry.block_size.bytes64();
        if let Some(target) = Target::new(&self.superblock, &self.geometry, blocks)? {
            self.change(|fs| fs.grow_to(target))?;
        }
        Ok(self.geometry.blocks_count * self.geometry.block_size.bytes64())
    }

    fn grow_to(&mut self, target: Target) -> Result<()> {
        let old = self.geometry.clone();
        let had_resize_inode = old.features().compat.contains(Compat::RESIZE_INODE);
        let keeps_resize_inode = target
            .geometry
            .features()
            .compat
            .contains(Compat::RESIZE_INODE);
        if had_resize_inode && !keeps_resize_inode {
            self.drop_resize_inode()?;
        }
        self.extend_last_group(&target)?;

        self.geometry = target.geometry;
        self.superblock = target.superblock;
        self.add_groups(old.group_count)?;
        for index in old.descriptor_blocks()..self.geometry.descriptor_blocks() {
            let place = self.geometry.descriptor_block(index);
            self.stage.forget(place);
            self.make_zeros(place, 1)?;
        }
        if keeps_resize_inode {
            self.fill_resize_inode()?;
        }
        self.changed = true;
        self.write_all()?;
        self.write_backups()
    }

    /// Marks the blocks that the last group gains as free.
    fn extend_last_group(&mut self, target: &Target) -> Result<()> {
        let last = GroupNumber(self.geometry.group_count - 1);
        let before = self.geometry.clusters_in_group(last);
        let after = target.geometry.clusters_in_group(last);
        if before == after {
            return Ok(());
        }
        let bits = self.change_block_bitmap(last)?;
        for index in before..after {
            bitmap::clear(bits, index);
        }
        let descriptor = self.groups.change_descriptor(last);
        let free = descriptor.free_blocks_count();
        descriptor.set_free_blocks_count(free + (after - before));
        Ok(())
    }

    /// Lays out the groups from `first` on, and stages their bitmaps.
    fn add_groups(&mut self, first: u32) -> Result<()> {
        let flex = self.superblock.s_log_groups_per_flex;
        let new = NewGroups::lay_out(&self.geometry, first, flex)?;
        for (number, descriptor) in (first..).zip(&new.descriptors) {
            self.groups.push(*descriptor);
            let group = GroupNumber(number);
            if !descriptor.has_flag(BLOCK_UNINIT) {
                let bits = new.block_bitmap(&self.geometry, group);
                *self.stage.create(descriptor.block_bitmap(), Kind::Plain) = bits;
                self.groups.change(group).blocks_changed = true;
            }
            if !descriptor.has_flag(INODE_UNINIT) {
                let bits = self.fresh_inode_bitmap();
                *self.stage.create(descriptor.inode_bitmap(), Kind::Plain) = bits;
                self.groups.change(group).inodes_changed = true;
            }
            let table_len = u64::from(self.geometry.inode_table_blocks);
            self.make_zeros(descriptor.inode_table(), table_len)?;
        }
        self.zone = SystemZone::new(&self.geometry, self.groups.iter());
        Ok(())
    }

    /// Makes blocks that nobody uses yet read as zeros; holes stay holes.
    fn make_zeros(&self, start: BlockNumber, len: u64) -> Result<()> {
        let block_size = self.geometry.block_size;
        let end = block_size.offset_of(start.plus(len));
        let mut from = block_size.offset_of(start);
        while let Some(data) = self.device.next_data(from)?
            && data.start < end
        {
            let until = data.end.min(end);
            self.device.write_zeros(data.start, until - data.start)?;
            from = until;
        }
        Ok(())
    }
}
