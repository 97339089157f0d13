//! The options for a fresh filesystem.

use imgasm_fs::{Error, Result, Timestamp, check_label};

/// The longest label, in bytes (`s_volume_name`).
pub const MAX_LABEL_LEN: usize = 16;

/// The largest share of blocks that can be kept for the superuser, in percent.
const MAX_RESERVED_PERCENT: u8 = 50;

/// The options for a fresh filesystem.
///
/// No default depends on the host: the caller says when the filesystem is made, and with which
/// identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormatOptions {
    /// Identity of the filesystem.
    pub uuid: [u8; 16],
    /// Seed of the hashes by which large directories are ordered; must not be all zeros.
    pub hash_seed: [u8; 16],
    /// The time at which it is made; whole seconds are stored.
    pub now: Timestamp,
    /// At most [`MAX_LABEL_LEN`] bytes without NUL.
    pub label: Vec<u8>,
    /// Bytes in a block: 1024, 2048 or 4096. `None` for what mke2fs takes: 1024 below 512 MiB,
    /// else 4096.
    pub block_size: Option<u32>,
    /// Share of the blocks that is kept for the superuser, in percent, at most 50.
    pub reserved_percent: u8,
    /// Owner of the root directory.
    pub root_uid: u32,
    /// Group of the root directory.
    pub root_gid: u32,
}

impl FormatOptions {
    /// A filesystem without a label, with the defaults of mke2fs.
    pub fn new(uuid: [u8; 16], hash_seed: [u8; 16], now: Timestamp) -> Self {
        Self {
            uuid,
            hash_seed,
            now,
            label: Vec::new(),
            block_size: None,
            reserved_percent: 5,
            root_uid: 0,
            root_gid: 0,
        }
    }

    /// Refuses what cannot be stored.
    pub(super) fn check(&self) -> Result<()> {
        check_label(&self.label, MAX_LABEL_LEN)?;
        if let Some(block_size) = self.block_size
            && ![1024, 2048, 4096].contains(&block_size)
        {
            return Err(unstorable(
                format!("block size {block_size}"),
                "it must be 1024, 2048 or 4096 bytes".to_owned(),
            ));
        }
        if self.reserved_percent > MAX_RESERVED_PERCENT {
            return Err(unstorable(
                format!("{} % of reserved blocks", self.reserved_percent),
                format!("at most {MAX_RESERVED_PERCENT} % can be reserved"),
            ));
        }
        if self.hash_seed == [0; 16] {
            return Err(unstorable(
                "hash seed of zeros".to_owned(),
                "it stands for no seed at all".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Something that the format has no place for.
pub(super) fn unstorable(what: String, problem: String) -> Error {
    Error::Unstorable { what, problem }
}
