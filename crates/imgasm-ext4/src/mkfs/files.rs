//! The files that a fresh filesystem holds: the root directory, `/lost+found`, and the hidden ones
//! that hold the journal and the room for more group descriptors.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use super::geometry::{FIRST_INODE, journal_blocks, split};
use super::options::{FormatOptions, unstorable};
use super::tables::Layout;
use crate::format::checksum::FsSeed;
use crate::format::extent::{self, Child, Extent, MAX_LEN, Node, ROOT_ENTRIES};
use crate::format::features::Compat;
use crate::format::geometry::Geometry;
use crate::format::inode::{EXTRA_LEN, Inode, TimeField, flags};
use crate::format::numbers::{BlockNumber, FileBlock, GroupNumber, InodeNumber, to_u64};
use crate::format::superblock::Superblock;
use crate::format::{dirent, put_u32};
use crate::journal::format::JournalSuperblock;
use imgasm_block::BlockDevice;
use imgasm_fs::{FileType, Result};

/// The file of bad blocks.
const BAD_BLOCKS_INODE: InodeNumber = InodeNumber(1);
/// `/lost+found`.
const LOST_AND_FOUND: InodeNumber = InodeNumber(FIRST_INODE);
/// The size of `/lost+found`, so that e2fsck need not allocate blocks.
const LOST_AND_FOUND_BYTES: u64 = 16384;
/// Its most blocks: what an inode without extents can point to directly.
const LOST_AND_FOUND_MAX_BLOCKS: u64 = 12;
/// `s_jnl_backup_type`: `s_jnl_blocks` holds a copy of the journal's `i_block` and size.
const JOURNAL_BACKUP_BLOCKS: u8 = 1;
/// The pointer in `i_block` to a block of pointers to blocks of pointers.
const DOUBLE_INDIRECT: usize = 13;

/// Makes the first files: allocates their blocks from `layout` and writes them and their inodes.
pub(super) fn write(
    device: &dyn BlockDevice,
    sb: &mut Superblock,
    layout: &mut Layout<'_>,
    options: &FormatOptions,
) -> Result<()> {
    let files = Files {
        device,
        geometry: layout.geometry,
        inode_table: layout.tables[0].inode_table,
        seed: sb.checksum_seed(),
        options,
    };
    for number in 1..FIRST_INODE {
        files.write_inode(InodeNumber(number), &mut files.unused_inode())?;
    }
    files.root(layout)?;
    files.lost_and_found(layout)?;
    files.bad_blocks()?;
    let compat = files.geometry.features().compat;
    if compat.contains(Compat::RESIZE_INODE) {
        files.resize(layout)?;
    }
    if compat.contains(Compat::HAS_JOURNAL) {
        files.journal(layout, sb)?;
    }
    Ok(())
}

struct Files<'a> {
    device: &'a dyn BlockDevice,
    geometry: &'a Geometry,
    /// The inode table of group 0, in which all these files are.
    inode_table: BlockNumber,
    seed: FsSeed,
    options: &'a FormatOptions,
}

impl Files<'_> {
    fn device_offset(&self, block: BlockNumber) -> u64 {
        self.geometry.block_size.offset_of(block)
    }

    fn unused_inode(&self) -> Inode {
        Inode::new(self.geometry.inode_size)
    }

    /// An inode that is in use: one link, made now, empty.
    fn new_inode(&self, file_type: FileType, permissions: u16) -> Inode {
        let mut inode = self.unused_inode();
        inode.set_extra_isize(EXTRA_LEN);
        inode.head.i_mode = U16::new(file_type.mode_bits() | permissions);
        inode.head.i_links_count = U16::new(1);
        self.set_times(&mut inode);
        inode
    }

    fn set_times(&self, inode: &mut Inode) {
        for field in [TimeField::Accessed, TimeField::Modified, TimeField::Changed] {
            inode.set_time(field, self.options.now);
        }
        inode.set_created(self.options.now);
    }

    fn write_inode(&self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        inode.set_checksum(inode.seed(self.seed, number));
        let index = u64::from(number.0 - 1);
        let table = self.device_offset(self.inode_table);
        let offset = table + index * u64::from(self.geometry.inode_size);
        self.device.write_at(offset, &inode.encode())?;
        Ok(())
    }

    fn write_block(&self, block: u64, bytes: &[u8]) -> Result<()> {
        self.device
            .write_at(self.device_offset(BlockNumber(block)), bytes)?;
        Ok(())
    }

    fn empty_block(&self) -> Vec<u8> {
        vec![0; self.geometry.block_size.len()]
    }

    /// The mode 0755 root directory, with `/lost+found` in it.
    fn root(&self, layout: &mut Layout<'_>) -> Result<()> {
        let number = InodeNumber::ROOT;
        let mut inode = self.new_inode(FileType::Directory, 0o755);
        inode.head.i_links_count = U16::new(3);
        inode.set_uid(self.options.root_uid);
        inode.set_gid(self.options.root_gid);
        let block = layout.claim_block(0)?;
        let extents = [extent_of(0, block, 1)];
        self.map(number, &mut inode, &extents, None)?;

        let code = dirent::file_type_code(FileType::Directory);
        let mut bytes = self.empty_block();
        dirent::put_dots(&mut bytes, true, number, number, code);
        let dots_end = dirent::record_len(1) + dirent::record_len(2);
        let rest = dirent::entries_len(bytes.len(), true) - dots_end;
        dirent::set_rec_len(&mut bytes, dirent::record_len(1), dirent::record_len(2));
        dirent::put(
            &mut bytes,
            dots_end,
            rest,
            LOST_AND_FOUND,
            code,
            b"lost+found",
        );
        dirent::set_checksum(&mut bytes, inode.seed(self.seed, number));
        self.write_block(block, &bytes)?;
        self.write_inode(number, &mut inode)
    }

    /// The mode 0700 directory for what e2fsck finds without a name.
    fn lost_and_found(&self, layout: &mut Layout<'_>) -> Result<()> {
        let number = LOST_AND_FOUND;
        let mut inode = self.new_inode(FileType::Directory, 0o700);
        inode.head.i_links_count = U16::new(2);
        let blocks = (LOST_AND_FOUND_BYTES / self.geometry.block_size.bytes64())
            .min(LOST_AND_FOUND_MAX_BLOCKS);

        let code = dirent::file_type_code(FileType::Directory);
        let mut first = self.empty_block();
        dirent::put_dots(&mut first, true, number, InodeNumber::ROOT, code);
        let mut others = self.empty_block();
        let rest = dirent::entries_len(others.len(), true);
        dirent::put_unused(&mut others, 0, rest);
        dirent::put_tail(&mut others);

        let mut extents: Vec<Extent> = Vec::new();
        let mut goal = 0;
        for file_block in 0..blocks {
            let block = layout.claim_block(goal)?;
            goal = block + 1;
            match extents.last_mut() {
                Some(last) if last.start.0 + u64::from(last.len) == block => last.len += 1,
                _ => extents.push(extent_of(file_block, block, 1)),
            }
            let bytes = if file_block == 0 {
                &mut first
            } else {
                &mut others
            };
            dirent::set_checksum(bytes, inode.seed(self.seed, number));
            self.write_block(block, bytes)?;
        }
        self.map(number, &mut inode, &extents, None)?;
        self.write_inode(number, &mut inode)
    }

    /// The empty file of bad blocks, which has no mode and no link.
    fn bad_blocks(&self) -> Result<()> {
        let mut inode = self.unused_inode();
        self.set_times(&mut inode);
        self.write_inode(BAD_BLOCKS_INODE, &mut inode)
    }

    /// The file that holds the blocks behind the descriptor tables. Its blocks of pointers are the
    /// reserved blocks of group 0, each of which points to the backups of itself.
    fn resize(&self, layout: &mut Layout<'_>) -> Result<()> {
        let geometry = self.geometry;
        let block_size = geometry.block_size;
        let reserved = u64::from(geometry.reserved_gdt_blocks);
        let in_use = u64::from(geometry.descriptor_blocks());
        let pointers = block_size.bytes64() / 4;
        let backups: Vec<u64> = (1..geometry.group_count)
            .filter(|&group| geometry.has_superblock(GroupNumber(group)))
            .map(|group| u64::from(group) * u64::from(geometry.blocks_per_group))
            .collect();

        let first = u64::from(geometry.first_data_block) + 1 + in_use;
        // The place behind the bitmaps and the inode table of group 0, if they were not packed.
        let goal = first + reserved + 1 + u64::from(geometry.inode_table_blocks);
        let top = layout.claim_block(goal)?;
        let mut top_bytes = self.empty_block();
        for n in 0..reserved {
            let mut bytes = self.empty_block();
            for (place, backup) in bytes.chunks_exact_mut(4).zip(&backups) {
                place.copy_from_slice(&pointer(first + n + backup)?.to_le_bytes());
            }
            self.write_block(first + n, &bytes)?;
            // The tree is indexed by the place in the descriptor table, modulo its width.
            let slot = usize::try_from((in_use + n) % pointers).expect("below a block's length");
            put_u32(&mut top_bytes, slot * 4, pointer(first + n)?);
        }
        self.write_block(top, &top_bytes)?;

        let mut inode = self.new_inode(FileType::Regular, 0o600);
        inode.set_size((pointers * pointers + pointers + 12) * block_size.bytes64());
        put_u32(&mut inode.head.i_block, DOUBLE_INDIRECT * 4, pointer(top)?);
        let blocks = 1 + reserved * (1 + to_u64(backups.len()));
        self.set_blocks(&mut inode, blocks)?;
        self.write_inode(InodeNumber::RESIZE, &mut inode)
    }

    /// The journal, empty, in the middle of the filesystem.
    fn journal(&self, layout: &mut Layout<'_>, sb: &mut Superblock) -> Result<()> {
        let geometry = self.geometry;
        let number = InodeNumber::JOURNAL;
        let Some(blocks) = journal_blocks(geometry.blocks_count) else {
            return Ok(());
        };
        let mut extents: Vec<Extent> = Vec::new();
        let mut goal = journal_goal(layout);
        let mut leaf_block = None;
        let mut placed = 0;
        while placed < blocks {
            let wanted = (blocks - placed).min(MAX_LEN);
            let start = layout
                .space
                .first_free_around(goal)
                .ok_or_else(|| layout.no_space(u64::from(wanted)))?;
            let run = layout.space.free_run(start);
            let len = u32::try_from(run.end - run.start).map_or(wanted, |len| len.min(wanted));
            layout.claim(start..start + u64::from(len));
            extents.push(extent_of(u64::from(placed), start, len));
            if extents.len() == usize::from(ROOT_ENTRIES) + 1 {
                // The inode has no room for more extents; a block in front of the journal has.
                leaf_block = Some(layout.claim_block(extents[0].start.0 - 1)?);
            }
            placed += len;
            goal = start + u64::from(len);
        }
        let mut inode = self.new_inode(FileType::Regular, 0o600);
        self.map(number, &mut inode, &extents, leaf_block)?;
        self.write_inode(number, &mut inode)?;

        let mut bytes = self.empty_block();
        let journal = JournalSuperblock::fresh(geometry.block_size.bytes(), blocks, sb.s_uuid);
        bytes[..size_of_val(&journal)].copy_from_slice(journal.as_bytes());
        self.write_block(extents[0].start.0, &bytes)?;

        sb.s_journal_inum = U32::new(number.0);
        sb.s_jnl_backup_type = JOURNAL_BACKUP_BLOCKS;
        let (size_low, size_high) = split(inode.size());
        let words = inode
            .head
            .i_block
            .chunks_exact(4)
            .map(|word| U32::from_bytes([word[0], word[1], word[2], word[3]]));
        for (place, word) in sb.s_jnl_blocks.iter_mut().zip(words) {
            *place = word;
        }
        sb.s_jnl_blocks[15] = size_high;
        sb.s_jnl_blocks[16] = size_low;
        Ok(())
    }

    /// Gives an inode its extents, size and number of blocks. The extents lie in `leaf_block` if
    /// the inode has no room for them.
    fn map(
        &self,
        number: InodeNumber,
        inode: &mut Inode,
        extents: &[Extent],
        leaf_block: Option<u64>,
    ) -> Result<()> {
        let block_size = self.geometry.block_size;
        let data_blocks: u64 = extents.iter().map(|extent| u64::from(extent.len)).sum();
        let room = if leaf_block.is_some() {
            extent::block_entries(block_size)
        } else {
            usize::from(ROOT_ENTRIES)
        };
        if extents.len() > room {
            return Err(unstorable(
                format!("{number} in {} pieces", extents.len()),
                format!("it can have {room}"),
            ));
        }
        let leaf = Node::Leaf(extents.to_vec());
        let root = if let Some(block) = leaf_block {
            let mut bytes = self.empty_block();
            leaf.encode_into(&mut bytes);
            extent::set_checksum(&mut bytes, inode.seed(self.seed, number));
            self.write_block(block, &bytes)?;
            Node::Index {
                depth: 1,
                children: vec![Child {
                    first: FileBlock(0),
                    block: BlockNumber(block),
                }],
            }
        } else {
            leaf
        };
        root.encode_into(&mut inode.head.i_block);
        inode.set_flag(flags::EXTENTS);
        inode.set_size(data_blocks * block_size.bytes64());
        self.set_blocks(inode, data_blocks + u64::from(leaf_block.is_some()))
    }

    fn set_blocks(&self, inode: &mut Inode, blocks: u64) -> Result<()> {
        let block_size = self.geometry.block_size;
        inode
            .set_sectors(blocks * block_size.sectors(), block_size, true)
            .ok_or_else(|| unstorable(format!("file of {blocks} blocks"), "too many".to_owned()))
    }
}

/// The extent that maps `len` blocks of a file from `first` on to those from `start` on.
fn extent_of(first: u64, start: u64, len: u32) -> Extent {
    Extent {
        first: FileBlock(u32::try_from(first).expect("these files are small")),
        len,
        start: BlockNumber(start),
        unwritten: false,
    }
}

/// A pointer of a block-mapped file. The resize inode is only made below 2^32 blocks.
fn pointer(block: u64) -> Result<u32> {
    u32::try_from(block).map_err(|_| {
        unstorable(
            format!("block {block} in a block-mapped file"),
            "it has 32 bits for a block's number".to_owned(),
        )
    })
}

/// Where the search for room for the journal starts: the emptier one of the groups in the middle.
fn journal_goal(layout: &Layout<'_>) -> u64 {
    const FLEX_GROUPS: u32 = 16;
    let geometry = layout.geometry;
    let free = |group: u32| {
        let blocks = layout.group_blocks(group);
        (blocks.end - blocks.start) - layout.space.used_count(blocks)
    };
    let first_data_block = u64::from(geometry.first_data_block);
    let half = (geometry.blocks_count - first_data_block) / 2;
    let middle = geometry
        .group_of_block(BlockNumber(half.max(first_data_block)))
        .0;
    let (start, end) = if middle > FLEX_GROUPS {
        let flex_start = middle / FLEX_GROUPS * FLEX_GROUPS;
        let start = (flex_start..geometry.group_count)
            .find(|&group| free(group) > 0)
            .unwrap_or(0);
        (start, start + 1)
    } else {
        (middle.saturating_sub(1), middle + 1)
    };
    let end = end.min(geometry.group_count - 1);
    let mut best = start;
    for group in start..=end {
        if free(group) > free(best) {
            best = group;
        }
    }
    geometry.group_first_block(GroupNumber(best)).0
}
