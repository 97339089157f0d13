//! The names of attributes, as they are stored and as the kernel shows them.

use std::collections::BTreeMap;

/// The bits of a stored attribute's flags.
pub(crate) mod flag {
    /// The value stands beside the name.
    pub(crate) const LOCAL: u8 = 0x01;
    /// Of the namespace `trusted`, which also holds access control lists.
    pub(crate) const ROOT: u8 = 0x02;
    /// Of the namespace `security`.
    pub(crate) const SECURE: u8 = 0x04;
    /// Not an attribute, but a name of the inode and the directory that holds the name.
    pub(crate) const PARENT: u8 = 0x08;
    /// Left by an interrupted write.
    pub(crate) const INCOMPLETE: u8 = 0x80;
    /// The bits that belong to the name.
    pub(crate) const NAMESPACE: u8 = ROOT | SECURE | PARENT;
}

/// A stored name: the bits of its namespace, and its bytes without that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: u8,
    pub(crate) name: Vec<u8>,
}

/// An inode's attributes with their stored names and values.
pub(crate) type Attributes = BTreeMap<Key, Vec<u8>>;

/// Stored names of access control lists, and the names that the kernel gives them.
const ACLS: [(&[u8], &[u8]); 2] = [
    (b"SGI_ACL_FILE", b"system.posix_acl_access"),
    (b"SGI_ACL_DEFAULT", b"system.posix_acl_default"),
];

const NAMESPACES: [(u8, &[u8]); 3] = [
    (0, b"user."),
    (flag::ROOT, b"trusted."),
    (flag::SECURE, b"security."),
];

impl Key {
    /// The stored name of what the kernel calls `name`, if there can be one.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        if let Some((stored, _)) = ACLS.iter().find(|(_, shown)| *shown == name) {
            return Some(Self {
                namespace: flag::ROOT,
                name: stored.to_vec(),
            });
        }
        NAMESPACES.iter().find_map(|(namespace, prefix)| {
            let rest = name.strip_prefix(*prefix)?;
            (!rest.is_empty()).then(|| Self {
                namespace: *namespace,
                name: rest.to_vec(),
            })
        })
    }

    /// Whether the value is an access control list.
    pub(crate) fn is_acl(&self) -> bool {
        self.namespace == flag::ROOT && ACLS.iter().any(|(stored, _)| *stored == self.name)
    }

    /// The name that the kernel gives it, if it shows it at all.
    pub(crate) fn shown_name(&self) -> Option<Vec<u8>> {
        if self.is_acl() {
            return ACLS
                .iter()
                .find_map(|(stored, shown)| (*stored == self.name).then(|| shown.to_vec()));
        }
        NAMESPACES.iter().find_map(|(namespace, prefix)| {
            (*namespace == self.namespace).then(|| [*prefix, &self.name].concat())
        })
    }
}
