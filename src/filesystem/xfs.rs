//! How an XFS filesystem is made, if not as it is usual.

use serde::Deserialize;

use crate::config::ByteSize;
use imgasm_fs::Timestamp;
use imgasm_fs::text::chain;
use imgasm_xfs::{FormatFeatures, FormatOptions, Stripe};

/// The key `xfs` of a recipe. What is not given is as `mkfs.xfs` chooses it; the names are those of its
/// options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XfsOptions {
    defaults: Option<Defaults>,
    block_size: Option<ByteSize>,
    sector_size: Option<ByteSize>,
    directory_block_size: Option<ByteSize>,
    agcount: Option<u32>,
    su: Option<ByteSize>,
    sw: Option<u32>,
    log_size: Option<ByteSize>,
    log_su: Option<ByteSize>,
    sparse: Option<bool>,
    reflink: Option<bool>,
    rmapbt: Option<bool>,
    bigtime: Option<bool>,
    inobtcount: Option<bool>,
    nrext64: Option<bool>,
    exchange: Option<bool>,
}

/// Whose choices hold for what is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Defaults {
    /// `mkfs.xfs` for Linux 6.1.
    #[serde(rename = "lts_6.1")]
    Lts61,
    /// `mkfs.xfs` for Linux 6.6.
    #[serde(rename = "lts_6.6")]
    Lts66,
    /// The images of Amazon Linux 2023.
    #[serde(rename = "al2023")]
    Al2023,
}

impl XfsOptions {
    /// Makes sure that there is such a filesystem, whatever its size.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let epoch = Timestamp {
            seconds: 0,
            nanoseconds: 0,
        };
        let options = self.format([0; 16], epoch)?;
        options.check().map_err(|error| chain(&error))
    }

    /// What the engine is told.
    ///
    /// # Errors
    /// A number that is larger than any of its kind, as a sentence.
    pub(super) fn format(&self, uuid: [u8; 16], now: Timestamp) -> Result<FormatOptions, String> {
        let bytes = |size: ByteSize| {
            u32::try_from(size.0).map_err(|_| format!("`xfs`: {} bytes are too many", size.0))
        };
        let mut options = match self.defaults {
            Some(Defaults::Al2023) => FormatOptions::amazon_linux_2023(uuid, now),
            _ => FormatOptions::new(uuid, now),
        };
        let usual = match self.defaults {
            Some(Defaults::Lts66) => FormatFeatures::LTS_6_6,
            _ => options.features,
        };
        let features = &mut options.features;
        *features = usual;
        features.sparse = self.sparse.unwrap_or(usual.sparse);
        features.reflink = self.reflink.unwrap_or(usual.reflink);
        features.rmapbt = self.rmapbt.unwrap_or(usual.rmapbt);
        features.bigtime = self.bigtime.unwrap_or(usual.bigtime);
        features.inobtcount = self.inobtcount.unwrap_or(usual.inobtcount);
        features.nrext64 = self.nrext64.unwrap_or(usual.nrext64);
        features.exchange = self.exchange.unwrap_or(usual.exchange);
        if let Some(size) = self.block_size {
            options.block_size = bytes(size)?;
        }
        if let Some(size) = self.sector_size {
            options.sector_size = bytes(size)?;
        }
        if let Some(size) = self.directory_block_size {
            options.directory_block_size = Some(bytes(size)?);
        }
        options.groups = self.agcount.or(options.groups);
        options.log_size = self.log_size.map(|size| size.0).or(options.log_size);
        if let Some(size) = self.log_su {
            options.log_unit = Some(bytes(size)?);
        }
        match (self.su, self.sw) {
            (Some(unit), Some(units)) => {
                let unit = bytes(unit)?;
                options.stripe = (unit != 0 || units != 0).then_some(Stripe { unit, units });
            }
            (None, None) => {}
            _ => return Err("`xfs`: `su` and `sw` belong together".to_owned()),
        }
        Ok(options)
    }
}
