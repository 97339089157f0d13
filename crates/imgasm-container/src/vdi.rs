//! Reading VDI, dynamic and fixed: VirtualBox's format (`VBox/Storage/VDICore.h`, header 1.1).

use std::path::Path;
use std::sync::Arc;

use super::bytes::{le_u32, le_u64};
use super::clusters::{ClusterFile, Clusters, Mapping, Named, Stretch, Table};
use super::{Error, Result, WHOLE_DISK};
use imgasm_block::BlockDevice;

const FORMAT: &str = "vdi";
const HEADER_BYTES: u64 = 512;
/// The major and the minor number as one.
const VERSION: u32 = 0x0001_0001;

/// Types of image that are whole disks.
const TYPE_DYNAMIC: u32 = 1;
const TYPE_FIXED: u32 = 2;

/// Entries of the map from here on stand for blocks of zeros: one that was discarded, and one that
/// never was.
const BLOCK_ZEROS: u32 = u32::MAX - 1;

/// Blocks that are read: QEMU and VirtualBox make those of 1 MiB.
const BLOCK_BYTES: std::ops::RangeInclusive<u64> = 4096..=256 << 20;
/// The most that the map may take: enough for 64 TiB in blocks of 1 MiB.
const MAP_BYTES_LIMIT: u64 = 256 << 20;

/// Opens the disk in a VDI file. It cannot be written.
pub(super) fn open(device: Arc<dyn BlockDevice>, path: &Path) -> Result<Arc<dyn BlockDevice>> {
    let file = ClusterFile::new(device, path);
    let table = Vdi::read(&file)?;
    Ok(Arc::new(Clusters::new(file, table)))
}

struct Vdi {
    disk_len: u64,
    block_bytes: u64,
    /// Where block 0 of the file begins.
    data_offset: u64,
    /// Which block of the file each block of the disk is.
    map: Vec<u32>,
}

impl Vdi {
    fn read(file: &ClusterFile) -> Result<Self> {
        let corrupt = |problem: String| Error::Corrupt {
            path: file.path().to_owned(),
            format: FORMAT,
            problem,
        };
        let unsupported = |what: String| Error::Unsupported {
            path: file.path().to_owned(),
            what,
            advice: WHOLE_DISK.to_owned(),
        };
        let header = file.read("header", 0, HEADER_BYTES)?;
        let (version, kind) = (le_u32(&header, 0x44), le_u32(&header, 0x4c));
        if version != VERSION {
            return Err(unsupported(format!("a VDI of version {version:#010x}")));
        }
        // A differencing image names its parent.
        let parent = &header[0x1a8..0x1b8];
        if ![TYPE_DYNAMIC, TYPE_FIXED].contains(&kind) || parent.iter().any(|&byte| byte != 0) {
            return Err(unsupported(format!(
                "a VDI of type {kind} (a difference to another image, or a snapshot)"
            )));
        }
        let disk_len = le_u64(&header, 0x170);
        let block_bytes = u64::from(le_u32(&header, 0x178));
        let extra = le_u32(&header, 0x17c);
        let count = u64::from(le_u32(&header, 0x180));
        if !block_bytes.is_power_of_two()
            || !BLOCK_BYTES.contains(&block_bytes)
            || extra != 0
            || disk_len == 0
            || disk_len.div_ceil(block_bytes) > count
            || count * 4 > MAP_BYTES_LIMIT
        {
            return Err(corrupt(format!(
                "{count} blocks of {block_bytes} bytes, each after {extra} others, for a disk of \
                 {disk_len} bytes"
            )));
        }
        let needed = disk_len.div_ceil(block_bytes);
        let map = file.read("map of blocks", le_u32(&header, 0x154).into(), needed * 4)?;
        let (map, _) = map.as_chunks();
        let map: Vec<_> = map.iter().map(|entry| u32::from_le_bytes(*entry)).collect();
        let stored = map.iter().filter(|entry| **entry < BLOCK_ZEROS).count();
        file.claim(0, block_bytes, Named { stored, packed: 0 })?;
        Ok(Self {
            disk_len,
            block_bytes,
            data_offset: le_u32(&header, 0x158).into(),
            map,
        })
    }
}

impl Table for Vdi {
    fn disk_len(&self) -> u64 {
        self.disk_len
    }

    fn lookup(&self, _file: &ClusterFile, offset: u64) -> imgasm_block::Result<Stretch> {
        let index = usize::try_from(offset / self.block_bytes).ok();
        let entry = index.and_then(|index| self.map.get(index));
        let inside = offset % self.block_bytes;
        let mapping = match entry.copied().unwrap_or(BLOCK_ZEROS) {
            BLOCK_ZEROS.. => Mapping::Zeros,
            block => {
                Mapping::Stored(self.data_offset + u64::from(block) * self.block_bytes + inside)
            }
        };
        Ok(Stretch {
            len: self.block_bytes - inside,
            mapping,
        })
    }

    fn unpack(&self, _packed: &[u8]) -> Result<Vec<u8>, String> {
        Err("a VDI has no compressed blocks".to_owned())
    }

    fn packed_limit(&self) -> u64 {
        0
    }
}
