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
