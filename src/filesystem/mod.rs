//! Fresh filesystems, of the kinds that a recipe can ask for.
//!
//! - [`swap`]: a swap area; [`xfs`]: how an XFS filesystem is made.
//! - here: the kinds, and making one of each.

pub mod swap;
pub mod xfs;

use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use self::xfs::XfsOptions;
use imgasm_block::BlockDevice;
use imgasm_fs::{Result, Timestamp};

/// The kinds of filesystems that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilesystemKind {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// FAT, of the width that its size wants.
    Vfat,
    /// A swap area, which is no filesystem but is made, named and listed in fstab as one.
    Swap,
}

impl FilesystemKind {
    /// The name, as fstab has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
        }
    }

    /// The options of a filesystem of this kind, which are those that are given or the usual ones.
    ///
    /// # Errors
    /// What is wrong with them, as a sentence.
    pub(crate) fn xfs(self, given: Option<XfsOptions>) -> Result<XfsOptions, String> {
        if given.is_some() && self != Self::Xfs {
            return Err("`xfs` needs `filesystem = \"xfs\"`".to_owned());
        }
        let options = given.unwrap_or_default();
        options.check()?;
        Ok(options)
    }

    /// Bytes that a label can have.
    fn max_label_len(self) -> usize {
        match self {
            Self::Ext4 => imgasm_ext4::MAX_LABEL_LEN,
            Self::Xfs => imgasm_xfs::MAX_LABEL_LEN,
            // The name of a directory entry, of which the label is one.
            Self::Vfat => 11,
            Self::Swap => swap::MAX_LABEL_LEN,
        }
    }

    /// Makes sure that a label is not too long.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn check_label(self, label: &str) -> Result<(), String> {
        let (len, max) = (label.len(), self.max_label_len());
        if len <= max {
            return Ok(());
        }
        Err(format!(
            "the label {label:?} has {len} bytes, and one of {} has {max} at most",
            self.name()
        ))
    }

    /// How fstab names a filesystem of this kind by its identity, behind `UUID=`.
    pub fn fstab_uuid(self, uuid: Uuid) -> String {
        if self == Self::Vfat {
            let id = volume_id(uuid);
            format!("{:04X}-{:04X}", id >> 16, id & 0xffff)
        } else {
            uuid.to_string()
        }
    }
}

/// What makes a filesystem one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Its UUID; FAT takes the first four bytes.
    pub uuid: Uuid,
    /// The seed of ext4's hashes.
    pub hash_seed: [u8; 16],
}

/// Makes a filesystem of all of `device`, which reads as zeros.
///
/// # Errors
/// [`imgasm_fs::Error::Unstorable`] for a size or label that the format cannot have.
pub fn make(
    device: &Arc<dyn BlockDevice>,
    (kind, xfs): (FilesystemKind, &XfsOptions),
    label: &str,
    identity: Identity,
    now: Timestamp,
) -> Result<()> {
    let uuid = identity.uuid.into_bytes();
    match kind {
        FilesystemKind::Ext4 => {
            let mut options = imgasm_ext4::FormatOptions::new(uuid, identity.hash_seed, now);
            options.label = label.as_bytes().to_vec();
            imgasm_ext4::format(device, &options)
        }
        FilesystemKind::Xfs => {
            let options = xfs.format(uuid, now);
            let mut options = options.map_err(|problem| imgasm_fs::Error::Unstorable {
                what: "the filesystem".to_owned(),
                problem,
            })?;
            options.label = label.as_bytes().to_vec();
            imgasm_xfs::format(device, &options)
        }
        FilesystemKind::Vfat => {
            let mut options = imgasm_fat::FormatOptions::new(volume_id(identity.uuid));
            label.clone_into(&mut options.label);
            imgasm_fat::format(device, &options)
        }
        FilesystemKind::Swap => swap::format(device, identity.uuid, label.as_bytes()),
    }
}

/// What FAT has for an identity.
fn volume_id(uuid: Uuid) -> u32 {
    let [a, b, c, d, ..] = uuid.into_bytes();
    u32::from_be_bytes([a, b, c, d])
}
