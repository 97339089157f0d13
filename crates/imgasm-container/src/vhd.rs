//! Reading VHD, fixed and dynamic ("Virtual Hard Disk Image Format Specification", 2006).

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::bytes::{be_u32, be_u64};
use super::clusters::{ClusterFile, Clusters, Mapping, Named, Stretch, Table};
use super::family::Family;
use super::{DiskFormat, Error, Result, WHOLE_DISK};
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
const TYPE_DIFFERENCING: u32 = 4;

/// Where the id of a disk is in its footer, and those of its parent in the header of a dynamic disk.
const FOOTER_ID: usize = 68;
const PARENT_ID: Range<usize> = 40..56;
const PARENT_NAME: Range<usize> = 64..576;

/// How much of a block's bitmap is looked at in one step.
const BITMAP_PIECE: u64 = 64;

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
    family: Family,
) -> Result<Arc<dyn BlockDevice>> {
    let file = ClusterFile::new(device, path);
    let (table, parent) = Dynamic::read(&file)?;
    let below = parent.map(|parent| {
        let (of, disk) = family.backing(path, &parent.name, DiskFormat::Vhd)?;
        let footer_at = of.len().saturating_sub(FOOTER_BYTES);
        let footer =
            ClusterFile::new(of, path).read("footer of the parent", footer_at, FOOTER_BYTES)?;
        if footer[FOOTER_ID..][..16] == parent.id {
            return Ok(disk);
        }
        Err(Error::Corrupt {
            path: path.to_owned(),
            format: FORMAT,
            problem: format!(
                "{:?} is another disk than the one that it is based on",
                parent.name
            ),
        })
    });
    Ok(Arc::new(Clusters::based_on(
        file,
        table,
        below.transpose()?,
    )))
}

/// The disk that a differencing one is based on.
struct Parent {
    /// The name of its file.
    name: String,
    /// The id in its footer.
    id: [u8; 16],
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
    /// Whether a block's bitmap says which of its sectors lie in the parent.
    is_differencing: bool,
    disk_len: u64,
    block_bytes: u64,
    /// Where each block lies, in sectors.
    blocks: Vec<u32>,
}

impl Dynamic {
    fn read(file: &ClusterFile) -> Result<(Self, Option<Parent>)> {
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
        if ![TYPE_DYNAMIC, TYPE_DIFFERENCING].contains(&disk_type) {
            return Err(Error::Unsupported {
                path: file.path().to_owned(),
                what: format!("a VHD of type {disk_type}"),
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
        let blocks: Vec<_> = table
            .iter()
            .map(|entry| u32::from_be_bytes(*entry))
            .collect();
        let stored = blocks
            .iter()
            .filter(|entry| **entry != BLOCK_ABSENT)
            .count();
        file.claim(0, block_bytes, Named { stored, packed: 0 })?;
        let is_differencing = disk_type == TYPE_DIFFERENCING;
        let parent = is_differencing.then(|| {
            let (name, _) = header[PARENT_NAME].as_chunks();
            let name: Vec<u16> = name.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            let name = String::from_utf16_lossy(&name);
            // Hyper-V stores where the file was when the disk was made, on another machine perhaps: it is
            // looked for beside this one, and known by its id.
            let file = name.trim_end_matches('\0').rsplit(['\\', '/']).next();
            Parent {
                name: file.unwrap_or_default().to_owned(),
                id: header[PARENT_ID].try_into().expect("16 bytes"),
            }
        });
        let dynamic = Self {
            is_differencing,
            disk_len,
            block_bytes,
            blocks,
        };
        Ok((dynamic, parent))
    }

    /// What lies at a byte of a block of a differencing disk, which begins at `block` in the file:
    /// sectors whose bits are set, the highest bit of a byte being the first, lie here.
    fn differing(
        &self,
        file: &ClusterFile,
        block: u64,
        inside: u64,
    ) -> imgasm_block::Result<Stretch> {
        let sector = inside / SECTOR_BYTES;
        let left = self.block_bytes / SECTOR_BYTES - sector;
        let first = sector % 8;
        let len = (first + left).div_ceil(8).min(BITMAP_PIECE);
        let bitmap = file.read("bitmap of a block", block + sector / 8, len)?;
        let bits = bitmap
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0));
        let mut bits = bits.skip(usize::try_from(first).expect("less than 8"));
        let is_here = bits.next() == Some(true);
        let same = bits.take_while(|bit| *bit == is_here).count();
        let sectors = (1 + u64::try_from(same).expect("some hundreds")).min(left);
        Ok(Stretch {
            len: sectors * SECTOR_BYTES - inside % SECTOR_BYTES,
            mapping: if is_here {
                Mapping::Stored(block + bitmap_bytes(self.block_bytes) + inside)
            } else {
                Mapping::Below
            },
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

    fn lookup(&self, file: &ClusterFile, offset: u64) -> imgasm_block::Result<Stretch> {
        let index = usize::try_from(offset / self.block_bytes).ok();
        let entry = index.and_then(|index| self.blocks.get(index));
        let inside = offset % self.block_bytes;
        // In a disk without a parent, sectors that the bitmap marks as unused are stored as zeros.
        let mapping = match entry.copied().unwrap_or(BLOCK_ABSENT) {
            BLOCK_ABSENT if self.is_differencing => Mapping::Below,
            BLOCK_ABSENT => Mapping::Zeros,
            sector => {
                let block = u64::from(sector) * SECTOR_BYTES;
                if self.is_differencing {
                    return self.differing(file, block, inside);
                }
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
