//! A header as it lies in `Packages.db`: between marks, with its length on both sides and a checksum
//! behind it, in whole blocks.

use super::packages::{BLOCK_LEN, Place};
use super::{Pieces, failure, get32, mark, words};
use crate::packages::Error;

/// The mark before a header.
const START: u32 = mark(*b"BlbS");
/// The mark behind it.
const END: u32 = mark(*b"BlbE");
/// Bytes before a header: the mark, the package's number, when it was written, the header's length.
const HEAD_LEN: usize = 16;
/// Bytes at the end of the last block: the checksum, the length, the mark.
const TAIL_LEN: usize = 12;
/// The largest header that RPM reads.
const MAX_LEN: usize = 256 << 20;

/// Whole blocks with one header.
pub(super) struct Blob(Vec<u8>);

impl Blob {
    /// The blocks of a package's header that is written when the database has this generation.
    pub(super) fn new(number: u32, generation: u32, header: &[u8]) -> Result<Self, String> {
        let len = u32::try_from(header.len()).ok();
        let len = len.filter(|_| header.len() <= MAX_LEN);
        let len = len.ok_or("a header is longer than any that RPM reads")?;
        let blocks = blocks_of(header.len());
        let mut bytes = words([START, number, generation, len]);
        bytes.extend(header);
        bytes.resize(blocks as usize * BLOCK_LEN - TAIL_LEN, 0);
        let tail = words([checksum(&bytes), len, END]);
        bytes.extend(tail);
        Ok(Self(bytes))
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many blocks these are.
    pub(super) fn blocks(&self) -> u32 {
        blocks_of(len(&self.0))
    }

    /// The header in it.
    pub(super) fn header(&self) -> &[u8] {
        &self.0[HEAD_LEN..HEAD_LEN + len(&self.0)]
    }

    /// Whether its checksum is right. RPM reads others too, but neither moves nor removes them.
    pub(super) fn is_sound(&self) -> bool {
        let end = self.0.len() - TAIL_LEN;
        get32(&self.0, end) == checksum(&self.0[..end])
    }
}

/// Reads what lies at the place of the package with this number.
pub(super) fn read(pieces: &Pieces<'_>, number: u32, place: Place) -> Result<Blob, Error> {
    let strange = || {
        let problem = format!("what lies at the place of its record {number} is not that record");
        failure(&pieces.path, problem)
    };
    let mut head = [0; HEAD_LEN];
    pieces.read(place.offset(), &mut head)?;
    let is_head = get32(&head, 0) == START && get32(&head, 4) == number;
    if !is_head || len(&head) > MAX_LEN || blocks_of(len(&head)) != place.blocks {
        return Err(strange());
    }
    // The place lies in the file.
    let mut bytes = vec![0; place.blocks as usize * BLOCK_LEN];
    pieces.read(place.offset(), &mut bytes)?;
    let end = bytes.len() - TAIL_LEN;
    if get32(&bytes, end + 4) != get32(&head, 12) || get32(&bytes, end + 8) != END {
        return Err(strange());
    }
    Ok(Blob(bytes))
}

/// The length of the header, from what is before it.
fn len(head: &[u8]) -> usize {
    get32(head, 12) as usize
}

/// How many blocks a header of at most [`MAX_LEN`] bytes takes up.
fn blocks_of(header_len: usize) -> u32 {
    let blocks = (HEAD_LEN + header_len + TAIL_LEN).div_ceil(BLOCK_LEN);
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

/// The checksum of zlib (RFC 1950).
fn checksum(bytes: &[u8]) -> u32 {
    zlib_rs::adler32::adler32(1, bytes)
}
