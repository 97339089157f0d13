//! RPM headers: tagged values, as a package file and the database hold them.
//!
//! The layout is that of the RPM manual, "RPM V4 Package format", section "Header Structure": two
//! big-endian counts (entries, bytes of the store), the entries (tag, type, offset, count), and the
//! store. A package's own header lies in an *immutable region*, whose trailer ends the region's
//! part of the store; what was added later follows it.

use super::tag_types;
use super::tags::{self, Tag};

/// The bytes before a header in a file (version 1, four reserved bytes).
pub const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// Bytes of the two counts.
pub const COUNTS_LEN: usize = 8;
/// Bytes of an entry.
const ENTRY_LEN: usize = 16;
/// Bytes of the trailer of a region, which is an entry of its own.
const REGION_LEN: usize = ENTRY_LEN;
/// The first tag that values have; those below are RPM's own.
const FIRST_TAG: u32 = 100;
/// The last one: RPM's tags are numbers with a sign.
const LAST_TAG: u32 = i32::MAX.cast_unsigned();
/// The most entries that RPM accepts.
const MAX_ENTRIES: usize = 0xffff;
/// The most bytes of a store that RPM accepts.
const MAX_STORE: usize = (256 << 20) - 1;

/// Why bytes are not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HeaderError(String);

impl HeaderError {
    fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

/// The types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Char,
    Int8,
    Int16,
    Int32,
    Int64,
    Text,
    Binary,
    TextArray,
    TranslatedText,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Null,
            1 => Self::Char,
            2 => Self::Int8,
            3 => Self::Int16,
            4 => Self::Int32,
            5 => Self::Int64,
            6 => Self::Text,
            7 => Self::Binary,
            8 => Self::TextArray,
            9 => Self::TranslatedText,
            _ => return None,
        })
    }

    const fn number(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Char => 1,
            Self::Int8 => 2,
            Self::Int16 => 3,
            Self::Int32 => 4,
            Self::Int64 => 5,
            Self::Text => 6,
            Self::Binary => 7,
            Self::TextArray => 8,
            Self::TranslatedText => 9,
        }
    }

    /// Bytes of one value, where all have the same number; also what its offset is a multiple of.
    const fn width(self) -> Option<usize> {
        match self {
            Self::Null => Some(0),
            Self::Char | Self::Int8 | Self::Binary => Some(1),
            Self::Int16 => Some(2),
            Self::Int32 => Some(4),
            Self::Int64 => Some(8),
            Self::Text | Self::TextArray | Self::TranslatedText => None,
        }
    }

    fn alignment(self) -> usize {
        self.width().unwrap_or(1).max(1)
    }
}

/// One entry whose bytes are known to lie in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    tag: u32,
    kind: Kind,
    /// Where its bytes begin in the store.
    start: usize,
    /// Where they end.
    end: usize,
    /// How many values there are.
    count: usize,
}

/// A value to be added to a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Numbers of eight bits that are called characters.
    Chars(Vec<u8>),
    /// A number of 32 bits.
    Int32(u32),
    /// A number of 64 bits.
    Int64(u64),
    /// A text without NUL.
    Text(Vec<u8>),
    /// Several texts without NUL.
    Texts(Vec<Vec<u8>>),
    /// Bytes.
    Binary(Vec<u8>),
}

/// A header that was read and is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    bytes: Vec<u8>,
    store: usize,
    entries: Vec<Entry>,
}

impl Header {
    /// How many bytes a header has that begins with these counts.
    pub fn length(counts: [u8; COUNTS_LEN]) -> Result<usize, HeaderError> {
        let entries = be32(&counts[..4]);
        let store = be32(&counts[4..]);
        if entries == 0 || entries > MAX_ENTRIES {
            let problem = format!("a header has 1 to {MAX_ENTRIES} entries, and this {entries}");
            return Err(HeaderError::new(problem));
        }
        if store > MAX_STORE {
            let problem = format!("a header with {store} bytes of values is too large");
            return Err(HeaderError::new(problem));
        }
        Ok(COUNTS_LEN + entries * ENTRY_LEN + store)
    }

    /// Reads a header without the magic before it.
    ///
    /// # Errors
    /// Where a value lies outside the store or over another, which RPM refuses as well.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, HeaderError> {
        let counts = bytes.first_chunk::<COUNTS_LEN>();
        let counts = *counts.ok_or_else(|| HeaderError::new("the header is cut short"))?;
        let length = Self::length(counts)?;
        if bytes.len() != length {
            let found = bytes.len();
            let problem = format!("the header has {found} bytes where {length} are announced");
            return Err(HeaderError::new(problem));
        }
        let store = COUNTS_LEN + be32(&counts[..4]) * ENTRY_LEN;
        let mut entries = Vec::new();
        let (mut free, mut total, mut region_end, mut checks_types) = (0, 0_usize, 0, false);
        for (index, raw) in bytes[COUNTS_LEN..store].chunks_exact(ENTRY_LEN).enumerate() {
            if index == 0 && is_region_tag(tag(raw)) {
                region_end = region(raw, &bytes[store..], be32(&counts[..4]))?.end;
                checks_types = tag(raw) == tags::HEADER_IMMUTABLE;
                continue;
            }
            let Tag(tag) = tag(raw);
            if !(FIRST_TAG..=LAST_TAG).contains(&tag) {
                return Err(HeaderError::new(format!("{tag} is the tag of no value")));
            }
            let entry = entry(tag, raw, &bytes[store..])?;
            if checks_types && !tag_types::fits(tag, entry.kind.number()) {
                let problem =
                    format!("the value of tag {tag} is of another type than the tag wants");
                return Err(HeaderError::new(problem));
            }
            let is_over_trailer = entry.start < region_end && entry.end + REGION_LEN > region_end;
            if entry.start < free || is_over_trailer {
                let problem = format!("the value of tag {tag} lies over another");
                return Err(HeaderError::new(problem));
            }
            free = entry.end;
            total = total.next_multiple_of(entry.kind.alignment()) + (entry.end - entry.start);
            entries.push(entry);
        }
        if region_end > 0 && total + REGION_LEN != bytes.len() - store {
            return Err(HeaderError::new("it has bytes that belong to no value"));
        }
        Ok(Self {
            bytes,
            store,
            entries,
        })
    }

    /// Whether the region of the header, where there is one, is all of it, as in a package file:
    /// nothing was added behind it.
    pub fn is_as_built(&self) -> bool {
        let raw = &self.bytes[COUNTS_LEN..self.store];
        if !is_region_tag(tag(raw)) {
            return true;
        }
        let store = &self.bytes[self.store..];
        let entries = raw.len() / ENTRY_LEN;
        region(&raw[..ENTRY_LEN], store, entries)
            .is_ok_and(|region| region.entries == entries && region.end == store.len())
    }

    /// The bytes that the header was read from.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is a value for the tag.
    pub fn has(&self, tag: Tag) -> bool {
        self.entry(tag).is_some()
    }

    /// The texts of a tag; none where it is missing or holds something else.
    pub fn texts(&self, tag: Tag) -> Vec<&[u8]> {
        let Some(entry) = self.entry(tag) else {
            return Vec::new();
        };
        if entry.kind.width().is_some() {
            return Vec::new();
        }
        let bytes = self.value(entry);
        // Every text ends with a NUL, the last too: behind that one there is nothing.
        bytes.split(|&b| b == 0).take(entry.count).collect()
    }

    /// The first text of a tag.
    pub fn text(&self, tag: Tag) -> Option<&[u8]> {
        self.texts(tag).into_iter().next()
    }

    /// The first text of a tag as UTF-8, with U+FFFD for what is not.
    pub fn string(&self, tag: Tag) -> Option<String> {
        let text = self.text(tag)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// The numbers of a tag, whatever their width; none where it holds something else.
    pub fn numbers(&self, tag: Tag) -> Vec<u64> {
        let Some(entry) = self.entry(tag) else {
            return Vec::new();
        };
        let width = match entry.kind {
            Kind::Char | Kind::Int8 => 1,
            Kind::Int16 => 2,
            Kind::Int32 => 4,
            Kind::Int64 => 8,
            _ => return Vec::new(),
        };
        let numbers = self.value(entry).chunks_exact(width);
        let fold = |bytes: &[u8]| {
            let digits = bytes.iter();
            digits.fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
        };
        numbers.map(fold).collect()
    }

    /// The first number of a tag.
    pub fn number(&self, tag: Tag) -> Option<u64> {
        self.numbers(tag).into_iter().next()
    }

    /// The bytes of a tag that holds bytes.
    pub fn binary(&self, tag: Tag) -> Option<&[u8]> {
        let entry = self.entry(tag)?;
        (entry.kind == Kind::Binary).then(|| self.value(entry))
    }

    /// The value of a tag as it could be added to another header.
    pub fn copy(&self, tag: Tag) -> Option<Value> {
        let entry = self.entry(tag)?;
        let bytes = self.value(entry);
        Some(match entry.kind {
            Kind::Binary => Value::Binary(bytes.to_vec()),
            Kind::Char => Value::Chars(bytes.to_vec()),
            Kind::Text => Value::Text(self.text(tag)?.to_vec()),
            Kind::TextArray => {
                Value::Texts(self.texts(tag).iter().map(|text| text.to_vec()).collect())
            }
            Kind::Int32 => Value::Int32(u32::try_from(self.number(tag)?).ok()?),
            Kind::Int64 => Value::Int64(self.number(tag)?),
            Kind::Null | Kind::Int8 | Kind::Int16 | Kind::TranslatedText => return None,
        })
    }

    /// The header with further values behind its region, in the order of their tags, as RPM
    /// records an installed package.
    pub fn with(&self, values: &[(Tag, Value)]) -> Result<Self, HeaderError> {
        let mut values: Vec<_> = values.iter().collect();
        values.sort_by_key(|(tag, _)| *tag);
        let mut entries = self.bytes[COUNTS_LEN..self.store].to_vec();
        let mut store = self.bytes[self.store..].to_vec();
        for (tag, value) in values {
            let (kind, count, bytes) = value.encode();
            while !store.len().is_multiple_of(kind.alignment()) {
                store.push(0);
            }
            for number in [tag.0, kind.number(), word(store.len())?, word(count)?] {
                entries.extend_from_slice(&number.to_be_bytes());
            }
            store.extend_from_slice(&bytes);
        }
        let mut bytes = word(entries.len() / ENTRY_LEN)?.to_be_bytes().to_vec();
        bytes.extend_from_slice(&word(store.len())?.to_be_bytes());
        bytes.extend_from_slice(&entries);
        bytes.extend_from_slice(&store);
        Self::decode(bytes)
    }

    /// Whether this is `base` with further values behind it.
    pub fn extends(&self, base: &Self) -> bool {
        let index = |header: &Self| COUNTS_LEN..header.store;
        self.bytes[index(self)].starts_with(&base.bytes[index(base)])
            && self.bytes[self.store..].starts_with(&base.bytes[base.store..])
    }

    fn entry(&self, tag: Tag) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag.0)
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        &self.bytes[self.store..][entry.start..entry.end]
    }
}

impl Value {
    /// Type, number of values, and bytes.
    fn encode(&self) -> (Kind, usize, Vec<u8>) {
        let terminated = |text: &Vec<u8>| [text.as_slice(), b"\0"].concat();
        match self {
            Self::Chars(bytes) => (Kind::Char, bytes.len(), bytes.clone()),
            Self::Int32(number) => (Kind::Int32, 1, number.to_be_bytes().to_vec()),
            Self::Int64(number) => (Kind::Int64, 1, number.to_be_bytes().to_vec()),
            Self::Text(text) => (Kind::Text, 1, terminated(text)),
            Self::Texts(texts) => {
                let bytes: Vec<_> = texts.iter().flat_map(terminated).collect();
                (Kind::TextArray, texts.len(), bytes)
            }
            Self::Binary(bytes) => (Kind::Binary, bytes.len(), bytes.clone()),
        }
    }
}

/// What a header was built with.
struct Region {
    /// How many of its entries belong to it, its own included.
    entries: usize,
    /// Where its part of the store ends.
    end: usize,
}

/// Checks the entry of a region and the trailer that it points to, as RPM does (its
/// `hdrblobVerifyRegion`).
fn region(raw: &[u8], store: &[u8], entries: usize) -> Result<Region, HeaderError> {
    let unsound = || HeaderError::new("its region is not one that RPM takes");
    let is_region = |raw: &[u8]| be32(&raw[4..8]) == 7 && be32(&raw[12..16]) == REGION_LEN;
    let start = be32(&raw[8..12]);
    let trailer = start
        .checked_add(REGION_LEN)
        .and_then(|end| store.get(start..end))
        .ok_or_else(unsound)?;
    // Old signature headers have the tag of another region in their trailer.
    let (tag, trailer_tag) = (tag(raw), tag(trailer));
    let is_same =
        tag == trailer_tag || (tag == tags::HEADER_SIGNATURES && trailer_tag == tags::HEADER_IMAGE);
    // The trailer says how far back the entries of the region begin, as a negative number.
    let back = u32::try_from(be32(&trailer[8..12])).map_err(|_| unsound())?;
    let back = usize::try_from(back.wrapping_neg()).map_err(|_| unsound())?;
    let is_sound = is_same
        && is_region(raw)
        && is_region(trailer)
        && back.is_multiple_of(ENTRY_LEN)
        && (1..=entries).contains(&(back / ENTRY_LEN));
    if is_sound {
        Ok(Region {
            entries: back / ENTRY_LEN,
            end: start + REGION_LEN,
        })
    } else {
        Err(unsound())
    }
}

/// Whether an entry with this tag begins a region.
fn is_region_tag(tag: Tag) -> bool {
    tag == tags::HEADER_IMMUTABLE || tag == tags::HEADER_SIGNATURES
}

/// The tag of an entry.
fn tag(raw: &[u8]) -> Tag {
    Tag(u32::try_from(be32(&raw[..4])).expect("it was read from 32 bits"))
}

/// Takes an entry apart and finds where its value ends.
fn entry(tag: u32, raw: &[u8], store: &[u8]) -> Result<Entry, HeaderError> {
    let outside = || HeaderError::new(format!("the value of tag {tag} lies outside the header"));
    let number = u32::try_from(be32(&raw[4..8])).expect("it was read from 32 bits");
    let Some(kind) = Kind::from_number(number) else {
        let problem = format!("tag {tag} has the unknown type {number}");
        return Err(HeaderError::new(problem));
    };
    let start = be32(&raw[8..12]);
    let count = be32(&raw[12..16]);
    if count == 0 {
        return Err(HeaderError::new(format!("tag {tag} has no value")));
    }
    let rest = store.get(start..).ok_or_else(outside)?;
    if !start.is_multiple_of(kind.alignment()) {
        let problem = format!("the value of tag {tag} is not aligned");
        return Err(HeaderError::new(problem));
    }
    let len = match (kind, kind.width()) {
        (_, Some(width)) => count
            .checked_mul(width)
            .filter(|len| (1..=rest.len()).contains(len)),
        (Kind::Text, None) if count != 1 => None,
        (_, None) => texts_len(rest, count),
    };
    let end = start + len.ok_or_else(outside)?;
    Ok(Entry {
        tag,
        kind,
        start,
        end,
        count,
    })
}

/// Bytes of `count` texts, each ended by a NUL.
fn texts_len(bytes: &[u8], count: usize) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == 0);
    ends.nth(count - 1).map(|(end, _)| end + 1)
}

fn be32(bytes: &[u8]) -> usize {
    let number = bytes
        .iter()
        .fold(0_u32, |n, &byte| n << 8 | u32::from(byte));
    usize::try_from(number).expect("imgasm runs where addresses have 32 bits at least")
}

fn word(number: usize) -> Result<u32, HeaderError> {
    u32::try_from(number).map_err(|_| HeaderError::new("the header grows too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(entries: &[[u32; 4]], store: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(u32::try_from(store.len()).unwrap().to_be_bytes());
        for number in entries.iter().flatten() {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(store);
        bytes
    }

    #[test]
    fn values_lie_in_the_store_and_apart() {
        let sound = header(&[[1000, 6, 0, 1], [1001, 4, 4, 1]], b"jq\0\0\0\0\0\x07");
        let sound = Header::decode(sound).unwrap();
        assert_eq!(sound.text(tags::NAME), Some(&b"jq"[..]));
        assert_eq!(sound.number(tags::VERSION), Some(7));
        assert_eq!(sound.text(tags::VERSION), None);
        for (entries, store) in [
            (vec![[1000, 6, 0, 1]], &b"jq"[..]),
            (vec![[1000, 6, 9, 1]], b"jq\0"),
            (vec![[1000, 6, u32::MAX, 1]], b"jq\0"),
            (vec![[1000, 8, 0, 2]], b"jq\0"),
            (vec![[1000, 4, 0, 0x4000_0001]], b"1234"),
            (vec![[1000, 4, 1, 1]], b"12345"),
            (vec![[1000, 10, 0, 1]], b"1234"),
            (vec![[1000, 6, 0, 1], [1001, 6, 0, 1]], b"jq\0"),
            (vec![], b""),
        ] {
            assert!(
                Header::decode(header(&entries, store)).is_err(),
                "{entries:?}"
            );
        }
        let mut cut = header(&[[1000, 6, 0, 1]], b"jq\0");
        cut.pop();
        assert!(Header::decode(cut).is_err());
    }

    #[test]
    fn what_is_added_comes_back() {
        let plain = Header::decode(header(&[[1000, 6, 0, 1]], b"jq\0")).unwrap();
        let values = [
            (tags::INSTALL_TID, Value::Int32(9)),
            (tags::INSTALL_TIME, Value::Int32(7)),
        ];
        let added = plain.with(&values).unwrap();
        assert_eq!(added.number(tags::INSTALL_TIME), Some(7));
        assert_eq!(added.number(tags::INSTALL_TID), Some(9));
        assert_eq!(added.copy(tags::INSTALL_TID), Some(Value::Int32(9)));
        assert_eq!(added.text(tags::NAME), Some(&b"jq"[..]));
    }
}
