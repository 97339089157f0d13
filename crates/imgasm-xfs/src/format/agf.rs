//! The head of a group's free space. (Kernel documentation of XFS, "AG Free Space Block";
//! `xfs_agf`.)

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::checksum::{seal_checksum, verify_checksum};
use crate::format::geometry::Geometry;
use crate::format::numbers::GroupNumber;

/// `XAGF`.
const MAGIC: u32 = 0x5841_4746;
const CRC_OFFSET: usize = 216;

/// The structure as it lies on the disk.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "they are the kernel's")]
pub(crate) struct Agf {
    pub(crate) agf_magicnum: U32,
    pub(crate) agf_versionnum: U32,
    pub(crate) agf_seqno: U32,
    pub(crate) agf_length: U32,
    pub(crate) agf_bno_root: U32,
    pub(crate) agf_cnt_root: U32,
    pub(crate) agf_rmap_root: U32,
    pub(crate) agf_bno_level: U32,
    pub(crate) agf_cnt_level: U32,
    pub(crate) agf_rmap_level: U32,
    pub(crate) agf_flfirst: U32,
    pub(crate) agf_fllast: U32,
    pub(crate) agf_flcount: U32,
    /// Free blocks in the trees; those of the list do not count.
    pub(crate) agf_freeblks: U32,
    /// Blocks of the longest free run.
    pub(crate) agf_longest: U32,
    /// Blocks of the trees of free space and owners, without the roots.
    pub(crate) agf_btreeblks: U32,
    pub(crate) agf_uuid: [u8; 16],
    /// Blocks of the tree of owners with its root.
    pub(crate) agf_rmap_blocks: U32,
    pub(crate) agf_refcount_blocks: U32,
    pub(crate) agf_refcount_root: U32,
    pub(crate) agf_refcount_level: U32,
    agf_spare64: [U64; 14],
    pub(crate) agf_lsn: U64,
    /// Little-endian.
    agf_crc: [u8; 4],
    agf_spare2: U32,
}

impl Agf {
    /// The head of a new group, without its trees.
    pub(crate) fn new(geometry: &Geometry, group: GroupNumber) -> Self {
        let mut agf: Self = <Self as zerocopy::FromZeros>::new_zeroed();
        agf.agf_magicnum = MAGIC.into();
        agf.agf_versionnum = 1.into();
        agf.agf_seqno = group.0.into();
        agf.agf_length = geometry.group_len(group).into();
        agf.agf_uuid = geometry.metadata_uuid;
        agf
    }

    /// Decodes and checks the sector of a group.
    pub(crate) fn decode(
        bytes: &[u8],
        geometry: &Geometry,
        group: GroupNumber,
    ) -> Result<Self, String> {
        let (agf, _) = Self::read_from_prefix(bytes).expect("a sector is larger");
        if agf.agf_magicnum.get() != MAGIC || agf.agf_versionnum.get() != 1 {
            return Err(format!(
                "magic number {:#010x} version {}",
                agf.agf_magicnum, agf.agf_versionnum
            ));
        }
        if geometry.features.crc {
            verify_checksum(bytes, CRC_OFFSET)?;
            if agf.agf_uuid != geometry.metadata_uuid {
                return Err("UUID of another filesystem".to_owned());
            }
        }
        let length = geometry.group_len(group);
        if agf.agf_seqno.get() != group.0 || agf.agf_length.get() != length {
            return Err(format!(
                "group {} of {} blocks, expected {length}",
                agf.agf_seqno, agf.agf_length
            ));
        }
        if agf.agf_freeblks.get() > length || agf.agf_longest.get() > agf.agf_freeblks.get() {
            return Err(format!(
                "{} free blocks, the longest run {}",
                agf.agf_freeblks, agf.agf_longest
            ));
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
