//! Reading VHDX, fixed and dynamic ("\[MS-VHDX\]: Virtual Hard Disk v2 (VHDX) File Format").

use std::path::Path;
use std::sync::Arc;

use uuid::{Uuid, uuid};

use super::bytes::{array, le_u16, le_u32, le_u64};
use super::clusters::{ClusterFile, Clusters, Mapping, Named, Stretch, Table};
use super::{Error, Result, WHOLE_DISK, vhdx_log};
use imgasm_block::BlockDevice;

const FORMAT: &str = "vhdx";

/// Both headers, of which the one with the higher sequence number is valid, and both region tables,
/// which are equal.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const HEADER_BYTES: u64 = 4096;
const TABLE_BYTES: u64 = 64 << 10;

const REGION_BLOCKS: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const REGION_METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
const ITEM_FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const ITEM_DISK_LEN: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const ITEM_SECTOR_BYTES: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");

/// The disk is a differencing one with a parent.
const FLAG_HAS_PARENT: u32 = 1 << 1;

/// States of a block, in the low three bits of its entry.
const BLOCK_STATE: u64 = 0b111;
const BLOCK_PRESENT: u64 = 6;
const BLOCK_PARTIALLY_PRESENT: u64 = 7;
/// The other bits that matter are its offset, in MiB.
const BLOCK_OFFSET: u64 = !((1 << 20) - 1);

/// The largest disk of the format, and the block sizes it allows.
const DISK_LIMIT_BYTES: u64 = 64 << 40;
const BLOCK_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=256 << 20;

/// Opens the disk in a VHDX file. It cannot be written.
pub(super) fn open(device: &Arc<dyn BlockDevice>, path: &Path) -> Result<Arc<dyn BlockDevice>> {
    let mut file = ClusterFile::new(Arc::clone(device), path);
    let header = header(&file)?;
    if !Uuid::from_bytes_le(array(&header, 48)).is_nil() {
        let replayed =
            vhdx_log::replay(device, &header).map_err(|problem| corrupt(&file, problem))?;
        file = ClusterFile::new(replayed, path);
    }
    let table = Vhdx::read(&file)?;
    Ok(Arc::new(Clusters::new(file, table)))
}

struct Vhdx {
    disk_len: u64,
    block_bytes: u64,
    /// Blocks between two entries for the bitmaps of differences, which are skipped.
    chunk_ratio: u64,
    entries: Vec<u64>,
}

impl Vhdx {
    fn read(file: &ClusterFile) -> Result<Self> {
        let (blocks, blocks_len) = region(file, REGION_BLOCKS)?;
        let (metadata, _) = region(file, REGION_METADATA)?;
        let table = file.read("metadata table", metadata, TABLE_BYTES)?;
        if !table.starts_with(b"metadata") {
            let problem = format!("no metadata table at offset {metadata}");
            return Err(corrupt(file, problem));
        }
        let count = le_u16(&table, 10);
        let item = |wanted: Uuid, name: &str, len: u64| {
            let entries = table[32..].chunks_exact(32).take(usize::from(count));
            let entry = entries
                .into_iter()
                .find(|entry| Uuid::from_bytes_le(array(entry, 0)) == wanted)
                .ok_or_else(|| corrupt(file, format!("no {name} in the metadata")))?;
            let offset = metadata.saturating_add(u64::from(le_u32(entry, 16)));
            Ok::<_, Error>(file.read(name, offset, len)?)
        };
        let parameters = item(ITEM_FILE_PARAMETERS, "file parameters", 8)?;
        if le_u32(&parameters, 4) & FLAG_HAS_PARENT != 0 {
            return Err(unsupported(file, "a VHDX with a parent"));
        }
        let block_bytes = u64::from(le_u32(&parameters, 0));
        let disk_len = le_u64(&item(ITEM_DISK_LEN, "size of the disk", 8)?, 0);
        let sector_bytes = le_u32(&item(ITEM_SECTOR_BYTES, "size of a sector", 4)?, 0);
        if !block_bytes.is_power_of_two()
            || !BLOCK_BYTES.contains(&block_bytes)
            || !(1..=DISK_LIMIT_BYTES).contains(&disk_len)
            || ![512, 4096].contains(&sector_bytes)
        {
            return Err(corrupt(
                file,
                format!(
                    "a disk of {disk_len} bytes in blocks of {block_bytes} and sectors of \
                     {sector_bytes}"
                ),
            ));
        }
        let chunk_ratio = (u64::from(sector_bytes) << 23) / block_bytes;
        let count = disk_len.div_ceil(block_bytes);
        let entries_bytes = (count + (count - 1) / chunk_ratio) * 8;
        if entries_bytes > blocks_len {
            return Err(corrupt(
                file,
                format!("a table of {blocks_len} bytes for {count} blocks"),
            ));
        }
        let entries = file.read("block allocation table", blocks, entries_bytes)?;
        let (entries, _) = entries.as_chunks();
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| u64::from_le_bytes(*entry))
            .collect();
        let is_present = |entry: &&u64| **entry & BLOCK_STATE == BLOCK_PRESENT;
        let stored = entries.iter().filter(is_present).count();
        file.claim(0, block_bytes, Named { stored, packed: 0 })?;
        Ok(Self {
            disk_len,
            block_bytes,
            chunk_ratio,
            entries,
        })
    }
}

/// The header that is valid.
fn header(file: &ClusterFile) -> Result<Vec<u8>> {
    let mut newest: Option<Vec<u8>> = None;
    for offset in HEADERS {
        let header = file.read("header", offset, HEADER_BYTES)?;
        let newer = newest
            .as_ref()
            .is_none_or(|newest| le_u64(&header, 8) > le_u64(newest, 8));
        if is_whole(&header, b"head") && newer {
            newest = Some(header);
        }
    }
    let Some(header) = newest else {
        return Err(corrupt(file, "both headers are damaged".to_owned()));
    };
    if le_u16(&header, 66) != 1 {
        return Err(unsupported(
            file,
            &format!("VHDX version {}", le_u16(&header, 66)),
        ));
    }
    Ok(header)
}

/// Where a region lies: offset and length.
fn region(file: &ClusterFile, wanted: Uuid) -> Result<(u64, u64)> {
    for offset in REGION_TABLES {
        let table = file.read("region table", offset, TABLE_BYTES)?;
        if !is_whole(&table, b"regi") {
            continue;
        }
        let count = usize::try_from(le_u32(&table, 8)).unwrap_or(usize::MAX);
        let mut entries = table[16..].chunks_exact(32).take(count);
        let entry = entries.find(|entry| Uuid::from_bytes_le(array(entry, 0)) == wanted);
        return entry
            .map(|entry| (le_u64(entry, 16), u64::from(le_u32(entry, 24))))
            .ok_or_else(|| corrupt(file, format!("no region {wanted}")));
    }
    Err(corrupt(file, "both region tables are damaged".to_owned()))
}

/// Whether a header or table has its signature and checksum: CRC-32C with its own place as zeros.
fn is_whole(bytes: &[u8], signature: &[u8]) -> bool {
    let (before, rest) = bytes.split_at(4);
    let (stored, after) = rest.split_at(4);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(0, before), &[0; 4]);
    before == signature && crc32c::crc32c_append(crc, after).to_le_bytes() == stored
}

fn corrupt(file: &ClusterFile, problem: String) -> Error {
    Error::Corrupt {
        path: file.path().to_owned(),
        format: FORMAT,
        problem,
    }
}

fn unsupported(file: &ClusterFile, what: &str) -> Error {
    Error::Unsupported {
        path: file.path().to_owned(),
        what: what.to_owned(),
        advice: WHOLE_DISK.to_owned(),
    }
}

impl Table for Vhdx {
    fn disk_len(&self) -> u64 {
        self.disk_len
    }

    fn lookup(&self, file: &ClusterFile, offset: u64) -> imgasm_block::Result<Stretch> {
        let block = offset / self.block_bytes;
        let index = usize::try_from(block + block / self.chunk_ratio).ok();
        let entry = index.and_then(|index| self.entries.get(index));
        let entry = entry.copied().unwrap_or(0);
        let inside = offset % self.block_bytes;
        let mapping = match entry & BLOCK_STATE {
            BLOCK_PRESENT => Mapping::Stored((entry & BLOCK_OFFSET).saturating_add(inside)),
            BLOCK_PARTIALLY_PRESENT => {
                let problem = format!("block {block} is a difference to a parent, but has none");
                return Err(file.corrupt(problem));
            }
            _ => Mapping::Zeros,
        };
        Ok(Stretch {
            len: self.block_bytes - inside,
            mapping,
        })
    }

    fn unpack(&self, _packed: &[u8]) -> Result<Vec<u8>, String> {
        Err("a VHDX has no compressed blocks".to_owned())
    }

    fn packed_limit(&self) -> u64 {
        0
    }
}
