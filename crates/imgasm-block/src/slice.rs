//! A window onto another device.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::bytes::byte_len;
use super::device::check_range;
use super::{BlockDevice, Result};

/// A range of another device as a device of its own: a partition of a disk.
#[derive(Clone)]
pub struct Slice {
    device: Arc<dyn BlockDevice>,
    start: u64,
    len: u64,
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Slice {
    /// The bytes `range` of `device`.
    ///
    /// # Errors
    /// [`super::Error::OutOfRange`] if the range does not lie inside the device.
    pub fn new(device: Arc<dyn BlockDevice>, range: Range<u64>) -> Result<Self> {
        let len = range.end.saturating_sub(range.start);
        check_range(range.start, len, device.len())?;
        Ok(Self {
            device,
            start: range.start,
            len,
        })
    }

    /// Where the window starts on the device below, in bytes.
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl BlockDevice for Slice {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len)?;
        self.device.read_at(self.start + offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len)?;
        self.device.write_at(self.start + offset, buf)
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.len)?;
        self.device.write_zeros(self.start + offset, len)
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        if from >= self.len {
            return Ok(None);
        }
        let end = self.start + self.len;
        let data = self.device.next_data(self.start + from)?;
        Ok(data
            .filter(|data| data.start < end)
            .map(|data| data.start - self.start..data.end.min(end) - self.start))
    }
}
