//! The log's blocks: where they lie on the device, and how one follows another.

use std::ops::Range;

use super::format;
use super::format::{JournalSuperblock, SUPERBLOCK_LEN, SUPERBLOCK_V1, SUPERBLOCK_V2};
use crate::problem::{self, incompatible};
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, FileExtent, Location, Result};

/// The kernel uses no journal with fewer blocks.
const MIN_LOG_BLOCKS: u32 = 1024;

/// The journal file, read block by block.
pub(super) struct JournalFile<'a> {
    pub(super) device: &'a dyn BlockDevice,
    /// Bytes in a block, of the filesystem and of the journal.
    pub(super) block_size: u32,
    /// Where the file lies, in file order and in whole blocks.
    pub(super) extents: &'a [FileExtent],
}

impl JournalFile<'_> {
    /// Where block `block` of the journal lies on the device, in bytes.
    pub(super) fn offset_bytes(&self, block: u32) -> Result<u64> {
        let start = u64::from(block) * u64::from(self.block_size);
        let after = self
            .extents
            .partition_point(|extent| extent.file_offset <= start);
        after
            .checked_sub(1)
            .map(|index| self.extents[index])
            .and_then(|extent| {
                let inside = start - extent.file_offset;
                if inside.checked_add(u64::from(self.block_size))? > extent.len {
                    return None;
                }
                extent.device_offset.checked_add(inside)
            })
            .ok_or_else(|| corrupt(block, "the journal file has no such block".to_owned()))
    }

    /// Reads block `block` of the journal.
    pub(super) fn read(&self, block: u32) -> Result<Vec<u8>> {
        let offset = self.offset_bytes(block)?;
        // Block sizes are at most 64 KiB.
        let len = usize::try_from(self.block_size).expect("a block size fits 32 bits");
        let mut bytes = vec![0; len];
        self.device.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads and checks the journal superblock.
    pub(super) fn superblock(&self) -> Result<JournalSuperblock> {
        let block = self.read(0)?;
        let superblock = JournalSuperblock::decode(&block)
            .ok_or_else(|| corrupt(0, "the block is too small for a superblock".to_owned()))?;
        let magic = superblock.header.h_magic.get();
        if magic != format::MAGIC {
            let expected = format::MAGIC;
            return Err(corrupt(
                0,
                format!("magic {magic:#010x}, expected {expected:#010x}"),
            ));
        }
        let version = superblock.header.h_blocktype.get();
        if version != SUPERBLOCK_V1 && version != SUPERBLOCK_V2 {
            return Err(corrupt(0, format!("block type {version} of a superblock")));
        }
        if superblock.s_blocksize.get() != self.block_size {
            return Err(corrupt(
                0,
                format!(
                    "blocks of {} bytes, but the filesystem's have {}",
                    superblock.s_blocksize, self.block_size
                ),
            ));
        }
        if superblock.unknown_incompat() != 0 {
            return Err(incompatible(format!(
                "a journal with the features {:#x}",
                superblock.unknown_incompat()
            )));
        }
        if superblock.has_block_checksums() {
            if superblock.s_checksum_type != format::CHECKSUM_CRC32C {
                return Err(corrupt(
                    0,
                    format!("checksums of type {}", superblock.s_checksum_type),
                ));
            }
            let (found, expected) = (superblock.s_checksum.get(), superblock.checksum());
            if found != expected {
                return Err(corrupt(
                    0,
                    format!("checksum {found:#010x}, expected {expected:#010x}"),
                ));
            }
        }
        Ok(superblock)
    }

    /// Writes the journal superblock with a new checksum.
    pub(super) fn write_superblock(&self, mut superblock: JournalSuperblock) -> Result<()> {
        use zerocopy::IntoBytes as _;
        if superblock.has_block_checksums() {
            superblock.s_checksum = superblock.checksum().into();
        }
        let bytes: &[u8; SUPERBLOCK_LEN] = zerocopy::transmute_ref!(&superblock);
        self.device
            .write_at(self.offset_bytes(0)?, bytes.as_bytes())?;
        Ok(())
    }
}

/// The part of the journal that transactions are written to, cyclically.
pub(super) struct Log {
    pub(super) blocks: Range<u32>,
}

impl Log {
    /// The log that the journal superblock describes.
    pub(super) fn new(superblock: &JournalSuperblock) -> Result<Self> {
        let first = superblock.s_first.get();
        let journal_blocks = superblock.s_maxlen.get();
        let end = journal_blocks
            .checked_sub(superblock.fast_commit_blocks())
            .filter(|&end| end >= MIN_LOG_BLOCKS && first >= 1 && first < end)
            .ok_or_else(|| {
                corrupt(
                    0,
                    format!("a log from block {first} in a journal of {journal_blocks} blocks"),
                )
            })?;
        let log = Self { blocks: first..end };
        let start = superblock.s_start.get();
        if start != 0 && !log.blocks.contains(&start) {
            return Err(corrupt(0, format!("the log starts in block {start}")));
        }
        Ok(log)
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> u32 {
        self.blocks.end - self.blocks.start
    }

    /// The block that comes `distance` blocks after `block`, if that is no further than once
    /// around.
    pub(super) fn advance(&self, block: u32, distance: u32) -> u32 {
        let from_first = u64::from(block - self.blocks.start) + u64::from(distance);
        let wrapped = from_first % u64::from(self.len());
        self.blocks.start + u32::try_from(wrapped).expect("less than the log's length")
    }
}

/// The journal contradicts its format at one of its blocks.
pub(super) fn corrupt(journal_block: u32, problem: String) -> Error {
    problem::corrupt(Location::Journal(u64::from(journal_block)), problem)
}
