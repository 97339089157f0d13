//! Access control lists on the disk, in a shorter form than `getxattr` gives: version 1, and an id
//! only in entries that name somebody.
//!
//! Source: Linux, `fs/ext4/acl.h`.

use crate::problem::{Decoded, Problem};
use imgasm_fs::acl::{Acl, AclEntry, Tag};

use super::{read_u16, read_u32};

const VERSION: u32 = 1;
const VERSION_LEN: usize = 4;
const SHORT_LEN: usize = 4;
const LONG_LEN: usize = 8;

/// Reads the form on the disk.
pub fn decode_disk(bytes: &[u8]) -> Decoded<Acl> {
    if bytes.len() < VERSION_LEN || read_u32(bytes, 0) != VERSION {
        return Err(Problem::new(format!(
            "ACL does not begin with version {VERSION}"
        )));
    }
    let mut rest = &bytes[VERSION_LEN..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let long = rest.len() >= SHORT_LEN && matches!(read_u16(rest, 0), 0x02 | 0x08);
        let len = if long { LONG_LEN } else { SHORT_LEN };
        let (entry, after) = rest
            .split_at_checked(len)
            .ok_or_else(|| Problem::new("ACL entry is cut off"))?;
        let id = if long { read_u32(entry, 4) } else { 0 };
        let code = read_u16(entry, 0);
        entries.push(AclEntry {
            tag: Tag::from_code(code, id)
                .ok_or_else(|| Problem::new(format!("ACL entry has tag {code:#x}")))?,
            permissions: read_u16(entry, 2),
        });
        rest = after;
    }
    Ok(Acl::new(entries))
}

/// The form on the disk.
pub fn encode_disk(acl: &Acl) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for entry in acl.entries() {
        let (code, id) = entry.tag.code();
        bytes.extend_from_slice(&code.to_le_bytes());
        bytes.extend_from_slice(&entry.permissions.to_le_bytes());
        if let Some(id) = id {
            bytes.extend_from_slice(&id.to_le_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_on_the_disk_round_trips() {
        let entries = [
            (Tag::UserObj, 6),
            (Tag::User(1000), 7),
            (Tag::GroupObj, 4),
            (Tag::Mask, 5),
            (Tag::Other, 0),
        ]
        .map(|(tag, permissions)| AclEntry { tag, permissions });
        let acl = Acl::new(entries.to_vec());
        let stored = encode_disk(&acl);
        assert_eq!(stored.len(), 4 + 4 * 4 + 8);
        assert_eq!(decode_disk(&stored), Ok(acl));
        assert!(decode_disk(&stored[..stored.len() - 1]).is_err());
    }
}
