//! POSIX access control lists, in the form that `getxattr` and `setxattr` pass.
//!
//! Sources: Linux, `include/uapi/linux/posix_acl_xattr.h` for the form; `acl(5)` and
//! `fs/posix_acl.c` for how a list and a file's mode agree.

use crate::error::{Error, Result};
use crate::types::{FileType, Metadata};

/// The extended attribute that holds a file's own list.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The extended attribute of a directory that holds the list for nodes made in it.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: [u8; 4] = 2_u32.to_le_bytes();
/// Bytes of an entry: tag, permissions, id.
const ENTRY_LEN: usize = 8;
/// The id of an entry that names nobody.
const NO_ID: u32 = u32::MAX;

/// Whether an extended attribute of this name is an access control list.
pub fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

/// Whom an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The owner.
    UserObj,
    /// The user with this number.
    User(u32),
    /// The owning group.
    GroupObj,
    /// The group with this number.
    Group(u32),
    /// The upper limit for named users, named groups and the owning group.
    Mask,
    /// Everyone else.
    Other,
}

impl Tag {
    /// The number of the tag (`ACL_USER_OBJ` and so on), and the id if the entry names somebody.
    pub const fn code(self) -> (u16, Option<u32>) {
        match self {
            Self::UserObj => (0x01, None),
            Self::User(id) => (0x02, Some(id)),
            Self::GroupObj => (0x04, None),
            Self::Group(id) => (0x08, Some(id)),
            Self::Mask => (0x10, None),
            Self::Other => (0x20, None),
        }
    }

    /// The tag with this number. `id` matters for users and groups only.
    pub const fn from_code(code: u16, id: u32) -> Option<Self> {
        Some(match code {
            0x01 => Self::UserObj,
            0x02 => Self::User(id),
            0x04 => Self::GroupObj,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return None,
        })
    }
}

/// An entry of an access control list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclEntry {
    /// For whom.
    pub tag: Tag,
    /// Read 4, write 2, execute 1.
    pub permissions: u16,
}

/// Why bytes are not an access control list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// They do not begin with version 2, or end within an entry.
    #[error("it is not a list of entries after a version of 2")]
    Form,
    /// An entry has a tag that is not known, permissions beyond read, write and execute, or the id that
    /// stands for nobody.
    #[error("an entry has an unknown tag, unknown permissions or no valid id")]
    Entry,
    /// The entries are not those that a list must have.
    #[error(
        "it needs one entry each for owner, owning group and others, a mask if users or groups \
         are named, and all in the order of their tags"
    )]
    Entries,
}

impl Problem {
    /// The error for an attribute that holds no access control list.
    pub fn of(self, name: &[u8]) -> Error {
        Error::Unstorable {
            what: format!("the extended attribute {:?}", String::from_utf8_lossy(name)),
            problem: self.to_string(),
        }
    }
}

/// An access control list. What an image holds need not be valid; what is set must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(Vec<AclEntry>);

impl Acl {
    /// A list of these entries, whatever they are.
    pub const fn new(entries: Vec<AclEntry>) -> Self {
        Self(entries)
    }

    /// Checks that the kernel would take the list for valid (`posix_acl_valid`).
    ///
    /// # Errors
    /// [`Problem::Entry`], [`Problem::Entries`].
    pub fn check(&self) -> Result<(), Problem> {
        let entries = &self.0;
        let count = |wanted: fn(&Tag) -> bool| entries.iter().filter(|e| wanted(&e.tag)).count();
        let named = count(|tag| matches!(tag, Tag::User(_) | Tag::Group(_)));
        let masks = count(|tag| *tag == Tag::Mask);
        let sound = entries.is_sorted_by_key(|entry| entry.tag.code().0)
            && count(|tag| *tag == Tag::UserObj) == 1
            && count(|tag| *tag == Tag::GroupObj) == 1
            && count(|tag| *tag == Tag::Other) == 1
            && masks <= 1
            && (named == 0 || masks == 1);
        let names_nobody = |tag| matches!(tag, Tag::User(NO_ID) | Tag::Group(NO_ID));
        let bad = |entry: &AclEntry| entry.permissions > 7 || names_nobody(entry.tag);
        if entries.iter().any(bad) {
            Err(Problem::Entry)
        } else if sound {
            Ok(())
        } else {
            Err(Problem::Entries)
        }
    }

    /// Decodes the value of an attribute.
    ///
    /// # Errors
    /// [`Problem::Form`], or [`Problem::Entry`] for a tag that is not known.
    pub fn decode(value: &[u8]) -> Result<Self, Problem> {
        let entries = value.strip_prefix(&VERSION).ok_or(Problem::Form)?;
        if !entries.len().is_multiple_of(ENTRY_LEN) {
            return Err(Problem::Form);
        }
        let entries = entries.chunks_exact(ENTRY_LEN).map(|entry| {
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let tag = Tag::from_code(u16::from_le_bytes([entry[0], entry[1]]), id);
            Ok(AclEntry {
                tag: tag.ok_or(Problem::Entry)?,
                permissions: u16::from_le_bytes([entry[2], entry[3]]),
            })
        });
        Ok(Self(entries.collect::<Result<_, Problem>>()?))
    }

    /// The value of an attribute, as `getxattr` gives it.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_vec();
        for entry in &self.0 {
            let (code, id) = entry.tag.code();
            value.extend(code.to_le_bytes());
            value.extend(entry.permissions.to_le_bytes());
            value.extend(id.unwrap_or(NO_ID).to_le_bytes());
        }
        value
    }

    /// The entries, in the order of their tags.
    pub fn entries(&self) -> &[AclEntry] {
        &self.0
    }

    fn has_mask(&self) -> bool {
        self.0.iter().any(|entry| entry.tag == Tag::Mask)
    }

    /// The nine permission bits that come closest to the list (`posix_acl_equiv_mode`): the group's
    /// bits are the mask's, if there is a mask.
    pub fn permissions(&self) -> u16 {
        let has_mask = self.has_mask();
        let bits = self.0.iter().map(|entry| match entry.tag {
            Tag::UserObj => entry.permissions << 6,
            Tag::Mask => entry.permissions << 3,
            Tag::GroupObj if !has_mask => entry.permissions << 3,
            Tag::Other => entry.permissions,
            Tag::GroupObj | Tag::User(_) | Tag::Group(_) => 0,
        });
        bits.fold(0, |all, bits| all | bits)
    }

    /// Whether the permission bits say all that the list says, so that it need not be kept.
    pub fn is_plain(&self) -> bool {
        let plain = |tag| matches!(tag, Tag::UserObj | Tag::GroupObj | Tag::Other);
        self.0.iter().all(|entry| plain(entry.tag))
    }

    /// Brings the list in line with a file's new permission bits (`posix_acl_chmod`).
    pub fn set_permissions(&mut self, permissions: u16) {
        self.for_each_class(permissions, |entry, bits| *entry = bits);
    }

    /// The list of a new node whose directory has this list as its default and whose caller asked
    /// for these permission bits (`posix_acl_create`). Its [`Acl::permissions`] become the node's.
    #[must_use]
    pub fn inherited(&self, permissions: u16) -> Self {
        let mut own = self.clone();
        own.for_each_class(permissions, |entry, bits| *entry &= bits);
        own
    }

    /// Calls `change` for each entry that stands for a class of the permission bits, with that
    /// class's bits.
    fn for_each_class(&mut self, permissions: u16, change: impl Fn(&mut u16, u16)) {
        let has_mask = self.has_mask();
        for entry in &mut self.0 {
            let bits = match entry.tag {
                Tag::UserObj => permissions >> 6 & 7,
                Tag::Mask => permissions >> 3 & 7,
                Tag::GroupObj if !has_mask => permissions >> 3 & 7,
                Tag::Other => permissions & 7,
                Tag::GroupObj | Tag::User(_) | Tag::Group(_) => continue,
            };
            change(&mut entry.permissions, bits);
        }
    }
}

/// The effect on a file of setting [`ACCESS`] or [`DEFAULT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The value that is kept; `None` if the permission bits say all of it.
    pub(crate) stored: Option<Vec<u8>>,
    /// The new low twelve bits of the file's mode.
    pub(crate) permissions: u16,
}

impl Setting {
    /// The effect of setting the attribute `name` to `value` on a file with this metadata.
    ///
    /// # Errors
    /// [`Error::Unstorable`] if it is no list, or such a file can have none.
    pub(crate) fn new(name: &[u8], value: &[u8], metadata: &Metadata) -> Result<Self> {
        let permissions = metadata.permissions;
        if metadata.file_type == FileType::Symlink
            || (name == DEFAULT && metadata.file_type != FileType::Directory)
        {
            return Err(Error::Unstorable {
                what: format!("the extended attribute {:?}", String::from_utf8_lossy(name)),
                problem: "symbolic links have no access control list, and only directories have a \
                          default one"
                    .to_owned(),
            });
        }
        if value == VERSION {
            // A list without entries stands for none.
            let stored = None;
            return Ok(Self {
                stored,
                permissions,
            });
        }
        let acl = Acl::decode(value).map_err(|problem| problem.of(name))?;
        acl.check().map_err(|problem| problem.of(name))?;
        if name == DEFAULT {
            let stored = Some(acl.encode());
            return Ok(Self {
                stored,
                permissions,
            });
        }
        Ok(Self {
            stored: (!acl.is_plain()).then(|| acl.encode()),
            permissions: permissions & !0o777 | acl.permissions(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(Tag, u16)]) -> Acl {
        let entry = |&(tag, permissions): &_| AclEntry { tag, permissions };
        Acl::new(entries.iter().map(entry).collect())
    }

    fn shared() -> Acl {
        acl(&[
            (Tag::UserObj, 7),
            (Tag::User(1000), 6),
            (Tag::GroupObj, 5),
            (Tag::Mask, 7),
            (Tag::Other, 5),
        ])
    }

    #[test]
    fn a_value_round_trips() {
        // What `setfacl -d -m u:1000:rw` stores for a directory of mode 0755.
        let value = [
            &b"\x02\0\0\0"[..],
            b"\x01\0\x07\0\xff\xff\xff\xff",
            b"\x02\0\x06\0\xe8\x03\0\0",
            b"\x04\0\x05\0\xff\xff\xff\xff",
            b"\x10\0\x07\0\xff\xff\xff\xff",
            b"\x20\0\x05\0\xff\xff\xff\xff",
        ]
        .concat();
        assert_eq!(Acl::decode(&value), Ok(shared()));
        assert_eq!(shared().check(), Ok(()));
        assert_eq!(shared().encode(), value);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert_eq!(Acl::decode(b""), Err(Problem::Form));
        assert_eq!(Acl::decode(b"\x02\0\0\0\x01"), Err(Problem::Form));
        assert_eq!(acl(&[]).check(), Err(Problem::Entries));
        let unknown = [&VERSION[..], b"\x40\0\x07\0\0\0\0\0"].concat();
        assert_eq!(Acl::decode(&unknown), Err(Problem::Entry));
        let named_without_mask = [
            (Tag::UserObj, 6),
            (Tag::User(1), 7),
            (Tag::GroupObj, 4),
            (Tag::Other, 0),
        ];
        assert_eq!(acl(&named_without_mask).check(), Err(Problem::Entries));
        let unordered = [(Tag::Other, 0), (Tag::UserObj, 6), (Tag::GroupObj, 4)];
        assert_eq!(acl(&unordered).check(), Err(Problem::Entries));
        let too_much = [(Tag::UserObj, 8), (Tag::GroupObj, 4), (Tag::Other, 0)];
        assert_eq!(acl(&too_much).check(), Err(Problem::Entry));
    }

    #[test]
    fn the_mask_stands_for_the_group() {
        let mut list = shared();
        assert_eq!(list.permissions(), 0o775);
        list.set_permissions(0o640);
        assert_eq!(list.permissions(), 0o640);
        let group = list.entries().iter().find(|e| e.tag == Tag::GroupObj);
        assert_eq!(group.map(|entry| entry.permissions), Some(5));
    }

    #[test]
    fn a_new_file_gets_what_it_is_asked_for_with_at_most() {
        let own = shared().inherited(0o666);
        assert_eq!(own.permissions(), 0o664);
        assert!(!own.is_plain());
    }
}
