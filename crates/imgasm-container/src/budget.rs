//! How much may come out of a file that is unpacked.
//!
//! A few bytes can unpack to any number of them. So that nobody waits for days or fills a disk, the
//! output is bounded by the length of the input: a real disk compresses to more than a thousandth of
//! its length, apart from a few GiB of zeros.

use std::fmt;
use std::io::{self, Read};

/// Bytes in the largest disk: that of EBS and of GCE is 64 TiB.
const DISK_LIMIT_BYTES: u64 = 64 << 40;

/// How much any file may unpack to.
const FREE_BYTES: u64 = 16 << 30;

/// How much each byte of the file may add to that: the limit of deflate.
const RATIO: u64 = 1032;

/// The most bytes that may come out of a packed file of this many bytes, if nobody says otherwise.
pub fn usual_limit(packed_len: u64) -> u64 {
    Budget::usual(packed_len).bytes()
}

/// The most bytes that may come out of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget(u64);

impl Budget {
    /// The default for a file of `packed_len` bytes.
    pub(super) fn usual(packed_len: u64) -> Self {
        let by_ratio = packed_len.saturating_mul(RATIO);
        Self(by_ratio.saturating_add(FREE_BYTES).min(DISK_LIMIT_BYTES))
    }

    /// What the user allows.
    pub(super) fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes that are.
    pub(super) fn bytes(self) -> u64 {
        self.0
    }

    /// Fails if `bytes` are too many.
    pub(super) fn check(self, bytes: u64) -> io::Result<()> {
        if bytes <= self.0 {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::QuotaExceeded,
            Exceeded(self.0),
        ))
    }

    /// The limit that was exceeded, if that is the cause of an error.
    pub(super) fn exceeded(error: &io::Error) -> Option<u64> {
        let Exceeded(limit) = error.get_ref()?.downcast_ref()?;
        Some(*limit)
    }
}

/// More has come out than is allowed.
#[derive(Debug)]
struct Exceeded(u64);

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} bytes", self.0)
    }
}

impl std::error::Error for Exceeded {}

/// A reader that fails when more comes out of it than the budget allows.
pub(super) struct Limited<R> {
    inner: R,
    budget: Budget,
    read: u64,
}

impl<R> Limited<R> {
    pub(super) fn new(inner: R, budget: Budget) -> Self {
        Self {
            inner,
            budget,
            read: 0,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        self.read += imgasm_block::bytes::byte_len(&buf[..len]);
        self.budget.check(self.read)?;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_suits_disks_and_not_bombs() {
        const GIB: u64 = 1 << 30;
        // 87 bytes that would unpack to 4 TiB; a disk of 30 GiB with hardly anything in it.
        assert!(Budget::usual(87).check(17 * GIB).is_err());
        assert!(Budget::usual(20 << 20).check(30 * GIB).is_ok());
        assert!(Budget::usual(u64::MAX).check(65 << 40).is_err());
        let error = Budget::of(7).check(8).unwrap_err();
        assert_eq!(Budget::exceeded(&error), Some(7));
        assert_eq!(Budget::exceeded(&io::Error::other("else")), None);
    }

    #[test]
    fn a_reader_stops_where_the_budget_ends() {
        let mut out = Vec::new();
        let mut reader = Limited::new(io::repeat(1), Budget::of(100_000));
        let error = reader.read_to_end(&mut out).unwrap_err();
        assert_eq!(Budget::exceeded(&error), Some(100_000));
    }
}
