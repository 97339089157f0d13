//! The superblock: the first sector of every allocation group; the first group's is the one that
//! counts. (Kernel documentation of XFS, "Superblocks"; `xfs_dsb`.)

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use imgasm_fs::{Location, Result};

use crate::format::checksum::{seal_checksum, verify_checksum};
use crate::format::features::{FeatureWords, Features, decode_features, ro_compat};
use crate::problem::{corrupt, incompatible};

/// `XFSB`.
pub(crate) const MAGIC: u32 = 0x5846_5342;
/// The largest sector that the format knows, in bytes.
pub(crate) const MAX_SECTOR: u64 = 32768;
/// Where the checksum stands.
const CRC_OFFSET: usize = 224;
/// The smallest group, in blocks (`XFS_MIN_AG_BLOCKS`).
pub(crate) const MIN_GROUP_BLOCKS: u64 = 64;

/// The bit of `sb_features_log_incompat` that says that the log may hold intents of attributes.
const LOGGED_ATTRIBUTES: u32 = 0x1;

/// Bits of `sb_qflags`.
pub(crate) mod quota {
    /// The usage of users, groups and projects has been counted (`XFS_UQUOTA_CHKD`,
    /// `XFS_OQUOTA_CHKD`, `XFS_GQUOTA_CHKD`, `XFS_PQUOTA_CHKD`).
    pub(crate) const CHECKED: u16 = 0x0004 | 0x0020 | 0x0100 | 0x0400;
}

/// The superblock as it lies on the disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "they are the kernel's")]
pub(crate) struct RawSuperblock {
    pub(crate) sb_magicnum: U32,
    pub(crate) sb_blocksize: U32,
    pub(crate) sb_dblocks: U64,
    pub(crate) sb_rblocks: U64,
    pub(crate) sb_rextents: U64,
    pub(crate) sb_uuid: [u8; 16],
    pub(crate) sb_logstart: U64,
    pub(crate) sb_rootino: U64,
    pub(crate) sb_rbmino: U64,
    pub(crate) sb_rsumino: U64,
    pub(crate) sb_rextsize: U32,
    pub(crate) sb_agblocks: U32,
    pub(crate) sb_agcount: U32,
    pub(crate) sb_rbmblocks: U32,
    pub(crate) sb_logblocks: U32,
    pub(crate) sb_versionnum: U16,
    pub(crate) sb_sectsize: U16,
    pub(crate) sb_inodesize: U16,
    pub(crate) sb_inopblock: U16,
    pub(crate) sb_fname: [u8; 12],
    pub(crate) sb_blocklog: u8,
    pub(crate) sb_sectlog: u8,
    pub(crate) sb_inodelog: u8,
    pub(crate) sb_inopblog: u8,
    pub(crate) sb_agblklog: u8,
    pub(crate) sb_rextslog: u8,
    pub(crate) sb_inprogress: u8,
    pub(crate) sb_imax_pct: u8,
    pub(crate) sb_icount: U64,
    pub(crate) sb_ifree: U64,
    pub(crate) sb_fdblocks: U64,
    pub(crate) sb_frextents: U64,
    pub(crate) sb_uquotino: U64,
    pub(crate) sb_gquotino: U64,
    pub(crate) sb_qflags: U16,
    pub(crate) sb_flags: u8,
    pub(crate) sb_shared_vn: u8,
    pub(crate) sb_inoalignmt: U32,
    pub(crate) sb_unit: U32,
    pub(crate) sb_width: U32,
    pub(crate) sb_dirblklog: u8,
    pub(crate) sb_logsectlog: u8,
    pub(crate) sb_logsectsize: U16,
    pub(crate) sb_logsunit: U32,
    pub(crate) sb_features2: U32,
    pub(crate) sb_bad_features2: U32,
    pub(crate) sb_features_compat: U32,
    pub(crate) sb_features_ro_compat: U32,
    pub(crate) sb_features_incompat: U32,
    pub(crate) sb_features_log_incompat: U32,
    /// Little-endian.
    pub(crate) sb_crc: [u8; 4],
    pub(crate) sb_spino_align: U32,
    pub(crate) sb_pquotino: U64,
    pub(crate) sb_lsn: U64,
    pub(crate) sb_meta_uuid: [u8; 16],
}

/// A superblock whose numbers agree with each other.
#[derive(Debug, Clone)]
pub(crate) struct Superblock {
    pub(crate) raw: RawSuperblock,
    pub(crate) features: Features,
}

impl Superblock {
    /// Decodes the first sector of the device. `sector` holds at least 512 bytes and, if the device
    /// has them, enough for the largest sector.
    pub(crate) fn decode(sector: &[u8]) -> Result<Self> {
        let superblock = Self::decode_copy(sector)?;
        if superblock.raw.sb_inprogress != 0 {
            return Err(corrupt(Location::Superblock, "mkfs.xfs has not finished"));
        }
        Ok(superblock)
    }

    /// Decodes the first sector of any group: `mkfs.xfs` leaves all but the first one marked as
    /// unfinished.
    pub(crate) fn decode_copy(sector: &[u8]) -> Result<Self> {
        let bad = |problem: String| corrupt(Location::Superblock, problem);
        let (raw, _) = RawSuperblock::read_from_prefix(sector)
            .map_err(|_| bad("the device is smaller than a superblock".to_owned()))?;
        if raw.sb_magicnum.get() != MAGIC {
            return Err(bad(format!(
                "magic number {:#010x}, expected {MAGIC:#010x}",
                raw.sb_magicnum
            )));
        }
        let features = decode_features(&FeatureWords {
            versionnum: raw.sb_versionnum.get(),
            features2: raw.sb_features2.get(),
            features_ro_compat: raw.sb_features_ro_compat.get(),
            features_incompat: raw.sb_features_incompat.get(),
        })?;
        check_sizes(&raw).map_err(bad)?;
        if features.crc {
            let sector = sector
                .get(..usize::from(raw.sb_sectsize.get()))
                .ok_or_else(|| bad("the device is smaller than its sector".to_owned()))?;
            verify_checksum(sector, CRC_OFFSET).map_err(bad)?;
        }
        if raw.sb_rblocks.get() != 0 || raw.sb_rextents.get() != 0 {
            return Err(incompatible("a realtime section"));
        }
        Ok(Self { raw, features })
    }

    /// Refuses a log that may hold entries of unknown kinds.
    pub(crate) fn check_log_features(&self) -> Result<()> {
        let unknown = self.raw.sb_features_log_incompat.get() & !LOGGED_ATTRIBUTES;
        if self.features.crc && unknown != 0 {
            return Err(incompatible(format!(
                "replaying a log with feature {unknown:#x}"
            )));
        }
        Ok(())
    }

    /// The unknown features that allow reading only.
    pub(crate) fn unknown_ro_features(&self) -> u32 {
        if self.features.crc {
            self.raw.sb_features_ro_compat.get() & !ro_compat::KNOWN
        } else {
            0
        }
    }

    /// Puts the superblock into its sector and seals it; what follows it in the sector stays.
    pub(crate) fn encode_into(&self, sector: &mut [u8]) {
        let bytes = self.raw.as_bytes();
        sector[..bytes.len()].copy_from_slice(bytes);
        seal_checksum(sector, CRC_OFFSET);
    }
}

/// Checks that a size is the power of two that its logarithm says, within the format's limits.
fn check_power(
    what: &str,
    size: u32,
    log: u8,
    range: std::ops::RangeInclusive<u32>,
) -> Result<(), String> {
    if range.contains(&size) && 1u32.checked_shl(u32::from(log)) == Some(size) {
        Ok(())
    } else {
        Err(format!("{what} of {size} bytes with logarithm {log}"))
    }
}

fn check_sizes(raw: &RawSuperblock) -> Result<(), String> {
    let block_size = raw.sb_blocksize.get();
    let sector_size = u32::from(raw.sb_sectsize.get());
    let inode_size = u32::from(raw.sb_inodesize.get());
    check_power("blocks", block_size, raw.sb_blocklog, 512..=65536)?;
    check_power("sectors", sector_size, raw.sb_sectlog, 512..=32768)?;
    check_power("inodes", inode_size, raw.sb_inodelog, 256..=2048)?;
    if sector_size > block_size || inode_size > block_size {
        return Err(format!(
            "blocks of {block_size} bytes are smaller than a sector ({sector_size}) or inode ({inode_size})"
        ));
    }
    if u32::from(raw.sb_inopblock.get()) != block_size / inode_size
        || raw.sb_inopblog != raw.sb_blocklog - raw.sb_inodelog
    {
        return Err(format!("{} inodes per block", raw.sb_inopblock));
    }
    if u32::from(raw.sb_dirblklog) + u32::from(raw.sb_blocklog) > 16 {
        return Err(format!("directory blocks of 2^{} blocks", raw.sb_dirblklog));
    }
    let group = raw.sb_agblocks.get();
    let groups = u64::from(raw.sb_agcount.get());
    if u64::from(group) < MIN_GROUP_BLOCKS
        || groups == 0
        || group.checked_next_power_of_two().map(u32::trailing_zeros)
            != Some(u32::from(raw.sb_agblklog))
    {
        return Err(format!(
            "{groups} groups of {group} blocks with logarithm {}",
            raw.sb_agblklog
        ));
    }
    let blocks = raw.sb_dblocks.get();
    let most = groups * u64::from(group);
    let least = most - u64::from(group) + MIN_GROUP_BLOCKS;
    if !(least..=most).contains(&blocks) {
        return Err(format!("{blocks} blocks in {groups} groups of {group}"));
    }
    if u32::from(raw.sb_agblklog) + u32::from(raw.sb_inopblog) >= 32 {
        return Err(format!("groups of {group} blocks have too many inodes"));
    }
    if raw.sb_imax_pct > 100 {
        return Err(format!("{} percent of inodes", raw.sb_imax_pct));
    }
    Ok(())
}
