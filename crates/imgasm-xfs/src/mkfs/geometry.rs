//! How many blocks and groups there are and where the log is: what follows from the size of the
//! device, as with `mkfs.xfs`.

use imgasm_fs::Result;
use zerocopy::FromZeros;

use crate::alloc::fresh::first_free;
use crate::format::features::{
    FeatureWords, decode_features, features2, incompat, ro_compat, version,
};
use crate::format::geometry::{CHUNK_INODES, Geometry};
use crate::format::numbers::{GroupBlock, GroupNumber};
use crate::format::superblock::{MAGIC, RawSuperblock, Superblock};
use crate::mkfs::options::FormatOptions;
use crate::problem::unstorable;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The smallest device.
const MIN_BYTES: u64 = 300 * MIB;
/// The smallest group.
const MIN_GROUP_BYTES: u64 = 16 * MIB;
/// The size below which every group stays.
const GROUP_LIMIT_BYTES: u64 = TIB;
/// The smallest log.
const MIN_LOG_BYTES: u64 = 64 * MIB;
/// The log takes one byte in so many, if that is neither too little nor too much.
const LOG_PART: u64 = 2048;
/// The largest log.
const MAX_LOG_BYTES: u64 = 2 * GIB - 10 * MIB;
const MAX_LOG_BLOCKS: u64 = 1 << 20;
/// Bytes in an inode.
const INODE_SIZE: u32 = 512;
/// Blocks of a group that the log leaves free: its list, and one more.
const LEFT_BY_LOG: u64 = 4 + 1;

/// The superblock of a fresh filesystem on a device of `len` bytes, without the counts of its
/// groups.
///
/// # Errors
/// [`imgasm_fs::Error::Unstorable`].
pub(super) fn design(len: u64, options: &FormatOptions) -> Result<Superblock> {
    if len < MIN_BYTES {
        return Err(unstorable(
            format!("an XFS filesystem of {len} bytes"),
            format!("it has {MIN_BYTES} bytes (300 MiB) at least"),
        ));
    }
    let (blocks, group_blocks) = groups(len, options)?;
    let mut raw = fixed(options);
    raw.sb_dblocks = blocks.into();
    raw.sb_agblocks = group_blocks.into();
    let count = blocks.div_ceil(u64::from(group_blocks));
    raw.sb_agcount = u32::try_from(count)
        .map_err(|_| unstorable(format!("{count} groups"), "there can be 2^32 - 1"))?
        .into();
    raw.sb_agblklog = log2_ceil(group_blocks);
    raw.sb_imax_pct = match blocks * u64::from(options.block_size) {
        bytes if bytes < TIB => 25,
        bytes if bytes < 50 * TIB => 5,
        _ => 1,
    };
    let mut superblock = Superblock {
        features: decode_features(&FeatureWords {
            versionnum: raw.sb_versionnum.get(),
            features2: raw.sb_features2.get(),
            features_ro_compat: raw.sb_features_ro_compat.get(),
            features_incompat: raw.sb_features_incompat.get(),
        })?,
        raw,
    };
    place_log(&mut superblock, options)?;
    Ok(superblock)
}

/// Blocks in all, and in a group.
fn groups(len: u64, options: &FormatOptions) -> Result<(u64, u32)> {
    let block = u64::from(options.block_size);
    let blocks = len / block;
    let most = (GROUP_LIMIT_BYTES - 1) / block;
    let mut group = match options.groups {
        Some(groups) => blocks.div_ceil(u64::from(groups.max(1))),
        None => default_group(blocks, block, most, options.stripe.is_some()),
    };
    if let Some(stripe) = options.stripe {
        let unit = u64::from(stripe.unit) / block;
        let width = unit * u64::from(stripe.units);
        if !group.is_multiple_of(unit) {
            let up = group.next_multiple_of(unit);
            group = if up > most { up - unit } else { up };
        }
        // Otherwise the heads of all groups would lie on the same part of the stripe.
        if group.is_multiple_of(width) && width != unit && options.groups.is_none() {
            group -= unit;
        }
    }
    let least = MIN_GROUP_BYTES / block;
    let rest = blocks % group;
    let blocks = if rest < least { blocks - rest } else { blocks };
    let count = blocks.div_ceil(group);
    if group < least || group > most || count < 2 {
        return Err(unstorable(
            format!("{count} allocation groups of {group} blocks"),
            format!("there are two or more, of {least} to {most} blocks"),
        ));
    }
    let group = u32::try_from(group).map_err(|_| unstorable("a group", "it has 2^32 blocks"))?;
    Ok((blocks, group))
}

/// Blocks in a group if nobody says how many groups there are.
fn default_group(blocks: u64, block: u64, most: u64, is_striped: bool) -> u64 {
    let bytes = blocks * block;
    if bytes >= if is_striped { 32 * TIB } else { 4 * TIB } {
        return most;
    }
    let log = match bytes {
        _ if !is_striped => 2,
        bytes if bytes > 512 * GIB => 5,
        bytes if bytes > 8 * GIB => 4,
        _ => 3,
    };
    blocks.div_ceil(1 << log).min(most)
}

/// Puts the log behind the head of the group in the middle.
fn place_log(superblock: &mut Superblock, options: &FormatOptions) -> Result<()> {
    let geometry = Geometry::of(superblock);
    let block = u64::from(options.block_size);
    let unit = u64::from(options.log_unit_blocks().unwrap_or(1));
    let least = MIN_LOG_BYTES / block;
    let head = u64::from(first_free(&geometry).0);
    let room = u64::from(geometry.group_blocks).saturating_sub(head + LEFT_BY_LOG);
    let most = room.min(MAX_LOG_BYTES / block).min(MAX_LOG_BLOCKS);
    let wanted = match options.log_size {
        Some(bytes) => bytes / block,
        None => (geometry.total_blocks / LOG_PART).max(least).min(most),
    };
    let up = wanted.next_multiple_of(unit);
    let blocks = if up > most { up - unit } else { up };
    let group = GroupNumber(geometry.groups / 2);
    let start = head.next_multiple_of(unit);
    let fits = start + blocks <= u64::from(geometry.group_len(group));
    if !(least..=most).contains(&blocks) || !fits {
        return Err(unstorable(
            format!("a log of {} bytes", wanted * block),
            format!(
                "it has {MIN_LOG_BYTES} bytes at least, and the allocation group that holds it has \
                 room for {}: make fewer groups",
                most * block
            ),
        ));
    }
    let start = u32::try_from(start).map_err(|_| unstorable("a log", "its group is too large"))?;
    superblock.raw.sb_logstart = geometry.fs_block(group, GroupBlock(start)).0.into();
    superblock.raw.sb_logblocks = u32::try_from(blocks)
        .map_err(|_| unstorable("a log", "it has 2^32 blocks"))?
        .into();
    Ok(())
}

/// What does not depend on the size.
fn fixed(options: &FormatOptions) -> RawSuperblock {
    let block = options.block_size;
    let features = options.features;
    let bits = |bits: &[(bool, u32)]| {
        bits.iter()
            .filter(|(on, _)| *on)
            .fold(0u32, |word, (_, bit)| word | bit)
    };
    let mut raw = RawSuperblock::new_zeroed();
    raw.sb_magicnum = MAGIC.into();
    raw.sb_blocksize = block.into();
    raw.sb_blocklog = log2(block);
    raw.sb_sectsize = small(options.sector_size).into();
    raw.sb_sectlog = log2(options.sector_size);
    raw.sb_inodesize = small(INODE_SIZE).into();
    raw.sb_inodelog = log2(INODE_SIZE);
    raw.sb_inopblock = small(block / INODE_SIZE).into();
    raw.sb_inopblog = log2(block / INODE_SIZE);
    raw.sb_dirblklog = log2(options.directory_block() / block);
    raw.sb_rextsize = (4096 / block).max(1).into();
    raw.sb_uuid = options.uuid;
    raw.sb_fname[..options.label.len()].copy_from_slice(&options.label);
    raw.sb_versionnum = version::fresh(options.sector_size != 512, options.stripe.is_some()).into();
    raw.sb_features2 = features2::FRESH.into();
    raw.sb_bad_features2 = features2::FRESH.into();
    raw.sb_features_ro_compat = bits(&[
        (true, ro_compat::FINOBT),
        (features.rmapbt, ro_compat::RMAPBT),
        (features.reflink, ro_compat::REFLINK),
        (features.inobtcount, ro_compat::INOBTCOUNT),
    ])
    .into();
    raw.sb_features_incompat = bits(&[
        (true, incompat::FTYPE),
        (features.sparse, incompat::SPARSE),
        (features.bigtime, incompat::BIGTIME),
        (features.nrext64, incompat::NREXT64),
        (features.exchange, incompat::EXCHANGE),
    ])
    .into();
    // Clusters of inodes have 8 KiB if inodes have 256 bytes, and as many inodes in other cases.
    let cluster = 8192 * (INODE_SIZE / 256) / block;
    let chunk = CHUNK_INODES * INODE_SIZE / block;
    raw.sb_inoalignmt = if features.sparse { chunk } else { cluster }.into();
    raw.sb_spino_align = if features.sparse { cluster } else { 0 }.into();
    if let Some(stripe) = options.stripe {
        raw.sb_unit = (stripe.unit / block).into();
        raw.sb_width = (stripe.unit / block * stripe.units).into();
    }
    if options.sector_size != 512 {
        raw.sb_logsectlog = log2(options.sector_size);
        raw.sb_logsectsize = small(options.sector_size).into();
    }
    raw.sb_logsunit = options
        .log_unit_blocks()
        .map_or(1, |unit| unit * block)
        .into();
    raw
}

/// The logarithm of a power of two.
fn log2(n: u32) -> u8 {
    u8::try_from(n.trailing_zeros()).expect("below 32")
}

/// The logarithm of the next power of two.
fn log2_ceil(n: u32) -> u8 {
    u8::try_from(u32::BITS - (n - 1).leading_zeros()).expect("at most 32")
}

/// A size that has been checked to be below 65536.
fn small(n: u32) -> u16 {
    u16::try_from(n).expect("sectors, inodes and their number in a block are below 65536")
}

#[cfg(test)]
mod tests {
    use imgasm_fs::Timestamp;

    use super::*;

    #[test]
    fn too_small_a_device_or_group_is_refused() {
        let now = Timestamp {
            seconds: 0,
            nanoseconds: 0,
        };
        let mut options = FormatOptions::new([1; 16], now);
        assert!(design(MIN_BYTES - 1, &options).is_err());
        assert!(design(MIN_BYTES, &options).is_ok());
        for groups in [0, 1, 8, 20, u32::MAX] {
            options.groups = Some(groups);
            assert!(design(MIN_BYTES, &options).is_err(), "{groups} groups");
        }
        options.groups = None;
        assert!(design(16 * TIB, &options).is_ok());
    }
}
