//! How much may come out of a file that is unpacked.
//!
//! A few bytes can unpack to any number of them. So that nobody waits for days or fills a disk, the
//! output is bounded by the length of the input: a real disk compresses to more than a thousandth of
//! its length, apart from a few GiB of zeros.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use super::Codec;

/// Bytes in the largest disk: that of EBS and of GCE is 64 TiB.
const DISK_LIMIT_BYTES: u64 = 64 << 40;

/// How much any file may unpack to.
const FREE_BYTES: u64 = 16 << 30;

/// How much each byte of the file may add to that: the limit of deflate.
const RATIO: u64 = 1032;

/// How much of that may be other than zeros, which take no room: bytes are hashed and written.
const FREE_DATA_BYTES: u64 = 2 << 30;

/// How many times as long as others a format takes: so much less of it is free.
const fn price(codec: Codec) -> u64 {
    match codec {
        Codec::Bzip2 => 8,
        Codec::Xz => 2,
        Codec::Gzip | Codec::Zstd => 1,
    }
}

/// The most bytes that may come out of a packed file of this many bytes, if nobody says otherwise.
pub fn usual_limit(packed_len: u64) -> u64 {
    Budget::usual(packed_len).bytes()
}

/// The most bytes that may come out of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// All of them.
    bytes: u64,
    /// Those in pieces that are not all zeros.
    data: u64,
    /// Whether nobody has said otherwise.
    is_usual: bool,
}

impl Budget {
    /// The default for a file of `packed_len` bytes.
    pub(super) fn usual(packed_len: u64) -> Self {
        let by_ratio = packed_len.saturating_mul(RATIO);
        Self {
            bytes: by_ratio.saturating_add(FREE_BYTES).min(DISK_LIMIT_BYTES),
            data: by_ratio
                .saturating_add(FREE_DATA_BYTES)
                .min(DISK_LIMIT_BYTES),
            is_usual: true,
        }
    }

    /// What the user allows.
    pub(super) fn of(bytes: u64) -> Self {
        Self {
            bytes,
            data: bytes,
            is_usual: false,
        }
    }

    /// How many bytes that are.
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Fails if `bytes` are too many.
    pub(super) fn check(self, bytes: u64) -> io::Result<()> {
        check(bytes, self.bytes)
    }

    /// Fails if so many bytes that are not zeros are too many.
    pub(super) fn check_data(self, bytes: u64) -> io::Result<()> {
        check(bytes, self.data)
    }

    /// The limit that was exceeded, if that is the cause of an error.
    pub(super) fn exceeded(error: &io::Error) -> Option<u64> {
        let Exceeded(limit) = error.get_ref()?.downcast_ref()?;
        Some(*limit)
    }
}

fn check(bytes: u64, limit: u64) -> io::Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::QuotaExceeded,
        Exceeded(limit),
    ))
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

/// What has come out of all layers and all members of a file.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    budget: Budget,
    spent: Rc<Cell<u64>>,
    /// What was added for formats that take longer.
    added: Rc<Cell<u64>>,
}

impl Meter {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            spent: Rc::default(),
            added: Rc::default(),
        }
    }

    fn take(&self, codec: Codec, bytes: u64) -> io::Result<()> {
        let spent = self.spent.get().saturating_add(bytes);
        self.spent.set(spent);
        if !self.budget.is_usual {
            // What was said is about the disk; the layers around it come on top.
            return check(spent, self.budget.bytes.saturating_mul(2));
        }
        // Only what is free costs more.
        let most = FREE_BYTES - FREE_BYTES / price(codec);
        let added = bytes.saturating_mul(price(codec) - 1);
        let added = self.added.get().saturating_add(added).min(most);
        self.added.set(self.added.get().max(added));
        check(spent, self.budget.bytes.saturating_sub(self.added.get()))
    }
}

/// A reader that fails when more comes out of it, and of all others with its meter, than the budget
/// allows.
pub(super) struct Limited<R> {
    inner: R,
    codec: Codec,
    meter: Meter,
}

impl<R> Limited<R> {
    pub(super) fn new(inner: R, codec: Codec, meter: Meter) -> Self {
        Self {
            inner,
            codec,
            meter,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        let bytes = imgasm_block::bytes::byte_len(&buf[..len]);
        self.meter.take(self.codec, bytes)?;
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
        let meter = Meter::new(Budget::of(100_000));
        let limited = |len| Limited::new(io::repeat(1).take(len), Codec::Zstd, meter.clone());
        assert_eq!(limited(160_000).read_to_end(&mut out).unwrap(), 160_000);
        let error = limited(60_000).read_to_end(&mut out).unwrap_err();
        assert_eq!(Budget::exceeded(&error), Some(200_000));
    }

    #[test]
    fn what_takes_longer_counts_more() {
        const GIB: u64 = 1 << 30;
        let of = |codec, bytes| Meter::new(Budget::usual(1 << 20)).take(codec, bytes);
        assert!(of(Codec::Zstd, 17 * GIB).is_ok());
        assert!(of(Codec::Xz, 9 * GIB).is_ok());
        assert!(of(Codec::Xz, 10 * GIB).is_err());
        assert!(of(Codec::Bzip2, 3 * GIB).is_ok());
        assert!(of(Codec::Bzip2, 4 * GIB).is_err());
        let meter = Meter::new(Budget::usual(1 << 30));
        assert!(meter.take(Codec::Bzip2, 1000 * GIB).is_ok());
        assert!(Budget::usual(1 << 20).check_data(3 * GIB).is_ok());
        assert!(Budget::usual(1 << 20).check_data(4 * GIB).is_err());
    }
}
