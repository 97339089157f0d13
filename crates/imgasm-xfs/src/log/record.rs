//! A record: a header of one or more blocks, and the bytes of its operations. (`xlog_rec_header`,
//! `xlog_rec_ext_header`.)
//!
//! The first four bytes of each block are replaced by the number of the round; the original bytes
//! are in the headers.

use crate::format::bytes::{as_u32, as_u64, as_usize, put_u32, put_u64, u32_at, u64_at};
use crate::format::geometry::Geometry;

/// What a record begins with.
pub(super) const MAGIC: u32 = 0xfeed_babe;
/// Bytes of a block.
const BLOCK_LEN: usize = 512;
/// Bytes of operations for which a header block keeps the blocks' first words.
const BYTES_PER_HEADER: u32 = 32 * 1024;
const WORDS_PER_HEADER: usize = 64;
/// The most bytes of operations (`XLOG_MAX_RECORD_BSIZE`).
const MAX_LEN: u32 = 256 * 1024;
/// Where those words are: in the first header block, and in the others.
const WORDS: usize = 44;
const MORE_WORDS: usize = 4;
/// Where the checksum stands.
const CRC: usize = 32;
/// Bytes of the first header that the checksum covers: on machines that align 64-bit numbers to
/// eight bytes, and on others.
const SUMMED: [usize; 2] = [328, 324];
/// Bytes of the other headers that the checksum covers.
const SUMMED_MORE: usize = 260;
/// The flag of headers that may have more than one block.
const LONG_HEADERS: u32 = 2;
/// Numbers in items are little-endian.
pub(super) const LITTLE_ENDIAN: u32 = 1;

/// The header of a record.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) round: u32,
    version: u32,
    /// Bytes of operations.
    len: u32,
    /// The record's place: its round above its block (`h_lsn`).
    pub(super) lsn: u64,
    tail_lsn: u64,
    pub(super) operations: u32,
    /// The byte order of numbers in items.
    pub(super) format: u32,
    uuid: [u8; 16],
    /// Bytes of operations that the kernel's buffer had room for.
    size: u32,
}

impl Header {
    /// Decodes the first header block.
    pub(super) fn decode(bytes: &[u8; 512]) -> Self {
        Self {
            round: u32_at(bytes, 4),
            version: u32_at(bytes, 8),
            len: u32_at(bytes, 12),
            lsn: u64_at(bytes, 16),
            tail_lsn: u64_at(bytes, 24),
            operations: u32_at(bytes, 40),
            format: u32_at(bytes, 300),
            uuid: bytes[304..320].try_into().expect("16 bytes"),
            size: u32_at(bytes, 320),
        }
    }

    /// Checks a header found at `block`; the error says what is wrong.
    pub(super) fn check(&self, block: u64, geometry: &Geometry) -> Result<(), String> {
        if self.len == 0 || self.len > MAX_LEN || self.size > MAX_LEN {
            return Err(format!("a record of {} bytes", self.len));
        }
        if self.lsn & 0xffff_ffff != block || self.lsn >> 32 != u64::from(self.round) {
            return Err(format!("the record says that it lies at {:#x}", self.lsn));
        }
        if self.uuid != geometry.uuid {
            return Err("the record has the UUID of another filesystem".to_owned());
        }
        Ok(())
    }

    /// Blocks of the header.
    pub(super) fn header_blocks(&self) -> u64 {
        if self.version & LONG_HEADERS != 0 && self.size > BYTES_PER_HEADER {
            u64::from(self.size.div_ceil(BYTES_PER_HEADER))
        } else {
            1
        }
    }

    /// Blocks of the record with its header.
    pub(super) fn all_blocks(&self) -> u64 {
        self.header_blocks() + u64::from(self.len).div_ceil(as_u64(BLOCK_LEN))
    }

    /// The first block of the log that is still valid.
    pub(super) fn tail_block(&self) -> u64 {
        self.tail_lsn & 0xffff_ffff
    }

    /// Checks the checksum over the record's blocks.
    pub(super) fn check_sum(&self, raw: &[u8]) -> Result<(), String> {
        let stored = u32::from_le_bytes(raw[CRC..CRC + 4].try_into().expect("four bytes"));
        let sums = SUMMED.map(|summed| self.sum(raw, summed));
        if sums.contains(&stored) {
            Ok(())
        } else {
            Err(format!(
                "the record's checksum is {stored:#010x}, expected {:#010x}",
                sums[0]
            ))
        }
    }

    /// The checksum, with `summed` bytes of the first header.
    fn sum(&self, raw: &[u8], summed: usize) -> u32 {
        let mut crc = crc32c::crc32c(&raw[..CRC]);
        crc = crc32c::crc32c_append(crc, &[0; 4]);
        crc = crc32c::crc32c_append(crc, &raw[CRC + 4..summed]);
        let headers = self
            .len
            .div_ceil(BYTES_PER_HEADER)
            .min(u32::try_from(self.header_blocks()).expect("at most eight"));
        for header in 1..headers as usize {
            let at = header * BLOCK_LEN;
            crc = crc32c::crc32c_append(crc, &raw[at..at + SUMMED_MORE]);
        }
        let start = as_usize(self.header_blocks()) * BLOCK_LEN;
        crc32c::crc32c_append(crc, &raw[start..start + self.len as usize])
    }

    /// The bytes of the operations, from the record's blocks.
    pub(super) fn unpack(&self, raw: &[u8]) -> Vec<u8> {
        let start = as_usize(self.header_blocks()) * BLOCK_LEN;
        let mut bytes = raw[start..].to_vec();
        for (index, block) in bytes.chunks_exact_mut(BLOCK_LEN).enumerate() {
            let (header, word) = (index / WORDS_PER_HEADER, index % WORDS_PER_HEADER);
            let words = if header == 0 { WORDS } else { MORE_WORDS };
            if header < as_usize(self.header_blocks()) {
                let at = header * BLOCK_LEN + words + word * 4;
                block[..4].copy_from_slice(&raw[at..at + 4]);
            }
        }
        bytes.truncate(self.len as usize);
        bytes
    }
}

/// Where a record that is to be written lies.
pub(super) struct Place {
    /// Blocks of the record with its header.
    pub(super) blocks: u64,
    /// Its round above its block.
    pub(super) lsn: u64,
    /// The block of the record before it.
    pub(super) before: u32,
}

/// A record of one operation that makes the log empty; `round_of` gives the round of each of its
/// blocks.
pub(super) fn encode(
    operation: &[u8],
    place: &Place,
    geometry: &Geometry,
    round_of: impl Fn(u64) -> u32,
) -> Vec<u8> {
    let words = as_u64(WORDS_PER_HEADER);
    let headers = place.blocks.div_ceil(words + 1);
    let start = as_usize(headers) * BLOCK_LEN;
    let mut raw = vec![0; as_usize(place.blocks) * BLOCK_LEN];
    raw[start..start + operation.len()].copy_from_slice(operation);
    for block in headers..place.blocks {
        let index = as_usize(block - headers);
        let (header, word) = (index / WORDS_PER_HEADER, index % WORDS_PER_HEADER);
        let first = if header == 0 { WORDS } else { MORE_WORDS };
        let at = as_usize(block) * BLOCK_LEN;
        raw.copy_within(at..at + 4, header * BLOCK_LEN + first + word * 4);
    }
    for block in 1..place.blocks {
        put_u32(&mut raw, as_usize(block) * BLOCK_LEN, round_of(block));
    }
    put_header(&mut raw, round_of(0), place.lsn, geometry);
    put_u32(
        &mut raw,
        12,
        as_u32(as_usize(place.blocks - headers) * BLOCK_LEN),
    );
    put_u32(&mut raw, 36, place.before);
    put_u32(&mut raw, 40, 1);
    put_u32(&mut raw, 320, as_u32(as_usize(headers)) * BYTES_PER_HEADER);
    let mut first = [0; BLOCK_LEN];
    first.copy_from_slice(&raw[..BLOCK_LEN]);
    let sum = Header::decode(&first).sum(&raw, SUMMED[0]);
    raw[CRC..CRC + 4].copy_from_slice(&sum.to_le_bytes());
    raw
}

/// A block that holds nothing and was written in an older round.
pub(super) fn filler(round: u32, block: u32, geometry: &Geometry) -> Vec<u8> {
    let mut raw = vec![0; BLOCK_LEN];
    let lsn = u64::from(round) << 32 | u64::from(block);
    put_header(&mut raw, round, lsn, geometry);
    raw
}

fn put_header(raw: &mut [u8], round: u32, lsn: u64, geometry: &Geometry) {
    put_u32(raw, 0, MAGIC);
    put_u32(raw, 4, round);
    put_u32(raw, 8, LONG_HEADERS);
    put_u64(raw, 16, lsn);
    put_u64(raw, 24, lsn);
    put_u32(raw, 300, LITTLE_ENDIAN);
    raw[304..320].copy_from_slice(&geometry.uuid);
}
