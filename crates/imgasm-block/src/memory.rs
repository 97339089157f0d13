//! A device in memory.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use super::bytes::byte_len;
use super::device::check_range;
use super::{BlockDevice, Result};

/// Bytes in memory, for small volumes and for tests. It has no holes.
#[derive(Debug, Default)]
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryDevice {
    /// A device with the given contents.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: RwLock::new(bytes),
        }
    }

    /// The contents, taken out of the device.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<u8>> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A checked range of bytes as indices into memory that holds them.
fn indices(offset: u64, len: u64, bytes: &[u8]) -> Result<Range<usize>> {
    check_range(offset, len, byte_len(bytes))?;
    let index = |n: u64| usize::try_from(n).expect("checked against a buffer in memory");
    Ok(index(offset)..index(offset + len))
}

impl BlockDevice for MemoryDevice {
    fn len(&self) -> u64 {
        byte_len(&self.read())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.read();
        let range = indices(offset, byte_len(buf), &bytes)?;
        buf.copy_from_slice(&bytes[range]);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let range = indices(offset, byte_len(buf), &bytes)?;
        bytes[range].copy_from_slice(buf);
        Ok(())
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let range = indices(offset, len, &bytes)?;
        bytes[range].fill(0);
        Ok(())
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        let len = self.len();
        Ok((from < len).then_some(from..len))
    }
}
