//! The filesystem as a whole: identity, features, room, and which blocks are in use.

use std::ops::Range;

use super::format::features::{Compat, Incompat, RoCompat};
use super::format::numbers::{BlockNumber, GroupNumber};
use super::{bitmap, zone};
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::types::FileSystemInfo;

impl Ext4 {
    /// What the filesystem is.
    pub(super) fn describe(&self) -> FileSystemInfo {
        let features = self.superblock.features();
        let block_size = self.geometry.block_size;
        let cluster = block_size.bytes64() * u64::from(self.geometry.cluster_blocks);
        FileSystemInfo {
            kind: self.kind(),
            label: until_zero(&self.superblock.s_volume_name).to_vec(),
            uuid: uuid::Uuid::from_bytes(self.superblock.s_uuid).to_string(),
            features: features.names(),
            block_size: block_size.bytes(),
            total_bytes: self.geometry.blocks_count * block_size.bytes64(),
            free_bytes: self.free_block_count() * cluster,
            inodes: Some((
                u64::from(self.geometry.inodes_count),
                self.free_inode_count(),
            )),
            needs_recovery: self.recovered_in_memory,
            parameters: self.parameters(),
        }
    }

    /// Which of the three it is, by the rules of `blkid`.
    pub(super) fn kind(&self) -> &'static str {
        let features = self.superblock.features();
        let ext3_incompat = Incompat::FILETYPE | Incompat::NEEDS_RECOVERY | Incompat::META_BG;
        let ext3_ro_compat = RoCompat::SPARSE_SUPER | RoCompat::LARGE_FILE | RoCompat::BTREE_DIR;
        if !ext3_incompat.contains(features.incompat)
            || !ext3_ro_compat.contains(features.ro_compat)
        {
            "ext4"
        } else if features.compat.contains(Compat::HAS_JOURNAL) {
            "ext3"
        } else {
            "ext2"
        }
    }

    /// Parameters by the names that `dumpe2fs` gives them.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let superblock = &self.superblock;
        let mut parameters = vec![
            (
                "Reserved block count",
                superblock.reserved_blocks_count().to_string(),
            ),
            (
                "Blocks per group",
                self.geometry.blocks_per_group.to_string(),
            ),
            (
                "Inodes per group",
                self.geometry.inodes_per_group.to_string(),
            ),
            ("Inode size", self.geometry.inode_size.to_string()),
            (
                "Last mounted on",
                String::from_utf8_lossy(until_zero(&superblock.s_last_mounted)).into_owned(),
            ),
        ];
        let flex = superblock.s_log_groups_per_flex;
        if self
            .geometry
            .features()
            .incompat
            .contains(Incompat::FLEX_BG)
            && flex < 32
        {
            parameters.push(("Flex block group size", (1_u64 << flex).to_string()));
        }
        parameters
    }

    /// The byte ranges of the device that are in use.
    pub(super) fn used_ranges(&self) -> Result<Vec<Range<u64>>> {
        let geometry = &self.geometry;
        let block_size = geometry.block_size;
        let cluster = u64::from(geometry.cluster_blocks);
        // Whatever lies before the first group: the boot sector, if blocks have 1 KiB.
        let first = geometry.group_first_block(GroupNumber(0));
        let boot = 0..block_size.offset_of(first);
        let mut used = vec![boot];
        for number in 0..geometry.group_count {
            let group = GroupNumber(number);
            let bits = self.block_bitmap(group)?;
            let clusters = geometry.clusters_in_group(group);
            let first = geometry.group_first_block(group).0;
            let end = first + u64::from(geometry.blocks_in_group(group));
            let block = |index: u32| BlockNumber(end.min(first + u64::from(index) * cluster));
            let mut at = 0;
            while let Some(start) = bitmap::first_set(&bits, at, clusters) {
                let stop = bitmap::first_clear(&bits, start, clusters).unwrap_or(clusters);
                used.push(block_size.offset_of(block(start))..block_size.offset_of(block(stop)));
                at = stop;
            }
        }
        Ok(zone::merge(used))
    }
}

/// The bytes of a field before its first zero byte.
fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}
