//! The device, and the geometry that says where its structures are.

use std::sync::Arc;

use imgasm_block::BlockDevice;
use imgasm_fs::{Location, Result};

use crate::format::bytes::as_usize;
use crate::format::geometry::Geometry;
use crate::format::numbers::{DiskAddress, FsBlock, GroupBlock, GroupNumber};
use crate::format::superblock::{MAX_SECTOR, Superblock};
use crate::problem::corrupt;

/// A device that holds a filesystem of known geometry. Reading is by whole blocks, each checked to
/// exist.
pub(crate) struct Volume {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) geometry: Geometry,
}

impl Volume {
    pub(crate) fn new(device: Arc<dyn BlockDevice>, geometry: Geometry) -> Result<Self> {
        let needed = geometry.total_blocks * u64::from(geometry.block_size);
        if device.len() < needed {
            return Err(corrupt(
                Location::Superblock,
                format!("the device has {} bytes of {needed}", device.len()),
            ));
        }
        Ok(Self { device, geometry })
    }

    /// The first byte of a block, if there is such a block.
    pub(crate) fn byte_offset(&self, block: FsBlock) -> Result<u64> {
        let (group, in_group) = self
            .geometry
            .split(block)
            .ok_or_else(|| corrupt(Location::Block(block.0), "there is no such block"))?;
        Ok(self.geometry.byte_offset(group, in_group))
    }

    /// Where a block lies, as metadata blocks store it.
    pub(crate) fn daddr(&self, block: FsBlock) -> Result<DiskAddress> {
        self.byte_offset(block).map(DiskAddress::of_byte)
    }

    /// Reads one block.
    pub(crate) fn read_block(&self, block: FsBlock) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.geometry.block_len()];
        self.device.read_at(self.byte_offset(block)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a sector of a group's head.
    pub(crate) fn read_sector(&self, group: GroupNumber, sector: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.geometry.sector_size as usize];
        self.device
            .read_at(self.sector_offset(group, sector), &mut bytes)?;
        Ok(bytes)
    }

    /// The first byte of a sector of a group's head.
    pub(crate) fn sector_offset(&self, group: GroupNumber, sector: u32) -> u64 {
        self.geometry.byte_offset(group, GroupBlock::FIRST)
            + u64::from(sector) * u64::from(self.geometry.sector_size)
    }
}

/// Reads the superblock of a device.
pub(crate) fn read_superblock(device: &dyn BlockDevice) -> Result<Superblock> {
    let mut sector = vec![0; as_usize(device.len().min(MAX_SECTOR))];
    device.read_at(0, &mut sector)?;
    Superblock::decode(&sector)
}
