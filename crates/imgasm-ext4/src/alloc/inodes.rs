//! Inodes, taken in the group of their directory or in the next one that has any.

use crate::bitmap;
use crate::format::group::GroupDescriptor;
use crate::format::numbers::{GroupNumber, InodeNumber};
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};

impl Ext4 {
    /// Takes an inode near its directory's.
    pub(crate) fn allocate_inode(
        &mut self,
        directory: InodeNumber,
        is_directory: bool,
    ) -> Result<InodeNumber> {
        let home = self.geometry.locate_inode(directory);
        let home = home.map_or(0, |(group, _)| u64::from(group.0));
        let count = u64::from(self.geometry.group_count);
        for step in 0..count {
            let number = u32::try_from((home + step) % count).expect("below the number of groups");
            let group = GroupNumber(number);
            if self.groups.get(group).free_inodes_count() == 0 {
                continue;
            }
            let first_inode = self.geometry.first_inode;
            let from = if number == 0 { first_inode - 1 } else { 0 };
            let per_group = self.geometry.inodes_per_group;
            let bits = self.inode_bitmap(group)?;
            if let Some(index) = bitmap::first_clear(&bits, from, per_group) {
                self.take_inode(group, index, is_directory)?;
                return Ok(self.geometry.inode_at(group, index));
            }
        }
        Err(Error::NoSpace {
            unit: "inodes",
            needed: 1,
            free: self.free_inode_count(),
        })
    }

    /// All free inodes.
    pub(crate) fn free_inode_count(&self) -> u64 {
        self.groups
            .iter()
            .map(GroupDescriptor::free_inodes_count)
            .map(u64::from)
            .sum()
    }

    fn take_inode(&mut self, group: GroupNumber, index: u32, is_directory: bool) -> Result<()> {
        let bits = self.change_inode_bitmap(group)?;
        bitmap::set(bits, index);
        let counts_unused = self.geometry.features().group_checksums();
        let unused = self.geometry.inodes_per_group - (index + 1);
        let descriptor = self.groups.change_descriptor(group);
        descriptor.set_free_inodes_count(descriptor.free_inodes_count().saturating_sub(1));
        if is_directory {
            descriptor.set_used_dirs_count(descriptor.used_dirs_count() + 1);
        }
        if counts_unused && descriptor.itable_unused() > unused {
            descriptor.set_itable_unused(unused);
        }
        Ok(())
    }

    /// Frees an inode.
    pub(crate) fn free_inode(&mut self, number: InodeNumber, is_directory: bool) -> Result<()> {
        let Some((group, index)) = self.geometry.locate_inode(number) else {
            return Err(corrupt(
                at_inode(number),
                "there is no such inode to be freed",
            ));
        };
        let bits = self.change_inode_bitmap(group)?;
        if !bitmap::is_set(bits, index) {
            return Err(corrupt(
                at_inode(number),
                "a file uses this inode, which is marked as free",
            ));
        }
        bitmap::clear(bits, index);
        let descriptor = self.groups.change_descriptor(group);
        descriptor.set_free_inodes_count(descriptor.free_inodes_count() + 1);
        if is_directory {
            descriptor.set_used_dirs_count(descriptor.used_dirs_count().saturating_sub(1));
        }
        Ok(())
    }
}
