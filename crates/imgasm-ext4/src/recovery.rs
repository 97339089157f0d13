//! Opening a filesystem that was not unmounted: its journal is replayed, pending deletions and
//! truncations are finished, and the superblock says so.

use std::sync::Arc;

use zerocopy::little_endian::U32;

use super::format::features::{Compat, Incompat};
use super::format::inode::{Inode, flags};
use super::format::numbers::InodeNumber;
use super::format::superblock::{self, STATE_ERROR, Superblock};
use super::format::{put_u32, read_u16};
use super::journal::{self, Journal};
use super::volume::read_superblock;
use crate::problem::{at_inode, corrupt, incompatible, not_writable};
use crate::volume::Ext4;
use imgasm_block::{BlockDevice, Delta};
use imgasm_fs::error::{Error, Location, Result};
use imgasm_fs::types::{FileExtent, Timestamp, WriteOptions};

/// Magic number of the root of an extent tree, by which a copied `i_block` shows its form.
const EXTENT_MAGIC: u16 = 0xf30a;
/// `s_jnl_backup_type`: `s_jnl_blocks` holds a copy of the journal's `i_block` and size.
const BACKUP_BLOCKS: u8 = 1;

impl Ext4 {
    /// Recovers a filesystem on its device and opens it for writing.
    pub(super) fn recover(
        device: Arc<dyn BlockDevice>,
        superblock: Superblock,
        options: WriteOptions,
    ) -> Result<Self> {
        let superblock = if superblock.needs_recovery() {
            replay(&device, &superblock)?
        } else {
            superblock
        };
        if superblock.s_state.get() & STATE_ERROR != 0 {
            return Err(not_writable(
                "errors are flagged in the superblock: run `e2fsck -f` on it",
            ));
        }
        let mut fs = Self::with(device, superblock, Some(options))?;
        fs.finish_orphans()?;
        // The kernel counts free blocks anew at a mount; the counts in the superblock are stale.
        fs.changed = true;
        fs.write_staged()?;
        Ok(fs)
    }

    /// Recovers a filesystem in memory and opens it for reading; the device stays as it is.
    pub(super) fn recover_in_memory(
        device: Arc<dyn BlockDevice>,
        superblock: &Superblock,
    ) -> Result<Self> {
        let overlay: Arc<dyn BlockDevice> = Arc::new(Delta::new(Arc::clone(&device)));
        let last_written = superblock.s_wtime.get();
        let options = WriteOptions {
            now: Timestamp {
                seconds: i64::from(last_written),
                nanoseconds: 0,
            },
            seed: [0; 16],
        };
        let finished = if superblock.features().unwritable().is_empty() {
            Self::recover(overlay, superblock.clone(), options)
        } else {
            Err(incompatible("finishing with orphans"))
        };
        let mut fs = match finished {
            // Deleted inodes cannot be freed, but everything else can be read.
            Err(Error::Incompatible { .. }) => {
                let overlay: Arc<dyn BlockDevice> = Arc::new(Delta::new(device));
                let superblock = replay(&overlay, superblock)?;
                Self::with(overlay, superblock, None)?
            }
            finished => finished?,
        };
        fs.options = None;
        fs.recovered_in_memory = true;
        Ok(fs)
    }

    /// Where the journal file lies.
    pub(super) fn journal_extents(&self, number: InodeNumber) -> Result<Vec<FileExtent>> {
        let inode = self.read_inode_unchecked(number)?;
        self.journal_extents_of(number, &inode)
    }

    fn journal_extents_of(&self, number: InodeNumber, inode: &Inode) -> Result<Vec<FileExtent>> {
        let block_size = self.geometry.block_size;
        let mapping = self.mapping(number, inode)?;
        if mapping.extents.is_empty() || mapping.extents.iter().any(|extent| extent.unwritten) {
            return Err(corrupt(
                at_inode(number),
                "the journal has no blocks, or unwritten ones",
            ));
        }
        let extents = mapping.extents.iter().map(|extent| FileExtent {
            file_offset: u64::from(extent.first.0) * block_size.bytes64(),
            device_offset: block_size.offset_of(extent.start),
            len: u64::from(extent.len) * block_size.bytes64(),
        });
        Ok(extents.collect())
    }

    /// The journal in these extents.
    pub(super) fn journal_place<'a>(&self, extents: &'a [FileExtent]) -> Journal<'a> {
        Journal {
            block_size: self.geometry.block_size.bytes(),
            filesystem_blocks: self.geometry.blocks_count,
            extents,
        }
    }
}

/// Replays the journal onto the device; gives the superblock as it is after that.
fn replay(device: &Arc<dyn BlockDevice>, superblock: &Superblock) -> Result<Superblock> {
    if !superblock.features().compat.contains(Compat::HAS_JOURNAL) {
        return Err(corrupt(
            Location::Superblock,
            "needs_recovery is on, but there is no journal",
        ));
    }
    let number = InodeNumber(superblock.s_journal_inum.get());
    if number.0 == 0 {
        return Err(incompatible(
            "recovery from an external journal (journal_dev)",
        ));
    }
    let backup = backup_inode(superblock);
    // The journal replaces descriptors and inodes, but never says where the journal lies.
    let before = Ext4::with(Arc::clone(device), superblock.clone(), None)?;
    let extents = match (before.journal_extents(number), backup) {
        (Err(Error::Corrupt { .. }), Some(backup)) => before.journal_extents_of(number, &backup)?,
        (extents, _) => extents?,
    };
    let journal = before.journal_place(&extents);
    let replayed = journal::replay(&**device, &journal)?;
    tracing::debug!(
        transactions = replayed.transactions,
        blocks = replayed.blocks,
        "the journal was replayed"
    );

    // The journal may hold a superblock from before the kernel recorded errors.
    let mut after = read_superblock(&**device)?;
    keep_errors(superblock, &mut after);
    let incompat = after.s_feature_incompat.get() & !Incompat::NEEDS_RECOVERY.bits();
    after.s_feature_incompat = U32::new(incompat);
    device.write_at(superblock::OFFSET_BYTES, &after.encode())?;
    Ok(after)
}

/// The journal's inode as the superblock keeps a copy of it, if it does.
fn backup_inode(superblock: &Superblock) -> Option<Inode> {
    if superblock.s_jnl_backup_type != BACKUP_BLOCKS {
        return None;
    }
    let mut inode = Inode::new(128);
    for (index, word) in superblock.s_jnl_blocks[..15].iter().enumerate() {
        put_u32(&mut inode.head.i_block, index * 4, word.get());
    }
    inode.head.i_size_high = superblock.s_jnl_blocks[15];
    inode.head.i_size_lo = superblock.s_jnl_blocks[16];
    if read_u16(&inode.head.i_block, 0) == EXTENT_MAGIC {
        inode.set_flag(flags::EXTENTS);
    }
    Some(inode)
}

/// Copies the kernel's records of errors to a replayed superblock.
fn keep_errors(before: &Superblock, after: &mut Superblock) {
    let flagged = before.s_state.get() & STATE_ERROR;
    after.s_state = (after.s_state.get() | flagged).into();
    after.s_error_count = before.s_error_count;
    after.s_first_error_time = before.s_first_error_time;
    after.s_first_error_ino = before.s_first_error_ino;
    after.s_first_error_block = before.s_first_error_block;
    after.s_first_error_func = before.s_first_error_func;
    after.s_first_error_line = before.s_first_error_line;
    after.s_last_error_time = before.s_last_error_time;
    after.s_last_error_ino = before.s_last_error_ino;
    after.s_last_error_line = before.s_last_error_line;
    after.s_last_error_block = before.s_last_error_block;
    after.s_last_error_func = before.s_last_error_func;
}
