//! The bytes of a directory: short entries, and the long names spread over the entries before them.
//!
//! Source: Microsoft, "FAT32 File System Specification" 1.03, "FAT Directory Structure" and "FAT
//! Long Directory Entries"; the fields have the names that Linux gives them
//! (`include/uapi/linux/msdos_fs.h`).

use std::collections::BTreeSet;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::boot::{ENTRY_LEN, Width};
use super::time::{self, Civil};
use imgasm_fs::Timestamp;

/// Attribute bits.
pub mod attribute {
    /// Not to be written.
    pub const READ_ONLY: u8 = 0x01;
    /// The volume's label, not a file.
    pub const VOLUME: u8 = 0x08;
    /// A directory.
    pub const DIRECTORY: u8 = 0x10;
    /// A part of a long name: all of read-only, hidden, system, volume.
    pub const LONG_NAME: u8 = 0x0f;
    /// The bits that say what an entry is.
    pub const MASK: u8 = 0x3f;
}

/// First byte of an entry that was removed.
pub const REMOVED: u8 = 0xe5;
/// Bit of a long entry's order: it is the first on disk, the last part of the name.
const LAST_PART: u8 = 0x40;
/// UTF-16 units in a long entry.
pub const PART_LEN: usize = 13;
/// Largest number of entries that a long name takes.
const MAX_PARTS: usize = 20;

/// The short names of a directory's entries for itself and for its parent.
pub const DOTS: [[u8; 11]; 2] = [*b".          ", *b"..         "];

/// A short entry, on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawEntry {
    name: [u8; 11],
    attr: u8,
    lcase: u8,
    ctime_cs: u8,
    ctime: U16,
    cdate: U16,
    adate: U16,
    starthi: U16,
    time: U16,
    date: U16,
    start: U16,
    size: U32,
}

impl RawEntry {
    /// An entry for a directory: one of [`DOTS`].
    pub fn directory(name: [u8; 11], cluster: u32, now: Timestamp) -> Self {
        let civil = Civil::new(now);
        let mut entry = Self {
            name,
            attr: attribute::DIRECTORY,
            lcase: 0,
            ctime_cs: 0,
            ctime: U16::new(civil.time()),
            cdate: U16::new(civil.date()),
            adate: U16::new(civil.date()),
            starthi: U16::ZERO,
            time: U16::new(civil.time()),
            date: U16::new(civil.date()),
            start: U16::ZERO,
            size: U32::ZERO,
        };
        entry.set_cluster(cluster);
        entry
    }

    /// Sets the first cluster.
    pub fn set_cluster(&mut self, cluster: u32) {
        let [low, high] = [cluster & 0xffff, cluster >> 16]
            .map(|half| U16::new(u16::try_from(half).expect("16 bits")));
        self.start = low;
        self.starthi = high;
    }

    /// Sets when the file last changed.
    pub fn set_modified(&mut self, time: Timestamp) {
        let civil = Civil::new(time);
        self.date = U16::new(civil.date());
        self.time = U16::new(civil.time());
    }

    /// Sets when the file was last read; FAT keeps the day only.
    pub fn set_accessed(&mut self, time: Timestamp) {
        self.adate = U16::new(Civil::new(time).date());
    }

    /// Sets or clears the attribute that the file is not to be written.
    pub fn set_read_only(&mut self, read_only: bool) {
        self.attr &= !attribute::READ_ONLY;
        if read_only {
            self.attr |= attribute::READ_ONLY;
        }
    }
}

/// A part of a long name, on disk.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPart {
    id: u8,
    name0_4: [U16; 5],
    attr: u8,
    reserved: u8,
    alias_checksum: u8,
    name5_10: [U16; 6],
    start: U16,
    name11_12: [U16; 2],
}

/// A file or directory, as its entry describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The long name, or the short one if there is none.
    pub name: String,
    /// The short name, as it is stored.
    pub short: [u8; 11],
    /// Attribute bits.
    pub attributes: u8,
    /// First cluster of the content, 0 if there is none.
    pub cluster: u32,
    /// Bytes in a file.
    pub size: u32,
    /// When it was made.
    pub created: Timestamp,
    /// The day on which it was last read.
    pub accessed: Timestamp,
    /// When it last changed.
    pub modified: Timestamp,
    /// Number of the short entry in the directory.
    pub slot: usize,
}

impl Entry {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.attributes & attribute::DIRECTORY != 0
    }

    /// Whether this is the directory's own `.` or `..`.
    pub fn is_dots(&self) -> bool {
        DOTS.contains(&self.short)
    }

    /// Its names, in the form in which they are compared.
    pub fn names(&self) -> BTreeSet<String> {
        [fold(&self.name), fold(&short_name(self.short, 0))].into()
    }

    /// Whether the entry is called `name`: upper and lower case are the same, and the short name
    /// counts as well, as in the Linux kernel.
    pub fn is_called(&self, name: &str) -> bool {
        self.names().contains(&fold(name))
    }
}

/// A name as it is compared: in upper case.
fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).collect()
}

/// What the bytes of a directory hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files and directories, `.` and `..` included.
    pub entries: Vec<Entry>,
    /// The volume's label, in the root directory.
    pub label: Option<[u8; 11]>,
    /// What is wrong with the directory.
    pub problems: Vec<String>,
}

/// Decodes a directory.
pub fn decode(bytes: &[u8], width: Width) -> Listing {
    let mut listing = Listing::default();
    let mut long = LongName::default();
    let entry_len = usize::try_from(ENTRY_LEN).expect("32");
    let mut ended = false;
    for (slot, bytes) in bytes.chunks_exact(entry_len).enumerate() {
        let Ok(raw) = RawEntry::read_from_bytes(bytes) else {
            break;
        };
        if raw.name[0] == 0 || raw.name[0] == REMOVED {
            ended |= raw.name[0] == 0;
            long.abandon(slot, &mut listing.problems);
            continue;
        }
        if ended {
            // By the format, a directory ends with the first zero; the Linux kernel reads on.
            let problem = format!("entry {slot} lies behind the directory's end");
            listing.problems.push(problem);
        }
        if raw.attr & attribute::MASK == attribute::LONG_NAME {
            if let Ok(part) = RawPart::read_from_bytes(bytes) {
                long.add(&part, slot, &mut listing.problems);
            }
            continue;
        }
        if raw.attr & attribute::VOLUME != 0 {
            long.abandon(slot, &mut listing.problems);
            // The first one counts.
            listing.label.get_or_insert(raw.name);
            continue;
        }
        let name = long
            .finish(&raw.name, slot, &mut listing.problems)
            .unwrap_or_else(|| short_name(raw.name, raw.lcase));
        let dots = DOTS.contains(&raw.name);
        if !dots && (matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0'])) {
            listing
                .problems
                .push(format!("entry {slot} has the name {name:?}"));
            continue;
        }
        let high = match width {
            Width::Fat32 => raw.starthi.get(),
            Width::Fat12 | Width::Fat16 => 0,
        };
        listing.entries.push(Entry {
            name,
            short: raw.name,
            attributes: raw.attr,
            cluster: u32::from(high) << 16 | u32::from(raw.start.get()),
            size: raw.size.get(),
            created: time::decode(raw.cdate.get(), raw.ctime.get(), raw.ctime_cs),
            accessed: time::decode(raw.adate.get(), 0, 0),
            modified: time::decode(raw.date.get(), raw.time.get(), 0),
            slot,
        });
    }
    long.abandon(bytes.len() / entry_len, &mut listing.problems);
    listing
}

/// The name in a short entry: base and extension, in lower case if its flags say so. What is not
/// ASCII depends on a code page that the volume does not name, and becomes U+FFFD.
fn short_name(raw: [u8; 11], lower_case: u8) -> String {
    let part = |bytes: &[u8], lower: bool| -> String {
        let text: String = bytes
            .iter()
            .map(|byte| match byte {
                0x20..=0x7e => char::from(*byte),
                _ => char::REPLACEMENT_CHARACTER,
            })
            .collect();
        let text = text.trim_end_matches(' ');
        if lower {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    let mut name = part(&raw[..8], lower_case & 0x08 != 0);
    let extension = part(&raw[8..], lower_case & 0x10 != 0);
    if !extension.is_empty() {
        name.push('.');
        name.push_str(&extension);
    }
    name
}

/// The checksum that ties the parts of a long name to their short entry.
fn checksum(short: &[u8; 11]) -> u8 {
    short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// A long name while its parts are read, last part first.
#[derive(Default)]
struct LongName {
    /// Units of the parts read, in the order of the name.
    units: Vec<u16>,
    /// The order that the next part must have; 0 if the short entry must come.
    next: u8,
    checksum: u8,
}

impl LongName {
    fn is_open(&self) -> bool {
        !self.units.is_empty()
    }

    fn add(&mut self, part: &RawPart, slot: usize, problems: &mut Vec<String>) {
        let order = part.id & !LAST_PART;
        if part.id & LAST_PART != 0 {
            self.abandon(slot, problems);
            self.next = order;
            self.checksum = part.alias_checksum;
        }
        let fits = order != 0
            && usize::from(order) <= MAX_PARTS
            && order == self.next
            && part.alias_checksum == self.checksum
            && (part.id & LAST_PART != 0 || self.is_open());
        if !fits {
            problems.push(format!(
                "entry {slot} is a part of a long name without the others"
            ));
            *self = Self::default();
            return;
        }
        let units = part
            .name0_4
            .iter()
            .chain(&part.name5_10)
            .chain(&part.name11_12);
        let mut all: Vec<u16> = units.map(|unit| unit.get()).collect();
        debug_assert_eq!(all.len(), PART_LEN);
        all.append(&mut self.units);
        self.units = all;
        self.next -= 1;
    }

    /// The long name of the short entry that follows, if it has one.
    fn finish(
        &mut self,
        short: &[u8; 11],
        slot: usize,
        problems: &mut Vec<String>,
    ) -> Option<String> {
        let long = std::mem::take(self);
        if !long.is_open() {
            return None;
        }
        if long.next != 0 || long.checksum != checksum(short) {
            problems.push(format!(
                "entry {slot} follows parts of a long name that is not its own"
            ));
            return None;
        }
        let name = long.units.split(|unit| *unit == 0).next()?;
        Some(String::from_utf16_lossy(name))
    }

    /// Reports parts that lead to no short entry.
    fn abandon(&mut self, slot: usize, problems: &mut Vec<String>) {
        if self.is_open() {
            problems.push(format!(
                "a long name before entry {slot} belongs to no file"
            ));
        }
        *self = Self::default();
    }
}
