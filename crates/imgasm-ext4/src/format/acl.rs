//! Access control lists, which the disk holds in a shorter form than `getxattr` shows: version 1
//! with the id only where an entry has one, against version 2 with an id in every entry.

use super::{put_u16, put_u32, read_u16, read_u32};
use crate::problem::{Decoded, Problem};

const DISK_VERSION: u32 = 1;
const USER_VERSION: u32 = 2;
const VERSION_LEN: usize = 4;
const SHORT_LEN: usize = 4;
const LONG_LEN: usize = 8;
/// What `getxattr` shows as the id of an entry that has none.
const NO_ID: u32 = u32::MAX;

/// Whom an entry is for, by the codes that both forms use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The owner.
    UserObj,
    /// A user.
    User(u32),
    /// The owning group.
    GroupObj,
    /// A group.
    Group(u32),
    /// The most that users, groups and the owning group are given.
    Mask,
    /// Everyone else.
    Other,
}

/// An entry of an access control list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclEntry {
    /// For whom.
    pub tag: Tag,
    /// Read 4, write 2, execute 1.
    pub permissions: u16,
}

impl Tag {
    fn code(self) -> (u16, Option<u32>) {
        match self {
            Self::UserObj => (0x01, None),
            Self::User(id) => (0x02, Some(id)),
            Self::GroupObj => (0x04, None),
            Self::Group(id) => (0x08, Some(id)),
            Self::Mask => (0x10, None),
            Self::Other => (0x20, None),
        }
    }

    fn from_code(code: u16, id: u32) -> Decoded<Self> {
        Ok(match code {
            0x01 => Self::UserObj,
            0x02 => Self::User(id),
            0x04 => Self::GroupObj,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return Err(Problem::new(format!("ACL entry has tag {code:#x}"))),
        })
    }
}

/// Reads the form on the disk.
pub fn decode_disk(bytes: &[u8]) -> Decoded<Vec<AclEntry>> {
    let mut rest = after_version(bytes, DISK_VERSION)?;
    let mut acl = Vec::new();
    while !rest.is_empty() {
        let long = rest.len() >= SHORT_LEN && matches!(read_u16(rest, 0), 0x02 | 0x08);
        let len = if long { LONG_LEN } else { SHORT_LEN };
        let (entry, after) = rest
            .split_at_checked(len)
            .ok_or_else(|| Problem::new("ACL entry is cut off"))?;
        let id = if long { read_u32(entry, 4) } else { NO_ID };
        acl.push(AclEntry {
            tag: Tag::from_code(read_u16(entry, 0), id)?,
            permissions: read_u16(entry, 2),
        });
        rest = after;
    }
    Ok(acl)
}

/// The form on the disk.
pub fn encode_disk(acl: &[AclEntry]) -> Vec<u8> {
    let mut bytes = DISK_VERSION.to_le_bytes().to_vec();
    for entry in acl {
        let (code, id) = entry.tag.code();
        bytes.extend_from_slice(&code.to_le_bytes());
        bytes.extend_from_slice(&entry.permissions.to_le_bytes());
        if let Some(id) = id {
            bytes.extend_from_slice(&id.to_le_bytes());
        }
    }
    bytes
}

/// Reads the form that `setxattr` takes.
pub fn decode_user(bytes: &[u8]) -> Decoded<Vec<AclEntry>> {
    let entries = after_version(bytes, USER_VERSION)?;
    if !entries.len().is_multiple_of(LONG_LEN) {
        return Err(Problem::new("ACL entry is cut off"));
    }
    let acl: Vec<AclEntry> = entries
        .chunks_exact(LONG_LEN)
        .map(|entry| {
            Ok(AclEntry {
                tag: Tag::from_code(read_u16(entry, 0), read_u32(entry, 4))?,
                permissions: read_u16(entry, 2),
            })
        })
        .collect::<Decoded<_>>()?;
    check(&acl)?;
    Ok(acl)
}

/// The form that `getxattr` gives.
pub fn encode_user(acl: &[AclEntry]) -> Vec<u8> {
    let mut bytes = vec![0; VERSION_LEN + acl.len() * LONG_LEN];
    put_u32(&mut bytes, 0, USER_VERSION);
    for (entry, place) in acl
        .iter()
        .zip(bytes[VERSION_LEN..].chunks_exact_mut(LONG_LEN))
    {
        let (code, id) = entry.tag.code();
        put_u16(place, 0, code);
        put_u16(place, 2, entry.permissions);
        put_u32(place, 4, id.unwrap_or(NO_ID));
    }
    bytes
}

/// What an access ACL makes of a file's permission bits, and whether it says no more than they do.
pub fn mode_of(acl: &[AclEntry]) -> (u16, bool) {
    let of = |tag: Tag| acl.iter().find(|entry| entry.tag == tag);
    let bits = |tag: Tag| of(tag).map_or(0, |entry| entry.permissions & 7);
    let group = of(Tag::Mask).map_or_else(|| bits(Tag::GroupObj), |mask| mask.permissions & 7);
    let plain = acl
        .iter()
        .all(|entry| matches!(entry.tag, Tag::UserObj | Tag::GroupObj | Tag::Other));
    (
        bits(Tag::UserObj) << 6 | group << 3 | bits(Tag::Other),
        plain,
    )
}

/// What a change of a file's permission bits makes of its access ACL: the group's bits go to the
/// mask where there is one.
pub fn apply_mode(acl: &mut [AclEntry], mode: u16) {
    let has_mask = acl.iter().any(|entry| entry.tag == Tag::Mask);
    for entry in acl {
        match entry.tag {
            Tag::UserObj => entry.permissions = mode >> 6 & 7,
            Tag::GroupObj if !has_mask => entry.permissions = mode >> 3 & 7,
            Tag::Mask => entry.permissions = mode >> 3 & 7,
            Tag::Other => entry.permissions = mode & 7,
            Tag::GroupObj | Tag::User(_) | Tag::Group(_) => {}
        }
    }
}

/// The rules that the kernel has for an ACL: owner, users, owning group, groups, mask, others, in
/// this order; a mask where there are users or groups.
fn check(acl: &[AclEntry]) -> Decoded<()> {
    let count = |wanted: fn(&Tag) -> bool| acl.iter().filter(|e| wanted(&e.tag)).count();
    let named = count(|tag| matches!(tag, Tag::User(_) | Tag::Group(_)));
    let masks = count(|tag| *tag == Tag::Mask);
    let in_order = acl.is_sorted_by_key(|entry| entry.tag.code().0);
    if in_order
        && acl.iter().all(|entry| entry.permissions <= 7)
        && count(|tag| *tag == Tag::UserObj) == 1
        && count(|tag| *tag == Tag::GroupObj) == 1
        && count(|tag| *tag == Tag::Other) == 1
        && masks <= 1
        && (named == 0 || masks == 1)
    {
        Ok(())
    } else {
        Err(Problem::new(
            "it is not a valid ACL: one entry each for owner, owning group and others, a mask \
             where users or groups are named, in the order of their tags",
        ))
    }
}

fn after_version(bytes: &[u8], expected: u32) -> Decoded<&[u8]> {
    if bytes.len() < VERSION_LEN || read_u32(bytes, 0) != expected {
        return Err(Problem::new(format!(
            "ACL does not begin with version {expected}"
        )));
    }
    Ok(&bytes[VERSION_LEN..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip() {
        let acl = [
            (Tag::UserObj, 6),
            (Tag::User(1000), 7),
            (Tag::GroupObj, 4),
            (Tag::Mask, 5),
            (Tag::Other, 0),
        ]
        .map(|(tag, permissions)| AclEntry { tag, permissions });
        assert_eq!(decode_disk(&encode_disk(&acl)), Ok(acl.to_vec()));
        assert_eq!(decode_user(&encode_user(&acl)), Ok(acl.to_vec()));
        assert_eq!(mode_of(&acl), (0o650, false));
        assert_eq!(encode_disk(&acl).len(), 4 + 4 * 4 + 8);
    }

    #[test]
    fn a_named_user_needs_a_mask() {
        let acl = [
            (Tag::UserObj, 6),
            (Tag::User(1), 7),
            (Tag::GroupObj, 4),
            (Tag::Other, 0),
        ]
        .map(|(tag, permissions)| AclEntry { tag, permissions });
        assert!(decode_user(&encode_user(&acl)).is_err());
    }
}
