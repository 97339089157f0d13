//! The boot sector: where everything lies on a FAT volume.
//!
//! Source: Microsoft, "FAT32 File System Specification" 1.03, "Boot Sector and BPB"; the fields have
//! the names that Linux gives them (`include/uapi/linux/msdos_fs.h`).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Number of bytes that are decoded: the whole of the smallest sector.
pub const BOOT_LEN: usize = 512;
/// Bytes of an entry of a directory.
pub const ENTRY_LEN: u32 = 32;
/// The first cluster that holds data; the numbers below have other uses.
pub const FIRST_CLUSTER: u32 = 2;
/// The most clusters of a volume whose entries have 12 bits.
const MOST_FAT12: u32 = 4084;

/// The part of the boot sector that all three widths share.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawCommon {
    ignored: [u8; 3],
    system_id: [u8; 8],
    sector_size: U16,
    sec_per_clus: u8,
    reserved: U16,
    fats: u8,
    dir_entries: U16,
    sectors: U16,
    media: u8,
    fat_length: U16,
    secs_track: U16,
    heads: U16,
    hidden: U32,
    total_sect: U32,
}

/// What follows on FAT32; on FAT12 and FAT16 the last fields follow at once.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFat32 {
    length: U32,
    flags: U16,
    version: U16,
    root_cluster: U32,
    info_sector: U16,
    backup_boot: U16,
    reserved2: [u8; 12],
}

/// The last fields.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawTail {
    drive_number: u8,
    state: u8,
    signature: u8,
    vol_id: U32,
    vol_label: [u8; 11],
    fs_type: [u8; 8],
}

/// How many bits an entry of the FAT has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 12 bits: up to 4084 clusters.
    Fat12,
    /// 16 bits: up to 65524 clusters.
    Fat16,
    /// 28 of 32 bits.
    Fat32,
}

/// Where the root directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// In an area of its own, of this many bytes at this offset.
    Area {
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// In a chain of clusters that begins with this one.
    Chain(u32),
}

/// What the boot sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Bits of an entry of the FAT.
    pub width: Width,
    /// Bytes in a sector: 512 to 4096, a power of two.
    pub sector_size: u32,
    /// Bytes in a cluster, a power of two.
    pub cluster_size: u32,
    /// Number of clusters; the last is this plus one, since they are counted from 2.
    pub clusters: u32,
    /// Offset of the first FAT in bytes.
    pub fat_offset: u64,
    /// Length of a FAT in bytes.
    pub fat_len: u64,
    /// Number of FATs.
    pub fats: u32,
    /// Which FAT is in use, if they are not copies of each other.
    pub active_fat: Option<u32>,
    /// The root directory.
    pub root: Root,
    /// Offset of cluster 2 in bytes.
    pub data_offset: u64,
    /// Offset in bytes of the sector that counts the free clusters, on FAT32.
    pub fs_info_offset: Option<u64>,
    /// Offset in bytes of the copy of the boot sector, on FAT32.
    pub backup_offset: Option<u64>,
    /// Bytes in all.
    pub total_len: u64,
    /// The media byte, which the first entry of the FAT repeats.
    pub media: u8,
    /// The serial number.
    pub volume_id: u32,
    /// The label in the boot sector, padded by spaces.
    pub label: [u8; 11],
    /// Whether the volume was not unmounted.
    pub dirty: bool,
}

impl Geometry {
    /// Decodes the first sector of a volume that lies on `device_len` bytes.
    ///
    /// # Errors
    /// Why it is not the boot sector of a FAT volume, in words.
    pub fn decode(sector: &[u8; BOOT_LEN], device_len: u64) -> Result<Self, String> {
        let short = || "the boot sector is too short".to_owned();
        let (raw, rest) = RawCommon::ref_from_prefix(sector.as_slice()).map_err(|_| short())?;
        if sector[510..] != [0x55, 0xaa] || !matches!(raw.ignored[0], 0xeb | 0xe9) {
            return Err("the first sector is not a boot sector".to_owned());
        }
        let (large, rest) = if raw.fat_length.get() == 0 {
            let (large, rest) = RawFat32::ref_from_prefix(rest).map_err(|_| short())?;
            (Some(large), rest)
        } else {
            (None, rest)
        };
        let (tail, _) = RawTail::ref_from_prefix(rest).map_err(|_| short())?;
        let geometry = Self::lay_out(raw, large, tail)?;
        geometry.check(device_len)?;
        Ok(geometry)
    }

    /// Computes where everything lies, and checks only what the computation needs.
    fn lay_out(raw: &RawCommon, large: Option<&RawFat32>, tail: &RawTail) -> Result<Self, String> {
        let sector_size = u32::from(raw.sector_size.get());
        let per_cluster = u32::from(raw.sec_per_clus);
        if !(512..=4096).contains(&sector_size) || !sector_size.is_power_of_two() {
            return Err(format!("sectors of {sector_size} bytes"));
        }
        if !per_cluster.is_power_of_two() {
            return Err(format!("clusters of {per_cluster} sectors"));
        }
        let reserved = u32::from(raw.reserved.get());
        let sectors_per_fat =
            large.map_or(u32::from(raw.fat_length.get()), |large| large.length.get());
        let total_sectors = match raw.sectors.get() {
            0 => raw.total_sect.get(),
            few => few.into(),
        };
        // All of these are below 2^54, so that nothing can overflow.
        let bytes = |sectors: u32| u64::from(sectors) * u64::from(sector_size);
        let fat_offset = bytes(reserved);
        let fat_len = bytes(sectors_per_fat);
        let root_offset = fat_offset + u64::from(raw.fats) * fat_len;
        let root_len = u64::from(raw.dir_entries.get()) * u64::from(ENTRY_LEN);
        let data_offset = root_offset + root_len.next_multiple_of(sector_size.into());
        let total_len = bytes(total_sectors);
        let cluster_size = sector_size * per_cluster;
        let data_len = total_len.saturating_sub(data_offset);
        let clusters = u32::try_from(data_len / u64::from(cluster_size))
            .map_err(|_| "more than 2^32 clusters".to_owned())?;
        let in_reserved = |number: u16| {
            let number = u32::from(number);
            (number != 0 && number < reserved).then(|| bytes(number))
        };
        let flags = large.map_or(0, |large| large.flags.get());
        let extended = tail.signature == 0x29;
        Ok(Self {
            width: match (large, clusters) {
                (Some(_), _) => Width::Fat32,
                (None, ..=MOST_FAT12) => Width::Fat12,
                (None, _) => Width::Fat16,
            },
            sector_size,
            cluster_size,
            clusters,
            fat_offset,
            fat_len,
            fats: raw.fats.into(),
            active_fat: (flags & 0x80 != 0).then_some(u32::from(flags & 0x0f)),
            root: match large {
                None => Root::Area {
                    offset: root_offset,
                    len: root_len,
                },
                Some(large) if large.version.get() == 0 && root_len == 0 => {
                    Root::Chain(large.root_cluster.get())
                }
                Some(large) => {
                    return Err(format!(
                        "FAT32 of version {:#06x} with a root area of {root_len} bytes",
                        large.version.get()
                    ));
                }
            },
            data_offset,
            fs_info_offset: large.and_then(|large| in_reserved(large.info_sector.get())),
            backup_offset: large.and_then(|large| in_reserved(large.backup_boot.get())),
            total_len,
            media: raw.media,
            volume_id: if extended { tail.vol_id.get() } else { 0 },
            label: if extended {
                tail.vol_label
            } else {
                *b"NO NAME    "
            },
            dirty: tail.state & 1 != 0,
        })
    }

    /// Checks that the parts fit each other and the device.
    fn check(&self, device_len: u64) -> Result<(), String> {
        let Self {
            clusters,
            fat_len,
            fats,
            total_len,
            data_offset,
            media,
            ..
        } = *self;
        if self.fat_offset == 0 || !(1..=4).contains(&fats) || (media < 0xf8 && media != 0xf0) {
            return Err(format!(
                "{fats} FATs from byte {} on, media {media:#04x}",
                self.fat_offset
            ));
        }
        if total_len > device_len || data_offset >= total_len {
            return Err(format!(
                "{total_len} bytes with data from {data_offset} on, on a device of {device_len}"
            ));
        }
        let (bits, most) = match self.width {
            Width::Fat12 => (12, MOST_FAT12),
            Width::Fat16 => (16, 65524),
            Width::Fat32 => (32, 0x0fff_fff4),
        };
        let needed = ((u64::from(clusters) + u64::from(FIRST_CLUSTER)) * bits).div_ceil(8);
        // Formatting tools round up generously, but a table that is mostly unused is not valid.
        if clusters == 0 || clusters > most || needed > fat_len || fat_len > 2 * needed + (1 << 20)
        {
            return Err(format!(
                "{clusters} clusters, with FATs of {fat_len} bytes of {bits} bits per entry"
            ));
        }
        match self.root {
            Root::Area { len: 0, .. } => return Err("no root directory".to_owned()),
            Root::Chain(cluster) if !self.has(cluster) => {
                return Err(format!(
                    "a root directory in cluster {cluster} of {clusters}"
                ));
            }
            Root::Area { .. } | Root::Chain(_) => {}
        }
        if let Some(active) = self.active_fat.filter(|active| *active >= fats) {
            return Err(format!("FAT {active} is in use, but there are {fats}"));
        }
        Ok(())
    }

    /// Whether `cluster` can hold data.
    pub fn has(&self, cluster: u32) -> bool {
        cluster
            .checked_sub(FIRST_CLUSTER)
            .is_some_and(|index| index < self.clusters)
    }

    /// Offset in bytes of a cluster for which [`Self::has`] is true.
    pub fn offset(&self, cluster: u32) -> u64 {
        let index = u64::from(cluster.saturating_sub(FIRST_CLUSTER));
        self.data_offset + index * u64::from(self.cluster_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_boot_sector_is_refused() {
        let mut sector = [0; BOOT_LEN];
        assert!(Geometry::decode(&sector, 1 << 30).is_err());
        sector[0] = 0xeb;
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert!(Geometry::decode(&sector, 1 << 30).is_err());
        sector.fill(0xff);
        sector[0] = 0xeb;
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert!(Geometry::decode(&sector, u64::MAX).is_err());
    }
}
