//! The superblock: the first sector of every allocation group; the first group's is the one that
//! counts. (Kernel documentation of XFS, "Superblocks"; `xfs_dsb`.)

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::bytes::as_usize;
use super::geometry::Geometry;
use super::stamp::{seal_checksum, verify_checksum};
use super::{FS, MAX_SECTOR, corrupt};
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Location, Result};

/// `XFSB`.
pub(crate) const MAGIC: u32 = 0x5846_5342;
/// Where the checksum stands.
const CRC_OFFSET: usize = 224;
/// The smallest group, in blocks (`XFS_MIN_AG_BLOCKS`).
const MIN_GROUP_BLOCKS: u64 = 64;

/// Bits of `sb_versionnum` above the version.
pub(crate) mod version {
    /// Extended attributes are in use.
    pub(crate) const ATTRIBUTES: u16 = 0x0010;
    /// Directories of the second form.
    pub(crate) const DIRECTORY_V2: u16 = 0x2000;
    /// Names are compared without regard to ASCII case.
    pub(crate) const ASCII_CI: u16 = 0x4000;
    /// `sb_features2` counts.
    pub(crate) const MORE_BITS: u16 = 0x8000;
}

/// Bits of `sb_features2`.
mod features2 {
    pub(super) const LAZY_COUNT: u32 = 0x0002;
    pub(super) const ATTR2: u32 = 0x0008;
    pub(super) const PROJID32: u32 = 0x0080;
    pub(super) const FTYPE: u32 = 0x0200;
}

/// Bits of `sb_features_ro_compat`: unknown ones forbid writing.
mod ro_compat {
    pub(super) const FINOBT: u32 = 0x1;
    pub(super) const RMAPBT: u32 = 0x2;
    pub(super) const REFLINK: u32 = 0x4;
    pub(super) const INOBTCOUNT: u32 = 0x8;
    pub(super) const KNOWN: u32 = 0xf;
}

/// Bits of `sb_features_incompat`: unknown ones forbid reading.
mod incompat {
    pub(super) const FTYPE: u32 = 0x1;
    pub(super) const SPARSE: u32 = 0x2;
    pub(super) const META_UUID: u32 = 0x4;
    pub(super) const BIGTIME: u32 = 0x8;
    pub(super) const NEEDS_REPAIR: u32 = 0x10;
    pub(super) const NREXT64: u32 = 0x20;
    pub(super) const EXCHANGE: u32 = 0x40;
    pub(super) const PARENT: u32 = 0x80;
    pub(super) const KNOWN: u32 = 0xff;
    /// Names of the bits that stand above [`KNOWN`].
    pub(super) const UNSUPPORTED: [(u32, &str); 3] =
        [(0x100, "metadir"), (0x200, "zoned"), (0x400, "zone-gaps")];
}

/// The bit of `sb_features_log_incompat` that says that the log may hold intents of attributes.
const LOGGED_ATTRIBUTES: u32 = 0x1;

/// The superblock as it lies on the disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawSuperblock {
    pub(crate) magicnum: U32,
    pub(crate) blocksize: U32,
    pub(crate) dblocks: U64,
    pub(crate) rblocks: U64,
    pub(crate) rextents: U64,
    pub(crate) uuid: [u8; 16],
    pub(crate) logstart: U64,
    pub(crate) rootino: U64,
    pub(crate) rbmino: U64,
    pub(crate) rsumino: U64,
    pub(crate) rextsize: U32,
    pub(crate) agblocks: U32,
    pub(crate) agcount: U32,
    pub(crate) rbmblocks: U32,
    pub(crate) logblocks: U32,
    pub(crate) versionnum: U16,
    pub(crate) sectsize: U16,
    pub(crate) inodesize: U16,
    pub(crate) inopblock: U16,
    pub(crate) fname: [u8; 12],
    pub(crate) blocklog: u8,
    pub(crate) sectlog: u8,
    pub(crate) inodelog: u8,
    pub(crate) inopblog: u8,
    pub(crate) agblklog: u8,
    pub(crate) rextslog: u8,
    pub(crate) inprogress: u8,
    pub(crate) imax_pct: u8,
    pub(crate) icount: U64,
    pub(crate) ifree: U64,
    pub(crate) fdblocks: U64,
    pub(crate) frextents: U64,
    pub(crate) uquotino: U64,
    pub(crate) gquotino: U64,
    pub(crate) qflags: U16,
    pub(crate) flags: u8,
    pub(crate) shared_vn: u8,
    pub(crate) inoalignmt: U32,
    pub(crate) unit: U32,
    pub(crate) width: U32,
    pub(crate) dirblklog: u8,
    pub(crate) logsectlog: u8,
    pub(crate) logsectsize: U16,
    pub(crate) logsunit: U32,
    pub(crate) features2: U32,
    pub(crate) bad_features2: U32,
    pub(crate) features_compat: U32,
    pub(crate) features_ro_compat: U32,
    pub(crate) features_incompat: U32,
    pub(crate) features_log_incompat: U32,
    /// Little-endian.
    pub(crate) crc: [u8; 4],
    pub(crate) spino_align: U32,
    pub(crate) pquotino: U64,
    pub(crate) lsn: U64,
    pub(crate) meta_uuid: [u8; 16],
}

/// What a filesystem uses of what the format offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is a bit on the disk
pub(crate) struct Features {
    /// Version 5: checksums and identities in every block.
    pub(crate) crc: bool,
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

/// A superblock whose numbers agree with each other.
#[derive(Debug, Clone)]
pub(crate) struct Superblock {
    pub(crate) raw: RawSuperblock,
    pub(crate) features: Features,
}

impl Superblock {
    /// Reads the superblock of a device.
    pub(crate) fn read(device: &dyn BlockDevice) -> Result<Self> {
        let mut sector = vec![0; as_usize(device.len().min(MAX_SECTOR))];
        device.read_at(0, &mut sector)?;
        Self::decode(&sector)
    }

    /// Decodes the first sector. `sector` holds at least 512 bytes and, where the device has them,
    /// enough for the largest sector.
    pub(crate) fn decode(sector: &[u8]) -> Result<Self> {
        let bad = |problem: String| corrupt(Location::Superblock, problem);
        let (raw, _) = RawSuperblock::read_from_prefix(sector)
            .map_err(|_| bad("the device is smaller than a superblock".to_owned()))?;
        if raw.magicnum.get() != MAGIC {
            return Err(bad(format!(
                "magic number {:#010x}, expected {MAGIC:#010x}",
                raw.magicnum
            )));
        }
        let features = decode_features(&raw)?;
        check_sizes(&raw).map_err(bad)?;
        if features.crc {
            let sector = sector
                .get(..usize::from(raw.sectsize.get()))
                .ok_or_else(|| bad("the device is smaller than its sector".to_owned()))?;
            verify_checksum(sector, CRC_OFFSET).map_err(bad)?;
        }
        if raw.rblocks.get() != 0 || raw.rextents.get() != 0 {
            return Err(incompatible("a realtime section"));
        }
        Ok(Self { raw, features })
    }

    /// The numbers that everything else is located with.
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry::new(&self.raw, self.features)
    }

    /// Refuses a log that is said to hold what is not known.
    pub(crate) fn check_log_features(&self) -> Result<()> {
        let unknown = self.raw.features_log_incompat.get() & !LOGGED_ATTRIBUTES;
        if self.features.crc && unknown != 0 {
            return Err(incompatible(format!(
                "replaying a log with feature {unknown:#x}"
            )));
        }
        Ok(())
    }

    /// Whether a feature is on that allows reading only.
    pub(crate) fn unknown_ro_features(&self) -> u32 {
        if self.features.crc {
            self.raw.features_ro_compat.get() & !ro_compat::KNOWN
        } else {
            0
        }
    }

    /// Puts the superblock into its sector and seals it; what follows it in the sector stays.
    pub(crate) fn encode_into(&self, sector: &mut [u8]) {
        let bytes = self.raw.as_bytes();
        sector[..bytes.len()].copy_from_slice(bytes);
        seal_checksum(sector, CRC_OFFSET);
    }
}

fn incompatible(what: impl Into<String>) -> Error {
    Error::Incompatible {
        fs: FS,
        what: what.into(),
    }
}

fn decode_features(raw: &RawSuperblock) -> Result<Features> {
    let version_bits = raw.versionnum.get();
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
        raw.features2.get()
    };
    let (ro, inc) = if crc {
        (raw.features_ro_compat.get(), raw.features_incompat.get())
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

/// Whether the incompatible feature that gives blocks a UUID of their own is on.
pub(crate) fn has_own_metadata_uuid(raw: &RawSuperblock) -> bool {
    raw.versionnum.get() & 0xf == 5 && raw.features_incompat.get() & incompat::META_UUID != 0
}

/// Checks that a size is the power of two that its logarithm says, within the format's limits.
fn check_power(
    what: &str,
    size: u32,
    log: u8,
    range: std::ops::RangeInclusive<u32>,
) -> Result<(), String> {
    if range.contains(&size) && 1u32.checked_shl(u32::from(log)) == Some(size) {
        Ok(())
    } else {
        Err(format!("{what} of {size} bytes with logarithm {log}"))
    }
}

fn check_sizes(raw: &RawSuperblock) -> Result<(), String> {
    let block_size = raw.blocksize.get();
    let sector_size = u32::from(raw.sectsize.get());
    let inode_size = u32::from(raw.inodesize.get());
    check_power("blocks", block_size, raw.blocklog, 512..=65536)?;
    check_power("sectors", sector_size, raw.sectlog, 512..=32768)?;
    check_power("inodes", inode_size, raw.inodelog, 256..=2048)?;
    if sector_size > block_size || inode_size > block_size {
        return Err(format!(
            "blocks of {block_size} bytes are smaller than a sector ({sector_size}) or inode ({inode_size})"
        ));
    }
    if u32::from(raw.inopblock.get()) != block_size / inode_size
        || raw.inopblog != raw.blocklog - raw.inodelog
    {
        return Err(format!("{} inodes a block", raw.inopblock));
    }
    if u32::from(raw.dirblklog) + u32::from(raw.blocklog) > 16 {
        return Err(format!("directory blocks of 2^{} blocks", raw.dirblklog));
    }
    let group = raw.agblocks.get();
    let groups = u64::from(raw.agcount.get());
    if u64::from(group) < MIN_GROUP_BLOCKS
        || groups == 0
        || group.checked_next_power_of_two().map(u32::trailing_zeros)
            != Some(u32::from(raw.agblklog))
    {
        return Err(format!(
            "{groups} groups of {group} blocks with logarithm {}",
            raw.agblklog
        ));
    }
    let blocks = raw.dblocks.get();
    let most = groups * u64::from(group);
    let least = most - u64::from(group) + MIN_GROUP_BLOCKS;
    if !(least..=most).contains(&blocks) {
        return Err(format!("{blocks} blocks in {groups} groups of {group}"));
    }
    if u32::from(raw.agblklog) + u32::from(raw.inopblog) >= 32 {
        return Err(format!("groups of {group} blocks have too many inodes"));
    }
    if raw.imax_pct > 100 || raw.inprogress != 0 {
        return Err("mkfs.xfs has not finished".to_owned());
    }
    Ok(())
}
