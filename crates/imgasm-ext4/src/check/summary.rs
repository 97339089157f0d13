//! Bitmaps and counts against what is in use.

use super::Check;
use crate::bitmap;
use crate::format::group::{BLOCK_UNINIT, INODE_UNINIT};
use crate::format::numbers::{GroupNumber, InodeNumber};
use imgasm_fs::error::{Location, Result};
use imgasm_fs::types::FileType;

impl Check<'_> {
    /// Compares the groups and the superblock with what was counted.
    pub(super) fn summary(&mut self) -> Result<()> {
        let (mut free_blocks, mut free_inodes) = (0_u64, 0_u64);
        for group in (0..self.fs.geometry.group_count).map(GroupNumber) {
            free_blocks += u64::from(self.group_blocks(group)?);
            free_inodes += u64::from(self.group_inode_counts(group)?);
        }
        let sb = &self.fs.superblock;
        let geometry = &self.fs.geometry;
        let totals = [
            (
                "free blocks",
                sb.free_blocks_count(),
                free_blocks * u64::from(geometry.cluster_blocks),
            ),
            (
                "free inodes",
                u64::from(sb.s_free_inodes_count.get()),
                free_inodes,
            ),
        ];
        for (what, stated, counted) in totals {
            if stated != counted {
                // Everybody who opens the filesystem adds up the groups' counts anew.
                self.warn(
                    Location::Superblock,
                    format!("it says {stated} {what}, {counted} are there"),
                );
            }
        }
        Ok(())
    }

    /// Compares the block bitmap of a group; gives the number of clusters that are free.
    fn group_blocks(&mut self, group: GroupNumber) -> Result<u32> {
        let clusters = self.fs.geometry.clusters_in_group(group);
        let expected = self.usage.bitmap(group);
        let free = bitmap::count_clear(&expected, clusters);
        let stored = self.fs.block_bitmap(group);
        if let Some(stored) = self.note_refused(stored)? {
            let all = self.fs.geometry.block_size.bytes() * 8;
            self.compare(group, "block", &stored, &expected, (clusters, all));
        }
        let stated = self.fs.groups.get(group).free_blocks_count();
        self.group_count(group, "free blocks", stated, free);
        Ok(free)
    }

    /// Compares the inode counts of a group; gives the number of inodes that are free.
    fn group_inode_counts(&mut self, group: GroupNumber) -> Result<u32> {
        let geometry = &self.fs.geometry;
        let per_group = geometry.inodes_per_group;
        let mut expected = vec![0; geometry.block_size.len()];
        let all = geometry.block_size.bytes() * 8;
        bitmap::set_range(&mut expected, per_group, all);
        let (mut used, mut directories, mut last_used) = (0, 0, 0);
        let first = geometry.inode_at(group, 0).0;
        let mut number = InodeNumber(first - 1);
        while let Some(next) = self.nodes.next(number) {
            let index = next.0 - first;
            if index >= per_group {
                break;
            }
            number = next;
            bitmap::set(&mut expected, index);
            used += 1;
            last_used = index + 1;
            let node = self.nodes.get(next);
            if node.is_some_and(|node| node.file_type == Some(FileType::Directory)) {
                directories += 1;
            }
        }
        let stored = self.fs.inode_bitmap(group);
        if let Some(stored) = self.note_refused(stored)? {
            self.compare(group, "inode", &stored, &expected, (per_group, all));
        }
        let descriptor = self.fs.groups.get(group);
        let (free, dirs, unused) = (
            descriptor.free_inodes_count(),
            descriptor.used_dirs_count(),
            descriptor.itable_unused(),
        );
        self.group_count(group, "free inodes", free, per_group - used);
        self.group_count(group, "directories", dirs, directories);
        let flags = descriptor.bg_flags.get();
        let has_uninitialised = self.fs.geometry.features().group_checksums();
        if !has_uninitialised && (unused != 0 || flags & (INODE_UNINIT | BLOCK_UNINIT) != 0) {
            self.warn(
                Self::at_group(group),
                format!(
                    "it says that {unused} inodes are not initialised, with flags {flags:#x}, but \
                     has no feature for that"
                ),
            );
        }
        // With the feature, the inodes of such a group were not looked at.
        let is_unused = !has_uninitialised && flags & INODE_UNINIT != 0 && used > 0;
        if is_unused || (!self.fs.is_uninit(group, INODE_UNINIT) && unused > per_group - last_used)
        {
            self.note(
                Self::at_group(group),
                format!(
                    "it says {unused} inodes at the end are unused, with flags {flags:#x}; inode \
                     {last_used} is used"
                ),
            );
        }
        Ok(per_group - used)
    }

    fn group_count(&mut self, group: GroupNumber, what: &str, stated: u32, counted: u32) {
        if stated != counted {
            self.note(
                Self::at_group(group),
                format!("it says {stated} {what}, {counted} are there"),
            );
        }
    }

    /// Compares a bitmap with what it ought to be: the bits in use, and the padding up to `all`.
    fn compare(
        &mut self,
        group: GroupNumber,
        what: &str,
        stored: &[u8],
        expected: &[u8],
        (in_use, all): (u32, u32),
    ) {
        let differs = |&bit: &u32| bitmap::is_set(stored, bit) != bitmap::is_set(expected, bit);
        let mut wrong = (0..in_use).filter(differs);
        if stored != expected
            && let Some(first) = wrong.next()
        {
            let count = 1 + wrong.count();
            let state = if bitmap::is_set(stored, first) {
                "in use"
            } else {
                "free"
            };
            self.note(
                Self::at_group(group),
                format!("its {what} bitmap is wrong in {count} bits: bit {first} says {state}"),
            );
        }
        if bitmap::first_clear(stored, in_use, all).is_some() {
            self.note(
                Self::at_group(group),
                format!("the padding of its {what} bitmap is not set"),
            );
        }
    }
}
