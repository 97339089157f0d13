//! Whether the log is empty. (Kernel documentation of XFS, "Journaling Log"; `xlog_rec_header`.)
//!
//! The log is a ring of 512-byte blocks; each begins with the number of the round in which it was
//! written. The head is where the numbers drop by one. The log is empty where the record before
//! the head is the one that a clean unmount writes.

use super::bytes::{u16_at, u32_at};
use super::volume::Volume;
use super::{Result, corrupt};
use crate::fs::Location;

/// Bytes in a block of the log.
const BLOCK: u64 = 512;
/// What a record begins with.
const RECORD_MAGIC: u32 = 0xfeed_babe;
/// The most bytes in a record, for which its header has one block.
const BYTES_PER_HEADER: u32 = 32 * 1024;
/// The most blocks in a record: 256 KiB and its headers.
const MAX_RECORD_BLOCKS: u64 = 512 + 8;
/// The flag of the operation that a clean unmount logs.
const UNMOUNT: u8 = 0x20;

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing that is not on the disk.
    Clean,
    /// Changes that a mount would replay.
    Dirty,
    /// It is on another device, so that there is no knowing.
    External,
}

/// Looks whether the log holds changes.
pub(crate) fn state(volume: &Volume) -> Result<State> {
    let geometry = &volume.geometry;
    let Some((start, blocks)) = geometry.log else {
        return Ok(State::External);
    };
    if !geometry.holds(start, u64::from(blocks)) || blocks == 0 {
        return Err(corrupt(
            Location::Superblock,
            format!("a log of {blocks} blocks at block {}", start.0),
        ));
    }
    Log {
        volume,
        offset: volume.byte_offset(start)?,
        blocks: u64::from(blocks) * (u64::from(geometry.block_size) / BLOCK),
    }
    .state()
}

struct Log<'a> {
    volume: &'a Volume,
    /// First byte.
    offset: u64,
    /// Number of 512-byte blocks.
    blocks: u64,
}

impl Log<'_> {
    fn read(&self, block: u64) -> Result<[u8; 512]> {
        let mut bytes = [0; 512];
        let offset = self.offset + block % self.blocks * BLOCK;
        self.volume.device.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The round in which a block was written; 0 where it never was.
    fn round(&self, block: u64) -> Result<u32> {
        let bytes = self.read(block)?;
        let first = u32_at(&bytes, 0);
        Ok(if first == RECORD_MAGIC {
            u32_at(&bytes, 4)
        } else {
            first
        })
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

    fn state(&self) -> Result<State> {
        if self.round(0)? == 0 {
            return Ok(State::Clean);
        }
        let head = self.head()?;
        for back in 1..=MAX_RECORD_BLOCKS.min(self.blocks) {
            let block = (head + self.blocks - back) % self.blocks;
            let header = self.read(block)?;
            if u32_at(&header, 0) == RECORD_MAGIC {
                return self.last_record(block, &header, back);
            }
        }
        Ok(State::Dirty)
    }

    /// Judges the last record, which begins `to_head` blocks before the head.
    fn last_record(&self, block: u64, header: &[u8; 512], to_head: u64) -> Result<State> {
        let has_long_headers = u32_at(header, 8) & 2 != 0;
        let size = u32_at(header, 320);
        let headers = if has_long_headers && size > BYTES_PER_HEADER {
            u64::from(size.div_ceil(BYTES_PER_HEADER))
        } else {
            1
        };
        let len = u64::from(u32_at(header, 12));
        let operations = u32_at(header, 40);
        if operations != 1 || headers + len.div_ceil(BLOCK) != to_head {
            return Ok(State::Dirty);
        }
        let operation = self.read(block + headers)?;
        let [_, flags] = u16_at(&operation, 8).to_be_bytes();
        Ok(if flags & UNMOUNT != 0 {
            State::Clean
        } else {
            State::Dirty
        })
    }
}
