//! The file allocation table: which cluster follows which.
//!
//! Source: Microsoft, "FAT32 File System Specification" 1.03, "FAT Data Structure".

use std::cell::RefCell;
use std::sync::Arc;

use super::format::boot::{FIRST_CLUSTER, Geometry, Width};
use super::problem::corrupt;
use imgasm_block::BlockDevice;
use imgasm_fs::{Location, Result};

/// What the table says about a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is free.
    Free,
    /// This one follows it; the number may be any.
    Next(u32),
    /// It is the last of its chain.
    End,
    /// It is not to be used.
    Bad,
}

/// Decodes the entry of `cluster` from the bytes of the table that begin with it; FAT12 and FAT16
/// need two of them, FAT32 four.
fn decode(width: Width, cluster: u32, bytes: [u8; 4]) -> Link {
    let [a, b, c, d] = bytes;
    let (value, end) = match width {
        Width::Fat12 => {
            let pair = u32::from(u16::from_le_bytes([a, b]));
            (
                if cluster.is_multiple_of(2) {
                    pair & 0xfff
                } else {
                    pair >> 4
                },
                0xff8,
            )
        }
        Width::Fat16 => (u16::from_le_bytes([a, b]).into(), 0xfff8),
        Width::Fat32 => (u32::from_le_bytes([a, b, c, d]) & 0x0fff_ffff, 0x0fff_fff8),
    };
    match value {
        0 => Link::Free,
        value if value >= end => Link::End,
        value if value == end - 1 => Link::Bad,
        value => Link::Next(value),
    }
}

/// Bytes of the table that are read at once.
const WINDOW: u64 = 1 << 16;

/// The table in use, read piece by piece.
pub struct Table {
    device: Arc<dyn BlockDevice>,
    width: Width,
    offset: u64,
    len: u64,
    geometry: Geometry,
    /// The piece that was read last: where it begins in the table, and its bytes.
    window: RefCell<(u64, Vec<u8>)>,
}

impl Table {
    /// The table of a volume.
    pub fn new(device: Arc<dyn BlockDevice>, geometry: &Geometry) -> Self {
        let active = u64::from(geometry.active_fat.unwrap_or(0));
        Self {
            device,
            width: geometry.width,
            offset: geometry.fat_offset + active * geometry.fat_len,
            len: geometry.fat_len,
            geometry: geometry.clone(),
            window: RefCell::default(),
        }
    }

    /// Forgets what was read, because the table has been written.
    pub fn forget(&mut self) {
        self.window.take();
    }

    /// The media byte, with which the table begins.
    pub fn media(&self) -> Result<u8> {
        let mut byte = [0];
        self.read(0, &mut byte)?;
        Ok(byte[0])
    }

    /// What the table says about `cluster`, which must exist.
    pub fn link(&self, cluster: u32) -> Result<Link> {
        let index = u64::from(cluster);
        let (at, count) = match self.width {
            Width::Fat12 => (index + index / 2, 2),
            Width::Fat16 => (index * 2, 2),
            Width::Fat32 => (index * 4, 4),
        };
        let mut bytes = [0; 4];
        self.read(at, &mut bytes[..count])?;
        Ok(decode(self.width, cluster, bytes))
    }

    /// Reads a few bytes from `at` on in the table.
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut window = self.window.borrow_mut();
        let known = |window: &(u64, Vec<u8>), buf: &mut [u8]| {
            let start = usize::try_from(at.checked_sub(window.0)?).ok()?;
            buf.copy_from_slice(window.1.get(start..start.checked_add(buf.len())?)?);
            Some(())
        };
        if known(&window, buf).is_some() {
            return Ok(());
        }
        // An entry of twelve bits may span two windows, so each window includes the start of the
        // next.
        let start = at / WINDOW * WINDOW;
        let len = (WINDOW + 1).min(self.len.saturating_sub(start));
        let mut bytes = vec![0; usize::try_from(len).expect("at most a window")];
        self.device.read_at(self.offset + start, &mut bytes)?;
        *window = (start, bytes);
        known(&window, buf).ok_or_else(|| {
            let problem = format!("byte {at} lies behind the FAT");
            corrupt(Location::Superblock, problem)
        })
    }

    /// The chain that begins with `first`, at most `limit` clusters of it.
    ///
    /// # Errors
    /// [`imgasm_fs::Error::Corrupt`] if it leads to a cluster that is free, bad or not there.
    pub fn chain(&self, first: u32, limit: u64) -> Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut cluster = first;
        for _ in 0..limit {
            if !self.geometry.has(cluster) {
                return Err(corrupt(
                    Location::Block(cluster.into()),
                    format!("the chain from cluster {first} leads to it, but there is none"),
                ));
            }
            chain.push(cluster);
            match self.link(cluster)? {
                Link::Next(next) => cluster = next,
                Link::End => break,
                other => {
                    return Err(corrupt(
                        Location::Block(cluster.into()),
                        format!("{other:?} in the chain from cluster {first}"),
                    ));
                }
            }
        }
        Ok(chain)
    }

    /// Number of free clusters.
    pub fn count_free(&self) -> Result<u32> {
        let mut free = 0;
        for cluster in self.clusters() {
            free += u32::from(self.link(cluster)? == Link::Free);
        }
        Ok(free)
    }

    /// The numbers of all clusters.
    pub fn clusters(&self) -> impl Iterator<Item = u32> + use<> {
        FIRST_CLUSTER..FIRST_CLUSTER + self.geometry.clusters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_twelve_bits_share_a_byte() {
        // Entries 0xabc and 0x123 are stored as bc 3a 12.
        assert_eq!(
            decode(Width::Fat12, 2, [0xbc, 0x3a, 0, 0]),
            Link::Next(0xabc)
        );
        assert_eq!(
            decode(Width::Fat12, 3, [0x3a, 0x12, 0, 0]),
            Link::Next(0x123)
        );
    }

    #[test]
    fn the_four_high_bits_of_fat32_are_not_part_of_the_entry() {
        let link = |value: u32| decode(Width::Fat32, 2, value.to_le_bytes());
        assert_eq!(link(0xf000_0000), Link::Free);
        assert_eq!(link(0x0fff_fff7), Link::Bad);
        assert_eq!(link(0x0fff_fff8), Link::End);
        assert_eq!(link(0xf000_0003), Link::Next(3));
        assert_eq!(decode(Width::Fat16, 2, [0xf7, 0xff, 0, 0]), Link::Bad);
        assert_eq!(decode(Width::Fat12, 2, [0xf8, 0xff, 0, 0]), Link::End);
    }
}
