//! The bytes of a GPT: header and partition entries.
//!
//! Source: UEFI Specification 2.10, chapter 5.3 "GUID Partition Table (GPT) Disk Layout". All
//! numbers are little-endian; the first three fields of a GUID are little-endian, too.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::partition::{Partition, PartitionKind};

/// What a header begins with.
pub const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Revision 1.0, the only one.
const REVISION: u32 = 0x0001_0000;
/// Bytes of a header that its checksum covers, as this revision defines it.
const HEADER_LEN: u32 = 92;
/// Bytes of a partition entry. The specification allows powers of two times this; the Linux kernel
/// takes no other.
pub const ENTRY_LEN: u32 = 128;
/// More entries than any partitioner makes; bounds what is read for a forged header.
const MAX_ENTRIES: u32 = 4096;

/// A GPT header, on disk. The rest of its logical block is zero.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,
    header_crc32: U32,
    reserved: U32,
    my_lba: U64,
    alternate_lba: U64,
    first_usable_lba: U64,
    last_usable_lba: U64,
    disk_guid: [u8; 16],
    partition_entry_lba: U64,
    number_of_partition_entries: U32,
    size_of_partition_entry: U32,
    partition_entry_array_crc32: U32,
}

/// A partition entry, on disk.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    partition_type_guid: [u8; 16],
    unique_partition_guid: [u8; 16],
    starting_lba: U64,
    ending_lba: U64,
    attributes: U64,
    partition_name: [U16; 36],
}

/// A GPT header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where this header lies.
    pub my_lba: u64,
    /// Where the other one lies.
    pub alternate_lba: u64,
    /// First block that a partition may use.
    pub first_usable_lba: u64,
    /// Last block that a partition may use.
    pub last_usable_lba: u64,
    /// The disk's GUID.
    pub disk_guid: Uuid,
    /// Where this header's array of entries begins.
    pub entries_lba: u64,
    /// Number of entries in it, used or not.
    pub entry_count: u32,
    /// CRC-32 of the array.
    pub entries_crc32: u32,
}

impl Header {
    /// Decodes the header in `sector`, the logical block at `lba`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(sector: &[u8], lba: u64) -> Result<Self, String> {
        let (raw, _) =
            RawHeader::ref_from_prefix(sector).map_err(|_| "the block is too short".to_owned())?;
        if raw.signature != SIGNATURE {
            return Err(format!("no \"EFI PART\" at LBA {lba}"));
        }
        if raw.revision.get() >> 16 != 1 {
            return Err(format!(
                "revision {:#010x} is not known",
                raw.revision.get()
            ));
        }
        let header_size = raw.header_size.get();
        let covered = usize::try_from(header_size)
            .ok()
            .filter(|_| header_size >= HEADER_LEN)
            .and_then(|len| sector.get(..len))
            .ok_or_else(|| format!("a header of {header_size} bytes"))?;
        let seen = raw.header_crc32.get();
        let expected = header_crc(covered);
        if seen != expected {
            return Err(format!(
                "header checksum {seen:#010x}, expected {expected:#010x}"
            ));
        }
        if raw.my_lba.get() != lba {
            return Err(format!(
                "the header at LBA {lba} says that it lies at LBA {}",
                raw.my_lba.get()
            ));
        }
        if raw.size_of_partition_entry.get() != ENTRY_LEN {
            return Err(format!(
                "entries of {} bytes, only {ENTRY_LEN} are supported",
                raw.size_of_partition_entry.get()
            ));
        }
        let entry_count = raw.number_of_partition_entries.get();
        if entry_count == 0 || entry_count > MAX_ENTRIES {
            return Err(format!(
                "{entry_count} partition entries, expected 1 to {MAX_ENTRIES}"
            ));
        }
        Ok(Self {
            my_lba: lba,
            alternate_lba: raw.alternate_lba.get(),
            first_usable_lba: raw.first_usable_lba.get(),
            last_usable_lba: raw.last_usable_lba.get(),
            disk_guid: Uuid::from_bytes_le(raw.disk_guid),
            entries_lba: raw.partition_entry_lba.get(),
            entry_count,
            entries_crc32: raw.partition_entry_array_crc32.get(),
        })
    }

    /// Encodes the header with its checksum; the caller fills the rest of the logical block with
    /// zeros.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = RawHeader {
            signature: SIGNATURE,
            revision: U32::new(REVISION),
            header_size: U32::new(HEADER_LEN),
            header_crc32: U32::ZERO,
            reserved: U32::ZERO,
            my_lba: U64::new(self.my_lba),
            alternate_lba: U64::new(self.alternate_lba),
            first_usable_lba: U64::new(self.first_usable_lba),
            last_usable_lba: U64::new(self.last_usable_lba),
            disk_guid: self.disk_guid.to_bytes_le(),
            partition_entry_lba: U64::new(self.entries_lba),
            number_of_partition_entries: U32::new(self.entry_count),
            size_of_partition_entry: U32::new(ENTRY_LEN),
            partition_entry_array_crc32: U32::new(self.entries_crc32),
        };
        raw.header_crc32 = U32::new(crc32fast::hash(raw.as_bytes()));
        raw.as_bytes().to_vec()
    }

    /// Length of the array of entries in bytes.
    pub fn entries_len(&self) -> u64 {
        u64::from(self.entry_count) * u64::from(ENTRY_LEN)
    }
}

/// The checksum of a header: over its bytes with the checksum's own four taken as zero.
fn header_crc(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(&[0; 4]);
    hasher.update(&header[20..]);
    hasher.finalize()
}

/// Decodes one entry; `None` for an unused one.
pub fn decode_entry(bytes: &[u8], number: u32) -> Option<Partition> {
    let (raw, _) = RawEntry::ref_from_prefix(bytes).ok()?;
    if raw.partition_type_guid == [0; 16] {
        return None;
    }
    let units = raw.partition_name.map(U16::get);
    let name = units.split(|unit| *unit == 0).next().unwrap_or_default();
    Some(Partition {
        number,
        kind: PartitionKind::Gpt(Uuid::from_bytes_le(raw.partition_type_guid)),
        guid: Some(Uuid::from_bytes_le(raw.unique_partition_guid)),
        name: String::from_utf16_lossy(name),
        attributes: raw.attributes.get(),
        first_lba: raw.starting_lba.get(),
        last_lba: raw.ending_lba.get(),
    })
}

/// An entry to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartition {
    /// Its number, from 1.
    pub number: u32,
    /// Type GUID.
    pub kind: Uuid,
    /// Its own GUID.
    pub guid: Uuid,
    /// Its name: at most 36 UTF-16 units.
    pub name: String,
    /// Attribute bits.
    pub attributes: u64,
    /// First logical block.
    pub first_lba: u64,
    /// Last logical block.
    pub last_lba: u64,
}

/// Encodes an entry; `None` if the name is too long.
pub fn encode_entry(new: &NewPartition) -> Option<[u8; ENTRY_LEN as usize]> {
    let mut partition_name = [U16::ZERO; 36];
    for (at, unit) in new.name.encode_utf16().enumerate() {
        *partition_name.get_mut(at)? = U16::new(unit);
    }
    let raw = RawEntry {
        partition_type_guid: new.kind.to_bytes_le(),
        unique_partition_guid: new.guid.to_bytes_le(),
        starting_lba: U64::new(new.first_lba),
        ending_lba: U64::new(new.last_lba),
        attributes: U64::new(new.attributes),
        partition_name,
    };
    raw.as_bytes().try_into().ok()
}

/// Moves the end of an encoded entry, and leaves every other byte of it as it is.
pub fn set_last_lba(entry: &mut [u8], last_lba: u64) {
    if let Ok((raw, _)) = RawEntry::mut_from_prefix(entry) {
        raw.ending_lba = U64::new(last_lba);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            my_lba: 1,
            alternate_lba: 2047,
            first_usable_lba: 34,
            last_usable_lba: 2014,
            disk_guid: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            entries_lba: 2,
            entry_count: 128,
            entries_crc32: 7,
        }
    }

    fn sector() -> Vec<u8> {
        let mut sector = header().encode();
        sector.resize(512, 0);
        sector
    }

    #[test]
    fn a_header_survives_encoding() {
        assert_eq!(Header::decode(&sector(), 1), Ok(header()));
    }

    #[test]
    fn every_damaged_byte_of_a_header_is_noticed() {
        for at in 0..92 {
            let mut sector = sector();
            sector[at] ^= 1;
            assert!(Header::decode(&sector, 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_short_block_is_an_error() {
        for len in 0..92 {
            assert!(Header::decode(&sector()[..len], 1).is_err());
        }
    }

    #[test]
    fn moving_an_end_touches_nothing_else() {
        let mut entry = [0xa5; 128];
        set_last_lba(&mut entry, 0x0102_0304_0506_0708);
        assert_eq!(entry[40..48], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert!(entry[..40].iter().chain(&entry[48..]).all(|b| *b == 0xa5));
    }

    #[test]
    fn a_name_of_37_units_does_not_fit() {
        let mut new = NewPartition {
            number: 1,
            kind: Uuid::max(),
            guid: Uuid::max(),
            name: "x".repeat(36),
            attributes: 0,
            first_lba: 34,
            last_lba: 40,
        };
        let entry = encode_entry(&new).expect("36 units fit");
        assert_eq!(decode_entry(&entry, 1).expect("in use").name, new.name);
        new.name.push('x');
        assert!(encode_entry(&new).is_none());
    }
}
