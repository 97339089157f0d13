//! Blocks of attributes (`xfs_attr_leafblock`).

use super::{Key, flag};
use crate::fs::xfs::bytes::{u16_at, u32_at};
use crate::fs::xfs::geometry::Geometry;

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
        file_block: u32,
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

/// Whether a block's magic number, which stands behind its sibling pointers, is a leaf's.
pub(crate) fn is_leaf(magic: u16, geometry: &Geometry) -> bool {
    magic
        == if geometry.features.crc {
            MAGIC.1
        } else {
            MAGIC.0
        }
}

/// Bytes before the first entry.
fn header_len(geometry: &Geometry) -> usize {
    if geometry.features.crc { 80 } else { 32 }
}

/// Decodes a leaf whose identity has been checked. Attributes that a cut-off write left are not
/// given.
pub(crate) fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Vec<LeafAttribute>, String> {
    let count = usize::from(u16_at(
        bytes,
        header_len(geometry) - if geometry.features.crc { 24 } else { 20 },
    ));
    let entries = bytes
        .get(header_len(geometry)..header_len(geometry) + count * ENTRY_LEN)
        .ok_or_else(|| format!("{count} attributes in a leaf"))?;
    let mut attributes = Vec::with_capacity(count);
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
                file_block: u32_at(fixed, 0),
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
