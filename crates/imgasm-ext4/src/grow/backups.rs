//! The copies of the superblock and of the descriptor table, which only growing changes.

use zerocopy::little_endian::{U16, U32};

use crate::format::features::Incompat;
use crate::format::numbers::{BlockNumber, GroupNumber};
use crate::format::superblock::STATE_VALID;
use crate::volume::Ext4;
use imgasm_fs::Result;

impl Ext4 {
    /// Writes them from what is on the device.
    pub(super) fn write_backups(&self) -> Result<()> {
        let geometry = &self.geometry;
        let block_size = geometry.block_size;
        for group in (1..geometry.group_count).map(GroupNumber) {
            if !geometry.has_superblock(group) {
                continue;
            }
            let first = geometry.group_first_block(group);
            let mut copy = self.superblock.clone();
            // A backup is not marked as clean; its group number is capped at what the field can
            // hold.
            copy.s_state = U16::new(copy.s_state.get() & !STATE_VALID);
            copy.s_block_group_nr = U16::new(u16::try_from(group.0).unwrap_or(u16::MAX));
            let recovery = Incompat::NEEDS_RECOVERY.bits();
            copy.s_feature_incompat = U32::new(copy.s_feature_incompat.get() & !recovery);
            self.device
                .write_at(block_size.offset_of(first), &copy.encode())?;
        }
        let mut table = vec![0; block_size.len()];
        for index in 0..geometry.descriptor_blocks() {
            let places = self.backup_places(index);
            if places.is_empty() {
                continue;
            }
            let primary = geometry.descriptor_block(index);
            self.device
                .read_at(block_size.offset_of(primary), &mut table)?;
            for place in places {
                self.device.write_at(block_size.offset_of(place), &table)?;
            }
        }
        Ok(())
    }

    /// Where the copies of a block of the descriptor table lie.
    fn backup_places(&self, index: u32) -> Vec<BlockNumber> {
        let geometry = &self.geometry;
        let after_superblock = |group: GroupNumber| {
            let superblock = u64::from(geometry.has_superblock(group));
            geometry.group_first_block(group).plus(superblock)
        };
        let width = geometry.descriptors_per_block();
        if geometry.is_in_table(index) {
            // A group whose own descriptor is not in the table has no copy of the table either.
            return (1..geometry.group_count)
                .map(GroupNumber)
                .filter(|&group| {
                    geometry.has_superblock(group) && geometry.is_in_table(group.0 / width)
                })
                .map(|group| after_superblock(group).plus(u64::from(index)))
                .collect();
        }
        let first = index * width;
        [first + 1, first + (width - 1)]
            .into_iter()
            .filter(|&group| group < geometry.group_count)
            .map(|group| after_superblock(GroupNumber(group)))
            .collect()
    }
}
