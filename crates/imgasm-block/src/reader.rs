//! A part of a device as a stream.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use super::BlockDevice;
use super::bytes::byte_len;

/// Reads the bytes of a range of a device from its beginning on. Positions count from there.
pub struct Reader {
    device: Arc<dyn BlockDevice>,
    range: Range<u64>,
    at: u64,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("range", &self.range)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader of this range of the device, in bytes.
    pub fn new(device: Arc<dyn BlockDevice>, range: Range<u64>) -> Self {
        Self {
            device,
            at: range.start,
            range,
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.range.end.saturating_sub(self.at);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = &mut buf[..len];
        self.device
            .read_at(self.at, buf)
            .map_err(io::Error::other)?;
        self.at += byte_len(buf);
        Ok(len)
    }
}

impl Seek for Reader {
    /// Within the range; a position outside is [`io::ErrorKind::InvalidInput`].
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let Range { start, end } = self.range;
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => (end - start).checked_add_signed(by),
            SeekFrom::Current(by) => (self.at - start).checked_add_signed(by),
        };
        let position = position.filter(|position| *position <= end - start);
        let position = position.ok_or(io::ErrorKind::InvalidInput)?;
        self.at = start + position;
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn it_reads_its_range_and_nothing_beyond() {
        let device = MemoryDevice::new(b"0123456789".to_vec());
        let mut reader = Reader::new(Arc::new(device), 3..8);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "34567");
        assert_eq!(reader.seek(SeekFrom::End(-2)).unwrap(), 3);
        text.clear();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "67");
        assert_eq!(reader.seek(SeekFrom::Current(-5)).unwrap(), 0);
        for outside in [SeekFrom::Start(6), SeekFrom::End(1), SeekFrom::Current(-1)] {
            assert!(reader.seek(outside).is_err());
        }
    }
}
