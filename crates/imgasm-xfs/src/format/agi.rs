//! The head of a group's inodes. (Kernel documentation of XFS, "AG Inode Management"; `xfs_agi`.)

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::checksum::{seal_checksum, verify_checksum};
use crate::format::geometry::Geometry;
use crate::format::numbers::{GroupInode, GroupNumber};

/// `XAGI`.
const MAGIC: u32 = 0x5841_4749;
const CRC_OFFSET: usize = 312;

/// The structure as it lies on the disk.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "they are the kernel's")]
pub(crate) struct Agi {
    pub(crate) agi_magicnum: U32,
    pub(crate) agi_versionnum: U32,
    pub(crate) agi_seqno: U32,
    pub(crate) agi_length: U32,
    /// Inodes, free ones included.
    pub(crate) agi_count: U32,
    pub(crate) agi_root: U32,
    pub(crate) agi_level: U32,
    pub(crate) agi_freecount: U32,
    /// The chunk allocated last.
    pub(crate) agi_newino: U32,
    pub(crate) agi_dirino: U32,
    /// Heads of the lists of inodes that are open but have no name.
    pub(crate) agi_unlinked: [U32; 64],
    pub(crate) agi_uuid: [u8; 16],
    /// Little-endian.
    agi_crc: [u8; 4],
    agi_pad32: U32,
    pub(crate) agi_lsn: U64,
    pub(crate) agi_free_root: U32,
    pub(crate) agi_free_level: U32,
    /// Blocks of the tree of inodes, if the filesystem counts them.
    pub(crate) agi_iblocks: U32,
    /// Blocks of the tree of free inodes, if the filesystem counts them.
    pub(crate) agi_fblocks: U32,
}

impl Agi {
    /// The head of a new group, without its trees.
    pub(crate) fn new(geometry: &Geometry, group: GroupNumber) -> Self {
        let mut agi: Self = <Self as zerocopy::FromZeros>::new_zeroed();
        agi.agi_magicnum = MAGIC.into();
        agi.agi_versionnum = 1.into();
        agi.agi_seqno = group.0.into();
        agi.agi_length = geometry.group_len(group).into();
        agi.agi_newino = GroupInode::NONE.0.into();
        agi.agi_dirino = GroupInode::NONE.0.into();
        agi.agi_unlinked = [GroupInode::NONE.0.into(); 64];
        agi.agi_uuid = geometry.metadata_uuid;
        agi
    }

    /// Decodes and checks the sector of a group.
    pub(crate) fn decode(
        bytes: &[u8],
        geometry: &Geometry,
        group: GroupNumber,
    ) -> Result<Self, String> {
        let (agi, _) = Self::read_from_prefix(bytes).expect("a sector is larger");
        if agi.agi_magicnum.get() != MAGIC || agi.agi_versionnum.get() != 1 {
            return Err(format!(
                "magic number {:#010x} version {}",
                agi.agi_magicnum, agi.agi_versionnum
            ));
        }
        if geometry.features.crc {
            verify_checksum(bytes, CRC_OFFSET)?;
            if agi.agi_uuid != geometry.metadata_uuid {
                return Err("UUID of another filesystem".to_owned());
            }
        }
        let length = geometry.group_len(group);
        if agi.agi_seqno.get() != group.0 || agi.agi_length.get() != length {
            return Err(format!(
                "group {} of {} blocks, expected {length}",
                agi.agi_seqno, agi.agi_length
            ));
        }
        if agi.agi_freecount.get() > agi.agi_count.get() {
            return Err(format!(
                "{} free inodes of {}",
                agi.agi_freecount, agi.agi_count
            ));
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
