//! The ring of blocks, and where its content begins and ends.
//!
//! Each block begins with the number of the round in which it was written. The head is where the
//! numbers drop by one. The log is empty if the record before the head is the one that a clean
//! unmount writes.

use imgasm_fs::{Location, Result};

use crate::format::bytes::{as_usize, u16_at, u32_at};
use crate::log::record::{Header, MAGIC};
use crate::problem::{bad_log, corrupt};
use crate::volume::Volume;

/// Bytes in a block of the log.
pub(super) const BLOCK: u64 = 512;
/// The most blocks in a record: 256 KiB and its headers.
const MAX_RECORD_BLOCKS: u64 = 512 + 8;
/// Records that the kernel may be writing at the same time.
pub(super) const RECORDS_UNDER_WAY: usize = 8;
/// Blocks before and after the head that unfinished writes may have touched.
pub(super) const BLOCKS_UNDER_WAY: u64 = RECORDS_UNDER_WAY as u64 * 512;
/// The flag of the operation that a clean unmount logs.
pub(super) const UNMOUNT: u8 = 0x20;

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing that is not on the disk.
    Clean,
    /// Changes that a mount would replay.
    Dirty,
    /// It is on another device, so its state is unknown.
    External,
}

/// Whether the log holds changes.
pub(crate) fn state(volume: &Volume) -> Result<State> {
    match Ring::new(volume)? {
        Some(ring) => ring.state(),
        None => Ok(State::External),
    }
}

/// The log's blocks.
pub(super) struct Ring<'a> {
    pub(super) volume: &'a Volume,
    /// First byte.
    offset: u64,
    /// Number of 512-byte blocks.
    pub(super) blocks: u64,
}

/// The records from the oldest valid one to the newest, and what follows them.
pub(super) struct Records {
    pub(super) headers: Vec<Header>,
    /// Whether a record that was not written to its end follows the last one.
    pub(super) torn: bool,
}

impl<'a> Ring<'a> {
    /// The log of a filesystem, if it is on the same device.
    pub(super) fn new(volume: &'a Volume) -> Result<Option<Self>> {
        let geometry = &volume.geometry;
        let Some((start, blocks)) = geometry.log else {
            return Ok(None);
        };
        if !geometry.holds(start, u64::from(blocks)) || blocks == 0 {
            return Err(corrupt(
                Location::Superblock,
                format!("a log of {blocks} blocks at block {}", start.0),
            ));
        }
        Ok(Some(Self {
            volume,
            offset: volume.byte_offset(start)?,
            blocks: u64::from(blocks) * (u64::from(geometry.block_size) / BLOCK),
        }))
    }

    /// The bytes of the log on the device.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.blocks * BLOCK
    }

    /// Where a block lies on the device; after the last one comes the first.
    pub(super) fn byte_offset(&self, block: u64) -> u64 {
        self.offset + block % self.blocks * BLOCK
    }

    fn read(&self, block: u64) -> Result<[u8; 512]> {
        let mut bytes = [0; 512];
        self.volume
            .device
            .read_at(self.byte_offset(block), &mut bytes)?;
        Ok(bytes)
    }

    /// Reads `count` blocks, no more than the log has, past its end and on from its beginning if
    /// need be.
    pub(super) fn read_run(&self, block: u64, count: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; as_usize(count * BLOCK)];
        let block = block % self.blocks;
        let before_end = count.min(self.blocks - block);
        let (first, second) = bytes.split_at_mut(as_usize(before_end * BLOCK));
        let device = &self.volume.device;
        device.read_at(self.byte_offset(block), first)?;
        if !second.is_empty() {
            device.read_at(self.offset, second)?;
        }
        Ok(bytes)
    }

    /// The round in which a block was written; 0 if it never was.
    pub(super) fn round(&self, block: u64) -> Result<u32> {
        Ok(round_of(&self.read(block)?))
    }

    /// The first block that was not written in the last round.
    fn head(&self) -> Result<u64> {
        let first = self.round(0)?;
        if self.round(self.blocks - 1)? == first {
            return Ok(0);
        }
        let (mut written, mut not) = (0, self.blocks - 1);
        while not - written > 1 {
            let middle = written + (not - written) / 2;
            if self.round(middle)? == first {
                written = middle;
            } else {
                not = middle;
            }
        }
        Ok(not)
    }

    /// The head, corrected so that everything before it is whole: if blocks just before it still
    /// have an older round, because writes came out of order, it is the first of those.
    fn whole_head(&self) -> Result<u64> {
        let head = self.head()?;
        let written = self.round(head + self.blocks - 1)?;
        let looked_at = BLOCKS_UNDER_WAY.min(self.blocks);
        let start = head + self.blocks - looked_at;
        let bytes = self.read_run(start, looked_at)?;
        for (block, bytes) in (start..).zip(bytes.chunks_exact(as_usize(BLOCK))) {
            // The blocks up to the ring's end were written one round before those at its beginning.
            let expected = if block < self.blocks {
                written.wrapping_sub(u32::from(head != 0))
            } else {
                written
            };
            if round_of(bytes) < expected {
                return Ok(block % self.blocks);
            }
        }
        Ok(head)
    }

    fn state(&self) -> Result<State> {
        if self.round(0)? == 0 {
            return Ok(State::Clean);
        }
        let head = self.head()?;
        let Some((block, header)) = self.last_header(head)? else {
            return Ok(State::Dirty);
        };
        let is_last = (block + header.all_blocks()) % self.blocks == head;
        if header.operations != 1 || !is_last {
            return Ok(State::Dirty);
        }
        let operation = self.read(block + header.header_blocks())?;
        let [_, flags] = u16_at(&operation, 8).to_be_bytes();
        Ok(if flags & UNMOUNT != 0 {
            State::Clean
        } else {
            State::Dirty
        })
    }

    /// The nearest header before the head, with its block, which may be beyond the ring's end.
    fn last_header(&self, head: u64) -> Result<Option<(u64, Header)>> {
        for back in 1..=MAX_RECORD_BLOCKS.min(self.blocks) {
            let block = head + self.blocks - back;
            let bytes = self.read(block)?;
            if u32_at(&bytes, 0) == MAGIC {
                return Ok(Some((block, Header::decode(&bytes))));
            }
        }
        Ok(None)
    }

    /// Finds the records that a mount would replay. A record at the end that is not whole is left
    /// out, as far back as the kernel may have had records under way when it stopped.
    pub(super) fn records(&self) -> Result<Records> {
        let mut head = self.whole_head()?;
        let mut torn = false;
        for _ in 0..=RECORDS_UNDER_WAY {
            let Some((last, header)) = self.last_header(head)? else {
                return Err(bad_log(head, "there is no record before the log's head"));
            };
            let tail = header.tail_block();
            if tail >= self.blocks {
                return Err(bad_log(
                    last % self.blocks,
                    format!("a tail at block {tail} of {}", self.blocks),
                ));
            }
            let (headers, bad) = self.walk(tail, head)?;
            let Some((block, problem)) = bad else {
                return Ok(Records { headers, torn });
            };
            // The number of records behind it is known only for those that are whole.
            let distance = (head + self.blocks - block) % self.blocks;
            if distance > BLOCKS_UNDER_WAY {
                return Err(bad_log(block, problem));
            }
            head = block;
            torn = true;
        }
        Err(bad_log(head, "too many records are not whole"))
    }

    /// Goes from record to record, from the tail to the head; gives those up to the first unsound
    /// one, and what is wrong with that one.
    #[allow(clippy::type_complexity)] // the place and the problem of one record
    fn walk(&self, tail: u64, head: u64) -> Result<(Vec<Header>, Option<(u64, String)>)> {
        let mut headers = Vec::new();
        let mut left = (head + self.blocks - tail) % self.blocks;
        if left == 0 {
            left = self.blocks;
        }
        let mut block = tail;
        while left > 0 {
            let header = match self.sound_record(block, left)? {
                Ok(header) => header,
                Err(problem) => return Ok((headers, Some((block, problem)))),
            };
            let blocks = header.all_blocks();
            headers.push(header);
            left -= blocks;
            block = (block + blocks) % self.blocks;
        }
        Ok((headers, None))
    }

    /// The header at a block, if a sound record of at most `most` blocks begins there.
    fn sound_record(&self, block: u64, most: u64) -> Result<Result<Header, String>> {
        let bytes = self.read(block)?;
        if u32_at(&bytes, 0) != MAGIC {
            return Ok(Err("no record begins here".to_owned()));
        }
        let header = Header::decode(&bytes);
        if let Err(problem) = header.check(block, &self.volume.geometry) {
            return Ok(Err(problem));
        }
        if header.all_blocks() > most {
            return Ok(Err("the record reaches behind the log's head".to_owned()));
        }
        let raw = self.read_run(block, header.all_blocks())?;
        Ok(header.check_sum(&raw).map(|()| header))
    }
}

/// The round in a block's first bytes.
fn round_of(bytes: &[u8]) -> u32 {
    match u32_at(bytes, 0) {
        MAGIC => u32_at(bytes, 4),
        round => round,
    }
}
