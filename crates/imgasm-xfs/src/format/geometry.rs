//! Where things are: the fixed numbers of the superblock, and the arithmetic of block and inode
//! addresses.

use crate::format::ag::sector;
use crate::format::features::Features;
use crate::format::numbers::{
    DirectoryBlock, FileBlock, FsBlock, GroupBlock, GroupInode, GroupNumber, InodeNumber,
};
use crate::format::superblock::Superblock;

/// Inodes in a chunk (`XFS_INODES_PER_CHUNK`).
pub(crate) const CHUNK_INODES: u32 = 64;

/// The sizes of a filesystem, checked against each other by the superblock.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    pub(crate) features: Features,
    /// Bytes in a block.
    pub(crate) block_size: u32,
    block_log: u32,
    /// Bytes in a sector.
    pub(crate) sector_size: u32,
    /// Blocks in all groups.
    pub(crate) total_blocks: u64,
    /// Blocks in every group but the last.
    pub(crate) group_blocks: u32,
    pub(crate) groups: u32,
    group_log: u32,
    /// Bytes in an inode.
    pub(crate) inode_size: u32,
    inodes_per_block_log: u32,
    /// Bytes in a block of a directory.
    pub(crate) directory_block_size: u32,
    /// Filesystem blocks in a block of a directory.
    pub(crate) directory_block_blocks: u32,
    /// Alignment of inode chunks, in blocks; at least 1.
    pub(crate) inode_alignment: u32,
    /// Blocks of the smallest part of an inode chunk, if chunks may be sparse. Parts begin at
    /// multiples of it.
    pub(crate) sparse_chunk_blocks: Option<u32>,
    /// The UUID in metadata blocks.
    pub(crate) metadata_uuid: [u8; 16],
    /// The UUID in the log.
    pub(crate) uuid: [u8; 16],
    /// Bytes of which each record of the log is a multiple.
    pub(crate) log_unit: u32,
    /// First block of the log and number of blocks, if the log is inside.
    pub(crate) log: Option<(FsBlock, u32)>,
}

impl Geometry {
    /// The geometry in a superblock whose sizes have been checked.
    pub(crate) fn of(superblock: &Superblock) -> Self {
        let Superblock { raw, features } = superblock;
        let log_start = raw.sb_logstart.get();
        let chunk_blocks = CHUNK_INODES >> raw.sb_inopblog;
        let part = raw.sb_spino_align.get();
        // The kernel refuses other alignments of sparse chunks.
        let may_be_sparse = features.sparse
            && part > 0
            && part < chunk_blocks
            && chunk_blocks.is_multiple_of(part)
            && raw.sb_inoalignmt.get() == chunk_blocks;
        Self {
            features: *features,
            block_size: raw.sb_blocksize.get(),
            block_log: u32::from(raw.sb_blocklog),
            sector_size: u32::from(raw.sb_sectsize.get()),
            total_blocks: raw.sb_dblocks.get(),
            group_blocks: raw.sb_agblocks.get(),
            groups: raw.sb_agcount.get(),
            group_log: u32::from(raw.sb_agblklog),
            inode_size: u32::from(raw.sb_inodesize.get()),
            inodes_per_block_log: u32::from(raw.sb_inopblog),
            directory_block_size: raw.sb_blocksize.get() << raw.sb_dirblklog,
            directory_block_blocks: 1 << raw.sb_dirblklog,
            inode_alignment: raw.sb_inoalignmt.get().max(1),
            sparse_chunk_blocks: may_be_sparse.then_some(part),
            metadata_uuid: if features.meta_uuid {
                raw.sb_meta_uuid
            } else {
                raw.sb_uuid
            },
            uuid: raw.sb_uuid,
            log_unit: raw
                .sb_logsunit
                .get()
                .max(u32::from(raw.sb_logsectsize.get()))
                .max(512),
            log: (log_start != 0).then_some((FsBlock(log_start), raw.sb_logblocks.get())),
        }
    }

    /// Bytes in a block, as an index.
    pub(crate) fn block_len(&self) -> usize {
        self.block_size as usize
    }

    /// Bytes in a directory block, as an index.
    pub(crate) fn directory_block_len(&self) -> usize {
        self.directory_block_size as usize
    }

    /// How many blocks hold `bytes` bytes.
    pub(crate) fn blocks_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.block_size))
    }

    /// The block of a file that holds a byte.
    pub(crate) fn file_block(&self, offset: u64) -> FileBlock {
        FileBlock(offset / u64::from(self.block_size))
    }

    /// The first block of a file behind its first `bytes` bytes.
    pub(crate) fn file_end(&self, bytes: u64) -> FileBlock {
        FileBlock(self.blocks_for(bytes))
    }

    /// The first byte of a block of a file. Callers have checked it against the file's size.
    pub(crate) fn file_offset(&self, block: FileBlock) -> u64 {
        block.0 * u64::from(self.block_size)
    }

    /// The block of a directory that holds a block of its file, which must be below 32 GiB.
    pub(crate) fn directory_block(&self, block: FileBlock) -> DirectoryBlock {
        let number = block.0 / u64::from(self.directory_block_blocks);
        DirectoryBlock(u32::try_from(number).expect("32 GiB have fewer blocks"))
    }

    /// The first block in its file of a block of a directory.
    pub(crate) fn directory_file_block(&self, block: DirectoryBlock) -> FileBlock {
        FileBlock(u64::from(block.0) * u64::from(self.directory_block_blocks))
    }

    /// How many groups there can be: inodes have 56 bits in their numbers, blocks 52.
    pub(crate) fn most_groups(&self) -> u32 {
        let inodes = 56u32.saturating_sub(self.group_log + self.inodes_per_block_log);
        let bits = inodes.min(52u32.saturating_sub(self.group_log));
        1u32.checked_shl(bits).unwrap_or(u32::MAX)
    }

    /// All groups in order.
    pub(crate) fn group_numbers(&self) -> impl DoubleEndedIterator<Item = GroupNumber> + use<> {
        (0..self.groups).map(GroupNumber)
    }

    /// All groups in order from `first` on, and then those before it.
    pub(crate) fn group_numbers_from(
        &self,
        first: GroupNumber,
    ) -> impl Iterator<Item = GroupNumber> + use<> {
        (first.0..self.groups).chain(0..first.0).map(GroupNumber)
    }

    /// Blocks in a group; the last one may be shorter.
    pub(crate) fn group_len(&self, group: GroupNumber) -> u32 {
        let before = u64::from(group.0) * u64::from(self.group_blocks);
        let left = self.total_blocks.saturating_sub(before);
        u32::try_from(left).map_or(self.group_blocks, |left| left.min(self.group_blocks))
    }

    /// Blocks of a group's head.
    pub(crate) fn head_blocks(&self) -> u32 {
        (sector::COUNT * self.sector_size).div_ceil(self.block_size)
    }

    /// Whether there is such a block.
    pub(crate) fn has_block(&self, group: GroupNumber, block: GroupBlock) -> bool {
        block.0 < self.group_len(group)
    }

    /// The block behind a run of blocks of a group, if there are all of them.
    pub(crate) fn run_end(
        &self,
        group: GroupNumber,
        start: GroupBlock,
        len: u32,
    ) -> Option<GroupBlock> {
        let end = start.0.checked_add(len)?;
        (end <= self.group_len(group)).then_some(GroupBlock(end))
    }

    /// The address of a block in a group.
    pub(crate) fn fs_block(&self, group: GroupNumber, block: GroupBlock) -> FsBlock {
        FsBlock((u64::from(group.0) << self.group_log) | u64::from(block.0))
    }

    /// The group of a block and the block's number in it, if there is such a block.
    pub(crate) fn split(&self, block: FsBlock) -> Option<(GroupNumber, GroupBlock)> {
        let group = GroupNumber(u32::try_from(block.0 >> self.group_log).ok()?);
        let in_group = u32::try_from(block.0 & ((1 << self.group_log) - 1)).ok()?;
        let block = GroupBlock(in_group);
        self.has_block(group, block).then_some((group, block))
    }

    /// Whether all of a run of blocks lies in one group.
    pub(crate) fn holds(&self, start: FsBlock, blocks: u64) -> bool {
        self.split(start).is_some_and(|(group, block)| {
            u32::try_from(blocks).is_ok_and(|len| self.run_end(group, block, len).is_some())
        })
    }

    /// The first byte of a block of a group.
    pub(crate) fn byte_offset(&self, group: GroupNumber, block: GroupBlock) -> u64 {
        (u64::from(group.0) * u64::from(self.group_blocks) + u64::from(block.0)) << self.block_log
    }

    /// The group of an inode and the inode's number in it, if there is a block for it.
    pub(crate) fn split_inode(&self, inode: InodeNumber) -> Option<(GroupNumber, GroupInode)> {
        let (group, block) = self.split(FsBlock(inode.0 >> self.inodes_per_block_log))?;
        let index = u32::try_from(inode.0 & ((1 << self.inodes_per_block_log) - 1)).ok()?;
        Some((group, self.first_inode(block).plus(index)))
    }

    /// The number of an inode from its group and its number in the group.
    pub(crate) fn inode_number(&self, group: GroupNumber, inode: GroupInode) -> InodeNumber {
        let group = u64::from(group.0) << (self.group_log + self.inodes_per_block_log);
        InodeNumber(group | u64::from(inode.0))
    }

    /// The first byte of an inode of a group.
    pub(crate) fn inode_offset(&self, group: GroupNumber, inode: GroupInode) -> u64 {
        let block = self.inode_block(inode);
        let index = inode.since(self.first_inode(block));
        self.byte_offset(group, block) + u64::from(index) * u64::from(self.inode_size)
    }

    /// How many inodes a block holds.
    pub(crate) fn inodes_per_block(&self) -> u32 {
        1 << self.inodes_per_block_log
    }

    /// The block that holds an inode.
    pub(crate) fn inode_block(&self, inode: GroupInode) -> GroupBlock {
        GroupBlock(inode.0 >> self.inodes_per_block_log)
    }

    /// The first inode of a block.
    pub(crate) fn first_inode(&self, block: GroupBlock) -> GroupInode {
        GroupInode(block.0 << self.inodes_per_block_log)
    }
}
