//! Devices one after the other, as one.

use std::ops::Range;
use std::sync::Arc;

use imgasm_block::bytes::byte_len;
use imgasm_block::{BlockDevice, Error, Result, Slice, check_range};

/// Parts of a disk, in their order. It cannot be written.
#[derive(Default)]
pub(super) struct Joined {
    parts: Vec<Part>,
    len: u64,
}

struct Part {
    start: u64,
    device: Arc<dyn BlockDevice>,
}

impl Joined {
    /// Adds what lies in `range` of a device.
    pub(super) fn push(&mut self, device: Arc<dyn BlockDevice>, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let device = Arc::new(Slice::new(device, range)?);
        let start = self.len;
        let len = start.checked_add(device.len());
        self.len = len.ok_or(Error::OutOfRange {
            offset: start,
            len: device.len(),
            device_len: u64::MAX,
        })?;
        self.parts.push(Part { start, device });
        Ok(())
    }

    /// The part that holds a byte of the disk, which is inside it.
    fn part(&self, offset: u64) -> &Part {
        let after = self.parts.partition_point(|part| part.start <= offset);
        &self.parts[after - 1]
    }
}

impl BlockDevice for Joined {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len)?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let part = self.part(at);
            let inside = at - part.start;
            let len = byte_len(rest).min(part.device.len() - inside);
            let (piece, following) =
                rest.split_at_mut(usize::try_from(len).expect("within a buffer"));
            part.device.read_at(inside, piece)?;
            at += len;
            rest = following;
        }
        Ok(())
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn write_zeros(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        let mut at = from;
        while at < self.len {
            let part = self.part(at);
            if let Some(found) = part.device.next_data(at - part.start)? {
                return Ok(Some(found.start + part.start..found.end + part.start));
            }
            at = part.start + part.device.len();
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use imgasm_block::{Hole, MemoryDevice};

    use super::*;

    #[test]
    fn parts_are_one_device() {
        let mut joined = Joined::default();
        assert_eq!(joined.next_data(0).unwrap(), None);
        let one: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![0; 4096]));
        let two: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![0; 8192]));
        one.write_at(4000, &[1; 96]).unwrap();
        two.write_at(4096, &[2; 10]).unwrap();
        joined.push(one, 0..4096).unwrap();
        joined.push(Arc::new(Hole::new(1000)), 0..1000).unwrap();
        joined.push(Arc::new(Hole::new(1000)), 7..7).unwrap();
        joined.push(two, 4096..8192).unwrap();
        assert_eq!(joined.len(), 4096 + 1000 + 4096);
        let mut all = vec![9; 4096 + 1000 + 4096];
        joined.read_at(0, &mut all).unwrap();
        let mut expected = vec![0; all.len()];
        expected[4000..4096].fill(1);
        expected[5096..5106].fill(2);
        assert!(all == expected);
        let mut piece = vec![9; 1200];
        joined.read_at(4090, &mut piece).unwrap();
        assert!(piece == expected[4090..5290]);
        assert!(joined.read_at(9000, &mut [0; 193]).is_err());
        for from in [4096, 5000, 5096] {
            let data = joined.next_data(from).unwrap().unwrap();
            assert!(data.start <= 5096 && data.end >= 5106, "{from}: {data:?}");
        }
        assert_eq!(joined.next_data(joined.len()).unwrap(), None);
    }
}
