//! Sparse files in tar archives: which of their bytes are stored.
//!
//! The forms that are read are the old GNU one (`GNU.sparse` maps in the header, type `S`) and those
//! of PAX records, versions 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files"); bsdtar writes
//! the last one.

use std::io::{self, Read};

use super::bad;

/// The most pieces of one file: a disk with more is not stored this way.
const PIECES_LIMIT: usize = 1 << 20;

/// Bytes of a file that are stored in the archive, one piece after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it lies in the file.
    pub(super) start: u64,
    /// Its length in bytes.
    pub(super) len: u64,
}

/// The stored pieces of a file, in order.
#[derive(Debug, Default)]
pub(super) struct Map(Vec<Piece>);

impl Map {
    /// The map of a file that is stored whole.
    pub(super) fn whole(len: u64) -> Self {
        Self(vec![Piece { start: 0, len }])
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, start: u64, len: u64) -> io::Result<()> {
        if self.0.len() == PIECES_LIMIT {
            return Err(bad("a sparse file in more than 2^20 pieces"));
        }
        self.0.push(Piece { start, len });
        Ok(())
    }

    /// The pieces, if they are in order, lie in a file of `len` bytes, and have `stored` bytes in
    /// all.
    pub(super) fn checked(self, len: u64, stored: u64) -> io::Result<Vec<Piece>> {
        let (mut end, mut sum) = (0, 0_u64);
        for piece in &self.0 {
            let next = piece.start.checked_add(piece.len);
            let Some(next) = next.filter(|next| piece.start >= end && *next <= len) else {
                return Err(bad("a piece of a sparse file lies outside it"));
            };
            end = next;
            sum += piece.len;
        }
        if sum != stored {
            return Err(bad("the pieces of a sparse file are not what is stored"));
        }
        Ok(self.0)
    }

    /// The map of PAX version 0.1: offsets and lengths, with commas between them.
    pub(super) fn from_list(list: &[u8]) -> io::Result<Self> {
        let mut map = Self::default();
        let mut numbers = list.split(|byte| *byte == b',').map(decimal);
        while let Some(start) = numbers.next() {
            let len = numbers.next().unwrap_or_else(|| Err(bad("half a piece")));
            map.push(start?, len?)?;
        }
        Ok(map)
    }

    /// Reads the map of PAX version 1.0, which precedes the stored bytes: the number of pieces,
    /// then offsets and lengths, one per line, padded to a block. Gives its length in bytes.
    pub(super) fn read(input: &mut dyn Read, stored: u64) -> io::Result<(Self, u64)> {
        let mut lines = Lines {
            input,
            block: [0; 512],
            at: 512,
            left: stored,
        };
        let mut map = Self::default();
        for _ in 0..lines.number()? {
            let start = lines.number()?;
            map.push(start, lines.number()?)?;
        }
        Ok((map, stored - lines.left))
    }
}

/// The numbers of a map of version 1.0.
struct Lines<'a> {
    input: &'a mut dyn Read,
    block: [u8; 512],
    at: usize,
    /// What is stored behind `block`.
    left: u64,
}

impl Lines<'_> {
    fn number(&mut self) -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == self.block.len() {
                self.left = self
                    .left
                    .checked_sub(512)
                    .ok_or_else(|| bad("the map of a sparse file does not end"))?;
                self.input.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return decimal(&digits),
                // 2^64 has 20 digits.
                _ if digits.len() == 20 => return Err(bad("a number in a sparse map is too long")),
                digit => digits.push(digit),
            }
        }
    }
}

/// A decimal number.
pub(super) fn decimal(digits: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    text.parse()
        .map_err(|_| bad("the records of a sparse file have an invalid number"))
}
