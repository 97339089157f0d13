//! Which features of the format a filesystem uses: `sb_versionnum`, `sb_features2`, and the feature
//! words of version 5.

use imgasm_fs::Result;

use crate::problem::incompatible;

/// Bits of `sb_versionnum` above the version.
pub(crate) mod version {
    /// Extended attributes are in use.
    pub(crate) const ATTRIBUTES: u16 = 0x0010;
    /// Version 5; `di_nlink` is used, inodes are aligned, the log has its second form, and unwritten
    /// extents are marked: what every new filesystem has.
    const BASE: u16 = 5 | 0x0020 | 0x0080 | 0x0400 | 0x1000;
    /// `sb_unit` and `sb_width` are used.
    const STRIPED: u16 = 0x0100;
    /// Sectors have more than 512 bytes.
    const SECTOR: u16 = 0x0800;
    /// Directories of the second form.
    pub(crate) const DIRECTORY_V2: u16 = 0x2000;
    /// Names are compared without regard to ASCII case.
    pub(crate) const ASCII_CI: u16 = 0x4000;
    /// `sb_features2` is used.
    pub(crate) const MORE_BITS: u16 = 0x8000;

    /// The bits of a new filesystem.
    pub(crate) fn fresh(large_sectors: bool, striped: bool) -> u16 {
        let sectors = if large_sectors { SECTOR } else { 0 };
        let stripe = if striped { STRIPED } else { 0 };
        BASE | DIRECTORY_V2 | MORE_BITS | sectors | stripe
    }
}

/// Bits of `sb_features2`.
pub(crate) mod features2 {
    pub(crate) const LAZY_COUNT: u32 = 0x0002;
    pub(crate) const ATTR2: u32 = 0x0008;
    pub(crate) const PROJID32: u32 = 0x0080;
    const CRC: u32 = 0x0100;
    pub(crate) const FTYPE: u32 = 0x0200;
    /// The bits of a new filesystem.
    pub(crate) const FRESH: u32 = LAZY_COUNT | ATTR2 | PROJID32 | CRC;
}

/// Bits of `sb_features_ro_compat`: unknown ones forbid writing.
pub(crate) mod ro_compat {
    pub(crate) const FINOBT: u32 = 0x1;
    pub(crate) const RMAPBT: u32 = 0x2;
    pub(crate) const REFLINK: u32 = 0x4;
    pub(crate) const INOBTCOUNT: u32 = 0x8;
    pub(crate) const KNOWN: u32 = 0xf;
}

/// Bits of `sb_features_incompat`: unknown ones forbid reading.
pub(crate) mod incompat {
    pub(crate) const FTYPE: u32 = 0x1;
    pub(crate) const SPARSE: u32 = 0x2;
    pub(crate) const META_UUID: u32 = 0x4;
    pub(crate) const BIGTIME: u32 = 0x8;
    pub(crate) const NEEDS_REPAIR: u32 = 0x10;
    pub(crate) const NREXT64: u32 = 0x20;
    pub(crate) const EXCHANGE: u32 = 0x40;
    pub(crate) const PARENT: u32 = 0x80;
    pub(crate) const KNOWN: u32 = 0xff;
    /// Names of the bits that stand above [`KNOWN`].
    pub(crate) const UNSUPPORTED: [(u32, &str); 3] =
        [(0x100, "metadir"), (0x200, "zoned"), (0x400, "zone-gaps")];
}

/// Which features of the format a filesystem uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is a bit on the disk
pub(crate) struct Features {
    /// Version 5: checksums and identities in every block.
    pub(crate) crc: bool,
    /// Blocks carry a UUID of their own, `sb_meta_uuid`.
    pub(crate) meta_uuid: bool,
    pub(crate) ftype: bool,
    pub(crate) finobt: bool,
    pub(crate) sparse: bool,
    pub(crate) rmapbt: bool,
    pub(crate) reflink: bool,
    pub(crate) inobtcount: bool,
    pub(crate) bigtime: bool,
    pub(crate) nrext64: bool,
    pub(crate) exchange: bool,
    pub(crate) parent: bool,
    pub(crate) needs_repair: bool,
    pub(crate) attr2: bool,
    pub(crate) projid32: bool,
    pub(crate) lazy_count: bool,
    pub(crate) ascii_ci: bool,
}

impl Features {
    /// The names by which `mkfs.xfs` and `xfs_info` know them.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        [
            (self.crc, "crc"),
            (self.attr2, "attr2"),
            (self.projid32, "projid32bit"),
            (self.lazy_count, "lazy-count"),
            (self.ascii_ci, "ascii-ci"),
            (self.finobt, "finobt"),
            (self.rmapbt, "rmapbt"),
            (self.reflink, "reflink"),
            (self.inobtcount, "inobtcount"),
            (self.ftype, "ftype"),
            (self.sparse, "sparse"),
            (self.bigtime, "bigtime"),
            (self.needs_repair, "needsrepair"),
            (self.nrext64, "nrext64"),
            (self.exchange, "exchange"),
            (self.parent, "parent"),
        ]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
        .collect()
    }
}

/// The feature words of a superblock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeatureWords {
    pub(crate) versionnum: u16,
    pub(crate) features2: u32,
    pub(crate) features_ro_compat: u32,
    pub(crate) features_incompat: u32,
}

/// The features that the feature words name.
///
/// # Errors
/// [`imgasm_fs::Error::Incompatible`] if one of them makes the filesystem unreadable for us.
pub(crate) fn decode_features(words: &FeatureWords) -> Result<Features> {
    let version_bits = words.versionnum;
    let version = version_bits & 0xf;
    if version != 4 && version != 5 {
        return Err(incompatible(format!("version {version}")));
    }
    if version_bits & version::DIRECTORY_V2 == 0 {
        return Err(incompatible("the first form of directories"));
    }
    let crc = version == 5;
    let more = if version_bits & version::MORE_BITS == 0 {
        0
    } else {
        words.features2
    };
    let (ro, inc) = if crc {
        (words.features_ro_compat, words.features_incompat)
    } else {
        (0, 0)
    };
    let unknown = inc & !incompat::KNOWN;
    if unknown != 0 {
        return Err(incompatible(
            incompat::UNSUPPORTED
                .iter()
                .find(|(bit, _)| unknown & bit != 0)
                .map_or_else(
                    || format!("incompatible feature {unknown:#x}"),
                    |(_, name)| format!("feature {name}"),
                ),
        ));
    }
    Ok(Features {
        crc,
        meta_uuid: inc & incompat::META_UUID != 0,
        ftype: if crc {
            inc & incompat::FTYPE != 0
        } else {
            more & features2::FTYPE != 0
        },
        finobt: ro & ro_compat::FINOBT != 0,
        sparse: inc & incompat::SPARSE != 0,
        rmapbt: ro & ro_compat::RMAPBT != 0,
        reflink: ro & ro_compat::REFLINK != 0,
        inobtcount: ro & ro_compat::INOBTCOUNT != 0,
        bigtime: inc & incompat::BIGTIME != 0,
        nrext64: inc & incompat::NREXT64 != 0,
        exchange: inc & incompat::EXCHANGE != 0,
        parent: inc & incompat::PARENT != 0,
        needs_repair: inc & incompat::NEEDS_REPAIR != 0,
        attr2: more & features2::ATTR2 != 0,
        projid32: more & features2::PROJID32 != 0,
        lazy_count: crc || more & features2::LAZY_COUNT != 0,
        ascii_ci: version_bits & version::ASCII_CI != 0,
    })
}
