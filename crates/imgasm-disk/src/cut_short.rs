//! A disk whose end is missing.

use std::ops::Range;
use std::sync::Arc;

use imgasm_block::bytes::byte_len;
use imgasm_block::{BlockDevice, Error, Result, check_range};

/// A device with zeros behind its end. Only the partition table, which says how long the disk was,
/// is read through it.
pub(super) struct CutShort(pub(super) Arc<dyn BlockDevice>);

/// Longer than any disk.
const LEN: u64 = 1 << 60;

impl BlockDevice for CutShort {
    fn len(&self) -> u64 {
        LEN
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, byte_len(buf), LEN)?;
        self.0.read_padded(offset, buf)
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn write_zeros(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        self.0.next_data(from)
    }
}
