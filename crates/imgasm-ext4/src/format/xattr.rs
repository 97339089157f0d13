//! Extended attributes: a list of entries that grows from the start of an area, and their values,
//! which grow from its end; in the rest of an inode or in a block of their own. Kernel
//! documentation, ext4, "Extended Attributes".

use std::ops::Range;

use super::checksum::FsSeed;
use super::numbers::{BlockNumber, InodeNumber, to_u32, to_usize};
use super::{put_u16, put_u32, read_u16, read_u32};
use crate::problem::{Decoded, Problem};

/// What both kinds of area begin with.
pub const MAGIC: u32 = 0xea02_0000;
/// Bytes of the header in an inode: the magic number.
pub const INODE_HEADER_LEN: usize = 4;
/// Bytes of the header of a block.
pub const BLOCK_HEADER_LEN: usize = 32;
/// Bytes of an entry before its name.
const ENTRY_LEN: usize = 16;
/// The index that stands for `system.`; the content of inline files is `system.data`.
pub const INDEX_SYSTEM: u8 = 7;
/// The index that stands for `encryption.`; the policy of an encrypted file is `encryption.c`.
pub const INDEX_ENCRYPTION: u8 = 9;

/// The prefixes of names, by the numbers that stand for them; those without a dot at the end are
/// whole names. Attributes with other numbers are hidden, as on a kernel mount.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (INDEX_ACL_ACCESS, b"system.posix_acl_access"),
    (INDEX_ACL_DEFAULT, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// The number of an access ACL's prefix.
pub const INDEX_ACL_ACCESS: u8 = 2;
/// The number of a default ACL's prefix.
pub const INDEX_ACL_DEFAULT: u8 = 3;

/// Where a value lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Beside its entry.
    Here(Vec<u8>),
    /// In the content of an inode, with this many bytes (`ea_inode`).
    InInode {
        /// The inode.
        inode: InodeNumber,
        /// Bytes of the value.
        len: u32,
    },
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The number of the prefix.
    pub index: u8,
    /// The name behind the prefix.
    pub name: Vec<u8>,
    /// The value.
    pub value: Value,
    /// `e_hash`: of name and value in a block, 0 in an inode.
    pub hash: u32,
}

impl Attribute {
    /// The full name; `None` if the prefix's number is not known.
    pub fn full_name(&self) -> Option<Vec<u8>> {
        let (_, prefix) = PREFIXES.iter().find(|(index, _)| *index == self.index)?;
        Some([prefix, self.name.as_slice()].concat())
    }

    /// Bytes that the entry needs in the list.
    fn entry_len(&self) -> usize {
        (ENTRY_LEN + self.name.len()).next_multiple_of(4)
    }

    /// Bytes that the value needs.
    fn value_len(&self) -> usize {
        match &self.value {
            Value::Here(bytes) => bytes.len().next_multiple_of(4),
            Value::InInode { .. } => 0,
        }
    }
}

/// Splits a full name into the number of its prefix and the rest.
pub fn split_name(full: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|&(index, prefix)| {
        let rest = full.strip_prefix(prefix)?;
        (rest.is_empty() != prefix.ends_with(b".")).then_some((index, rest))
    })
}

/// Reads the attributes in an inode's area; none if the area does not begin with the magic number.
pub fn decode_inode_area(area: &[u8]) -> Decoded<Vec<Attribute>> {
    if area.len() < INODE_HEADER_LEN + 4 || read_u32(area, 0) != MAGIC {
        return Ok(Vec::new());
    }
    // Values are counted from the first entry.
    decode_entries(&area[INODE_HEADER_LEN..], 0)
}

/// Where the value of an attribute lies in an inode's area, if it is there and not empty.
pub fn value_in_inode_area(area: &[u8], index: u8, name: &[u8]) -> Option<Range<usize>> {
    let attributes = decode_inode_area(area).ok()?;
    let mut at = INODE_HEADER_LEN;
    for attribute in attributes {
        if attribute.index == index && attribute.name == name {
            let start = INODE_HEADER_LEN + usize::from(read_u16(area, at + 2));
            let len = to_usize(read_u32(area, at + 8));
            return (len > 0).then(|| start..start + len);
        }
        at += attribute.entry_len();
    }
    None
}

/// Writes attributes into an inode's area; false, with nothing changed, if they do not fit.
#[must_use]
pub fn encode_inode_area(area: &mut [u8], attributes: &[Attribute]) -> bool {
    if attributes.is_empty() {
        area.fill(0);
        return true;
    }
    if area.len() < INODE_HEADER_LEN || !fits(attributes, area.len() - INODE_HEADER_LEN) {
        return false;
    }
    area.fill(0);
    put_u32(area, 0, MAGIC);
    encode_entries(&mut area[INODE_HEADER_LEN..], 0, attributes);
    true
}

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// Inodes that refer to the block.
    pub references: u32,
    /// Hash of all entries' hashes; 0 if the block is not to be shared.
    pub hash: u32,
}

/// Reads the header of a block.
pub fn decode_block_header(block: &[u8]) -> Decoded<BlockHeader> {
    let (magic, blocks) = (read_u32(block, 0), read_u32(block, 8));
    if magic != MAGIC || blocks != 1 {
        return Err(Problem::new(format!(
            "attribute block has magic {magic:#010x} and {blocks} blocks, expected {MAGIC:#010x} \
             and 1"
        )));
    }
    let references = read_u32(block, 4);
    if references == 0 {
        return Err(Problem::new("attribute block has no references"));
    }
    Ok(BlockHeader {
        references,
        hash: read_u32(block, 12),
    })
}

/// Sets the number of inodes that refer to a block.
pub fn set_references(block: &mut [u8], references: u32) {
    put_u32(block, 4, references);
}

/// Reads the attributes in a block.
pub fn decode_block(block: &[u8]) -> Decoded<Vec<Attribute>> {
    decode_block_header(block)?;
    decode_entries(block, BLOCK_HEADER_LEN)
}

/// Writes a block with one reference, its attributes in the order in which the kernel searches
/// them, and with their hashes; false, with nothing changed, if they do not fit.
#[must_use]
pub fn encode_block(block: &mut [u8], attributes: &mut [Attribute]) -> bool {
    if !fits(attributes, block.len() - BLOCK_HEADER_LEN) {
        return false;
    }
    attributes
        .sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    block.fill(0);
    put_u32(block, 0, MAGIC);
    put_u32(block, 4, 1);
    put_u32(block, 8, 1);
    put_u32(block, 12, block_hash(attributes));
    encode_entries(block, BLOCK_HEADER_LEN, attributes);
    true
}

/// Stores the checksum of a block.
pub fn set_checksum(block: &mut [u8], seed: FsSeed, number: BlockNumber) {
    let crc = seed.xattr_block(number, block);
    put_u32(block, 16, crc);
}

/// Checks the checksum of a block.
pub fn verify_checksum(block: &[u8], seed: FsSeed, number: BlockNumber) -> Decoded<()> {
    let (seen, expected) = (read_u32(block, 16), seed.xattr_block(number, block));
    if seen == expected {
        Ok(())
    } else {
        Err(Problem::new(format!(
            "attribute block checksum is {seen:#010x}, computed {expected:#010x}"
        )))
    }
}

/// `e_hash` of a name and a value in a block, as kernels since 6.2 and e2fsprogs make it. Earlier
/// kernels treated the bytes of the name as signed if the machine's `char` is, and both are
/// accepted.
pub fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    let hash = name
        .iter()
        .fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
    value_hash(hash, value)
}

/// `e_hash` of a name and of a value that an inode holds, from the hash of the value that the inode
/// stores.
pub fn entry_hash_of_inode(name: &[u8], value_hash: u32) -> u32 {
    entry_hash(name, &value_hash.to_le_bytes())
}

/// `e_hash` with the bytes of the name taken as signed.
pub fn entry_hash_signed(name: &[u8], value: &[u8]) -> u32 {
    let hash = name.iter().fold(0_u32, |hash, &byte| {
        hash.rotate_left(5) ^ i32::from(byte.cast_signed()).cast_unsigned()
    });
    value_hash(hash, value)
}

fn value_hash(hash: u32, value: &[u8]) -> u32 {
    value.chunks(4).fold(hash, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

/// `h_hash` of a block's attributes, in their order in the block.
pub fn block_hash(attributes: &[Attribute]) -> u32 {
    if attributes.iter().any(|attribute| attribute.hash == 0) {
        return 0;
    }
    attributes.iter().fold(0_u32, |hash, attribute| {
        hash.rotate_left(16) ^ attribute.hash
    })
}

/// What is wrong with where entries and values lie in a block.
pub fn block_layout_problem(block: &[u8]) -> Option<String> {
    layout_problem(block, BLOCK_HEADER_LEN)
}

/// What is wrong with where entries and values lie in an inode's area.
pub fn inode_layout_problem(area: &[u8]) -> Option<String> {
    if area.len() < INODE_HEADER_LEN + 4 || read_u32(area, 0) != MAGIC {
        return None;
    }
    layout_problem(&area[INODE_HEADER_LEN..], 0)
}

/// Entries grow from `first` on, values from the end: no two may share a byte. Entries follow one
/// another, so that only the values need to be checked.
fn layout_problem(area: &[u8], first: usize) -> Option<String> {
    let mut at = first;
    let mut values: Vec<Range<usize>> = Vec::new();
    while let Some(raw) = area.get(at..at + ENTRY_LEN)
        && raw[..4] != [0; 4]
    {
        let (offset, inode, len) = (
            usize::from(read_u16(raw, 2)),
            read_u32(raw, 4),
            to_usize(read_u32(raw, 8)),
        );
        if inode == 0 && len > 0 {
            values.push(offset..offset.saturating_add(len).checked_next_multiple_of(4)?);
        }
        at += (ENTRY_LEN + usize::from(raw[0])).next_multiple_of(4);
    }
    values.sort_unstable_by_key(|value| value.start);
    // The mark at the end of the list takes four bytes.
    let mut taken = at + 4;
    for value in values {
        if value.start < taken || value.end > area.len() {
            return Some(format!(
                "the value at {} to {} lies on the list of attributes or on another value",
                value.start, value.end
            ));
        }
        taken = value.end;
    }
    None
}

/// Bytes that entries and values need. Four zero bytes end the list.
pub fn needed_len(attributes: &[Attribute]) -> usize {
    let used: usize = attributes
        .iter()
        .map(|attribute| attribute.entry_len() + attribute.value_len())
        .sum();
    used + 4
}

fn fits(attributes: &[Attribute], room: usize) -> bool {
    needed_len(attributes) <= room
}

/// Reads entries from `first` on, whose values are counted from the start of `area`.
fn decode_entries(area: &[u8], first: usize) -> Decoded<Vec<Attribute>> {
    let mut attributes = Vec::new();
    let mut at = first;
    loop {
        let Some(end_mark) = area.get(at..at + 4) else {
            return Err(Problem::new("the list of attributes has no end"));
        };
        if end_mark == [0; 4] {
            return Ok(attributes);
        }
        let Some(raw) = area.get(at..at + ENTRY_LEN) else {
            return Err(Problem::new(format!("attribute entry at {at} is cut off")));
        };
        let name_len = usize::from(raw[0]);
        let Some(name) = area.get(at + ENTRY_LEN..at + ENTRY_LEN + name_len) else {
            return Err(Problem::new(format!("attribute name at {at} is cut off")));
        };
        let (offset, inode, len) = (
            usize::from(read_u16(raw, 2)),
            read_u32(raw, 4),
            read_u32(raw, 8),
        );
        let value = if inode != 0 {
            Value::InInode {
                inode: InodeNumber(inode),
                len,
            }
        } else if len == 0 {
            Value::Here(Vec::new())
        } else {
            let end = offset.checked_add(to_usize(len));
            let bytes = end.and_then(|end| area.get(offset..end)).ok_or_else(|| {
                Problem::new(format!(
                    "value of {len} bytes at {offset} lies outside the area of {} bytes",
                    area.len()
                ))
            })?;
            Value::Here(bytes.to_vec())
        };
        attributes.push(Attribute {
            index: raw[1],
            name: name.to_vec(),
            value,
            hash: read_u32(raw, 12),
        });
        at += (ENTRY_LEN + name_len).next_multiple_of(4);
    }
}

/// Writes entries from `first` on and their values from the end of `area`, which is zero
/// elsewhere. Callers have made sure that they fit.
fn encode_entries(area: &mut [u8], first: usize, attributes: &[Attribute]) {
    let mut at = first;
    let mut end = area.len();
    for attribute in attributes {
        let (offset, inode, len) = match &attribute.value {
            Value::Here(bytes) if bytes.is_empty() => (0, 0, 0),
            Value::Here(bytes) => {
                end -= attribute.value_len();
                area[end..end + bytes.len()].copy_from_slice(bytes);
                (end, 0, to_u32(bytes.len()))
            }
            Value::InInode { inode, len } => (0, inode.0, *len),
        };
        let raw = &mut area[at..at + ENTRY_LEN];
        raw[0] = u8::try_from(attribute.name.len()).expect("names have at most 255 bytes");
        raw[1] = attribute.index;
        put_u16(
            raw,
            2,
            u16::try_from(offset).expect("areas are below 64 KiB, or the value is empty"),
        );
        put_u32(raw, 4, inode);
        put_u32(raw, 8, len);
        put_u32(raw, 12, attribute.hash);
        area[at + ENTRY_LEN..at + ENTRY_LEN + attribute.name.len()]
            .copy_from_slice(&attribute.name);
        at += attribute.entry_len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(index: u8, name: &[u8], value: &[u8]) -> Attribute {
        Attribute {
            index,
            name: name.to_vec(),
            value: Value::Here(value.to_vec()),
            hash: entry_hash(name, value),
        }
    }

    #[test]
    fn a_block_is_sorted_and_read_back() {
        let mut list = [
            attribute(6, b"selinux", b"u:r:t\0"),
            attribute(1, b"bb", b""),
            attribute(1, b"a", &[7; 100]),
        ];
        let mut block = vec![0; 1024];
        assert!(encode_block(&mut block, &mut list));
        let names: Vec<_> = decode_block(&block)
            .expect("just written")
            .iter()
            .filter_map(Attribute::full_name)
            .collect();
        assert_eq!(
            names,
            [&b"user.a"[..], b"user.bb", b"security.selinux"].map(<[u8]>::to_vec)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut area = vec![0; 96];
        assert!(!encode_inode_area(
            &mut area,
            &[attribute(1, b"x", &[1; 80])]
        ));
        assert!(encode_inode_area(
            &mut area,
            &[attribute(1, b"x", &[1; 64])]
        ));
        assert_eq!(decode_inode_area(&area).map(|list| list.len()), Ok(1));
    }

    #[test]
    fn names_are_split_at_known_prefixes() {
        assert_eq!(split_name(b"user.x"), Some((1, &b"x"[..])));
        assert_eq!(split_name(b"system.posix_acl_access"), Some((2, &b""[..])));
        assert_eq!(split_name(b"user."), None);
        assert_eq!(split_name(b"other.x"), None);
    }
}
