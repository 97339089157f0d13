//! The superblock: 1024 bytes at byte 1024. Kernel documentation, ext4, "Super Block".

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, FsSeed};
use super::features::{Compat, Features, Incompat, RoCompat};
use super::numbers::halves;
use crate::problem::{Decoded, Problem};

/// Where the first superblock begins, in bytes.
pub const OFFSET_BYTES: u64 = 1024;
/// Its length in bytes.
pub const LEN: usize = 1024;
/// What `s_magic` holds.
pub const MAGIC: u16 = 0xef53;
/// Bit of `s_state`: unmounted cleanly.
pub const STATE_VALID: u16 = 1;
/// Bit of `s_state`: errors were found.
pub const STATE_ERROR: u16 = 2;
/// The first `s_rev_level` that stores inode size, first inode and features.
pub const DYNAMIC_REVISION: u32 = 1;
/// The only value of `s_checksum_type`.
const CHECKSUM_TYPE_CRC32C: u8 = 1;
/// Where `s_checksum` lies.
const CHECKSUM_AT: usize = 0x3fc;

/// The superblock as it lies on the disk.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "the format's own names")]
pub struct Superblock {
    pub s_inodes_count: U32,
    pub s_blocks_count_lo: U32,
    pub s_r_blocks_count_lo: U32,
    pub s_free_blocks_count_lo: U32,
    pub s_free_inodes_count: U32,
    pub s_first_data_block: U32,
    pub s_log_block_size: U32,
    pub s_log_cluster_size: U32,
    pub s_blocks_per_group: U32,
    pub s_clusters_per_group: U32,
    pub s_inodes_per_group: U32,
    pub s_mtime: U32,
    pub s_wtime: U32,
    pub s_mnt_count: U16,
    pub s_max_mnt_count: U16,
    pub s_magic: U16,
    pub s_state: U16,
    pub s_errors: U16,
    pub s_minor_rev_level: U16,
    pub s_lastcheck: U32,
    pub s_checkinterval: U32,
    pub s_creator_os: U32,
    pub s_rev_level: U32,
    pub s_def_resuid: U16,
    pub s_def_resgid: U16,
    pub s_first_ino: U32,
    pub s_inode_size: U16,
    pub s_block_group_nr: U16,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_volume_name: [u8; 16],
    pub s_last_mounted: [u8; 64],
    pub s_algorithm_usage_bitmap: U32,
    pub s_prealloc_blocks: u8,
    pub s_prealloc_dir_blocks: u8,
    pub s_reserved_gdt_blocks: U16,
    pub s_journal_uuid: [u8; 16],
    pub s_journal_inum: U32,
    pub s_journal_dev: U32,
    pub s_last_orphan: U32,
    pub s_hash_seed: [U32; 4],
    pub s_def_hash_version: u8,
    pub s_jnl_backup_type: u8,
    pub s_desc_size: U16,
    pub s_default_mount_opts: U32,
    pub s_first_meta_bg: U32,
    pub s_mkfs_time: U32,
    pub s_jnl_blocks: [U32; 17],
    pub s_blocks_count_hi: U32,
    pub s_r_blocks_count_hi: U32,
    pub s_free_blocks_count_hi: U32,
    pub s_min_extra_isize: U16,
    pub s_want_extra_isize: U16,
    pub s_flags: U32,
    pub s_raid_stride: U16,
    pub s_mmp_interval: U16,
    pub s_mmp_block: U64,
    pub s_raid_stripe_width: U32,
    pub s_log_groups_per_flex: u8,
    pub s_checksum_type: u8,
    pub s_encryption_level: u8,
    pub s_reserved_pad: u8,
    pub s_kbytes_written: U64,
    pub s_snapshot_inum: U32,
    pub s_snapshot_id: U32,
    pub s_snapshot_r_blocks_count: U64,
    pub s_snapshot_list: U32,
    pub s_error_count: U32,
    pub s_first_error_time: U32,
    pub s_first_error_ino: U32,
    pub s_first_error_block: U64,
    pub s_first_error_func: [u8; 32],
    pub s_first_error_line: U32,
    pub s_last_error_time: U32,
    pub s_last_error_ino: U32,
    pub s_last_error_line: U32,
    pub s_last_error_block: U64,
    pub s_last_error_func: [u8; 32],
    pub s_mount_opts: [u8; 64],
    pub s_usr_quota_inum: U32,
    pub s_grp_quota_inum: U32,
    pub s_overhead_blocks: U32,
    pub s_backup_bgs: [U32; 2],
    pub s_encrypt_algos: [u8; 4],
    pub s_encrypt_pw_salt: [u8; 16],
    pub s_lpf_ino: U32,
    pub s_prj_quota_inum: U32,
    pub s_checksum_seed: U32,
    pub s_wtime_hi: u8,
    pub s_mtime_hi: u8,
    pub s_mkfs_time_hi: u8,
    pub s_lastcheck_hi: u8,
    pub s_first_error_time_hi: u8,
    pub s_last_error_time_hi: u8,
    pub s_first_error_errcode: u8,
    pub s_last_error_errcode: u8,
    pub s_encoding: U16,
    pub s_encoding_flags: U16,
    pub s_orphan_file_inum: U32,
    pub s_reserved: [U32; 94],
    pub s_checksum: U32,
}

const _: () = assert!(size_of::<Superblock>() == LEN);

impl Superblock {
    /// Decodes a superblock and checks its magic number and checksum.
    pub fn decode(bytes: &[u8; LEN]) -> Decoded<Self> {
        let sb: Self = zerocopy::transmute!(*bytes);
        if sb.s_magic.get() != MAGIC {
            return Err(Problem::new(format!(
                "s_magic is {:#06x}, expected {MAGIC:#06x}",
                sb.s_magic.get()
            )));
        }
        if sb.features().metadata_csum() {
            if sb.s_checksum_type != CHECKSUM_TYPE_CRC32C {
                return Err(Problem::new(format!(
                    "s_checksum_type is {}, expected {CHECKSUM_TYPE_CRC32C} (crc32c)",
                    sb.s_checksum_type
                )));
            }
            let expected = checksum::crc32c(checksum::INITIAL, &bytes[..CHECKSUM_AT]);
            if sb.s_checksum.get() != expected {
                return Err(Problem::new(format!(
                    "checksum is {:#010x}, computed {expected:#010x}",
                    sb.s_checksum.get()
                )));
            }
        }
        Ok(sb)
    }

    /// The bytes of the superblock, with its checksum if it has one.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes: [u8; LEN] = zerocopy::transmute!(self.clone());
        if self.features().metadata_csum() {
            let crc = checksum::crc32c(checksum::INITIAL, &bytes[..CHECKSUM_AT]);
            super::put_u32(&mut bytes, CHECKSUM_AT, crc);
        }
        bytes
    }

    /// The feature sets; a filesystem of revision 0 has none.
    pub fn features(&self) -> Features {
        let bits = |field: U32| {
            if self.s_rev_level.get() >= DYNAMIC_REVISION {
                field.get()
            } else {
                0
            }
        };
        Features {
            compat: Compat::from_bits_retain(bits(self.s_feature_compat)),
            incompat: Incompat::from_bits_retain(bits(self.s_feature_incompat)),
            ro_compat: RoCompat::from_bits_retain(bits(self.s_feature_ro_compat)),
        }
    }

    /// Whether the journal holds changes that the disk does not.
    pub fn needs_recovery(&self) -> bool {
        self.features().incompat.contains(Incompat::NEEDS_RECOVERY)
    }

    /// Whether inodes wait to be freed or truncated.
    pub fn has_orphans(&self) -> bool {
        self.s_last_orphan.get() != 0
            || self.features().ro_compat.contains(RoCompat::ORPHAN_PRESENT)
    }

    /// The seed of the checksums.
    pub fn checksum_seed(&self) -> FsSeed {
        if self
            .features()
            .incompat
            .contains(Incompat::METADATA_CSUM_SEED)
        {
            FsSeed(self.s_checksum_seed.get())
        } else {
            FsSeed::from_uuid(&self.s_uuid)
        }
    }

    /// Blocks in the filesystem.
    pub fn blocks_count(&self) -> u64 {
        self.with_high(self.s_blocks_count_lo, self.s_blocks_count_hi)
    }

    /// Blocks kept for the superuser.
    pub fn reserved_blocks_count(&self) -> u64 {
        self.with_high(self.s_r_blocks_count_lo, self.s_r_blocks_count_hi)
    }

    /// Free blocks: with `bigalloc`, those of all free clusters.
    pub fn free_blocks_count(&self) -> u64 {
        self.with_high(self.s_free_blocks_count_lo, self.s_free_blocks_count_hi)
    }

    /// Sets the number of free blocks.
    pub fn set_free_blocks_count(&mut self, count: u64) {
        let (low, high) = halves(count);
        self.s_free_blocks_count_lo = U32::new(low);
        if self.features().incompat.contains(Incompat::BIT64) {
            self.s_free_blocks_count_hi = U32::new(high);
        }
    }

    /// Sets the number of blocks, which has 32 bits without `64bit`.
    pub fn set_blocks_count(&mut self, count: u64) {
        let (low, high) = halves(count);
        self.s_blocks_count_lo = U32::new(low);
        if self.features().incompat.contains(Incompat::BIT64) {
            self.s_blocks_count_hi = U32::new(high);
        }
    }

    /// Sets the number of blocks kept for the superuser, which has 32 bits without `64bit`.
    pub fn set_reserved_blocks_count(&mut self, count: u64) {
        let (low, high) = halves(count);
        self.s_r_blocks_count_lo = U32::new(low);
        if self.features().incompat.contains(Incompat::BIT64) {
            self.s_r_blocks_count_hi = U32::new(high);
        }
    }

    fn with_high(&self, low: U32, high: U32) -> u64 {
        let high = if self.features().incompat.contains(Incompat::BIT64) {
            high.get()
        } else {
            0
        };
        u64::from(low.get()) | u64::from(high) << 32
    }
}
