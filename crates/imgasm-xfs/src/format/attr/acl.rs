//! Access control lists: XFS stores them big-endian and with a count (`xfs_acl`), the kernel shows
//! them little-endian and with a version (`posix_acl_xattr_header`).

use imgasm_fs::acl::{Acl, Tag};

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// Bytes of an entry on the disk: tag, id, permissions and padding.
const STORED_LEN: usize = 12;
/// Bytes of an entry as the kernel shows it: tag, permissions, id.
const SHOWN_LEN: usize = 8;
/// Tags of entries that name a user or group.
const NAMED: [u16; 2] = [0x02, 0x08];
/// The id of entries that name nobody.
const NO_ID: u32 = u32::MAX;

/// From the form on the disk to the kernel's.
pub(crate) fn to_kernel(stored: &[u8]) -> Result<Vec<u8>, String> {
    let bad = || format!("an access control list of {} bytes", stored.len());
    let (count, entries) = stored.split_first_chunk::<4>().ok_or_else(bad)?;
    let count = usize::try_from(u32::from_be_bytes(*count)).map_err(|_| bad())?;
    // Old kernels stored the room for the most entries that there could be.
    let entries = count
        .checked_mul(STORED_LEN)
        .and_then(|len| entries.get(..len))
        .ok_or_else(bad)?;
    let mut shown = VERSION.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(STORED_LEN) {
        let tag = u16::try_from(u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]))
            .map_err(|_| bad())?;
        let id = if NAMED.contains(&tag) {
            u32::from_be_bytes([entry[4], entry[5], entry[6], entry[7]])
        } else {
            NO_ID
        };
        let permissions = u16::from_be_bytes([entry[8], entry[9]]);
        shown.extend_from_slice(&tag.to_le_bytes());
        shown.extend_from_slice(&permissions.to_le_bytes());
        shown.extend_from_slice(&id.to_le_bytes());
    }
    Ok(shown)
}

/// From the kernel's form to that on the disk; `None` if the value is not an access control list.
pub(crate) fn from_kernel(shown: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = shown.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || !entries.len().is_multiple_of(SHOWN_LEN) {
        return None;
    }
    let count = u32::try_from(entries.len() / SHOWN_LEN).ok()?;
    let mut stored = count.to_be_bytes().to_vec();
    for entry in entries.chunks_exact(SHOWN_LEN) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        let id = if NAMED.contains(&tag) {
            u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]])
        } else {
            NO_ID
        };
        stored.extend_from_slice(&u32::from(tag).to_be_bytes());
        stored.extend_from_slice(&id.to_be_bytes());
        stored.extend_from_slice(&permissions.to_be_bytes());
        stored.extend_from_slice(&[0; 2]);
    }
    Some(stored)
}

/// What is wrong with a list on the disk: it has one entry each for the owner, the owning group and
/// others, a mask if users or groups are named, and none of these twice (`xfs_acl_valid` of `xfs_repair`).
pub(crate) fn problem(stored: &[u8]) -> Option<String> {
    let shown = match to_kernel(stored) {
        Ok(shown) => shown,
        Err(problem) => return Some(problem),
    };
    let entries = match Acl::decode(&shown) {
        Ok(acl) => acl.entries().to_vec(),
        Err(problem) => return Some(problem.to_string()),
    };
    let has = |tag| entries.iter().any(|entry| entry.tag == tag);
    let is_named = |tag| matches!(tag, Tag::User(_) | Tag::Group(_));
    let mut tags: Vec<_> = entries.iter().map(|entry| entry.tag.code()).collect();
    tags.sort_unstable();
    let is_twice = tags.windows(2).any(|pair| pair[0] == pair[1]);
    let lacks = |tag: Tag, what: &str| (!has(tag)).then(|| format!("it has no entry for {what}"));
    let needs_mask = entries.iter().any(|entry| is_named(entry.tag));
    lacks(Tag::UserObj, "the owner")
        .or_else(|| lacks(Tag::GroupObj, "the owning group"))
        .or_else(|| lacks(Tag::Other, "others"))
        .or_else(|| lacks(Tag::Mask, "the mask").filter(|_| needs_mask))
        .or_else(|| is_twice.then(|| "it has an entry twice".to_owned()))
}
