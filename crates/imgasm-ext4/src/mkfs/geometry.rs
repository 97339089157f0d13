//! How many blocks, groups and inodes a filesystem of some size has: mke2fs 1.47's choices.

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use super::options::{FormatOptions, unstorable};
use crate::format::features::{Compat, Incompat, RoCompat};
use crate::format::geometry::Geometry;
use crate::format::group::LEN_64;
use crate::format::inode::{EXTRA_LEN, HEAD_LEN};
use crate::format::numbers::{BlockSize, GroupNumber};
use crate::format::superblock::{DYNAMIC_REVISION, MAGIC, STATE_VALID, Superblock};
use crate::hash::HashVersion;
use imgasm_fs::{Location, Result};

/// The smallest filesystem that is made.
const MIN_BYTES: u64 = 1 << 20;
/// The largest filesystem that is made: 2^32 blocks of 4 KiB.
const MAX_BYTES: u64 = 1 << 44;
/// Bytes in an inode.
const INODE_SIZE: u16 = 256;
/// The first inode that is not reserved; it becomes `/lost+found`.
pub(super) const FIRST_INODE: u32 = 11;
/// Groups whose bitmaps and inode tables lie together, as a power of two.
const LOG_GROUPS_PER_FLEX: u8 = 4;
/// A last group with no more than this many blocks besides its own metadata is given up.
const MIN_LAST_GROUP_BLOCKS: u64 = 50;
/// mke2fs rounds the size of a device down to pages of this many bytes.
const PAGE_BYTES: u64 = 4096;
/// `EXT4_DEFM_XATTR_USER` and `EXT4_DEFM_ACL`: the mount options `user_xattr` and `acl`.
const DEFAULT_MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// `s_errors`: go on after an error.
const ERRORS_CONTINUE: u16 = 1;
/// `s_max_mnt_count`: never check because of the number of mounts.
const NO_MOUNT_LIMIT: u16 = 0xffff;
/// `s_checksum_type`: CRC-32C.
const CHECKSUM_CRC32C: u8 = 1;

/// Block size and bytes for each inode, by the size of the device: the usage types `floppy`,
/// `small`, default, `big` and `huge` of mke2fs.conf(5).
fn usage(device_bytes: u64) -> (u32, u64) {
    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;
    match device_bytes {
        ..3145728 => (1024, 8192),
        _ if device_bytes < 512 * MIB => (1024, 4096),
        _ if device_bytes < 4 * TIB => (4096, 16384),
        _ if device_bytes < 16 * TIB => (4096, 32768),
        _ => (4096, 65536),
    }
}

/// Blocks of the journal, by the number of blocks of the filesystem; `None` if a journal would take
/// too much of it.
pub(super) fn journal_blocks(filesystem_blocks: u64) -> Option<u32> {
    const K: u64 = 1024;
    Some(match filesystem_blocks {
        0..2048 => return None,
        2048..32768 => 1024,
        _ if filesystem_blocks < 256 * K => 4096,
        _ if filesystem_blocks < 512 * K => 8192,
        _ if filesystem_blocks < 4096 * K => 16384,
        _ if filesystem_blocks < 8192 * K => 32768,
        _ if filesystem_blocks < 16384 * K => 65536,
        _ if filesystem_blocks < 32768 * K => 131072,
        _ => 262144,
    })
}

/// The superblock of a fresh filesystem on a device of `device_bytes`, without counts of what is
/// free, and the geometry that follows from it.
pub(super) fn design(device_bytes: u64, options: &FormatOptions) -> Result<(Superblock, Geometry)> {
    let size_name = || format!("filesystem of {device_bytes} bytes");
    if !(MIN_BYTES..=MAX_BYTES).contains(&device_bytes) {
        return Err(unstorable(
            size_name(),
            "ext4 is made from 1 MiB to 16 TiB".to_owned(),
        ));
    }
    let (default_block_size, inode_ratio) = usage(device_bytes);
    let block_size = options.block_size.unwrap_or(default_block_size);
    let log_block_size = block_size.ilog2() - 10;
    let block_size = BlockSize::from_log(log_block_size)
        .map_err(|problem| unstorable("block size".to_owned(), problem.to_string()))?;
    let device_blocks = device_bytes / PAGE_BYTES * PAGE_BYTES / block_size.bytes64();

    let mut sb = Superblock::new_zeroed();
    sb.s_magic = U16::new(MAGIC);
    sb.s_rev_level = U32::new(DYNAMIC_REVISION);
    sb.s_state = U16::new(STATE_VALID);
    sb.s_errors = U16::new(ERRORS_CONTINUE);
    sb.s_max_mnt_count = U16::new(NO_MOUNT_LIMIT);
    sb.s_log_block_size = U32::new(log_block_size);
    sb.s_log_cluster_size = U32::new(log_block_size);
    sb.s_first_data_block = U32::new(u32::from(log_block_size == 0));
    sb.s_blocks_per_group = U32::new(block_size.bytes() * 8);
    sb.s_clusters_per_group = sb.s_blocks_per_group;
    sb.s_first_ino = U32::new(FIRST_INODE);
    sb.s_inode_size = U16::new(INODE_SIZE);
    sb.s_min_extra_isize = U16::new(EXTRA_LEN);
    sb.s_want_extra_isize = U16::new(EXTRA_LEN);
    sb.s_desc_size = U16::new(LEN_64);
    sb.s_log_groups_per_flex = LOG_GROUPS_PER_FLEX;
    sb.s_checksum_type = CHECKSUM_CRC32C;
    sb.s_default_mount_opts = U32::new(DEFAULT_MOUNT_OPTIONS);
    sb.s_flags = U32::new(crate::hash::FLAG_SIGNED_HASH);
    sb.s_def_hash_version = HashVersion::HALF_MD4.number();
    set_identity(&mut sb, options);

    let resizable = device_blocks < 1 << 32;
    let mut compat = Compat::EXT_ATTR | Compat::DIR_INDEX;
    compat.set(Compat::RESIZE_INODE, resizable);
    let incompat = Incompat::FILETYPE | Incompat::EXTENT | Incompat::BIT64 | Incompat::FLEX_BG;
    let ro_compat = RoCompat::SPARSE_SUPER
        | RoCompat::LARGE_FILE
        | RoCompat::HUGE_FILE
        | RoCompat::DIR_NLINK
        | RoCompat::EXTRA_ISIZE
        | RoCompat::METADATA_CSUM;
    sb.s_feature_incompat = U32::new(incompat.bits());
    sb.s_feature_ro_compat = U32::new(ro_compat.bits());

    let wanted_inodes = device_blocks * block_size.bytes64() / inode_ratio;
    let wanted_reserve = device_blocks * u64::from(options.reserved_percent) / 100;
    let first_data_block = u64::from(sb.s_first_data_block.get());
    let blocks_per_group = u64::from(sb.s_blocks_per_group.get());
    let mut blocks = device_blocks;
    loop {
        let groups = (blocks - first_data_block).div_ceil(blocks_per_group);
        (sb.s_blocks_count_lo, sb.s_blocks_count_hi) = split(blocks);
        (sb.s_r_blocks_count_lo, sb.s_r_blocks_count_hi) =
            split(wanted_reserve * blocks / device_blocks);
        set_inodes(&mut sb, groups, wanted_inodes, block_size)
            .map_err(|problem| unstorable(size_name(), problem))?;
        if resizable {
            sb.s_reserved_gdt_blocks =
                U16::new(reserved_descriptor_blocks(blocks, groups, &sb, block_size));
        }
        compat.set(Compat::HAS_JOURNAL, journal_blocks(blocks).is_some());
        sb.s_feature_compat = U32::new(compat.bits());
        let geometry = Geometry::new(&sb).map_err(|problem| problem.at(Location::Superblock))?;

        // With small blocks a large filesystem's descriptors fill whole groups; mke2fs then
        // scatters them over the groups (meta_bg).
        let table = geometry.descriptor_blocks() + geometry.reserved_gdt_blocks;
        if u64::from(table) > blocks_per_group * 3 / 4 {
            return Err(unstorable(
                size_name(),
                format!(
                    "its group descriptors need more than three quarters of a group: use larger \
                     blocks than {} bytes",
                    block_size.bytes()
                ),
            ));
        }
        let last = GroupNumber(geometry.group_count - 1);
        let own = u64::from(geometry.base_metadata_blocks(last))
            + 2
            + u64::from(geometry.inode_table_blocks);
        let rest = (blocks - first_data_block) % blocks_per_group;
        if rest == 0 || rest >= own + MIN_LAST_GROUP_BLOCKS {
            return Ok((sb, geometry));
        }
        if geometry.group_count == 1 {
            return Err(unstorable(
                size_name(),
                format!("its metadata alone needs {own} blocks"),
            ));
        }
        blocks -= rest;
    }
}

/// Name, identity and times.
fn set_identity(sb: &mut Superblock, options: &FormatOptions) {
    sb.s_uuid = options.uuid;
    sb.s_hash_seed = zerocopy::transmute!(options.hash_seed);
    sb.s_volume_name[..options.label.len()].copy_from_slice(&options.label);
    let (seconds, high) = split(options.now.seconds.cast_unsigned());
    let [high, ..] = high.to_bytes();
    (sb.s_mkfs_time, sb.s_mkfs_time_hi) = (seconds, high);
    (sb.s_wtime, sb.s_wtime_hi) = (seconds, high);
    (sb.s_lastcheck, sb.s_lastcheck_hi) = (seconds, high);
}

/// The low and high 32 bits.
pub(super) fn split(n: u64) -> (U32, U32) {
    let [low, high]: [U32; 2] = zerocopy::transmute!(U64::new(n));
    (low, high)
}

/// Number of inodes: about `wanted`, in groups of equal size that fill the blocks of their
/// table and the bytes of their bitmap.
fn set_inodes(
    sb: &mut Superblock,
    groups: u64,
    wanted: u64,
    block_size: BlockSize,
) -> Result<(), String> {
    let per_block = block_size.bytes64() / u64::from(INODE_SIZE);
    let wanted = wanted.max(u64::from(FIRST_INODE) + 1);
    let in_bitmap = block_size.bytes64() * 8;
    let in_all = u64::from(u32::MAX) / groups;
    let per_group = wanted
        .div_ceil(groups)
        .next_multiple_of(per_block)
        .max(8)
        .min(in_all)
        / 8
        * 8;
    let count = U32::new;
    if per_group > in_bitmap {
        return Err(format!("it needs more than {in_bitmap} inodes in a group"));
    }
    let narrow = |n: u64| u32::try_from(n).map_err(|_| format!("it needs {n} inodes"));
    sb.s_inodes_per_group = count(narrow(per_group)?);
    sb.s_inodes_count = count(narrow(per_group * groups)?);
    sb.s_free_inodes_count = sb.s_inodes_count;
    Ok(())
}

/// Blocks kept behind the descriptor table, so that the filesystem can grow to 1024 times its
/// size, or to 2^32 blocks; no more than a block of the resize inode can point to.
fn reserved_descriptor_blocks(
    blocks: u64,
    groups: u64,
    sb: &Superblock,
    block_size: BlockSize,
) -> u16 {
    let per_block = block_size.bytes64() / u64::from(LEN_64);
    let largest = if blocks < u64::from(u32::MAX) / 1024 {
        blocks * 1024
    } else {
        u64::from(u32::MAX)
    };
    let largest_groups = (largest - u64::from(sb.s_first_data_block.get()))
        .div_ceil(u64::from(sb.s_blocks_per_group.get()));
    let more = largest_groups
        .div_ceil(per_block)
        .saturating_sub(groups.div_ceil(per_block));
    let in_block = block_size.bytes64() / 4;
    u16::try_from(more.min(in_block)).expect("a quarter of a block's bytes is below 2^16")
}

const _: () = assert!(HEAD_LEN + EXTRA_LEN as usize <= INODE_SIZE as usize);
