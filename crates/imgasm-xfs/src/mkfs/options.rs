//! The options for a fresh filesystem.

use imgasm_fs::{Result, Timestamp, check_label};

use crate::problem::unstorable;

/// The longest label, in bytes (`sb_fname`).
pub const MAX_LABEL_LEN: usize = 12;

/// The most bytes in a log's unit.
const MAX_LOG_UNIT: u32 = 256 * 1024;
/// The most blocks in a stripe: a number that the superblock's fields can hold, and that is less
/// than a group.
const MAX_STRIPE_BLOCKS: u32 = 1 << 16;

/// The options for a fresh filesystem.
///
/// No default depends on the host: the caller says when the filesystem is made, and with which
/// identity. What stays `None` follows from the size as with `mkfs.xfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormatOptions {
    /// Identity of the filesystem.
    pub uuid: [u8; 16],
    /// The time at which it is made.
    pub now: Timestamp,
    /// At most [`MAX_LABEL_LEN`] bytes without NUL.
    pub label: Vec<u8>,
    /// The features beyond those of every filesystem of version 5.
    pub features: FormatFeatures,
    /// Bytes in a block: a power of two from 1024 to 65536. Kernels before 6.12 mount only blocks
    /// that are no larger than their pages.
    pub block_size: u32,
    /// Bytes in a sector, of the log too: a power of two from 512 to the size of a block.
    pub sector_size: u32,
    /// Bytes in a block of a directory: a power of two from the size of a block to 65536. `None`
    /// for 4096, or a block if that is larger.
    pub directory_block_size: Option<u32>,
    /// How many allocation groups there are, at least two.
    pub groups: Option<u32>,
    /// How the device below is striped, if it is.
    pub stripe: Option<Stripe>,
    /// Bytes of the log, at least 64 MiB.
    pub log_size: Option<u64>,
    /// Bytes of which each record of the log is a multiple: a multiple of a block, at most 256 KiB.
    pub log_unit: Option<u32>,
    /// Owner of the root directory.
    pub root_uid: u32,
    /// Group of the root directory.
    pub root_gid: u32,
}

/// How a device is striped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    /// Bytes of the unit, a multiple of a block.
    pub unit: u32,
    /// Units in the width.
    pub units: u32,
}

/// The features that can be chosen, by the names that `mkfs.xfs` uses. Checksums, `finobt`, `ftype`
/// and `attr2` are always on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is a bit on the disk
#[non_exhaustive]
pub struct FormatFeatures {
    /// Chunks of inodes may have holes.
    pub sparse: bool,
    /// Files may share blocks.
    pub reflink: bool,
    /// The owner of each block is stored.
    pub rmapbt: bool,
    /// Times until 2486.
    pub bigtime: bool,
    /// The blocks of the trees of inodes are counted.
    pub inobtcount: bool,
    /// Numbers of extents have 48 and 32 bits.
    pub nrext64: bool,
    /// Two files may exchange their contents.
    pub exchange: bool,
}

impl FormatFeatures {
    /// What `mkfs.xfs` chose when Linux 5.15 and 6.1 were new, and Amazon Linux 2023 has.
    pub const LTS_6_1: Self = Self {
        sparse: true,
        reflink: true,
        rmapbt: false,
        bigtime: true,
        inobtcount: true,
        nrext64: false,
        exchange: false,
    };
    /// What it has chosen since version 6.5, for Linux 6.6 and later.
    pub const LTS_6_6: Self = Self {
        rmapbt: true,
        nrext64: true,
        ..Self::LTS_6_1
    };
}

impl FormatOptions {
    /// A filesystem without a label, as `mkfs.xfs` makes one for Linux 6.1.
    pub fn new(uuid: [u8; 16], now: Timestamp) -> Self {
        Self {
            uuid,
            now,
            label: Vec::new(),
            features: FormatFeatures::LTS_6_1,
            block_size: 4096,
            sector_size: 512,
            directory_block_size: None,
            groups: None,
            stripe: None,
            log_size: None,
            log_unit: None,
            root_uid: 0,
            root_gid: 0,
        }
    }

    /// The root filesystem of Amazon Linux 2023 as its images have it: two groups, stripes of
    /// 512 KiB, sectors of 4 KiB, directory blocks of 16 KiB.
    pub fn amazon_linux_2023(uuid: [u8; 16], now: Timestamp) -> Self {
        Self {
            sector_size: 4096,
            directory_block_size: Some(16384),
            groups: Some(2),
            stripe: Some(Stripe {
                unit: 512 * 1024,
                units: 1,
            }),
            log_unit: Some(16384),
            ..Self::new(uuid, now)
        }
    }

    /// Bytes in a block of a directory.
    pub(super) fn directory_block(&self) -> u32 {
        self.directory_block_size
            .unwrap_or(self.block_size.max(4096))
    }

    /// Refuses what cannot be stored, whatever the size of the filesystem.
    ///
    /// # Errors
    /// [`imgasm_fs::Error::Unstorable`].
    pub fn check(&self) -> Result<()> {
        check_label(&self.label, MAX_LABEL_LEN)?;
        let block = self.block_size;
        let sizes = [
            ("a block", block, 1024..=65536),
            ("a sector", self.sector_size, 512..=block.min(32768)),
            ("a directory block", self.directory_block(), block..=65536),
        ];
        for (what, size, range) in sizes {
            if !size.is_power_of_two() || !range.contains(&size) {
                return Err(unstorable(
                    format!("{what} of {size} bytes"),
                    format!(
                        "it must have a power of two of bytes from {} to {}",
                        range.start(),
                        range.end()
                    ),
                ));
            }
        }
        if let Some(Stripe { unit, units }) = self.stripe {
            let blocks = (unit / block).checked_mul(units);
            let fits = blocks.is_some_and(|blocks| (1..=MAX_STRIPE_BLOCKS).contains(&blocks));
            if !unit.is_multiple_of(block) || !fits {
                return Err(unstorable(
                    format!("a stripe of {units} times {unit} bytes"),
                    format!(
                        "the unit must be a multiple of a block ({block} bytes), and all of it at \
                         most {MAX_STRIPE_BLOCKS} blocks"
                    ),
                ));
            }
        }
        if let Some(unit) = self.log_unit
            && (unit == 0 || unit > MAX_LOG_UNIT || !unit.is_multiple_of(block))
        {
            return Err(unstorable(
                format!("a log in units of {unit} bytes"),
                format!("a unit is a multiple of a block ({block} bytes), at most {MAX_LOG_UNIT}"),
            ));
        }
        Ok(())
    }

    /// The number of blocks of which each record of the log, and the log's first block, is a
    /// multiple; `None` if there is no such rule.
    pub(super) fn log_unit_blocks(&self) -> Option<u32> {
        const TOO_LARGE: u32 = 32 * 1024;
        let bytes = match (self.log_unit, self.stripe) {
            (Some(unit), _) => unit,
            (None, _) if self.sector_size != 512 => self.block_size,
            (None, Some(stripe)) if stripe.unit > MAX_LOG_UNIT => TOO_LARGE.max(self.block_size),
            (None, Some(stripe)) => stripe.unit,
            (None, None) => return None,
        };
        Some(bytes / self.block_size)
    }
}
