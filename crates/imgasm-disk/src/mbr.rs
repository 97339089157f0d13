//! Master boot records: the four primary partitions, the chain of logical ones, and the protective
//! record before a GPT.
//!
//! Sources: UEFI Specification 2.10, chapter 5.2 "LBA 0 Format", for the record; the numbering of
//! logical partitions is that of the Linux kernel: from 5 on, in the order of the chain.

use std::collections::BTreeSet;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::{Error, Result};
use super::partition::{Partition, PartitionKind, SectorSize};
use imgasm_block::BlockDevice;

/// Bytes of the record; the rest of a larger logical block is not part of it.
const RECORD_LEN: usize = 512;
/// Bytes at the start of the record that are code, before the disk signature.
pub const BOOT_CODE_LEN: usize = 440;
/// What the record ends with.
const SIGNATURE: u16 = 0xaa55;
/// Type byte of the partition that guards a GPT.
const PROTECTIVE: u8 = 0xee;
/// The kernel gives up after this many links of a chain of logical partitions.
const MAX_LOGICAL: usize = 100;

/// A master boot record, or an extended one, on disk.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRecord {
    boot_code: [u8; BOOT_CODE_LEN],
    disk_signature: U32,
    reserved: [u8; 2],
    partitions: [RawEntry; 4],
    signature: U16,
}

/// A partition entry, on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    boot_indicator: u8,
    starting_chs: [u8; 3],
    os_type: u8,
    ending_chs: [u8; 3],
    starting_lba: U32,
    size_in_lba: U32,
}

impl RawEntry {
    const UNUSED: Self = Self {
        boot_indicator: 0,
        starting_chs: [0; 3],
        os_type: 0,
        ending_chs: [0; 3],
        starting_lba: U32::ZERO,
        size_in_lba: U32::ZERO,
    };

    fn is_used(&self) -> bool {
        self.os_type != 0 && self.size_in_lba.get() != 0
    }

    fn is_extended(&self) -> bool {
        self.is_used() && PartitionKind::Mbr(self.os_type).is_extended()
    }

    /// The partition that the entry describes, relative to block `base`.
    fn partition(&self, number: u32, base: u64) -> Partition {
        let first_lba = base + u64::from(self.starting_lba.get());
        Partition {
            number,
            kind: PartitionKind::Mbr(self.os_type),
            guid: None,
            name: String::new(),
            attributes: self.boot_indicator.into(),
            first_lba,
            last_lba: first_lba + u64::from(self.size_in_lba.get()) - 1,
        }
    }
}

/// A partition table in a master boot record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mbr {
    /// The size of a logical block.
    pub sector_size: SectorSize,
    /// The disk signature (`NTLDR` number, `PARTUUID` prefix).
    pub signature: u32,
    /// The partitions by their numbers, the extended one included.
    pub partitions: Vec<Partition>,
    /// What is wrong with the table, although it can be read: entries that do not lie on the device
    /// or overlap, which are listed all the same, and a chain of logical partitions that is broken.
    pub findings: Vec<String>,
}

/// What the first record of a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// It lacks the signature, or has entries that no partitioner writes.
    None,
    /// It guards a GPT, and lists no other partition.
    Protective,
    /// It guards a GPT and also lists other partitions.
    Hybrid,
    /// It is a partition table.
    Table,
}

/// The first record of a device; zeros if the device is shorter.
fn read_record(device: &dyn BlockDevice, offset: u64) -> Result<RawRecord> {
    let mut bytes = [0; RECORD_LEN];
    device.read_at(offset, &mut bytes)?;
    Ok(zerocopy::transmute!(bytes))
}

/// What the first record of `device` is.
pub fn record_kind(device: &dyn BlockDevice) -> Result<RecordKind> {
    if device.len() < 2 * SectorSize::B512.bytes() {
        return Ok(RecordKind::None);
    }
    let record = read_record(device, 0)?;
    let sound = record.signature.get() == SIGNATURE
        && record
            .partitions
            .iter()
            .all(|entry| matches!(entry.boot_indicator, 0 | 0x80));
    let used = || record.partitions.iter().filter(|entry| entry.is_used());
    Ok(if !sound {
        RecordKind::None
    } else if used().any(|entry| entry.os_type == PROTECTIVE) {
        if used().count() == 1 {
            RecordKind::Protective
        } else {
            RecordKind::Hybrid
        }
    } else if used().next().is_some() {
        RecordKind::Table
    } else {
        RecordKind::None
    })
}

/// The code that the firmware of a BIOS machine runs.
pub fn boot_code(device: &dyn BlockDevice) -> Result<[u8; BOOT_CODE_LEN]> {
    let mut code = [0; BOOT_CODE_LEN];
    if device.len() >= 512 {
        device.read_at(0, &mut code)?;
    }
    Ok(code)
}

impl Mbr {
    /// Reads the table of `device`; its first record must be a [`RecordKind::Table`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] if no partition at all lies on the device.
    pub fn read(device: &dyn BlockDevice, sector_size: SectorSize) -> Result<Self> {
        let record = read_record(device, 0)?;
        let mut partitions: Vec<Partition> = record
            .partitions
            .iter()
            .zip(1..)
            .filter(|(entry, _)| entry.is_used())
            .map(|(entry, number)| entry.partition(number, 0))
            .collect();
        let extended = partitions
            .iter()
            .find(|partition| partition.kind.is_extended())
            .cloned();
        let mut findings = check(&partitions, device, sector_size)?;
        if let Some(extended) = extended {
            let logical = read_logical(device, sector_size, &extended, &mut findings)?;
            findings.extend(outside(&logical, device.len() / sector_size.bytes()));
            findings.extend(overlaps(&logical));
            partitions.extend(logical);
        }
        Ok(Self {
            sector_size,
            signature: record.disk_signature.get(),
            partitions,
            findings,
        })
    }

    /// Extends primary partition `number` to the end of `device`, which has become larger; gives
    /// its new last block.
    ///
    /// # Errors
    /// [`Error::Layout`] if another partition follows, or the partition is a logical one.
    pub fn grow(&mut self, device: &dyn BlockDevice, number: u32) -> Result<u64> {
        let available = || self.partitions.iter().map(|p| p.number).collect();
        let Some(at) = self.partitions.iter().position(|p| p.number == number) else {
            return Err(Error::NoPartition {
                number,
                available: available(),
            });
        };
        if let Some(finding) = self.findings.first() {
            return Err(Error::Layout(format!(
                "partition {number} cannot grow in a table with a fault: {finding}"
            )));
        }
        let cannot = |why: &str| {
            Err(Error::Layout(format!(
                "partition {number} cannot grow: {why}"
            )))
        };
        let slot = match usize::try_from(number) {
            Ok(number @ 1..=4) if !self.partitions[at].kind.is_extended() => number - 1,
            _ => return cannot("it belongs to an extended partition"),
        };
        let (first, last) = (self.partitions[at].first_lba, self.partitions[at].last_lba);
        if let Some(behind) = self.partitions.iter().find(|other| other.first_lba > last) {
            return cannot(&format!("partition {} lies behind it", behind.number));
        }
        let align = (1 << 20) / self.sector_size.bytes();
        // An MBR has 32 bits for first block and length; what lies beyond stays unused.
        let limit = (device.len() / self.sector_size.bytes()).min(u64::from(u32::MAX));
        let new_last = last.max((limit / align * align).saturating_sub(1));
        let Ok(size) = u32::try_from(new_last - first + 1) else {
            return cannot("it would have more than 2^32 blocks");
        };
        let mut record = read_record(device, 0)?;
        record.partitions[slot].size_in_lba = U32::new(size);
        record.partitions[slot].ending_chs = chs(new_last).unwrap_or([0xfe, 0xff, 0xff]);
        device.write_at(0, record.as_bytes())?;
        self.partitions[at].last_lba = new_last;
        Ok(new_last)
    }
}

/// Follows the chain of extended records.
///
/// Each record has one entry for a partition, relative to the record, and one for the next record,
/// relative to the start of the extended partition.
///
/// If the chain is broken, only the partitions before that point are listed, as by the kernel.
fn read_logical(
    device: &dyn BlockDevice,
    sector_size: SectorSize,
    extended: &Partition,
    findings: &mut Vec<String>,
) -> Result<Vec<Partition>> {
    let mut partitions: Vec<Partition> = Vec::new();
    let mut at = extended.first_lba;
    let mut seen = BTreeSet::new();
    for _ in 0..MAX_LOGICAL {
        if !(extended.first_lba..=extended.last_lba).contains(&at) {
            findings.push(format!(
                "the extended record at LBA {at} does not lie in partition {}",
                extended.number
            ));
            return Ok(partitions);
        }
        if !seen.insert(at) {
            findings.push(format!(
                "the chain of logical partitions leads back to LBA {at}"
            ));
            return Ok(partitions);
        }
        let offset = at * sector_size.bytes();
        let record = if offset.saturating_add(512) <= device.len() {
            read_record(device, offset)?
        } else {
            findings.push(format!("the extended record at LBA {at} lies past the end"));
            return Ok(partitions);
        };
        if record.signature.get() != SIGNATURE {
            findings.push(format!("there is no extended record at LBA {at}"));
            return Ok(partitions);
        }
        for entry in &record.partitions {
            if !entry.is_used() || entry.is_extended() {
                continue;
            }
            let number = 5 + u32::try_from(partitions.len()).expect("at most four per record");
            let logical = entry.partition(number, at);
            if logical.last_lba > extended.last_lba {
                findings.push(format!(
                    "logical partition {number} ends at LBA {}, behind the extended one",
                    logical.last_lba
                ));
            }
            partitions.push(logical);
        }
        let Some(next) = record.partitions.iter().find(|entry| entry.is_extended()) else {
            return Ok(partitions);
        };
        at = extended.first_lba + u64::from(next.starting_lba.get());
    }
    findings.push(format!(
        "the chain of logical partitions has more than {MAX_LOGICAL} links"
    ));
    Ok(partitions)
}

/// Says which primary partitions do not lie on the device, or overlap. At least one must lie there.
fn check(
    partitions: &[Partition],
    device: &dyn BlockDevice,
    sector_size: SectorSize,
) -> Result<Vec<String>> {
    let blocks = device.len() / sector_size.bytes();
    let mut findings = outside(partitions, blocks);
    if let Some(finding) = findings.first()
        && findings.len() == partitions.len()
    {
        return Err(corrupt(finding.clone()));
    }
    let at_start = partitions
        .iter()
        .filter(|partition| partition.first_lba == 0);
    findings.extend(at_start.map(|partition| {
        let number = partition.number;
        format!("partition {number} begins at LBA 0, with the table itself, as on hybrid ISOs")
    }));
    findings.extend(overlaps(partitions));
    Ok(findings)
}

/// Says which partitions do not lie on a disk of so many blocks.
fn outside(partitions: &[Partition], blocks: u64) -> Vec<String> {
    partitions
        .iter()
        .filter(|partition| partition.last_lba >= blocks)
        .map(|partition| {
            format!(
                "partition {} at LBA {} to {} does not lie on a disk of {blocks} blocks",
                partition.number, partition.first_lba, partition.last_lba
            )
        })
        .collect()
}

/// Says which partitions overlap.
fn overlaps(partitions: &[Partition]) -> Vec<String> {
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.first_lba);
    sorted
        .windows(2)
        .filter(|pair| pair[1].first_lba <= pair[0].last_lba)
        .map(|pair| {
            let (one, other) = (pair[0].number, pair[1].number);
            format!("partitions {one} and {other} overlap")
        })
        .collect()
}

fn corrupt(problem: String) -> Error {
    Error::Corrupt {
        table: "MBR",
        problem,
    }
}

/// Cylinder, head and sector of a block, in the usual geometry of 255 heads and 63 sectors; `None`
/// for blocks beyond what they can express.
fn chs(lba: u64) -> Option<[u8; 3]> {
    let cylinder = lba / (255 * 63);
    if cylinder > 1023 {
        return None;
    }
    let byte = |n: u64| u8::try_from(n & 0xff).expect("masked");
    let head = lba / 63 % 255;
    let sector = lba % 63 + 1;
    Some([
        byte(head),
        byte(sector | (cylinder >> 8) << 6),
        byte(cylinder),
    ])
}

/// Writes the record that guards a GPT on a disk whose last block is `last_lba`. Boot code, disk
/// signature, and the entries of a hybrid record stay.
pub fn write_protective(device: &dyn BlockDevice, last_lba: u64) -> Result<()> {
    let mut record = read_record(device, 0)?;
    let kind = record_kind(device)?;
    if kind == RecordKind::Hybrid {
        return Ok(());
    }
    let old = record
        .partitions
        .iter()
        .position(|entry| kind == RecordKind::Protective && entry.os_type == PROTECTIVE);
    let boot_indicator = old.map_or(0, |slot| record.partitions[slot].boot_indicator);
    record.partitions = [RawEntry::UNUSED; 4];
    record.partitions[old.unwrap_or(0)] = RawEntry {
        boot_indicator,
        starting_chs: [0, 2, 0],
        os_type: PROTECTIVE,
        ending_chs: chs(last_lba).unwrap_or([0xff; 3]),
        starting_lba: U32::new(1),
        size_in_lba: U32::new(u32::try_from(last_lba).unwrap_or(u32::MAX)),
    };
    record.signature = U16::new(SIGNATURE);
    device.write_at(0, record.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chs_addresses_of_known_blocks() {
        // The values that sgdisk and sfdisk write for these blocks.
        assert_eq!(chs(0), Some([0, 1, 0]));
        assert_eq!(chs(2048), Some([32, 33, 0]));
        assert_eq!(chs(6_143_999), Some([0x71, 0x73, 0x7e]));
        assert_eq!(chs(16_450_559), Some([254, 255, 255]));
        assert_eq!(chs(16_450_560), None);
    }
}
