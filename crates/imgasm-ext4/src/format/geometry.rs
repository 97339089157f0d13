//! What the superblock says about sizes and places, checked once so that whatever uses it can
//! calculate safely.

use super::features::{Compat, Features, Incompat, RoCompat};
use super::group::{LEN_32, LEN_64};
use super::numbers::{BlockNumber, BlockSize, GroupNumber, InodeNumber};
use super::superblock::{DYNAMIC_REVISION, Superblock};
use crate::problem::{Decoded, Problem};

/// The most groups that are read: those of 16 TiB in groups of 8 MiB (1 KiB blocks), or of
/// 256 TiB in groups of 128 MiB. It bounds the memory that a forged superblock can ask for.
const MAX_GROUPS: u64 = 1 << 21;
/// Inode size and first free inode of revision 0.
const OLD_INODE_SIZE: u16 = 128;
const OLD_FIRST_INODE: u32 = 11;
/// `s_creator_os` of the Hurd.
const HURD: u32 = 1;

/// The layout of a filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// Blocks in a cluster: 1 without `bigalloc`.
    pub cluster_blocks: u32,
    /// Blocks in the filesystem; at most 2^48.
    pub blocks_count: u64,
    /// The block that holds the superblock, with which group 0 begins.
    pub first_data_block: u32,
    /// Blocks in every group but perhaps the last.
    pub blocks_per_group: u32,
    /// Inodes in every group.
    pub inodes_per_group: u32,
    /// Inodes in the filesystem.
    pub inodes_count: u32,
    /// The first inode that is not reserved.
    pub first_inode: u32,
    /// Bytes in an inode: a power of two from 128 to the block size.
    pub inode_size: u16,
    /// Bytes in a group descriptor.
    pub desc_size: u16,
    /// Groups in the filesystem.
    pub group_count: u32,
    /// Blocks of the inode table of a group.
    pub inode_table_blocks: u32,
    /// Blocks after the descriptor table into which it may grow.
    pub reserved_gdt_blocks: u32,
    /// Whether the Hurd made it: it keeps other things in some fields of inodes.
    pub is_hurd: bool,
    features: Features,
    first_meta_bg: u32,
    backup_groups: [u32; 2],
}

impl Geometry {
    /// Checks the numbers in a superblock.
    pub fn new(sb: &Superblock) -> Decoded<Self> {
        let features = sb.features();
        let block_size = BlockSize::from_log(sb.s_log_block_size.get())?;
        let bigalloc = features.ro_compat.contains(RoCompat::BIGALLOC);

        let (cluster_blocks, blocks_per_group) = group_layout(sb, block_size, bigalloc)?;
        let (inode_size, first_inode, inodes_per_group) = inode_layout(sb, block_size)?;
        let blocks_count = sb.blocks_count();
        let first_data_block = sb.s_first_data_block.get();
        let expected_first = u32::from(block_size.bytes() == 1024 && !bigalloc);
        require(
            first_data_block == expected_first || (bigalloc && first_data_block <= 1),
            || format!("s_first_data_block is {first_data_block}, expected {expected_first}"),
        )?;
        require(
            blocks_count > u64::from(first_data_block) && blocks_count < 1 << 48,
            || format!("the number of blocks is {blocks_count}"),
        )?;

        let groups =
            (blocks_count - u64::from(first_data_block)).div_ceil(u64::from(blocks_per_group));
        let group_count = u32::try_from(groups)
            .ok()
            .filter(|_| groups <= MAX_GROUPS)
            .ok_or_else(|| {
                Problem::new(format!(
                    "it has {groups} groups, at most {MAX_GROUPS} are read"
                ))
            })?;

        let inodes_count = sb.s_inodes_count.get();
        require(
            u64::from(inodes_count) == u64::from(group_count) * u64::from(inodes_per_group),
            || {
                format!(
                    "s_inodes_count is {inodes_count}, expected {group_count} groups of \
                     {inodes_per_group}"
                )
            },
        )?;
        require(
            (OLD_FIRST_INODE..=inodes_count).contains(&first_inode),
            || format!("s_first_ino is {first_inode}, expected 11 to {inodes_count}"),
        )?;

        let geometry = Self {
            block_size,
            cluster_blocks,
            blocks_count,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inodes_count,
            first_inode,
            inode_size,
            desc_size: desc_size(sb, features, block_size)?,
            group_count,
            inode_table_blocks: inodes_per_group
                .div_ceil(block_size.bytes() / u32::from(inode_size)),
            reserved_gdt_blocks: u32::from(sb.s_reserved_gdt_blocks.get()),
            is_hurd: sb.s_creator_os.get() == HURD,
            features,
            first_meta_bg: sb.s_first_meta_bg.get(),
            backup_groups: sb.s_backup_bgs.map(zerocopy::little_endian::U32::get),
        };
        require(
            geometry.reserved_gdt_blocks <= block_size.bytes() / 4
                && (!features.incompat.contains(Incompat::META_BG)
                    || geometry.first_meta_bg <= geometry.descriptor_blocks()),
            || {
                format!(
                    "s_reserved_gdt_blocks is {}, s_first_meta_bg {}",
                    geometry.reserved_gdt_blocks, geometry.first_meta_bg
                )
            },
        )?;
        Ok(geometry)
    }

    /// The feature sets.
    pub fn features(&self) -> Features {
        self.features
    }

    /// The group that a block lies in; callers have checked that it is not before the first.
    pub fn group_of_block(&self, block: BlockNumber) -> GroupNumber {
        let group = (block.0 - u64::from(self.first_data_block)) / u64::from(self.blocks_per_group);
        GroupNumber(u32::try_from(group).expect("blocks are below blocks_count"))
    }

    /// The first block of a group.
    pub fn group_first_block(&self, group: GroupNumber) -> BlockNumber {
        let before = u64::from(group.0) * u64::from(self.blocks_per_group);
        BlockNumber(u64::from(self.first_data_block) + before)
    }

    /// Blocks in a group: fewer in the last than in the others.
    pub fn blocks_in_group(&self, group: GroupNumber) -> u32 {
        let rest = self.blocks_count - self.group_first_block(group).0;
        u32::try_from(rest).map_or(self.blocks_per_group, |rest| {
            rest.min(self.blocks_per_group)
        })
    }

    /// Bits that a group's block bitmap uses: one per cluster.
    pub fn clusters_in_group(&self, group: GroupNumber) -> u32 {
        self.blocks_in_group(group).div_ceil(self.cluster_blocks)
    }

    /// Bits of a full group's block bitmap, over which its checksum is made.
    pub fn clusters_per_group(&self) -> u32 {
        self.blocks_per_group / self.cluster_blocks
    }

    /// The group that an inode lies in, and its number in the group, from 0; `None` if there is no
    /// such inode.
    pub fn locate_inode(&self, inode: InodeNumber) -> Option<(GroupNumber, u32)> {
        if inode.0 == 0 || inode.0 > self.inodes_count {
            return None;
        }
        let index = inode.0 - 1;
        Some((
            GroupNumber(index / self.inodes_per_group),
            index % self.inodes_per_group,
        ))
    }

    /// The inode at `index` of a group.
    pub fn inode_at(&self, group: GroupNumber, index: u32) -> InodeNumber {
        InodeNumber(group.0 * self.inodes_per_group + index + 1)
    }

    /// Whether all of these blocks can belong to a file of this filesystem. Block 0 never does.
    pub fn contains(&self, block: BlockNumber, len: u64) -> bool {
        block.0 >= u64::from(self.first_data_block).max(1)
            && block
                .0
                .checked_add(len)
                .is_some_and(|end| end <= self.blocks_count)
    }

    /// Whether a group holds a superblock. Kernel documentation, ext4, "Layout".
    pub fn has_superblock(&self, group: GroupNumber) -> bool {
        if group.0 == 0 {
            return true;
        }
        if self.features.compat.contains(Compat::SPARSE_SUPER2) {
            return self.backup_groups.contains(&group.0);
        }
        if !self.features.ro_compat.contains(RoCompat::SPARSE_SUPER) {
            return true;
        }
        group.0 == 1 || [3, 5, 7].iter().any(|&base| is_power_of(group.0, base))
    }

    /// Descriptors in a block.
    pub fn descriptors_per_block(&self) -> u32 {
        self.block_size.bytes() / u32::from(self.desc_size)
    }

    /// Blocks of the descriptor table.
    pub fn descriptor_blocks(&self) -> u32 {
        self.group_count.div_ceil(self.descriptors_per_block())
    }

    /// Whether block `index` of the descriptors lies in the table behind the superblock, and not in
    /// the groups that it describes (`meta_bg`).
    pub fn is_in_table(&self, index: u32) -> bool {
        !self.features.incompat.contains(Incompat::META_BG) || index < self.first_meta_bg
    }

    /// Where block `index` of the primary descriptor table lies.
    pub fn descriptor_block(&self, index: u32) -> BlockNumber {
        if self.is_in_table(index) {
            let before = self.superblock_blocks(GroupNumber(0)) + index;
            return BlockNumber(u64::from(self.first_data_block) + u64::from(before));
        }
        let group = GroupNumber(index * self.descriptors_per_block());
        self.group_first_block(group)
            .plus(u64::from(self.superblock_blocks(group)))
    }

    /// Blocks at the start of a group up to the end of its superblock. With blocks of 1 KiB the
    /// first one lies in block 1; with `bigalloc`, block 0 belongs to the group, too.
    fn superblock_blocks(&self, group: GroupNumber) -> u32 {
        let block_before = self.block_size.bytes() == 1024 && self.first_data_block == 0;
        u32::from(self.has_superblock(group)) + u32::from(group.0 == 0 && block_before)
    }

    /// Blocks at the start of a group that hold a superblock, descriptors, and room for more
    /// descriptors.
    pub fn base_metadata_blocks(&self, group: GroupNumber) -> u32 {
        let superblock = self.superblock_blocks(group);
        let meta_bg = self.features.incompat.contains(Incompat::META_BG);
        let meta_group = group.0 / self.descriptors_per_block();
        if !meta_bg || meta_group < self.first_meta_bg {
            if superblock == 0 {
                return 0;
            }
            let table = if meta_bg {
                self.first_meta_bg
            } else {
                self.descriptor_blocks()
            };
            return superblock + table + self.reserved_gdt_blocks;
        }
        let first = meta_group * self.descriptors_per_block();
        let last = first + self.descriptors_per_block() - 1;
        let holds_descriptors = group.0 == first || group.0 == first + 1 || group.0 == last;
        superblock + u32::from(holds_descriptors)
    }
}

/// Blocks in a cluster and in a group.
fn group_layout(sb: &Superblock, block_size: BlockSize, bigalloc: bool) -> Decoded<(u32, u32)> {
    let bits_per_bitmap = block_size.bytes() * 8;
    let cluster_blocks = cluster_blocks(sb, bigalloc)?;
    let blocks_per_group = sb.s_blocks_per_group.get();
    let clusters_per_group = if bigalloc {
        sb.s_clusters_per_group.get()
    } else {
        blocks_per_group
    };
    require(
        (8..=bits_per_bitmap).contains(&clusters_per_group)
            && clusters_per_group.is_multiple_of(8)
            && u64::from(clusters_per_group) * u64::from(cluster_blocks)
                == u64::from(blocks_per_group),
        || {
            format!(
                "s_blocks_per_group is {blocks_per_group}, s_clusters_per_group \
                 {clusters_per_group}, with bitmaps of {bits_per_bitmap} bits"
            )
        },
    )?;
    Ok((cluster_blocks, blocks_per_group))
}

/// Bytes in an inode, the first inode that is not reserved, and inodes in a group.
fn inode_layout(sb: &Superblock, block_size: BlockSize) -> Decoded<(u16, u32, u32)> {
    let (inode_size, first_inode) = if sb.s_rev_level.get() < DYNAMIC_REVISION {
        (OLD_INODE_SIZE, OLD_FIRST_INODE)
    } else {
        (sb.s_inode_size.get(), sb.s_first_ino.get())
    };
    require(
        inode_size.is_power_of_two()
            && inode_size >= OLD_INODE_SIZE
            && u32::from(inode_size) <= block_size.bytes(),
        || {
            format!(
                "s_inode_size is {inode_size}, expected a power of two from 128 to the block size"
            )
        },
    )?;
    let inodes_per_group = sb.s_inodes_per_group.get();
    let inodes_per_block = block_size.bytes() / u32::from(inode_size);
    require(
        (1..=block_size.bytes() * 8).contains(&inodes_per_group)
            && inodes_per_group >= inodes_per_block
            && inodes_per_group.is_multiple_of(8),
        || format!("s_inodes_per_group is {inodes_per_group}"),
    )?;
    Ok((inode_size, first_inode, inodes_per_group))
}

/// Blocks in a cluster.
fn cluster_blocks(sb: &Superblock, bigalloc: bool) -> Decoded<u32> {
    if !bigalloc {
        return Ok(1);
    }
    let (cluster, block) = (sb.s_log_cluster_size.get(), sb.s_log_block_size.get());
    require(cluster >= block && cluster <= 20, || {
        format!("s_log_cluster_size is {cluster}, s_log_block_size {block}")
    })?;
    Ok(1 << (cluster - block))
}

/// Bytes in a group descriptor.
fn desc_size(sb: &Superblock, features: Features, block_size: BlockSize) -> Decoded<u16> {
    if !features.incompat.contains(Incompat::BIT64) {
        return Ok(LEN_32);
    }
    let size = sb.s_desc_size.get();
    require(
        size.is_power_of_two() && size >= LEN_64 && u32::from(size) <= block_size.bytes().min(1024),
        || format!("s_desc_size is {size}, expected a power of two from 64 to 1024"),
    )?;
    Ok(size)
}

fn require(holds: bool, problem: impl FnOnce() -> String) -> Decoded<()> {
    if holds {
        Ok(())
    } else {
        Err(Problem::new(problem()))
    }
}

fn is_power_of(mut n: u32, base: u32) -> bool {
    while n > 1 && n.is_multiple_of(base) {
        n /= base;
    }
    n == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers() {
        let powers: Vec<u32> = (2..400)
            .filter(|&n| [3, 5, 7].iter().any(|&base| is_power_of(n, base)))
            .collect();
        assert_eq!(powers, [3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
    }
}
