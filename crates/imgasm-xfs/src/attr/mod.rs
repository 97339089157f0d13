//! Extended attributes of inodes. (Kernel documentation of XFS, "Extended Attributes".)
//!
//! - here: attributes with the names and values that the kernel shows.
//! - [`load`]: from the disk to memory.
//! - [`layout`]: from memory to blocks for the disk.

pub(crate) mod layout;
pub(crate) mod load;

use std::collections::BTreeMap;

use crate::format::attr::acl;
use crate::format::attr::key::Attributes;

/// The attributes with the names and values that the kernel shows.
pub(crate) fn shown(attributes: &Attributes) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
    attributes
        .iter()
        .filter_map(|(key, value)| {
            let name = key.shown_name()?;
            let value = if key.is_acl() {
                match acl::to_kernel(value) {
                    Ok(value) => value,
                    Err(problem) => return Some(Err(problem)),
                }
            } else {
                value.clone()
            };
            Some(Ok((name, value)))
        })
        .collect()
}

/// What is wrong with the access control lists among the attributes, as `xfs_repair` has it.
pub(crate) fn bad_acls(attributes: &Attributes) -> impl Iterator<Item = String> {
    let lists = attributes.iter().filter(|(key, _)| key.is_acl());
    lists.filter_map(|(key, value)| {
        let problem = acl::problem(value)?;
        let name = String::from_utf8_lossy(&key.name);
        Some(format!("the attribute {name} is not valid: {problem}"))
    })
}
