//! Reading VMDK sparse extents: hosted ones and stream-optimized ones ("Virtual Disk Format 5.0",
//! sections "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents"). The disk that
//! several of them make is put together by `vmdk_descriptor`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::bytes::{le_u16, le_u32, le_u64};
use super::clusters::{ClusterFile, Clusters, Lru, Mapping, Named, Stretch, Table, repeated};
use super::{DESCRIPTOR, Error, Result, WHOLE_DISK, inflate, vmdk_descriptor};
use imgasm_block::BlockDevice;

const FORMAT: &str = "vmdk";
pub(super) const SECTOR_BYTES: u64 = 512;

/// The grain directory is behind the data; a footer near the end of the file names its place.
const DIRECTORY_AT_END: u64 = u64::MAX;

/// Bits of `flags`.
const FLAG_ZEROED_GRAINS: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;

/// The entry of a grain that is zeros, if the flag for it is set.
const GRAIN_ZEROED: u32 = 1;

/// Limits on what a header may say: grains from one page to 4 MiB, and tables as large as QEMU
/// reads.
const GRAIN_SECTORS: std::ops::RangeInclusive<u64> = 8..=8192;
const TABLE_ENTRIES_LIMIT: u64 = 1 << 16;
const DIRECTORY_BYTES_LIMIT: u64 = 64 << 20;

/// Memory for grain tables. One of them has at most 256 KiB.
const TABLES_BYTES: u64 = 4 << 20;

/// Opens the disk in a VMDK file. It cannot be written.
pub(super) fn open(device: Arc<dyn BlockDevice>, path: &Path) -> Result<Arc<dyn BlockDevice>> {
    let file = ClusterFile::new(device, path);
    let (table, header) = Vmdk::read(&file)?;
    check_descriptor(&file, &header)?;
    Ok(Arc::new(Clusters::new(file, table)))
}

/// Opens one sparse extent of a disk of several files.
pub(super) fn open_extent(
    device: Arc<dyn BlockDevice>,
    path: &Path,
) -> Result<Arc<dyn BlockDevice>> {
    let file = ClusterFile::new(device, path);
    let (table, _) = Vmdk::read(&file)?;
    Ok(Arc::new(Clusters::new(file, table)))
}

struct Vmdk {
    disk_len: u64,
    grain_bytes: u64,
    /// Grains that one table covers.
    table_entries: u64,
    /// Where each table lies, in sectors; 0 if there is none.
    directory: Vec<u32>,
    tables: Mutex<Lru<Vec<u32>>>,
    compressed: bool,
    zeroed_grains: bool,
}

impl Vmdk {
    /// What the header says, and the header.
    fn read(file: &ClusterFile) -> Result<(Self, Vec<u8>)> {
        let corrupt = |problem: String| Error::Corrupt {
            path: file.path().to_owned(),
            format: FORMAT,
            problem,
        };
        let mut header = file.read("header", 0, SECTOR_BYTES)?;
        if le_u64(&header, 56) == DIRECTORY_AT_END {
            // The footer is a copy of the header and comes before the end-of-stream marker.
            let offset = file.len().checked_sub(2 * SECTOR_BYTES);
            let offset = offset.ok_or_else(|| corrupt("the file is cut off".to_owned()))?;
            header = file.read("footer", offset, SECTOR_BYTES)?;
            if !header.starts_with(b"KDMV") {
                let problem = format!("no footer at offset {offset}: the file is cut off");
                return Err(corrupt(problem));
            }
        }
        let flags = le_u32(&header, 8);
        let compressed = flags & FLAG_COMPRESSED != 0;
        if compressed && le_u16(&header, 77) != 1 {
            return Err(corrupt(format!("compression {}", le_u16(&header, 77))));
        }
        let grain_sectors = le_u64(&header, 20);
        let table_entries = u64::from(le_u32(&header, 44));
        if !GRAIN_SECTORS.contains(&grain_sectors)
            || !grain_sectors.is_power_of_two()
            || !(1..=TABLE_ENTRIES_LIMIT).contains(&table_entries)
        {
            return Err(corrupt(format!(
                "grains of {grain_sectors} sectors, {table_entries} per table"
            )));
        }
        let capacity = le_u64(&header, 12);
        let tables = capacity.div_ceil(grain_sectors).div_ceil(table_entries);
        let disk_len = capacity.checked_mul(SECTOR_BYTES);
        let directory_at = le_u64(&header, 56).checked_mul(SECTOR_BYTES);
        let (Some(disk_len), Some(directory_at), true) =
            (disk_len, directory_at, tables <= DIRECTORY_BYTES_LIMIT / 4)
        else {
            return Err(corrupt(format!("a disk of {capacity} sectors")));
        };
        let directory = numbers(&file.read("grain directory", directory_at, tables * 4)?);
        let named = directory.iter().map(|sector| u64::from(*sector));
        if let Some(sector) = repeated(named.filter(|sector| *sector != 0)) {
            return Err(corrupt(format!(
                "the grain table at sector {sector} is named twice"
            )));
        }
        let vmdk = Self {
            disk_len,
            grain_bytes: grain_sectors * SECTOR_BYTES,
            table_entries,
            directory,
            tables: Mutex::new(Lru::new(TABLES_BYTES)),
            compressed,
            zeroed_grains: flags & FLAG_ZEROED_GRAINS != 0,
        };
        Ok((vmdk, header))
    }

    /// Bytes of the disk that one table covers: at most 2^38.
    fn table_span(&self) -> u64 {
        self.table_entries * self.grain_bytes
    }

    /// The grain table at this offset, as far as the file has it.
    fn table(&self, file: &ClusterFile, offset: u64) -> imgasm_block::Result<Arc<Vec<u32>>> {
        let cache = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = cache().get(offset) {
            return Ok(table);
        }
        let len = (self.table_entries * 4).min(file.len().saturating_sub(offset));
        let table = Arc::new(numbers(&file.read("grain table", offset, len)?));
        // Before compressed data stands where it belongs on the disk, so that it is there only once.
        if !self.compressed {
            let is_stored = |entry: &&u32| !self.is_zeros(**entry);
            let stored = table.iter().filter(is_stored).count();
            file.claim(offset, self.grain_bytes, Named { stored, packed: 0 })?;
        }
        cache().put(offset, Arc::clone(&table), len);
        Ok(table)
    }

    /// Whether the entry is that of a grain of zeros.
    fn is_zeros(&self, entry: u32) -> bool {
        entry == 0 || self.zeroed_grains && entry == GRAIN_ZEROED
    }
}

/// Little-endian numbers.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    let (numbers, _) = bytes.as_chunks();
    numbers
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect()
}

/// Refuses a disk that is only a part of one, by the descriptor in the file.
fn check_descriptor(file: &ClusterFile, header: &[u8]) -> Result<()> {
    // Nobody writes more than this; what lies beyond is not needed.
    let sectors = le_u64(header, 36).min(64);
    let offset = le_u64(header, 28).saturating_mul(SECTOR_BYTES);
    let text = match offset {
        0 => Vec::new(),
        offset => file.read("descriptor", offset, sectors * SECTOR_BYTES)?,
    };
    let text = String::from_utf8_lossy(&text);
    let parent = vmdk_descriptor::has_parent(&text);
    let extents = text.lines().filter(|line| line.starts_with("RW ")).count();
    let (what, advice) = if !text.starts_with(vmdk_descriptor::MAGIC) {
        // Only a part of a disk lacks the descriptor.
        ("one extent of a VMDK of several files", DESCRIPTOR)
    } else if parent {
        ("a VMDK with a parent", WHOLE_DISK)
    } else if extents > 1 {
        ("a VMDK of several files", WHOLE_DISK)
    } else {
        return Ok(());
    };
    Err(Error::Unsupported {
        path: file.path().to_owned(),
        what: what.to_owned(),
        advice: advice.to_owned(),
    })
}

impl Table for Vmdk {
    fn disk_len(&self) -> u64 {
        self.disk_len
    }

    fn lookup(&self, file: &ClusterFile, offset: u64) -> imgasm_block::Result<Stretch> {
        let index = usize::try_from(offset / self.table_span()).ok();
        let table = index.and_then(|index| self.directory.get(index)).copied();
        let table = u64::from(table.unwrap_or(0)) * SECTOR_BYTES;
        if table == 0 {
            return Ok(Stretch {
                len: self.table_span() - offset % self.table_span(),
                mapping: Mapping::Zeros,
            });
        }
        let grain = offset % self.table_span() / self.grain_bytes;
        let entries = self.table(file, table)?;
        let entry = usize::try_from(grain)
            .ok()
            .and_then(|grain| entries.get(grain));
        let entry = *entry
            .ok_or_else(|| file.corrupt(format!("the grain table at offset {table} is cut off")))?;
        let inside = offset % self.grain_bytes;
        let at = u64::from(entry) * SECTOR_BYTES;
        let mapping = if self.is_zeros(entry) {
            Mapping::Zeros
        } else if self.compressed {
            // The marker before the data: the grain's first sector on the disk, and the length.
            let marker = file.read("grain marker", at, 12)?;
            let lba = le_u64(&marker, 0);
            if lba.checked_mul(SECTOR_BYTES) != Some(offset - inside) {
                let grain = (offset - inside) / SECTOR_BYTES;
                let problem = format!("the marker at offset {at} is of sector {lba}, not {grain}");
                return Err(file.corrupt(problem));
            }
            Mapping::Packed {
                offset: at + 12,
                len: u64::from(le_u32(&marker, 8)),
                start: inside,
            }
        } else {
            Mapping::Stored(at + inside)
        };
        Ok(Stretch {
            len: self.grain_bytes - inside,
            mapping,
        })
    }

    fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        let len = usize::try_from(self.grain_bytes).expect("at most 4 MiB");
        inflate::exactly(packed, len, inflate::Wrapper::Zlib)
    }

    fn packed_limit(&self) -> u64 {
        2 * self.grain_bytes
    }
}
