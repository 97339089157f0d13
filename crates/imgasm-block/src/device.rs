//! The one trait: random access to a fixed number of bytes.

use std::ops::Range;
use std::sync::Arc;

use super::bytes::byte_len;
use super::{Error, FileDevice, Result};

/// Random access to a fixed number of bytes, some of which may be holes that read as zeros.
///
/// All methods take `&self`, as `pread` and `pwrite` do, so that several partitions of one disk can
/// be edited through one device. A range that does not lie inside the device is
/// [`Error::OutOfRange`] and changes nothing.
pub trait BlockDevice: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether the device has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; [`Error::Io`] if the host fails; [`Error::Changed`] if the device compares
    /// what it reads with digests, and it differs.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Fills `buf` from `offset`; what lies past the end of the device is zeros.
    ///
    /// # Errors
    /// Those of [`BlockDevice::read_at`], but for [`Error::OutOfRange`].
    fn read_padded(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let inside = self.len().saturating_sub(offset).min(byte_len(buf));
        let inside = usize::try_from(inside).expect("no more than a buffer's length");
        let (data, past) = buf.split_at_mut(inside);
        past.fill(0);
        if data.is_empty() {
            Ok(())
        } else {
            self.read_at(offset, data)
        }
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::ReadOnly`]; [`Error::Io`] or [`Error::NoSpace`] if the host fails,
    /// when a part may have been written.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Makes `len` bytes at `offset` read as zeros, as a hole if the device can have one.
    ///
    /// # Errors
    /// Those of [`BlockDevice::write_at`].
    fn write_zeros(&self, offset: u64, len: u64) -> Result<()>;

    /// The first range of data at or after `from`, clipped to start no earlier than `from`; `None`
    /// if only a hole follows. A range need not be as long as it could be: the next one may begin
    /// where it ends. Bytes outside all such ranges read as zeros; a range may hold
    /// zeros too.
    ///
    /// # Errors
    /// [`Error::Io`] if the host cannot say where data is.
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>>;

    /// The file on the host whose bytes are the bytes of this device, if there is one, so that it
    /// can be cloned as a file. Reading the file compares nothing: see [`BlockDevice::digests`].
    fn host_file(&self) -> Option<&FileDevice> {
        None
    }

    /// The digests with which reads are compared, if they are. A caller that reads
    /// [`BlockDevice::host_file`] instead has to compare the bytes itself.
    #[cfg(feature = "digest")]
    fn digests(&self) -> Option<&super::ChunkMap> {
        None
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for Arc<D> {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        (**self).write_at(offset, buf)
    }
    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        (**self).write_zeros(offset, len)
    }
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        (**self).next_data(from)
    }
    fn host_file(&self) -> Option<&FileDevice> {
        (**self).host_file()
    }
    #[cfg(feature = "digest")]
    fn digests(&self) -> Option<&super::ChunkMap> {
        (**self).digests()
    }
}

/// Checks that `len` bytes at `offset` lie inside a device of `device_len` bytes.
///
/// # Errors
/// [`Error::OutOfRange`] if they do not.
pub fn check_range(offset: u64, len: u64, device_len: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= device_len => Ok(()),
        _ => Err(Error::OutOfRange {
            offset,
            len,
            device_len,
        }),
    }
}
