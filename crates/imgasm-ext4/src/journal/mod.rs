//! The journal (jbd2): bringing an image that was not unmounted up to its last commit.
//!
//! - [`mod@format`]: what the journal's blocks mean.
//! - `log`: where they lie.
//! - `recover`: which blocks of the filesystem the log replaces.
//! - [`replay`]: writes these blocks and empties the log.

pub mod format;
mod log;
mod recover;

use crate::problem::{self, incompatible, not_writable};
use format::{JournalSuperblock, MAGIC};
use imgasm_block::BlockDevice;
use imgasm_fs::{FileExtent, Location, Result};
use log::{JournalFile, Log, corrupt};
use recover::Recovery;

/// Where a filesystem keeps its journal.
#[derive(Debug, Clone, Copy)]
pub struct Journal<'a> {
    /// Bytes in a block of the filesystem.
    pub block_size: u32,
    /// Number of blocks in the filesystem.
    pub filesystem_blocks: u64,
    /// Where the journal file lies on the device: in file order, in whole blocks.
    pub extents: &'a [FileExtent],
}

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Number of transactions in the log.
    pub transactions: u32,
    /// Number of blocks that were written.
    pub blocks: u64,
}

/// Writes every block that the log holds to its home and empties the log.
///
/// Nothing is written before the whole log is found to be sound. The superblock's `needs_recovery`
/// is the caller's to clear, after reading the superblock again: the log may hold a newer one.
///
/// # Errors
/// [`Incompatible`](imgasm_fs::Error::Incompatible) for a journal feature that is not known, and for
/// fast commits; [`Corrupt`](imgasm_fs::Error::Corrupt) if a committed transaction does not match its
/// checksums or names blocks that the filesystem does not have;
/// [`NotWritable`](imgasm_fs::Error::NotWritable) if the kernel aborted the journal because of an
/// error.
pub fn replay(device: &dyn BlockDevice, journal: &Journal<'_>) -> Result<Replayed> {
    let file = JournalFile {
        device,
        block_size: journal.block_size,
        extents: journal.extents,
    };
    let mut superblock = file.superblock()?;
    if superblock.s_errno.get() != 0 {
        return Err(not_writable(format!(
            "the kernel stopped using the journal after error {}: run e2fsck -f on the filesystem",
            superblock.s_errno.get().cast_signed()
        )));
    }
    if superblock.s_start.get() == 0 {
        return Ok(Replayed {
            transactions: 0,
            blocks: 0,
        });
    }
    let log = Log::new(&superblock)?;
    let recovery = recover::recover(&file, &superblock, &log)?;
    refuse_fast_commits(&file, &superblock, &log, recovery.end_sequence)?;
    check_homes(&file, journal, &recovery)?;

    for (&home, source) in &recovery.blocks {
        let mut data = file.read(source.journal_block)?;
        if source.escaped {
            data[..4].copy_from_slice(&MAGIC.to_be_bytes());
        }
        device.write_at(home * u64::from(journal.block_size), &data)?;
    }
    superblock.s_start = 0.into();
    superblock.s_sequence = recovery.end_sequence.wrapping_add(1).into();
    file.write_superblock(superblock)?;
    Ok(Replayed {
        transactions: recovery.transactions,
        blocks: u64::try_from(recovery.blocks.len()).expect("a length fits 64 bits"),
    })
}

/// The journal superblock, for a look at a journal that is not replayed.
pub fn read_superblock(
    device: &dyn BlockDevice,
    journal: &Journal<'_>,
) -> Result<JournalSuperblock> {
    let file = JournalFile {
        device,
        block_size: journal.block_size,
        extents: journal.extents,
    };
    file.superblock()
}

/// Refuses a journal whose last blocks hold fast commits that belong after the log's end.
///
/// Kernel documentation, ext4, "Fast commits": the area is in use if it begins with a head tag that
/// carries the number of the transaction it continues.
fn refuse_fast_commits(
    file: &JournalFile<'_>,
    superblock: &JournalSuperblock,
    log: &Log,
    end_sequence: u32,
) -> Result<()> {
    const TAG_HEAD: u16 = 0x0009;
    if superblock.fast_commit_blocks() == 0 {
        return Ok(());
    }
    // The kernel leaves one block free between the log and the fast commits.
    let block = file.read(log.blocks.end + 1)?;
    let tag = u16::from_le_bytes([block[0], block[1]]);
    let transaction = u32::from_le_bytes([block[8], block[9], block[10], block[11]]);
    if tag == TAG_HEAD && transaction == end_sequence {
        return Err(incompatible(
            "a journal with fast commits (fast_commit); let a kernel mount the filesystem, or run \
             e2fsck -p on it: replaying those"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Checks that the log replaces only blocks of the filesystem, and none of the journal itself.
fn check_homes(file: &JournalFile<'_>, journal: &Journal<'_>, recovery: &Recovery) -> Result<()> {
    let block_size = u64::from(journal.block_size);
    for (&home, source) in &recovery.blocks {
        if home >= journal.filesystem_blocks {
            return Err(corrupt(
                source.journal_block,
                format!(
                    "it belongs in block {home} of a filesystem of {} blocks",
                    journal.filesystem_blocks
                ),
            ));
        }
        let offset = home.checked_mul(block_size);
        if offset.is_none_or(|offset| offset >= file.device.len()) {
            let problem = "the block lies past the end of the device";
            return Err(problem::corrupt(Location::Block(home), problem));
        }
    }
    for extent in journal.extents {
        let first = extent.device_offset / block_size;
        let end = first.saturating_add(extent.len / block_size);
        if let Some((home, source)) = recovery.blocks.range(first..end).next() {
            return Err(corrupt(
                source.journal_block,
                format!("it belongs in block {home}, which is the journal's own"),
            ));
        }
    }
    Ok(())
}
