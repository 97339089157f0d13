//! Reading VHD, fixed and dynamic ("Virtual Hard Disk Image Format Specification", 2006).

use std::path::Path;
use std::sync::Arc;

use super::bytes::{be_u32, be_u64};
use super::clusters::{ClusterFile, Clusters, Mapping, Stretch, Table};
use super::{Error, Result, WHOLE_DISK};
use imgasm_block::{BlockDevice, Slice};

const FORMAT: &str = "vhd";
pub(super) const SECTOR_BYTES: u64 = 512;
pub(super) const FOOTER_LEN: usize = 512;
pub(super) const FOOTER_BYTES: u64 = 512;

/// Where the checksums are in the footer and in the header of a dynamic disk.
pub(super) const FOOTER_CHECKSUM: usize = 64;
pub(super) const HEADER_CHECKSUM: usize = 36;

/// Types of disk in the footer.
pub(super) const TYPE_FIXED: u32 = 2;
pub(super) const TYPE_DYNAMIC: u32 = 3;

/// The entry of a block that is not there.
pub(super) const BLOCK_ABSENT: u32 = u32::MAX;

/// The most that the block allocation table of the largest disk (2040 GiB) takes with the smallest
/// blocks that are read.
const TABLE_BYTES_LIMIT: u64 = 64 << 20;

/// The disk in a fixed VHD, which is a raw disk followed by a footer; `None` if it is not one.
pub(super) fn open_fixed(device: &Arc<dyn BlockDevice>) -> Result<Option<Arc<dyn BlockDevice>>> {
    let Some(disk_len) = device.len().checked_sub(FOOTER_BYTES) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER_LEN];
    device.read_at(disk_len, &mut footer)?;
    let is_footer = footer.starts_with(b"conectix")
        && be_u32(&footer, 60) == TYPE_FIXED
        && be_u64(&footer, 48) == disk_len
        && be_u32(&footer, FOOTER_CHECKSUM) == checksum(&footer, FOOTER_CHECKSUM);
    if !is_footer {
        return Ok(None);
    }
    Ok(Some(Arc::new(Slice::new(device.clone(), 0..disk_len)?)))
}

/// Opens the disk in a dynamic VHD. It cannot be written.
pub(super) fn open_dynamic(
    device: Arc<dyn BlockDevice>,
    path: &Path,
) -> Result<Arc<dyn BlockDevice>> {
    let file = ClusterFile::new(device, path);
    let table = Dynamic::read(&file)?;
    Ok(Arc::new(Clusters::new(file, table)))
}

/// The checksum of a header or footer: the complement of the sum of its bytes, its own four left
/// out.
pub(super) fn checksum(bytes: &[u8], own_place: usize) -> u32 {
    let own = own_place..own_place + 4;
    let counted = bytes.iter().enumerate().filter(|(at, _)| !own.contains(at));
    let sum = counted.fold(0_u32, |sum, (_, &byte)| sum.wrapping_add(u32::from(byte)));
    !sum
}

struct Dynamic {
    disk_len: u64,
    block_bytes: u64,
    /// Where each block lies, in sectors.
    blocks: Vec<u32>,
}

impl Dynamic {
    fn read(file: &ClusterFile) -> Result<Self> {
        let corrupt = |problem: String| Error::Corrupt {
            path: file.path().to_owned(),
            format: FORMAT,
            problem,
        };
        let footer = file.read("footer", 0, FOOTER_BYTES)?;
        if be_u32(&footer, FOOTER_CHECKSUM) != checksum(&footer, FOOTER_CHECKSUM) {
            return Err(corrupt(
                "the checksum of the footer does not fit".to_owned(),
            ));
        }
        let disk_type = be_u32(&footer, 60);
        if disk_type != TYPE_DYNAMIC {
            return Err(Error::Unsupported {
                path: file.path().to_owned(),
                what: format!("a VHD of type {disk_type} (4 has a parent)"),
                advice: WHOLE_DISK.to_owned(),
            });
        }
        let header = file.read("header", be_u64(&footer, 16), 1024)?;
        if !header.starts_with(b"cxsparse")
            || be_u32(&header, HEADER_CHECKSUM) != checksum(&header, HEADER_CHECKSUM)
        {
            return Err(corrupt(
                "the header of the dynamic disk is damaged".to_owned(),
            ));
        }
        let disk_len = be_u64(&footer, 48);
        let block_bytes = u64::from(be_u32(&header, 32));
        let needed = disk_len.checked_div(block_bytes).map_or(u64::MAX, |whole| {
            whole + u64::from(!disk_len.is_multiple_of(block_bytes))
        });
        let entries = u64::from(be_u32(&header, 28));
        if !block_bytes.is_power_of_two()
            || block_bytes < SECTOR_BYTES
            || entries < needed
            || needed * 4 > TABLE_BYTES_LIMIT
        {
            return Err(corrupt(format!(
                "{entries} blocks of {block_bytes} bytes for a disk of {disk_len} bytes"
            )));
        }
        let table = file.read("block allocation table", be_u64(&header, 16), needed * 4)?;
        let (table, _) = table.as_chunks();
        Ok(Self {
            disk_len,
            block_bytes,
            blocks: table
                .iter()
                .map(|entry| u32::from_be_bytes(*entry))
                .collect(),
        })
    }
}

/// Bytes of the bitmap of used sectors before the data of a block.
pub(super) fn bitmap_bytes(block_bytes: u64) -> u64 {
    (block_bytes / SECTOR_BYTES)
        .div_ceil(8)
        .next_multiple_of(SECTOR_BYTES)
}

impl Table for Dynamic {
    fn disk_len(&self) -> u64 {
        self.disk_len
    }

    fn lookup(&self, _file: &ClusterFile, offset: u64) -> imgasm_block::Result<Stretch> {
        let index = usize::try_from(offset / self.block_bytes).ok();
        let entry = index.and_then(|index| self.blocks.get(index));
        let inside = offset % self.block_bytes;
        // In a disk without a parent, sectors that the bitmap marks as unused are stored as zeros.
        let mapping = match entry.copied().unwrap_or(BLOCK_ABSENT) {
            BLOCK_ABSENT => Mapping::Zeros,
            sector => {
                let block = u64::from(sector) * SECTOR_BYTES;
                Mapping::Stored(block + bitmap_bytes(self.block_bytes) + inside)
            }
        };
        Ok(Stretch {
            len: self.block_bytes - inside,
            mapping,
        })
    }

    fn unpack(&self, _packed: &[u8]) -> Result<Vec<u8>, String> {
        Err("a VHD has no compressed blocks".to_owned())
    }

    fn packed_limit(&self) -> u64 {
        0
    }
}
