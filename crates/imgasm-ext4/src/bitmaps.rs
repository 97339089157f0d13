//! The two bitmaps of each block group, and writing the descriptors that hold their checksums.

use std::sync::Arc;

use super::bitmap;
use super::format::features::Features;
use super::format::group::{BLOCK_UNINIT, INODE_UNINIT};
use super::format::numbers::{BlockNumber, GroupNumber, to_usize};
use super::stage::Kind;
use crate::problem::corrupt;
use crate::volume::Ext4;
use imgasm_fs::error::{Location, Result};

impl Ext4 {
    fn features(&self) -> Features {
        self.geometry.features()
    }

    /// Whether a group's descriptor says that one of its bitmaps is not initialised.
    pub(super) fn is_uninit(&self, group: GroupNumber, flag: u16) -> bool {
        self.features().group_checksums() && self.groups.get(group).has_flag(flag)
    }

    /// The bitmap of a group's blocks, computed if it is not initialised.
    pub(super) fn block_bitmap(&self, group: GroupNumber) -> Result<Arc<Vec<u8>>> {
        if self.is_uninit(group, BLOCK_UNINIT) {
            return Ok(Arc::new(self.fresh_block_bitmap(group)));
        }
        let state = self.groups.state(group);
        let bytes = self
            .stage
            .get(state.descriptor.block_bitmap(), Kind::Plain)?;
        if !state.blocks_changed {
            let bits = self.geometry.clusters_per_group();
            let stored = state.descriptor.block_bitmap_csum();
            self.verify_bitmap(group, "block", &bytes, bits, stored)?;
        }
        Ok(bytes)
    }

    /// The bitmap of a group's inodes, computed if it is not initialised.
    pub(super) fn inode_bitmap(&self, group: GroupNumber) -> Result<Arc<Vec<u8>>> {
        if self.is_uninit(group, INODE_UNINIT) {
            return Ok(Arc::new(self.fresh_inode_bitmap()));
        }
        let state = self.groups.state(group);
        let bytes = self
            .stage
            .get(state.descriptor.inode_bitmap(), Kind::Plain)?;
        if !state.inodes_changed {
            let bits = self.geometry.inodes_per_group;
            let stored = state.descriptor.inode_bitmap_csum();
            self.verify_bitmap(group, "inode", &bytes, bits, stored)?;
        }
        Ok(bytes)
    }

    /// The bitmap of a group's blocks, to be changed.
    pub(super) fn change_block_bitmap(&mut self, group: GroupNumber) -> Result<&mut Vec<u8>> {
        let bytes = self.block_bitmap(group)?;
        let state = self.groups.state(group);
        let place = state.descriptor.block_bitmap();
        if !state.blocks_changed {
            let free = bitmap::count_clear(&bytes, self.geometry.clusters_in_group(group));
            check_free(group, "blocks", state.descriptor.free_blocks_count(), free)?;
            self.groups.change(group).blocks_changed = true;
        }
        if self.is_uninit(group, BLOCK_UNINIT) {
            self.groups
                .change_descriptor(group)
                .clear_flag(BLOCK_UNINIT);
            self.stage
                .create(place, Kind::Plain)
                .copy_from_slice(&bytes);
        }
        self.stage.change(place, Kind::Plain)
    }

    /// The bitmap of a group's inodes, to be changed. The block bitmap is initialised as well,
    /// because checkers expect a group to have both or neither.
    pub(super) fn change_inode_bitmap(&mut self, group: GroupNumber) -> Result<&mut Vec<u8>> {
        let bytes = self.inode_bitmap(group)?;
        let state = self.groups.state(group);
        let place = state.descriptor.inode_bitmap();
        if !state.inodes_changed {
            let free = bitmap::count_clear(&bytes, self.geometry.inodes_per_group);
            check_free(group, "inodes", state.descriptor.free_inodes_count(), free)?;
            self.groups.change(group).inodes_changed = true;
        }
        if self.is_uninit(group, INODE_UNINIT) {
            self.groups
                .change_descriptor(group)
                .clear_flag(INODE_UNINIT);
            self.stage
                .create(place, Kind::Plain)
                .copy_from_slice(&bytes);
            if self.is_uninit(group, BLOCK_UNINIT) {
                self.change_block_bitmap(group)?;
            }
        }
        self.stage.change(place, Kind::Plain)
    }

    fn verify_bitmap(
        &self,
        group: GroupNumber,
        what: &str,
        bytes: &[u8],
        bits: u32,
        stored: u32,
    ) -> Result<()> {
        let Some(expected) = self.bitmap_checksum(bytes, bits) else {
            return Ok(());
        };
        if stored == expected {
            return Ok(());
        }
        Err(corrupt(
            Location::Group(group.0),
            format!("{what} bitmap checksum is {stored:#010x}, computed {expected:#010x}"),
        ))
    }

    /// The checksum of a bitmap, cut to what the descriptor can hold, if there are checksums.
    fn bitmap_checksum(&self, bytes: &[u8], bits: u32) -> Option<u32> {
        if !self.features().metadata_csum() {
            return None;
        }
        let crc = self.seed.bitmap(&bytes[..to_usize(bits / 8)]);
        let halved = self.geometry.desc_size < super::format::group::LEN_64;
        Some(if halved { crc & 0xffff } else { crc })
    }

    /// The bitmap of a group in which only the filesystem's own structures are in use.
    fn fresh_block_bitmap(&self, group: GroupNumber) -> Vec<u8> {
        let geometry = &self.geometry;
        let cluster = u64::from(geometry.cluster_blocks);
        let mut bytes = vec![0; geometry.block_size.len()];
        let first = geometry.group_first_block(group).0;
        let end = first + u64::from(geometry.blocks_in_group(group));
        let descriptor = self.groups.get(group);
        let table = descriptor.inode_table();
        let ranges = [
            (BlockNumber(first), geometry.base_metadata_blocks(group)),
            (descriptor.block_bitmap(), 1),
            (descriptor.inode_bitmap(), 1),
            (table, geometry.inode_table_blocks),
        ];
        for (start, len) in ranges {
            let from = start.0.max(first);
            let to = (start.0 + u64::from(len)).min(end);
            for block in from..to {
                let index = u32::try_from((block - first) / cluster).expect("within the group");
                bitmap::set(&mut bytes, index);
            }
        }
        let bits = geometry.block_size.bytes() * 8;
        bitmap::set_range(&mut bytes, geometry.clusters_in_group(group), bits);
        bytes
    }

    /// The bitmap of a group in which no inode is in use.
    pub(super) fn fresh_inode_bitmap(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.geometry.block_size.len()];
        let bits = self.geometry.block_size.bytes() * 8;
        bitmap::set_range(&mut bytes, self.geometry.inodes_per_group, bits);
        bytes
    }

    /// Writes the changed descriptors, with the checksums of changed bitmaps.
    pub(super) fn flush_groups(&mut self) -> Result<()> {
        if !self.groups.is_changed() {
            return Ok(());
        }
        let features = self.features();
        for number in 0..self.geometry.group_count {
            let group = GroupNumber(number);
            let state = self.groups.state(group);
            if state.blocks_changed {
                let bytes = self.block_bitmap(group)?;
                if let Some(crc) = self.bitmap_checksum(&bytes, self.geometry.clusters_per_group())
                {
                    let descriptor = self.groups.change_descriptor(group);
                    descriptor.set_block_bitmap_csum(crc);
                }
            }
            if state.inodes_changed {
                let bytes = self.inode_bitmap(group)?;
                if let Some(crc) = self.bitmap_checksum(&bytes, self.geometry.inodes_per_group) {
                    let descriptor = self.groups.change_descriptor(group);
                    descriptor.set_inode_bitmap_csum(crc);
                }
            }
        }
        let per_block = self.geometry.descriptors_per_block();
        let mut table = vec![0; self.geometry.block_size.len()];
        for index in 0..self.geometry.descriptor_blocks() {
            let block = self.geometry.descriptor_block(index);
            let offset = self.geometry.block_size.offset_of(block);
            self.device.read_at(offset, &mut table)?;
            let before = table.clone();
            let places = table.chunks_exact_mut(usize::from(self.geometry.desc_size));
            let groups = (index * per_block..self.geometry.group_count).zip(places);
            for (number, place) in groups {
                let group = GroupNumber(number);
                self.groups.get(group).encode_into(
                    place,
                    group,
                    features,
                    self.seed,
                    &self.superblock.s_uuid,
                );
            }
            if table != before {
                self.device.write_at(offset, &table)?;
            }
        }
        self.groups.settle();
        Ok(())
    }
}

fn check_free(group: GroupNumber, what: &str, stated: u32, counted: u32) -> Result<()> {
    if stated == counted {
        return Ok(());
    }
    Err(corrupt(
        Location::Group(group.0),
        format!("it says {stated} free {what}, its bitmap {counted}"),
    ))
}
