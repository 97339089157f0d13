//! The head of a group's inodes. (Kernel documentation of XFS, "AG Inode Management"; `xfs_agi`.)

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::sector;
use crate::corrupt;
use crate::stamp::{seal_checksum, verify_checksum};
use crate::volume::Volume;
use imgasm_fs::{Location, Result};

/// `XAGI`.
const MAGIC: u32 = 0x5841_4749;
const CRC_OFFSET: usize = 312;

/// The structure as it lies on the disk.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub(crate) struct Agi {
    pub(crate) magic: U32,
    pub(crate) version: U32,
    pub(crate) group: U32,
    pub(crate) length: U32,
    /// Inodes, free ones included.
    pub(crate) count: U32,
    pub(crate) root: U32,
    pub(crate) levels: U32,
    pub(crate) free_count: U32,
    /// The chunk allocated last.
    pub(crate) new_inode: U32,
    pub(crate) directory_inode: U32,
    /// Heads of the lists of inodes that are open and have no name.
    pub(crate) unlinked: [U32; 64],
    pub(crate) uuid: [u8; 16],
    /// Little-endian.
    crc: [u8; 4],
    pad: U32,
    pub(crate) lsn: U64,
    pub(crate) free_root: U32,
    pub(crate) free_levels: U32,
    /// Blocks of the tree of inodes, where the filesystem counts them.
    pub(crate) tree_blocks: U32,
    /// Blocks of the tree of free inodes, where the filesystem counts them.
    pub(crate) free_tree_blocks: U32,
}

impl Agi {
    /// Reads and checks the head of a group.
    pub(crate) fn read(volume: &Volume, group: u32) -> Result<Self> {
        let geometry = &volume.geometry;
        let bad = |problem: String| corrupt(Location::Group(group), format!("AGI: {problem}"));
        let bytes = volume.read_sector(group, sector::AGI)?;
        let (agi, _) = Self::read_from_prefix(&bytes).expect("a sector is larger");
        if agi.magic.get() != MAGIC || agi.version.get() != 1 {
            return Err(bad(format!(
                "magic number {:#010x} version {}",
                agi.magic, agi.version
            )));
        }
        if geometry.features.crc {
            verify_checksum(&bytes, CRC_OFFSET).map_err(bad)?;
            if agi.uuid != geometry.metadata_uuid {
                return Err(bad("UUID of another filesystem".to_owned()));
            }
        }
        let length = geometry.group_len(group);
        if agi.group.get() != group || agi.length.get() != length {
            return Err(bad(format!(
                "group {} of {} blocks, expected {length}",
                agi.group, agi.length
            )));
        }
        if agi.free_count.get() > agi.count.get() {
            return Err(bad(format!(
                "{} free inodes of {}",
                agi.free_count, agi.count
            )));
        }
        Ok(agi)
    }

    /// Puts the structure into its sector and seals it.
    pub(crate) fn encode_into(&self, sector: &mut [u8]) {
        let bytes = self.as_bytes();
        sector[..bytes.len()].copy_from_slice(bytes);
        seal_checksum(sector, CRC_OFFSET);
    }
}
