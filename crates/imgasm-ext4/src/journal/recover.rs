//! Which blocks a log recovers: the three passes of jbd2 over it.
//!
//! The first pass finds the transactions that were committed whole, the second collects the homes
//! that they revoke, the third gives every home the last data for it that was not revoked. None of
//! them writes anything.

use std::collections::BTreeMap;

use super::format::{
    BlockHeader, COMMIT_BLOCK, CommitHeader, DESCRIPTOR_BLOCK, JournalSuperblock, Layout, MAGIC,
    REVOKE_BLOCK,
};
use super::log::{JournalFile, Log, corrupt};
use imgasm_fs::Result;
use zerocopy::FromBytes as _;

/// What replaces a block of the filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// The block of the journal that holds the data.
    pub(super) journal_block: u32,
    /// Whether its first four bytes are zeroed in the journal and must be made the magic again.
    pub(super) escaped: bool,
}

/// What the log holds.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The new data of each block of the filesystem, by block number.
    pub(super) blocks: BTreeMap<u64, Source>,
    /// Number of transactions that were committed whole.
    pub(super) transactions: u32,
    /// The first transaction that was not committed whole.
    pub(super) end_sequence: u32,
}

/// A block of the log that belongs to a committed transaction.
struct LogBlock {
    sequence: u32,
    journal_block: u32,
}

/// What the first pass finds.
#[derive(Default)]
struct Committed {
    descriptors: Vec<LogBlock>,
    revokes: Vec<LogBlock>,
    transactions: u32,
    end_sequence: u32,
}

/// Reads the log whose journal superblock is `superblock`.
pub(super) fn recover(
    file: &JournalFile<'_>,
    superblock: &JournalSuperblock,
    log: &Log,
) -> Result<Recovery> {
    let pass = Pass {
        file,
        superblock,
        log,
        layout: superblock.layout(),
        seed: superblock.checksum_seed(),
    };
    let committed = pass.scan()?;
    let revoked = pass.revoked(&committed)?;
    let blocks = pass.newest_data(&committed, &revoked)?;
    Ok(Recovery {
        blocks,
        transactions: committed.transactions,
        end_sequence: committed.end_sequence,
    })
}

struct Pass<'a> {
    file: &'a JournalFile<'a>,
    superblock: &'a JournalSuperblock,
    log: &'a Log,
    layout: Layout,
    seed: u32,
}

/// CRC-32 with the most significant bit first, as in commit blocks.
const CRC32_BIG_ENDIAN: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_MPEG_2);

impl Pass<'_> {
    /// Finds the transactions that were committed whole, from the start of the log to the first
    /// block that does not belong to it.
    ///
    /// A block with a wrong checksum may be left over from an earlier round of the log: then the
    /// log ends before its transaction. Only the time in the commit block decides: if time advances
    /// from transaction to transaction, the journal is damaged.
    fn scan(&self) -> Result<Committed> {
        let mut committed = Committed {
            end_sequence: self.superblock.s_sequence.get(),
            ..Committed::default()
        };
        let (mut descriptors, mut revokes) = (0, 0);
        let mut block = self.superblock.s_start.get();
        let mut blocks_left = self.log.len();
        let mut last_commit_seconds = 0;
        let mut checksum_failed_at = None;
        let has_transaction_checksums = self.superblock.has_compat(super::format::COMPAT_CHECKSUM)
            && !self.superblock.has_block_checksums();
        let mut crc = CRC32_BIG_ENDIAN.digest();
        loop {
            let bytes = self.file.read(block)?;
            let sequence = committed.end_sequence;
            let Some(kind) = log_block_kind(&bytes, sequence) else {
                break;
            };
            let found = LogBlock {
                sequence,
                journal_block: block,
            };
            let mut data_blocks = 0;
            match kind {
                DESCRIPTOR_BLOCK => {
                    if !self.layout.tail_is_valid(&bytes, self.seed) {
                        checksum_failed_at.get_or_insert(block);
                    }
                    let tags = self.layout.tags(&bytes).len();
                    data_blocks = u32::try_from(tags).expect("a block holds few tags");
                    committed.descriptors.push(found);
                    if has_transaction_checksums {
                        crc.update(&bytes);
                        for distance in 1..=data_blocks.min(blocks_left) {
                            let data = self.log.advance(block, distance);
                            crc.update(&self.file.read(data)?);
                        }
                    }
                }
                REVOKE_BLOCK => {
                    if !self.layout.tail_is_valid(&bytes, self.seed) {
                        checksum_failed_at.get_or_insert(block);
                    }
                    committed.revokes.push(found);
                }
                COMMIT_BLOCK => {
                    let header = CommitHeader::decode(&bytes).ok_or_else(|| {
                        corrupt(block, "the commit block is too short".to_owned())
                    })?;
                    let seconds = header.h_commit_sec.get();
                    if let Some(failed_at) = checksum_failed_at {
                        if seconds >= last_commit_seconds {
                            return Err(wrong_checksum(failed_at, sequence));
                        }
                        break;
                    }
                    let valid = if has_transaction_checksums {
                        let whole = std::mem::replace(&mut crc, CRC32_BIG_ENDIAN.digest());
                        header.transaction_checksum_is_valid(whole.finalize())
                    } else {
                        !self.superblock.has_block_checksums()
                            || header.block_checksum_is_valid(&bytes, self.seed)
                    };
                    if !valid {
                        let commits_early = self
                            .superblock
                            .has_incompat(super::format::INCOMPAT_ASYNC_COMMIT);
                        if seconds >= last_commit_seconds && !commits_early {
                            return Err(wrong_checksum(block, sequence));
                        }
                        break;
                    }
                    last_commit_seconds = seconds;
                    committed.end_sequence = sequence.wrapping_add(1);
                    committed.transactions += 1;
                    descriptors = committed.descriptors.len();
                    revokes = committed.revokes.len();
                }
                _ => break,
            }
            // A log whose transactions overlap would keep us here forever.
            blocks_left = blocks_left
                .checked_sub(data_blocks + 1)
                .filter(|&left| left > 0)
                .ok_or_else(|| {
                    corrupt(block, "the transactions are longer than the log".to_owned())
                })?;
            block = self.log.advance(block, data_blocks + 1);
        }
        // What was not committed has not happened.
        committed.descriptors.truncate(descriptors);
        committed.revokes.truncate(revokes);
        Ok(committed)
    }

    /// The last transaction that revokes each home.
    fn revoked(&self, committed: &Committed) -> Result<BTreeMap<u64, u32>> {
        let mut revoked = BTreeMap::new();
        for found in &committed.revokes {
            let bytes = self.file.read(found.journal_block)?;
            let homes = self
                .layout
                .revoked(&bytes)
                .map_err(|problem| corrupt(found.journal_block, problem))?;
            // Transactions come in order, so that a later one replaces an earlier one.
            revoked.extend(homes.into_iter().map(|home| (home, found.sequence)));
        }
        Ok(revoked)
    }

    /// The newest data of each home that no transaction from then on revokes.
    fn newest_data(
        &self,
        committed: &Committed,
        revoked: &BTreeMap<u64, u32>,
    ) -> Result<BTreeMap<u64, Source>> {
        let mut blocks = BTreeMap::new();
        for found in &committed.descriptors {
            let bytes = self.file.read(found.journal_block)?;
            let mut journal_block = found.journal_block;
            for tag in self.layout.tags(&bytes) {
                journal_block = self.log.advance(journal_block, 1);
                let is_revoked = revoked
                    .get(&tag.home)
                    .is_some_and(|&revoked| !is_after(found.sequence, revoked));
                if is_revoked {
                    continue;
                }
                let data = self.file.read(journal_block)?;
                if !self
                    .layout
                    .data_is_valid(&tag, &data, found.sequence, self.seed)
                {
                    return Err(wrong_checksum(journal_block, found.sequence));
                }
                let source = Source {
                    journal_block,
                    escaped: tag.escaped,
                };
                blocks.insert(tag.home, source);
            }
        }
        Ok(blocks)
    }
}

/// The type of a block that belongs to transaction `sequence`, `None` if it does not.
fn log_block_kind(bytes: &[u8], sequence: u32) -> Option<u32> {
    let (header, _) = BlockHeader::ref_from_prefix(bytes).ok()?;
    let belongs = header.h_magic.get() == MAGIC && header.h_sequence.get() == sequence;
    belongs.then(|| header.h_blocktype.get())
}

/// Whether transaction `a` comes after `b`; the numbers wrap around.
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// A block of a committed transaction does not match its checksum.
fn wrong_checksum(journal_block: u32, sequence: u32) -> imgasm_fs::Error {
    corrupt(
        journal_block,
        format!(
            "wrong checksum in transaction {sequence}; the journal is damaged: run e2fsck -f on \
             the filesystem"
        ),
    )
}
