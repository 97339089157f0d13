//! An opened disk: its partition table, and where each filesystem lies.
//!
//! - [`partition`]: a partition as every table describes it, and the known types.
//! - [`gpt`] and [`mbr`]: the two kinds of table, as bytes and on a device.
//! - [`mod@probe`]: what a device holds, by its magic bytes; `open`: the engine for it.
//! - [`root`]: which partition holds the root filesystem.
//! - `cut_short`: a disk whose end is missing.
//! - [`error`]: why a disk could not be understood or changed.

mod cut_short;
pub mod error;
pub mod gpt;
pub mod mbr;
mod open;
pub mod partition;
pub mod probe;
pub mod root;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use cut_short::CutShort;
pub use error::{Candidate, Error, Result};
pub use gpt::{Gpt, NewPartition};
pub use mbr::Mbr;
pub use open::{open, open_writable};
pub use partition::{Partition, PartitionKind, SectorSize};
pub use probe::probe;

use imgasm_block::{BlockDevice, Slice};
use imgasm_fs::{FileSystem, WriteOptions};

/// Where a filesystem lies on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// On all of it: there is no partition table.
    WholeDisk,
    /// In the partition of this number.
    Partition(u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WholeDisk => f.write_str("the whole disk"),
            Self::Partition(number) => write!(f, "partition {number}"),
        }
    }
}

/// How a disk is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Table {
    /// Not at all: one filesystem fills it.
    Bare,
    Gpt(Gpt),
    Mbr(Mbr),
}

/// A partition table, for people and for comparisons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// What kind of table it is.
    pub kind: TableKind,
    /// The size of a logical block.
    pub sector_size: SectorSize,
    /// The partitions by their numbers.
    pub partitions: Vec<Partition>,
    /// SHA-256 of the boot code, the first 440 bytes of the disk; `None` if they are zeros.
    pub boot_code_sha256: Option<[u8; 32]>,
}

/// A kind of partition table, with what only that kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A GUID partition table.
    Gpt {
        /// The disk's GUID.
        disk_guid: Uuid,
        /// First and last block that partitions may use.
        usable: (u64, u64),
        /// Whether the MBR before it also lists partitions.
        hybrid: bool,
    },
    /// A master boot record.
    Mbr {
        /// The disk signature.
        signature: u32,
    },
}

impl TableKind {
    /// The kind as `blkid` names it: `gpt` or `dos`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Gpt { .. } => "gpt",
            Self::Mbr { .. } => "dos",
        }
    }
}

/// What happened to the contents of a place that has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// What the place holds, as [`probe()`] names it.
    pub kind: Option<&'static str>,
    /// The old and the new size of its filesystem in bytes; `None` if there is no engine for it.
    pub bytes: Option<(u64, u64)>,
}

/// A disk: a device, and how it is divided.
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    table: Table,
    hybrid: bool,
    warnings: Vec<String>,
}

impl Disk {
    /// Reads how `device` is divided.
    ///
    /// Like the Linux kernel, this reads a GPT only if the MBR says that there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::BothDamaged`]; [`Error::Unknown`] if there is neither a
    /// partition table nor a filesystem that [`fn@probe`] knows.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let record = mbr::record_kind(&device)?;
        let mut warnings = Vec::new();
        let table = match record {
            mbr::RecordKind::Protective | mbr::RecordKind::Hybrid => match Gpt::read(&device)? {
                gpt::Reading::Found(gpt, warning) => {
                    warnings.extend(warning);
                    Table::Gpt(gpt)
                }
                gpt::Reading::Damaged { primary, backup } => {
                    return Err(Error::BothDamaged { primary, backup });
                }
            },
            // A FAT boot sector has the MBR's signature, and code in the place of the MBR's
            // entries.
            mbr::RecordKind::Table if kind_at(&device, Place::WholeDisk)? != Some("vfat") => {
                let mbr = Mbr::read(&device, mbr_sector_size(&device)?)?;
                warnings.extend_from_slice(&mbr.findings);
                Table::Mbr(mbr)
            }
            _ if kind_at(&device, Place::WholeDisk)?.is_some() => Table::Bare,
            _ => return Err(Error::Unknown { len: device.len() }),
        };
        Ok(Self {
            device,
            table,
            hybrid: record == mbr::RecordKind::Hybrid,
            warnings,
        })
    }

    /// Reads how a device was divided before its end was cut off. What lies on what is left can be
    /// read; a partition that reaches past the end is an error when it is opened.
    pub fn open_cut_short(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let whole = Self::open(Arc::new(CutShort(Arc::clone(&device))))?;
        Ok(Self { device, ..whole })
    }

    /// The device below.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// What is wrong with the disk, although it can be read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The partition table; `None` on a bare filesystem.
    pub fn table(&self) -> Result<Option<PartitionTable>> {
        let (kind, sector_size, partitions) = match &self.table {
            Table::Bare => return Ok(None),
            Table::Gpt(gpt) => (
                TableKind::Gpt {
                    disk_guid: gpt.disk_guid(),
                    usable: gpt.usable(),
                    hybrid: self.hybrid,
                },
                gpt.sector_size(),
                gpt.partitions(),
            ),
            Table::Mbr(mbr) => (
                TableKind::Mbr {
                    signature: mbr.signature,
                },
                mbr.sector_size,
                mbr.partitions.clone(),
            ),
        };
        let boot_code = mbr::boot_code(&self.device)?;
        let coded = boot_code.iter().any(|byte| *byte != 0);
        Ok(Some(PartitionTable {
            kind,
            sector_size,
            partitions,
            boot_code_sha256: coded.then(|| Sha256::digest(boot_code).into()),
        }))
    }

    /// Where there may be filesystems: each partition except an extended one, or the whole disk.
    pub fn places(&self) -> Vec<Place> {
        match &self.table {
            Table::Bare => vec![Place::WholeDisk],
            Table::Gpt(_) | Table::Mbr(_) => self
                .partitions()
                .iter()
                .filter(|partition| !partition.kind.is_extended())
                .map(|partition| Place::Partition(partition.number))
                .collect(),
        }
    }

    /// The bytes of the disk that belong to a place; `None` if there is no such partition.
    pub fn range(&self, place: Place) -> Option<Range<u64>> {
        match place {
            Place::WholeDisk => Some(0..self.device.len()),
            Place::Partition(number) => {
                let partitions = self.partitions();
                let partition = partitions.iter().find(|p| p.number == number)?;
                Some(partition.bytes(self.sector_size()))
            }
        }
    }

    /// The device of one place, on which its filesystem can be opened.
    ///
    /// # Errors
    /// [`Error::NoPartition`].
    pub fn slice(&self, place: Place) -> Result<Arc<dyn BlockDevice>> {
        let Place::Partition(number) = place else {
            return Ok(Arc::clone(&self.device));
        };
        let partitions = self.partitions();
        let Some(partition) = partitions.iter().find(|p| p.number == number) else {
            return Err(Error::NoPartition {
                number,
                available: partitions.iter().map(|p| p.number).collect(),
            });
        };
        let bytes = partition.bytes(self.sector_size());
        // An entry of an MBR may reach past the end, which is reported separately.
        let bytes = match &self.table {
            Table::Mbr(_) => clipped(&bytes, self.device.len()),
            Table::Bare | Table::Gpt(_) => bytes,
        };
        Ok(Arc::new(Slice::new(Arc::clone(&self.device), bytes)?))
    }

    /// The kind of filesystem, or of other contents, that a place holds: see [`fn@probe`].
    pub fn probe(&self, place: Place) -> Result<Option<&'static str>> {
        kind_at(&self.slice(place)?, place)
    }

    /// Opens the filesystem of a place for reading.
    pub fn open_filesystem(&self, place: Place) -> Result<Box<dyn FileSystem>> {
        open::open(self.slice(place)?).map_err(|source| Error::FileSystem { place, source })
    }

    /// Opens the filesystem of a place for reading and writing.
    pub fn open_filesystem_writable(
        &self,
        place: Place,
        options: WriteOptions,
    ) -> Result<Box<dyn FileSystem>> {
        open::open_writable(self.slice(place)?, options)
            .map_err(|source| Error::FileSystem { place, source })
    }

    /// Makes the table span the device, which has become larger since the table was written, and
    /// extends one partition to the end: the given one, or else the one that lies last. Gives the
    /// place that has grown: the whole disk if it is not divided, `None` if it has a table without
    /// partitions. The contents of the place are not touched: see [`Disk::grow_filesystem`].
    ///
    /// # Errors
    /// [`Error::Layout`] if another partition follows, or the partition is a logical one of an MBR;
    /// [`Error::NoPartition`].
    pub fn grow(&mut self, number: Option<u32>) -> Result<Option<Place>> {
        if self.table == Table::Bare && number.is_none() {
            return Ok(Some(Place::WholeDisk));
        }
        let last = self
            .partitions()
            .into_iter()
            .max_by_key(|partition| (partition.last_lba, partition.number))
            .map(|partition| partition.number);
        let Some(number) = number.or(last) else {
            return Ok(None);
        };
        match &mut self.table {
            Table::Bare => {
                return Err(Error::NoPartition {
                    number,
                    available: Vec::new(),
                });
            }
            Table::Gpt(gpt) => gpt.grow(&self.device, number)?,
            Table::Mbr(mbr) => mbr.grow(&self.device, number)?,
        };
        Ok(Some(Place::Partition(number)))
    }

    /// Makes the filesystem of a place as large as the place is, and writes it. Gives the kind of
    /// what is there, and the old and the new size of the filesystem if there is an engine for it.
    /// Other contents of a partition grow by tools of their own.
    ///
    /// # Errors
    /// [`Error::FileSystem`] if it cannot grow or cannot be written.
    pub fn grow_filesystem(&self, place: Place, options: WriteOptions) -> Result<Growth> {
        let device = self.slice(place)?;
        let failed = |source| Error::FileSystem { place, source };
        let kind = kind_at(&device, place)?;
        let bytes = if kind.is_some_and(open::has_engine) {
            let mut fs = open::open_writable(Arc::clone(&device), options).map_err(failed)?;
            let before = fs.info().map_err(failed)?.total_bytes;
            let after = fs.grow(device.len()).map_err(failed)?;
            fs.flush().map_err(failed)?;
            Some((before, after))
        } else {
            None
        };
        Ok(Growth { kind, bytes })
    }

    fn partitions(&self) -> Vec<Partition> {
        match &self.table {
            Table::Bare => Vec::new(),
            Table::Gpt(gpt) => gpt.partitions(),
            Table::Mbr(mbr) => mbr.partitions.clone(),
        }
    }

    fn sector_size(&self) -> SectorSize {
        match &self.table {
            Table::Bare => SectorSize::B512,
            Table::Gpt(gpt) => gpt.sector_size(),
            Table::Mbr(mbr) => mbr.sector_size,
        }
    }
}

/// The part of a range of bytes that lies on a device of `len` bytes.
fn clipped(bytes: &Range<u64>, len: u64) -> Range<u64> {
    bytes.start.min(len)..bytes.end.min(len)
}

fn kind_at(device: &dyn BlockDevice, place: Place) -> Result<Option<&'static str>> {
    probe(device).map_err(|source| Error::FileSystem { place, source })
}

/// The size of a logical block of a disk with an MBR, which does not store it: the size with which
/// some partition begins with known contents, else 512 bytes.
fn mbr_sector_size(device: &Arc<dyn BlockDevice>) -> Result<SectorSize> {
    for sector_size in SectorSize::ALL {
        let Ok(mbr) = Mbr::read(device, sector_size) else {
            continue;
        };
        for partition in &mbr.partitions {
            let bytes = clipped(&partition.bytes(sector_size), device.len());
            let slice = Slice::new(Arc::clone(device), bytes)?;
            if kind_at(&slice, Place::Partition(partition.number))?.is_some() {
                return Ok(sector_size);
            }
        }
    }
    Ok(SectorSize::B512)
}
