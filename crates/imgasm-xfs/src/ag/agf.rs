//! The head of a group's free space. (Kernel documentation of XFS, "AG Free Space Block";
//! `xfs_agf`.)

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::sector;
use crate::corrupt;
use crate::stamp::{seal_checksum, verify_checksum};
use crate::volume::Volume;
use imgasm_fs::{Location, Result};

/// `XAGF`.
const MAGIC: u32 = 0x5841_4746;
const CRC_OFFSET: usize = 216;

/// The structure as it lies on the disk.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub(crate) struct Agf {
    pub(crate) magic: U32,
    pub(crate) version: U32,
    pub(crate) group: U32,
    pub(crate) length: U32,
    pub(crate) by_block_root: U32,
    pub(crate) by_size_root: U32,
    pub(crate) owners_root: U32,
    pub(crate) by_block_levels: U32,
    pub(crate) by_size_levels: U32,
    pub(crate) owners_levels: U32,
    pub(crate) list_first: U32,
    pub(crate) list_last: U32,
    pub(crate) list_count: U32,
    /// Free blocks in the trees; those of the list do not count.
    pub(crate) free_blocks: U32,
    /// Blocks of the longest free run.
    pub(crate) longest: U32,
    /// Blocks of the trees of free space and owners, without the roots.
    pub(crate) tree_blocks: U32,
    pub(crate) uuid: [u8; 16],
    /// Blocks of the tree of owners with its root.
    pub(crate) owners_blocks: U32,
    pub(crate) refcount_blocks: U32,
    pub(crate) refcount_root: U32,
    pub(crate) refcount_levels: U32,
    spare: [U64; 14],
    pub(crate) lsn: U64,
    /// Little-endian.
    crc: [u8; 4],
    spare2: U32,
}

impl Agf {
    /// Reads and checks the head of a group.
    pub(crate) fn read(volume: &Volume, group: u32) -> Result<Self> {
        let geometry = &volume.geometry;
        let bad = |problem: String| corrupt(Location::Group(group), format!("AGF: {problem}"));
        let bytes = volume.read_sector(group, sector::AGF)?;
        let (agf, _) = Self::read_from_prefix(&bytes).expect("a sector is larger");
        if agf.magic.get() != MAGIC || agf.version.get() != 1 {
            return Err(bad(format!(
                "magic number {:#010x} version {}",
                agf.magic, agf.version
            )));
        }
        if geometry.features.crc {
            verify_checksum(&bytes, CRC_OFFSET).map_err(bad)?;
            if agf.uuid != geometry.metadata_uuid {
                return Err(bad("UUID of another filesystem".to_owned()));
            }
        }
        let length = geometry.group_len(group);
        if agf.group.get() != group || agf.length.get() != length {
            return Err(bad(format!(
                "group {} of {} blocks, expected {length}",
                agf.group, agf.length
            )));
        }
        if agf.free_blocks.get() > length || agf.longest.get() > agf.free_blocks.get() {
            return Err(bad(format!(
                "{} free blocks, the longest run {}",
                agf.free_blocks, agf.longest
            )));
        }
        Ok(agf)
    }

    /// Puts the structure into its sector and seals it.
    pub(crate) fn encode_into(&self, sector: &mut [u8]) {
        let bytes = self.as_bytes();
        sector[..bytes.len()].copy_from_slice(bytes);
        seal_checksum(sector, CRC_OFFSET);
    }
}
