//! Blocks of attributes (`xfs_attr_leafblock`).

use crate::format::attr::key::{Key, flag};
use crate::format::bytes::{as_u16, put_u16, put_u32, u16_at, u32_at};
use crate::format::geometry::Geometry;
use crate::format::hash_tree;
use crate::format::hash_tree::{Header, put_header};
use crate::format::numbers::HashTreeBlock;

/// Magic numbers before version 5 and from it on.
const MAGIC: (u16, u16) = (0xfbee, 0x3bee);
/// Bytes of an entry, which gives an attribute's hash, place and flags.
const ENTRY_LEN: usize = 8;

/// Where an attribute's value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Beside the name.
    Local(Vec<u8>),
    /// In blocks of the attribute fork.
    Remote {
        /// The first of them.
        file_block: HashTreeBlock,
        /// Bytes of the value.
        len: u32,
    },
}

/// An attribute of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafAttribute {
    pub(crate) hash: u32,
    pub(crate) key: Key,
    pub(crate) value: Value,
}

/// Whether the magic number behind a block's sibling pointers is that of a leaf.
pub(crate) fn is_leaf(magic: u16, geometry: &Geometry) -> bool {
    magic
        == if geometry.features.crc {
            MAGIC.1
        } else {
            MAGIC.0
        }
}

/// Where the counts stand in the header.
fn counts_at(geometry: &Geometry) -> usize {
    hash_tree::header_len(geometry)
}

/// Bytes before the first entry.
fn header_len(geometry: &Geometry) -> usize {
    if geometry.features.crc { 80 } else { 32 }
}

/// The entries of a leaf, each a hash, a place and flags.
fn entries<'a>(bytes: &'a [u8], geometry: &Geometry) -> Result<&'a [u8], String> {
    let count = usize::from(u16_at(bytes, counts_at(geometry)));
    bytes
        .get(header_len(geometry)..header_len(geometry) + count * ENTRY_LEN)
        .ok_or_else(|| format!("{count} attributes in a leaf"))
}

/// The hashes of all entries of a leaf whose identity has been checked, in their order.
pub(crate) fn hashes(bytes: &[u8], geometry: &Geometry) -> Result<Vec<u32>, String> {
    let entries = entries(bytes, geometry)?.chunks_exact(ENTRY_LEN);
    Ok(entries.map(|entry| u32_at(entry, 0)).collect())
}

/// Whether a leaf has an attribute that an interrupted write has left.
pub(crate) fn has_incomplete(bytes: &[u8], geometry: &Geometry) -> Result<bool, String> {
    let mut entries = entries(bytes, geometry)?.chunks_exact(ENTRY_LEN);
    Ok(entries.any(|entry| entry[6] & flag::INCOMPLETE != 0))
}

/// Checks that the names of a decoded leaf lie behind the entries and do not overlap, and that the
/// header counts their bytes.
pub(crate) fn check_room(bytes: &[u8], geometry: &Geometry) -> Result<(), String> {
    let entries = entries(bytes, geometry)?;
    let end = header_len(geometry) + entries.len();
    let mut names: Vec<(usize, usize)> = entries
        .chunks_exact(ENTRY_LEN)
        .map(|entry| {
            let at = usize::from(u16_at(entry, 4));
            (at, at + stored_len(bytes, at, entry[6]))
        })
        .collect();
    names.sort_unstable();
    let overlap = names.windows(2).any(|pair| pair[0].1 > pair[1].0);
    let outside = names.first().is_some_and(|(at, _)| *at < end)
        || names.last().is_some_and(|(_, end)| *end > bytes.len());
    if overlap || outside {
        return Err("the names of attributes lie over each other or over the entries".to_owned());
    }
    let used: usize = names.iter().map(|(at, end)| end - at).sum();
    let counts = counts_at(geometry);
    let seen = usize::from(u16_at(bytes, counts + 2));
    if seen != used {
        return Err(format!(
            "{seen} bytes of names are counted, there are {used}"
        ));
    }
    // With blocks of 64 KiB an empty leaf's first name is at 65536, which is stored as 0.
    let first = match u16_at(bytes, counts + 4) {
        0 => bytes.len(),
        first => usize::from(first),
    };
    if names.first().is_some_and(|(at, _)| *at < first) {
        return Err(format!(
            "a name lies before byte {first}, where the first is said to be"
        ));
    }
    Ok(())
}

/// Bytes of a name with its value or the value's place, or what is left of the block if that is less.
fn stored_len(bytes: &[u8], at: usize, flags: u8) -> usize {
    let byte = |offset: usize| usize::from(bytes.get(at + offset).copied().unwrap_or(0));
    let len = if flags & flag::LOCAL != 0 {
        3 + byte(2) + (byte(0) << 8 | byte(1))
    } else {
        11 + byte(8)
    };
    len.next_multiple_of(4)
}

/// Decodes a leaf whose identity has been checked. Attributes left by an interrupted write are not
/// given.
pub(crate) fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Vec<LeafAttribute>, String> {
    let entries = entries(bytes, geometry)?;
    let mut attributes = Vec::with_capacity(entries.len() / ENTRY_LEN);
    for entry in entries.chunks_exact(ENTRY_LEN) {
        let at = usize::from(u16_at(entry, 4));
        let flags = entry[6];
        if flags & flag::INCOMPLETE != 0 {
            continue;
        }
        let cut = || format!("the attribute at offset {at} is cut off");
        let rest = bytes.get(at..).ok_or_else(cut)?;
        let (name, value) = if flags & flag::LOCAL != 0 {
            let fixed = rest.get(..3).ok_or_else(cut)?;
            let value_len = usize::from(u16_at(fixed, 0));
            let name_end = 3 + usize::from(fixed[2]);
            let name = rest.get(3..name_end).ok_or_else(cut)?;
            let value = rest.get(name_end..name_end + value_len).ok_or_else(cut)?;
            (name, Value::Local(value.to_vec()))
        } else {
            let fixed = rest.get(..9).ok_or_else(cut)?;
            let name = rest.get(9..9 + usize::from(fixed[8])).ok_or_else(cut)?;
            let value = Value::Remote {
                file_block: HashTreeBlock(u32_at(fixed, 0)),
                len: u32_at(fixed, 4),
            };
            (name, value)
        };
        attributes.push(LeafAttribute {
            hash: u32_at(entry, 0),
            key: Key {
                namespace: flags & flag::NAMESPACE,
                name: name.to_vec(),
            },
            value,
        });
    }
    Ok(attributes)
}

impl LeafAttribute {
    /// Bytes of the name with its value or the value's place.
    fn name_len(&self) -> usize {
        let len = match &self.value {
            Value::Local(value) => 3 + self.key.name.len() + value.len(),
            // Two more bytes than are stored, because the kernel's structure once had them.
            Value::Remote { .. } => 11 + self.key.name.len(),
        };
        len.next_multiple_of(4)
    }

    /// Bytes of a leaf that the attribute fills.
    fn len(&self) -> usize {
        ENTRY_LEN + self.name_len()
    }
}

/// Whether a value stands beside its name: if both fill less than three quarters of a block.
pub(crate) fn is_local(geometry: &Geometry, name_len: usize, value_len: usize) -> bool {
    let block = geometry.block_len();
    (3 + name_len + value_len).next_multiple_of(4) < block / 2 + block / 4
}

/// Splits sorted attributes into runs that fit a leaf each.
pub(crate) fn split<'a>(
    geometry: &Geometry,
    attributes: &'a [LeafAttribute],
) -> Vec<&'a [LeafAttribute]> {
    let room = geometry.block_len() - header_len(geometry);
    let mut runs = Vec::new();
    let mut start = 0;
    let mut used = 0;
    for (index, attribute) in attributes.iter().enumerate() {
        if used + attribute.len() > room {
            runs.push(&attributes[start..index]);
            start = index;
            used = 0;
        }
        used += attribute.len();
    }
    runs.push(&attributes[start..]);
    runs
}

/// Encodes a leaf of sorted attributes that fit it; its identity is still to be sealed. Names are
/// placed from the end of the block towards the entries.
pub(crate) fn encode(
    geometry: &Geometry,
    attributes: &[LeafAttribute],
    forward: HashTreeBlock,
    backward: HashTreeBlock,
) -> Vec<u8> {
    let mut block = vec![0; geometry.block_len()];
    put_header(
        &mut block,
        Header {
            forward,
            backward,
            magic: MAGIC.1,
        },
    );
    let mut at = block.len();
    let mut entry = header_len(geometry);
    for attribute in attributes {
        at -= attribute.name_len();
        put_u32(&mut block, entry, attribute.hash);
        put_u16(&mut block, entry + 4, as_u16(at));
        let name = &attribute.key.name;
        let name_len = u8::try_from(name.len()).expect("names have 255 bytes at most");
        block[entry + 6] = attribute.key.namespace;
        let name_at = match &attribute.value {
            Value::Local(value) => {
                block[entry + 6] |= flag::LOCAL;
                put_u16(&mut block, at, as_u16(value.len()));
                block[at + 2] = name_len;
                let value_at = at + 3 + name.len();
                block[value_at..value_at + value.len()].copy_from_slice(value);
                at + 3
            }
            Value::Remote { file_block, len } => {
                put_u32(&mut block, at, file_block.0);
                put_u32(&mut block, at + 4, *len);
                block[at + 8] = name_len;
                at + 9
            }
        };
        block[name_at..name_at + name.len()].copy_from_slice(name);
        entry += ENTRY_LEN;
    }
    let counts = counts_at(geometry);
    put_u16(&mut block, counts, as_u16(attributes.len()));
    let used = block.len() - at;
    put_u16(&mut block, counts + 2, as_u16(used));
    // With blocks of 64 KiB an empty leaf's first name is at 65536, which is stored as 0.
    put_u16(&mut block, counts + 4, u16::try_from(at).unwrap_or(0));
    put_u16(&mut block, counts + 8, as_u16(entry));
    put_u16(&mut block, counts + 10, as_u16(at - entry));
    block
}
