//! A device that is one hole.

use std::ops::Range;

use super::bytes::byte_len;
use super::device::check_range;
use super::{BlockDevice, Error, Result};

/// A device of zeros that takes no room: the base of an image that is made from nothing. It cannot
/// be written; a delta above it can.
#[derive(Debug, Clone, Copy)]
pub struct Hole {
    len: u64,
}

impl Hole {
    /// A hole of `len` bytes.
    pub const fn new(len: u64) -> Self {
        Self { len }
    }
}

impl BlockDevice for Hole {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len)?;
        buf.fill(0);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len)?;
        Err(Error::ReadOnly)
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.len)
    }

    fn next_data(&self, _from: u64) -> Result<Option<Range<u64>>> {
        Ok(None)
    }
}
