//! The file form of a chunk map.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `IMGCHUNK` |
//! | 4 | version, 2 |
//! | 4 | bytes in a chunk |
//! | 8 | length of the device in bytes |
//! | 8 | number of chunks that hold data |
//! | 72 each | index of the chunk (8), SHA-256 (32) and BLAKE3 (32) of its bytes; indices ascend |
//! | 32 | SHA-256 of all bytes before it |
//!
//! Numbers are little-endian.

use super::Digest;
use super::bytes::byte_len;
use super::chunk_map::{CHUNK_BYTES, Chunk, ChunkMap};

const MAGIC: [u8; 8] = *b"IMGCHUNK";
const VERSION: u32 = 2;
const HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 8 + 2 * Digest::LEN;

/// Why bytes are not a chunk map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They do not begin with the magic number.
    #[error("this is not a chunk map: it does not begin with `IMGCHUNK`")]
    Magic,
    /// They are in a form that this version does not read.
    #[error("chunk map of version {version} with chunks of {chunk_bytes} bytes is not supported")]
    Version {
        /// The version.
        version: u32,
        /// Bytes in a chunk.
        chunk_bytes: u32,
    },
    /// Their number does not fit the number of chunks that they name.
    #[error("the chunk map has {len} bytes, which does not fit its {count} chunks")]
    Length {
        /// Number of bytes.
        len: u64,
        /// Number of chunks.
        count: u64,
    },
    /// The checksum does not fit.
    #[error("the chunk map is damaged: its checksum does not fit")]
    Checksum,
    /// The chunks do not ascend or lie past the end of the device.
    #[error("the chunk map contradicts itself: chunks out of order or past the end")]
    Order,
}

impl ChunkMap {
    /// The file form.
    pub fn encode(&self) -> Vec<u8> {
        let chunks = self.chunks();
        let mut out = Vec::with_capacity(HEADER_LEN + chunks.len() * ENTRY_LEN + Digest::LEN);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        let chunk_bytes = u32::try_from(CHUNK_BYTES).expect("a small constant");
        out.extend(chunk_bytes.to_le_bytes());
        out.extend(self.device_len().to_le_bytes());
        let count = u64::try_from(chunks.len()).expect("a length fits 64 bits");
        out.extend(count.to_le_bytes());
        for chunk in chunks {
            out.extend(chunk.index.to_le_bytes());
            out.extend(chunk.digest.as_bytes());
            out.extend(chunk.check);
        }
        let checksum = Digest::of(&out);
        out.extend(checksum.as_bytes());
        out
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// A [`DecodeError`] for anything but what [`ChunkMap::encode`] gives.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .filter(|(header, _)| header.starts_with(&MAGIC))
            .ok_or(DecodeError::Magic)?;
        let version = u32_at(header, 8);
        let chunk_bytes = u32_at(header, 12);
        if version != VERSION || u64::from(chunk_bytes) != CHUNK_BYTES {
            return Err(DecodeError::Version {
                version,
                chunk_bytes,
            });
        }
        let device_len = u64_at(header, 16);
        let count = u64_at(header, 24);
        let wrong_len = DecodeError::Length {
            len: byte_len(bytes),
            count,
        };
        let Some((entries, checksum)) = rest.split_last_chunk::<{ Digest::LEN }>() else {
            return Err(wrong_len);
        };
        let (entries, odd) = entries.as_chunks::<ENTRY_LEN>();
        if !odd.is_empty() || u64::try_from(entries.len()) != Ok(count) {
            return Err(wrong_len);
        }
        if Digest::of(&bytes[..bytes.len() - Digest::LEN]).as_bytes() != checksum {
            return Err(DecodeError::Checksum);
        }
        let chunk = |entry: &[u8; ENTRY_LEN]| {
            let (rest, check) = entry.split_last_chunk().expect("72 bytes end in 32");
            let (_, digest) = rest.split_last_chunk().expect("and 40 do");
            Chunk {
                index: u64_at(entry, 0),
                digest: Digest::from_bytes(*digest),
                check: *check,
            }
        };
        Self::from_parts(device_len, entries.iter().map(chunk).collect()).ok_or(DecodeError::Order)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let (_, rest) = bytes.split_at(at);
    u32::from_le_bytes(*rest.first_chunk().expect("inside a header of known length"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let (_, rest) = bytes.split_at(at);
    u64::from_le_bytes(*rest.first_chunk().expect("inside a header of known length"))
}
