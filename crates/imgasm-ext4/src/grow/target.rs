//! How large a filesystem becomes. Pure.

use zerocopy::little_endian::{U16, U32};

use crate::format::features::{Compat, Incompat};
use crate::format::geometry::Geometry;
use crate::format::numbers::GroupNumber;
use crate::format::superblock::Superblock;
use imgasm_fs::Result;
use imgasm_fs::error::{Error, Location};

/// Blocks that a last group must have besides its own structures; as with resize2fs and mke2fs, a
/// smaller rest of the device stays unused.
const LEAST_FREE: u32 = 50;

/// A filesystem as it is to become.
pub(super) struct Target {
    /// Its superblock; the free counts are still the old ones.
    pub(super) superblock: Superblock,
    /// Its geometry, from that superblock.
    pub(super) geometry: Geometry,
}

impl Target {
    /// What becomes of a filesystem that may have up to `blocks` blocks; `None` if it stays.
    pub(super) fn new(sb: &Superblock, old: &Geometry, blocks: u64) -> Result<Option<Self>> {
        let is_64bit = old.features().incompat.contains(Incompat::BIT64);
        if !is_64bit && u32::try_from(blocks).is_err() {
            return Err(Error::Unstorable {
                what: format!("a filesystem of {blocks} blocks"),
                problem: "it needs the feature 64bit, which `resize2fs -b` turns on".to_owned(),
            });
        }
        let first_block = u64::from(old.first_data_block);
        let per_group = u64::from(old.blocks_per_group);
        let cluster = u64::from(old.cluster_blocks);
        // Inodes are numbered with 32 bits.
        let most_groups = u64::from(u32::MAX / old.inodes_per_group);
        let mut blocks = (blocks / cluster * cluster).min(first_block + most_groups * per_group);
        while blocks > old.blocks_count {
            let target = Self::of_size(sb, old, blocks)?;
            let geometry = &target.geometry;
            let last = GroupNumber(geometry.group_count - 1);
            let own = 2 + geometry.inode_table_blocks + geometry.base_metadata_blocks(last);
            let is_new = geometry.group_count > old.group_count;
            if !is_new || geometry.blocks_in_group(last) >= own + LEAST_FREE {
                return Ok(Some(target));
            }
            blocks = geometry.group_first_block(last).0;
        }
        Ok(None)
    }

    fn of_size(sb: &Superblock, old: &Geometry, blocks: u64) -> Result<Self> {
        let mut superblock = sb.clone();
        let groups =
            (blocks - u64::from(old.first_data_block)).div_ceil(old.blocks_per_group.into());
        let groups = u32::try_from(groups).expect("limited by the numbers of inodes");
        superblock.set_blocks_count(blocks);
        let reserved = u128::from(sb.reserved_blocks_count()) * u128::from(blocks)
            / u128::from(old.blocks_count);
        superblock.set_reserved_blocks_count(u64::try_from(reserved).unwrap_or(0));
        superblock.s_inodes_count = U32::new(groups * old.inodes_per_group);
        // The kernel counts it anew when it mounts.
        superblock.s_overhead_blocks = U32::ZERO;
        set_backup_groups(&mut superblock, old.group_count, groups);
        place_descriptors(&mut superblock, old, groups);
        let geometry = Geometry::new(&superblock).map_err(|p| p.at(Location::Superblock))?;
        Ok(Self {
            superblock,
            geometry,
        })
    }
}

/// Gives a filesystem that has become larger than one or two groups the backups that `sparse_super2`
/// names. Backups that exist stay where they are.
fn set_backup_groups(sb: &mut Superblock, before: u32, after: u32) {
    if !sb.features().compat.contains(Compat::SPARSE_SUPER2) {
        return;
    }
    if before == 1 && after > 1 {
        sb.s_backup_bgs[0] = U32::new(1);
    }
    if before < 3 && after > 2 {
        sb.s_backup_bgs[1] = U32::new(after - 1);
    }
}

/// Decides where further descriptors lie: in the blocks that are kept behind the table, and if those
/// do not suffice, in the groups that they describe.
fn place_descriptors(sb: &mut Superblock, old: &Geometry, groups: u32) {
    let features = old.features();
    let needed = groups.div_ceil(old.descriptors_per_block());
    let in_use = old.descriptor_blocks();
    if features.incompat.contains(Incompat::META_BG) || needed == in_use {
        return;
    }
    let has_room = features.compat.contains(Compat::RESIZE_INODE);
    let room = in_use + if has_room { old.reserved_gdt_blocks } else { 0 };
    let left = room.saturating_sub(needed);
    sb.s_reserved_gdt_blocks = U16::new(u16::try_from(left).expect("less than there was"));
    if needed > room {
        sb.s_feature_compat = U32::new(sb.s_feature_compat.get() & !Compat::RESIZE_INODE.bits());
        sb.s_feature_incompat = U32::new(sb.s_feature_incompat.get() | Incompat::META_BG.bits());
        sb.s_first_meta_bg = U32::new(room);
    }
}
