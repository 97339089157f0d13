//! What is to be written to the device; it is written when all of it is known.

use std::collections::BTreeMap;

use imgasm_block::BlockDevice;
use imgasm_fs::Result;

use crate::format::bytes::as_u64;

/// The most bytes that are written at once.
const MAX_WRITE: usize = 1 << 20;

/// Finished pieces by their byte offset on the device. No two overlap in part; a piece at the place
/// of an earlier one replaces it.
#[derive(Debug, Default)]
pub(crate) struct Writes(BTreeMap<u64, Vec<u8>>);

impl Writes {
    /// Adds a piece.
    pub(crate) fn put(&mut self, offset: u64, bytes: Vec<u8>) {
        self.0.insert(offset, bytes);
    }

    /// Adds a piece if there is none yet.
    pub(crate) fn put_under(&mut self, offset: u64, bytes: impl FnOnce() -> Vec<u8>) {
        self.0.entry(offset).or_insert_with(bytes);
    }

    /// Writes all pieces in order, those that touch together.
    pub(crate) fn write(self, device: &dyn BlockDevice) -> Result<()> {
        let mut start = 0;
        let mut run: Vec<u8> = Vec::new();
        for (offset, bytes) in self.0 {
            if offset != start + as_u64(run.len()) || run.len() + bytes.len() > MAX_WRITE {
                device.write_at(start, &run)?;
                run.clear();
                start = offset;
            }
            run.extend_from_slice(&bytes);
        }
        Ok(device.write_at(start, &run)?)
    }
}
