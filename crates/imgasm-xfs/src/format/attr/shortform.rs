//! Attributes in the inode (`xfs_attr_sf_hdr`, `xfs_attr_sf_entry`).

use crate::format::attr::key::{Attributes, Key, flag};
use crate::format::bytes::{as_u16, u16_at};

/// Bytes before the first attribute.
const HEADER_LEN: usize = 4;
/// Bytes of an attribute before its name.
const ENTRY_LEN: usize = 3;

/// Decodes the attribute fork of an inode.
pub(crate) fn decode(fork: &[u8]) -> Result<Attributes, String> {
    let cut = || "the attributes are cut off".to_owned();
    let header = fork.get(..HEADER_LEN).ok_or_else(cut)?;
    let total = usize::from(u16_at(header, 0));
    let count = header[2];
    let bytes = fork.get(..total).ok_or_else(cut)?;
    let mut attributes = Attributes::new();
    let mut at = HEADER_LEN;
    for _ in 0..count {
        let [name_len, value_len, flags] = *bytes.get(at..at + ENTRY_LEN).ok_or_else(cut)? else {
            return Err(cut());
        };
        at += ENTRY_LEN;
        let name_end = at + usize::from(name_len);
        let value_end = name_end + usize::from(value_len);
        let name = bytes.get(at..name_end).ok_or_else(cut)?;
        let value = bytes.get(name_end..value_end).ok_or_else(cut)?;
        if flags & flag::INCOMPLETE == 0 {
            let key = Key {
                namespace: flags & flag::NAMESPACE,
                name: name.to_vec(),
            };
            attributes.insert(key, value.to_vec());
        }
        at = value_end;
    }
    Ok(attributes)
}

/// Bytes that attributes fill in the inode, if they can be there at all.
pub(crate) fn encoded_len(attributes: &Attributes) -> Option<usize> {
    let mut len = HEADER_LEN;
    for (key, value) in attributes {
        if value.len() > usize::from(u8::MAX) {
            return None;
        }
        len += ENTRY_LEN + key.name.len() + value.len();
    }
    (u16::try_from(len).is_ok() && u8::try_from(attributes.len()).is_ok()).then_some(len)
}

/// Encodes attributes that can be in the inode.
pub(crate) fn encode(attributes: &Attributes) -> Vec<u8> {
    let byte = |value: usize| u8::try_from(value).expect("`encoded_len` has looked");
    let mut bytes = vec![0, 0, byte(attributes.len()), 0];
    for (key, value) in attributes {
        bytes.extend_from_slice(&[byte(key.name.len()), byte(value.len()), key.namespace]);
        bytes.extend_from_slice(&key.name);
        bytes.extend_from_slice(value);
    }
    let total = as_u16(bytes.len());
    bytes[..2].copy_from_slice(&total.to_be_bytes());
    bytes
}
