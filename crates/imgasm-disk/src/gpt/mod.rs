//! GUID partition tables: reading either copy, laying out a new one, moving to a larger device.
//!
//! - [`codec`]: header and entries as bytes.
//!
//! The array of entries is kept as the bytes that were read, and a change patches the few bytes
//! that it is about. So numbers, gaps between them, names, attributes and whatever else an entry
//! holds stay as they were, which crates that rebuild the array do not guarantee.

pub mod codec;

use uuid::Uuid;

pub use self::codec::NewPartition;
use self::codec::{ENTRY_LEN, Header};
use super::error::{Error, Result};
use super::mbr;
use super::partition::{Partition, SectorSize};
use imgasm_block::BlockDevice;

/// Entries in a new table: the fewest that the specification allows, and the usual number.
const NEW_ENTRIES: u32 = 128;

/// A partition that grows ends on a multiple of this many bytes.
const ALIGNMENT: u64 = 1 << 20;

/// A GUID partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    sector_size: SectorSize,
    /// The primary header.
    header: Header,
    /// The array of entries, as on disk.
    entries: Vec<u8>,
}

/// What was found at the places of a GPT.
#[derive(Debug)]
pub enum Reading {
    /// A sound table, and what is wrong with its other copy.
    Found(Gpt, Option<String>),
    /// Neither copy is sound: what is wrong with the primary and with the backup.
    Damaged {
        /// At the start of the device.
        primary: String,
        /// At its end.
        backup: String,
    },
}

impl Gpt {
    /// Reads the table of `device`, from its primary copy or, if that is damaged, the backup. The
    /// sector size is the one with which a sound header is found.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a table that is wrong although its checksums are right.
    pub fn read(device: &dyn BlockDevice) -> Result<Reading> {
        const ABSENT: &str = "there is no header";
        let mut problems = [None, None];
        for sector_size in SectorSize::ALL {
            match read_copy(device, sector_size, 1)? {
                Copy::Sound(header, entries) => {
                    let note = match read_copy(device, sector_size, header.alternate_lba)? {
                        Copy::Sound(..) => None,
                        Copy::Damaged(problem) => Some(problem),
                        Copy::Absent => Some(ABSENT.to_owned()),
                    };
                    let note = note.map(|problem| {
                        format!("the backup GPT is damaged, the primary one is used: {problem}")
                    });
                    return Self::found(device, sector_size, header, entries, note);
                }
                Copy::Damaged(problem) => problems[0] = Some(problem),
                Copy::Absent => {}
            }
        }
        for sector_size in SectorSize::ALL {
            let last_lba = (device.len() / sector_size.bytes()).saturating_sub(1);
            match read_copy(device, sector_size, last_lba)? {
                Copy::Sound(header, entries) => {
                    let header = Header {
                        my_lba: 1,
                        alternate_lba: last_lba,
                        entries_lba: 2,
                        ..header
                    };
                    let note = format!(
                        "the primary GPT is damaged, the backup one is used: {}",
                        problems[0].as_deref().unwrap_or(ABSENT)
                    );
                    return Self::found(device, sector_size, header, entries, Some(note));
                }
                Copy::Damaged(problem) => problems[1] = Some(problem),
                Copy::Absent => {}
            }
        }
        let [primary, backup] =
            problems.map(|problem| problem.unwrap_or_else(|| ABSENT.to_owned()));
        Ok(Reading::Damaged { primary, backup })
    }

    /// A table with right checksums, if it fits `device`.
    fn found(
        device: &dyn BlockDevice,
        sector_size: SectorSize,
        header: Header,
        entries: Vec<u8>,
        note: Option<String>,
    ) -> Result<Reading> {
        let gpt = Self {
            sector_size,
            header,
            entries,
        };
        gpt.check(device)?;
        Ok(Reading::Found(gpt, note))
    }

    /// Lays out a new table for all of a device of `device_len` bytes.
    ///
    /// # Errors
    /// [`Error::Layout`] if the partitions do not fit, overlap, or share a number.
    pub fn new(
        device_len: u64,
        sector_size: SectorSize,
        disk_guid: Uuid,
        partitions: &[NewPartition],
    ) -> Result<Self> {
        let mut gpt = Self {
            sector_size,
            header: Header {
                my_lba: 1,
                alternate_lba: 0,
                first_usable_lba: 2 + array_blocks(NEW_ENTRIES, sector_size),
                last_usable_lba: 0,
                disk_guid,
                entries_lba: 2,
                entry_count: NEW_ENTRIES,
                entries_crc32: 0,
            },
            entries: vec![0; usize_of(NEW_ENTRIES) * usize_of(ENTRY_LEN)],
        };
        gpt.fit(device_len)?;
        for new in partitions {
            let layout =
                |problem: &str| Error::Layout(format!("partition {}: {problem}", new.number));
            let slot = gpt
                .entry_mut(new.number)
                .ok_or_else(|| layout("a new table has numbers 1 to 128"))?;
            if slot.iter().any(|byte| *byte != 0) {
                return Err(layout("the number is used twice"));
            }
            let entry = codec::encode_entry(new)
                .ok_or_else(|| layout("its name is longer than 36 UTF-16 units"))?;
            slot.copy_from_slice(&entry);
        }
        gpt.check_partitions().map_err(Error::Layout)?;
        Ok(gpt)
    }

    /// The size of a logical block.
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// The disk's GUID.
    pub fn disk_guid(&self) -> Uuid {
        self.header.disk_guid
    }

    /// First and last block that partitions may use.
    pub fn usable(&self) -> (u64, u64) {
        (self.header.first_usable_lba, self.header.last_usable_lba)
    }

    /// The partitions by their numbers.
    pub fn partitions(&self) -> Vec<Partition> {
        self.entries
            .chunks_exact(usize_of(ENTRY_LEN))
            .zip(1..)
            .filter_map(|(entry, number)| codec::decode_entry(entry, number))
            .collect()
    }

    /// Makes the table span `device`, which has become larger, and extends partition `number` as
    /// far as possible; gives its new last block. The old backup is wiped.
    ///
    /// # Errors
    /// [`Error::Layout`] if the device is too small or another partition follows.
    pub fn grow(&mut self, device: &dyn BlockDevice, number: u32) -> Result<u64> {
        let mut grown = self.clone();
        grown.fit(device.len())?;
        let partitions = grown.partitions();
        let Some(partition) = partitions.iter().find(|p| p.number == number) else {
            return Err(Error::NoPartition {
                number,
                available: partitions.iter().map(|p| p.number).collect(),
            });
        };
        if let Some(behind) = partitions
            .iter()
            .find(|other| other.first_lba > partition.last_lba)
        {
            return Err(Error::Layout(format!(
                "partition {number} cannot grow: partition {} lies behind it",
                behind.number
            )));
        }
        let align = ALIGNMENT / grown.sector_size.bytes();
        let aligned_end = (grown.header.last_usable_lba + 1) / align * align;
        let last_lba = partition.last_lba.max(aligned_end.saturating_sub(1));
        if let Some(entry) = grown.entry_mut(number) {
            codec::set_last_lba(entry, last_lba);
        }
        if grown.header.alternate_lba != self.header.alternate_lba {
            self.wipe_backup(device)?;
        }
        grown.write(device)?;
        *self = grown;
        Ok(last_lba)
    }

    /// Writes both copies, and the protective MBR around any boot code.
    pub fn write(&self, device: &dyn BlockDevice) -> Result<()> {
        let size = self.sector_size.bytes();
        let mut primary = self.header.clone();
        primary.entries_crc32 = crc32fast::hash(&self.entries);
        let array = array_blocks(primary.entry_count, self.sector_size);
        let backup = Header {
            my_lba: primary.alternate_lba,
            alternate_lba: primary.my_lba,
            entries_lba: primary.alternate_lba - array,
            ..primary.clone()
        };
        // The backup first: whenever writing stops, one of the two is whole.
        for header in [&backup, &primary] {
            device.write_at(header.entries_lba * size, &self.entries)?;
            let mut block = header.encode();
            block.resize(usize::try_from(size).expect("at most 4096"), 0);
            device.write_at(header.my_lba * size, &block)?;
        }
        mbr::write_protective(device, primary.alternate_lba)
    }

    /// Sets the fields that follow from the device's length.
    fn fit(&mut self, device_len: u64) -> Result<()> {
        let blocks = device_len / self.sector_size.bytes();
        let array = array_blocks(self.header.entry_count, self.sector_size);
        // The backup's header is the last block, its array of entries lies right before.
        let last_usable = blocks.checked_sub(array + 2);
        let Some(last_usable) = last_usable.filter(|last| *last >= self.header.first_usable_lba)
        else {
            return Err(Error::Layout(format!(
                "{device_len} bytes are too few for a GPT"
            )));
        };
        if let Some(beyond) = self
            .partitions()
            .iter()
            .find(|partition| partition.last_lba > last_usable)
        {
            return Err(Error::Layout(format!(
                "partition {} ends at LBA {}, but on {device_len} bytes the last usable one is \
                 {last_usable}",
                beyond.number, beyond.last_lba
            )));
        }
        self.header.alternate_lba = blocks - 1;
        self.header.last_usable_lba = last_usable;
        Ok(())
    }

    /// Zeroes the backup copy, so that no tool finds a stale one.
    fn wipe_backup(&self, device: &dyn BlockDevice) -> Result<()> {
        let size = self.sector_size.bytes();
        let array = array_blocks(self.header.entry_count, self.sector_size);
        let last = self.header.alternate_lba;
        // Only if it is a backup: a table may name any place for its other copy.
        if last > self.header.last_usable_lba + array
            && matches!(read_copy(device, self.sector_size, last)?, Copy::Sound(..))
        {
            device.write_zeros((last - array) * size, (array + 1) * size)?;
        }
        Ok(())
    }

    /// The bytes of entry `number`.
    fn entry_mut(&mut self, number: u32) -> Option<&mut [u8]> {
        let at = usize_of(number.checked_sub(1)?).checked_mul(usize_of(ENTRY_LEN))?;
        self.entries
            .get_mut(at..at.checked_add(usize_of(ENTRY_LEN))?)
    }

    /// Checks that the table fits `device`.
    fn check(&self, device: &dyn BlockDevice) -> Result<()> {
        let corrupt = |problem| Error::Corrupt {
            table: "GPT",
            problem,
        };
        let blocks = device.len() / self.sector_size.bytes();
        let (first, last) = self.usable();
        let array_end = self
            .header
            .entries_lba
            .saturating_add(array_blocks(self.header.entry_count, self.sector_size));
        if first < array_end || self.header.entries_lba < 2 || first > last {
            return Err(corrupt(format!(
                "usable blocks {first} to {last}, with the array of entries at {} to {array_end}",
                self.header.entries_lba
            )));
        }
        if last >= blocks {
            return Err(corrupt(format!(
                "it is for a disk of more than {last} blocks, but there are {blocks}: the image \
                 is cut short"
            )));
        }
        self.check_partitions().map_err(corrupt)
    }

    /// Checks that the partitions lie in the usable range and do not overlap.
    fn check_partitions(&self) -> Result<(), String> {
        let (first, last) = self.usable();
        let mut partitions = self.partitions();
        for partition in &partitions {
            let (start, end) = (partition.first_lba, partition.last_lba);
            if start < first || end > last || start > end {
                return Err(format!(
                    "partition {} at LBA {start} to {end} does not lie in the usable range \
                     {first} to {last}",
                    partition.number
                ));
            }
        }
        partitions.sort_by_key(|partition| partition.first_lba);
        for pair in partitions.windows(2) {
            if pair[1].first_lba <= pair[0].last_lba {
                return Err(format!(
                    "partitions {} (LBA {} to {}) and {} (LBA {} to {}) overlap",
                    pair[0].number,
                    pair[0].first_lba,
                    pair[0].last_lba,
                    pair[1].number,
                    pair[1].first_lba,
                    pair[1].last_lba
                ));
            }
        }
        Ok(())
    }
}

/// One of the two copies of a table.
enum Copy {
    /// There is no header.
    Absent,
    /// There is a header, but it or its array of entries is damaged.
    Damaged(String),
    /// The header, and the array of entries.
    Sound(Header, Vec<u8>),
}

/// Reads the copy whose header lies at `lba`.
fn read_copy(device: &dyn BlockDevice, sector_size: SectorSize, lba: u64) -> Result<Copy> {
    let size = sector_size.bytes();
    let blocks = device.len() / size;
    if lba == 0 || lba >= blocks {
        return Ok(Copy::Absent);
    }
    let mut sector = vec![0; usize::try_from(size).expect("at most 4096")];
    device.read_at(lba * size, &mut sector)?;
    if !sector.starts_with(&codec::SIGNATURE) {
        return Ok(Copy::Absent);
    }
    let header = match Header::decode(&sector, lba) {
        Ok(header) => header,
        Err(problem) => return Ok(Copy::Damaged(problem)),
    };
    let len = header.entries_len();
    let start = header.entries_lba.checked_mul(size);
    let end = start.and_then(|start| start.checked_add(len));
    let (Some(start), Some(_)) = (start, end.filter(|end| *end <= device.len())) else {
        return Ok(Copy::Damaged(format!(
            "the array of entries at LBA {} does not lie on the device",
            header.entries_lba
        )));
    };
    let mut entries = vec![0; usize::try_from(len).expect("bounded by the decoder")];
    device.read_at(start, &mut entries)?;
    let crc = crc32fast::hash(&entries);
    if crc != header.entries_crc32 {
        return Ok(Copy::Damaged(format!(
            "checksum of the entries {:#010x}, expected {crc:#010x}",
            header.entries_crc32
        )));
    }
    Ok(Copy::Sound(header, entries))
}

/// Blocks that an array of entries takes.
fn array_blocks(entry_count: u32, sector_size: SectorSize) -> u64 {
    (u64::from(entry_count) * u64::from(ENTRY_LEN)).div_ceil(sector_size.bytes())
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).expect("32 bits fit")
}
