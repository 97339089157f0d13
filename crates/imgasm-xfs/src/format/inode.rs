//! The core of an inode: what it is, apart from its forks.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use imgasm_fs::{FileType, Timestamp};

use crate::format::checksum::{seal_checksum, verify_checksum};
use crate::format::geometry::Geometry;
use crate::format::numbers::{GroupInode, InodeNumber};

/// `IN`.
pub(crate) const MAGIC: u16 = 0x494e;
const CRC_OFFSET: usize = 100;
/// The offset of the next inode in a list of unlinked ones, and the offset of the attribute fork's
/// place.
pub(crate) const NEXT_UNLINKED: usize = 96;
pub(crate) const FORK_OFFSET: usize = 82;
/// Bytes of the core before version 3.
const V2_LEN: usize = 100;

/// Bits of `di_flags`.
pub(crate) mod flags {
    pub(crate) const REALTIME: u16 = 0x0001;
    pub(crate) const PREALLOCATED: u16 = 0x0002;
    /// The inode of the realtime section's bitmap.
    pub(crate) const NEW_BITMAP: u16 = 0x0004;
    pub(crate) const IMMUTABLE: u16 = 0x0008;
    pub(crate) const APPEND_ONLY: u16 = 0x0010;
    pub(crate) const SYNC: u16 = 0x0020;
    pub(crate) const NO_ATIME: u16 = 0x0040;
    pub(crate) const NO_DUMP: u16 = 0x0080;
    pub(crate) const INHERIT_REALTIME: u16 = 0x0100;
    pub(crate) const INHERIT_PROJECT: u16 = 0x0200;
    /// `di_extsize` is used: for the file itself, and for new ones in the directory.
    pub(crate) const EXTENT_SIZE: u16 = 0x0800;
    pub(crate) const INHERIT_EXTENT_SIZE: u16 = 0x1000;
    pub(crate) const NO_DEFRAG: u16 = 0x2000;
    pub(crate) const FILE_STREAM: u16 = 0x4000;
    /// Those that a new file or directory takes from its directory as they are, unless the kernel was
    /// told otherwise (`/proc/sys/fs/xfs/inherit_*`).
    pub(crate) const INHERITED: u16 = SYNC | NO_ATIME | NO_DUMP | NO_DEFRAG | FILE_STREAM;
    /// Those that a new directory takes as well.
    pub(crate) const INHERITED_BY_DIRECTORIES: u16 =
        INHERIT_REALTIME | INHERIT_PROJECT | INHERIT_EXTENT_SIZE;
}

/// Bits of `di_flags2`.
pub(crate) mod flags2 {
    use crate::format::features::Features;

    pub(crate) const DAX: u64 = 0x1;
    pub(crate) const REFLINK: u64 = 0x2;
    /// `di_cowextsize` is used.
    pub(crate) const COW_EXTENT_SIZE: u64 = 0x4;
    pub(crate) const BIGTIME: u64 = 0x8;
    pub(crate) const NREXT64: u64 = 0x10;

    /// The flags of a new inode.
    pub(crate) fn of_new(features: Features) -> u64 {
        let bigtime = if features.bigtime { BIGTIME } else { 0 };
        let nrext64 = if features.nrext64 { NREXT64 } else { 0 };
        bigtime | nrext64
    }
}

/// How a fork is stored (`di_format`, `di_aformat`).
pub(crate) mod format {
    pub(crate) const DEVICE: u8 = 0;
    pub(crate) const LOCAL: u8 = 1;
    pub(crate) const EXTENTS: u8 = 2;
    pub(crate) const TREE: u8 = 3;
}

/// The core as it lies on the disk; before version 3 it ends after `next_unlinked`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "they are the kernel's")]
pub(crate) struct Core {
    pub(crate) di_magic: U16,
    pub(crate) di_mode: U16,
    pub(crate) di_version: u8,
    pub(crate) di_format: u8,
    pub(crate) di_onlink: U16,
    pub(crate) di_uid: U32,
    pub(crate) di_gid: U32,
    pub(crate) di_nlink: U32,
    pub(crate) di_projid_lo: U16,
    pub(crate) di_projid_hi: U16,
    /// The number of extents of the data fork if [`flags2::NREXT64`] is set.
    di_big_nextents: U64,
    di_atime: U64,
    di_mtime: U64,
    di_ctime: U64,
    pub(crate) di_size: U64,
    /// Blocks of both forks, trees included.
    pub(crate) di_nblocks: U64,
    pub(crate) di_extsize: U32,
    /// Extents of the data fork, or of the attribute fork if [`flags2::NREXT64`] is set.
    di_nextents: U32,
    di_anextents: U16,
    /// Where the attribute fork starts, in units of eight bytes; 0 if there is none.
    pub(crate) di_forkoff: u8,
    pub(crate) di_aformat: u8,
    di_dmevmask: U32,
    di_dmstate: U16,
    pub(crate) di_flags: U16,
    pub(crate) di_gen: U32,
    pub(crate) di_next_unlinked: U32,
    /// Little-endian.
    di_crc: [u8; 4],
    pub(crate) di_changecount: U64,
    pub(crate) di_lsn: U64,
    pub(crate) di_flags2: U64,
    pub(crate) di_cowextsize: U32,
    di_pad2: [u8; 12],
    di_crtime: U64,
    pub(crate) di_ino: U64,
    pub(crate) di_uuid: [u8; 16],
}

/// Bytes of a version 3 core.
pub(crate) const V3_LEN: usize = size_of::<Core>();

/// One of the times in a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Accessed,
    Modified,
    Changed,
    Created,
}

/// Seconds between the first moment of the `bigtime` form and 1970.
const BIGTIME_EPOCH: i64 = 1 << 31;
const NANOSECONDS: u64 = 1_000_000_000;

impl Core {
    /// A core with nothing in it, of version 3.
    pub(crate) fn empty(geometry: &Geometry, number: InodeNumber) -> Self {
        let mut core: Self = <Self as zerocopy::FromZeros>::new_zeroed();
        core.di_magic = MAGIC.into();
        core.di_version = 3;
        core.di_format = format::EXTENTS;
        core.di_aformat = format::EXTENTS;
        core.di_next_unlinked = GroupInode::NONE.0.into();
        core.di_ino = number.0.into();
        core.di_uuid = geometry.metadata_uuid;
        core
    }

    fn has(&self, flag: u64) -> bool {
        self.di_version >= 3 && self.di_flags2.get() & flag != 0
    }

    /// One of the times; inodes before version 3 have no time of creation.
    pub(crate) fn time(&self, which: Time) -> Timestamp {
        let raw = match which {
            Time::Accessed => self.di_atime,
            Time::Modified => self.di_mtime,
            Time::Changed => self.di_ctime,
            Time::Created => self.di_crtime,
        }
        .get();
        if self.has(flags2::BIGTIME) {
            let seconds = i64::try_from(raw / NANOSECONDS).expect("fewer than 2^35");
            Timestamp {
                seconds: seconds - BIGTIME_EPOCH,
                nanoseconds: u32::try_from(raw % NANOSECONDS).expect("below 10^9"),
            }
        } else {
            let seconds = u32::try_from(raw >> 32).expect("32 bits");
            let nanoseconds = u32::try_from(raw & 0xffff_ffff).expect("32 bits");
            Timestamp {
                seconds: i64::from(seconds.cast_signed()),
                nanoseconds,
            }
        }
    }

    /// Sets one of the times, as close as the inode's form can store it; the first and the last
    /// second of its range have no nanoseconds, as in the kernel for every filesystem.
    pub(crate) fn set_time(&mut self, which: Time, time: Timestamp) {
        let bigtime = self.has(flags2::BIGTIME);
        let (first, last) = if bigtime {
            // Quotas have units of four seconds, and so the kernel ends here (`XFS_BIGTIME_TIME_MAX`).
            let last = i64::try_from((u64::MAX / NANOSECONDS) & !3).expect("fewer than 2^35");
            (-BIGTIME_EPOCH, last - BIGTIME_EPOCH)
        } else {
            (i64::from(i32::MIN), i64::from(i32::MAX))
        };
        let seconds = time.seconds.clamp(first, last);
        let nanoseconds = if seconds == first || seconds == last {
            0
        } else {
            u64::from(time.nanoseconds)
        };
        let raw = if bigtime {
            (seconds + BIGTIME_EPOCH).cast_unsigned() * NANOSECONDS + nanoseconds
        } else {
            (seconds.cast_unsigned() & 0xffff_ffff) << 32 | nanoseconds
        }
        .into();
        match which {
            Time::Accessed => self.di_atime = raw,
            Time::Modified => self.di_mtime = raw,
            Time::Changed => self.di_ctime = raw,
            Time::Created => self.di_crtime = raw,
        }
    }

    /// Gives the inode the wider form of times, as the kernel does with inodes that it changes.
    pub(crate) fn use_bigtime(&mut self) {
        const ALL: [Time; 4] = [Time::Accessed, Time::Modified, Time::Changed, Time::Created];
        if !self.has(flags2::BIGTIME) {
            let times = ALL.map(|which| self.time(which));
            self.di_flags2 = (self.di_flags2.get() | flags2::BIGTIME).into();
            for (which, time) in ALL.into_iter().zip(times) {
                self.set_time(which, time);
            }
        }
    }

    /// Takes from the directory that it is made in what the kernel has a new node take
    /// (`xfs_inode_inherit_flags`, `xfs_inode_inherit_flags2`).
    pub(crate) fn inherit(&mut self, directory: &Self, file_type: FileType) {
        let above = directory.di_flags.get();
        if above & flags::INHERIT_PROJECT != 0 {
            self.di_projid_lo = directory.di_projid_lo;
            self.di_projid_hi = directory.di_projid_hi;
        }
        let mut flags = above & flags::INHERITED;
        let hint = above & flags::INHERIT_EXTENT_SIZE != 0;
        match file_type {
            FileType::Directory => flags |= above & flags::INHERITED_BY_DIRECTORIES,
            FileType::Regular if hint => flags |= flags::EXTENT_SIZE,
            FileType::Regular => {}
            _ => return,
        }
        if hint {
            self.di_extsize = directory.di_extsize;
        }
        self.di_flags = (self.di_flags.get() | flags).into();
        if self.di_version >= 3 {
            let above = directory.di_flags2.get() & (flags2::DAX | flags2::COW_EXTENT_SIZE);
            self.di_flags2 = (self.di_flags2.get() | above).into();
            if above & flags2::COW_EXTENT_SIZE != 0 {
                self.di_cowextsize = directory.di_cowextsize;
            }
        }
    }

    /// The project that it belongs to.
    pub(crate) fn project(&self) -> u32 {
        u32::from(self.di_projid_hi.get()) << 16 | u32::from(self.di_projid_lo.get())
    }

    /// What is wrong with an inode in use, although it can be read.
    pub(crate) fn contradiction(&self, geometry: &Geometry, file_type: FileType) -> Option<String> {
        const BELOW_SECOND: u64 = 0xffff_ffff;
        let flags = self.di_flags.get();
        let hint = self.di_extsize.get();
        let own = flags & flags::EXTENT_SIZE != 0;
        let inherited = flags & flags::INHERIT_EXTENT_SIZE != 0;
        let bad_hint = (own && file_type != FileType::Regular)
            || (inherited && file_type != FileType::Directory)
            || ((own || inherited) != (hint != 0))
            || hint > geometry.group_blocks / 2;
        let times = [self.di_atime, self.di_mtime, self.di_ctime, self.di_crtime];
        let known = if self.di_version >= 3 { 4 } else { 3 };
        let bad_time = !self.has(flags2::BIGTIME)
            && times[..known]
                .iter()
                .any(|time| time.get() & BELOW_SECOND >= NANOSECONDS);
        if self.link_count() > 0
            && self.di_next_unlinked.get() != GroupInode::NONE.0
            && self.di_version >= 3
        {
            Some("it has a name, but is in a list of those without".to_owned())
        } else if bad_hint {
            Some(format!("extent size hint {hint} with flags {flags:#x}"))
        } else if bad_time {
            Some("a time with more than 999,999,999 nanoseconds".to_owned())
        } else {
            None
        }
    }

    /// Extents of the data fork and of the attribute fork.
    pub(crate) fn extent_counts(&self) -> (u64, u64) {
        if self.has(flags2::NREXT64) {
            (
                self.di_big_nextents.get(),
                u64::from(self.di_nextents.get()),
            )
        } else {
            (
                u64::from(self.di_nextents.get()),
                u64::from(self.di_anextents.get()),
            )
        }
    }

    /// Sets the numbers of extents; false if the inode's form cannot hold them.
    #[must_use]
    pub(crate) fn set_extent_counts(&mut self, data: u64, attributes: u64) -> bool {
        if self.has(flags2::NREXT64) {
            let Ok(attributes) = u32::try_from(attributes) else {
                return false;
            };
            self.di_big_nextents = data.into();
            self.di_nextents = attributes.into();
        } else {
            let Ok(data) = i32::try_from(data) else {
                return false;
            };
            let Ok(attributes) = i16::try_from(attributes) else {
                return false;
            };
            self.di_nextents = data.cast_unsigned().into();
            self.di_anextents = attributes.cast_unsigned().into();
        }
        true
    }

    /// What the inode is.
    pub(crate) fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.di_mode.get())
    }

    /// Number of names.
    pub(crate) fn link_count(&self) -> u32 {
        if self.di_version == 1 {
            u32::from(self.di_onlink.get())
        } else {
            self.di_nlink.get()
        }
    }
}

/// Bytes of an inode's core by its version.
pub(crate) fn core_len(core: &Core) -> usize {
    if core.di_version >= 3 { V3_LEN } else { V2_LEN }
}

/// Bytes that both forks share in an inode of version 3.
pub(crate) fn literal_len(geometry: &Geometry) -> usize {
    geometry.inode_size as usize - V3_LEN
}

/// Decodes the core of an inode, in use or not.
pub(crate) fn decode_core(
    geometry: &Geometry,
    number: InodeNumber,
    bytes: &[u8],
) -> Result<Core, String> {
    let (mut core, _) = Core::read_from_prefix(bytes).expect("inodes have 256 bytes or more");
    if core.di_magic.get() != MAGIC {
        return Err(format!("magic number {:#06x}", core.di_magic));
    }
    if geometry.features.crc {
        if core.di_version != 3 {
            return Err(format!("version {}", core.di_version));
        }
        verify_checksum(bytes, CRC_OFFSET)?;
        if core.di_ino.get() != number.0 {
            return Err(format!("it says it is inode {}", core.di_ino));
        }
        if core.di_uuid != geometry.metadata_uuid {
            return Err("it has the UUID of another filesystem".to_owned());
        }
    } else {
        if !(1..=2).contains(&core.di_version) {
            return Err(format!("version {}", core.di_version));
        }
        core.as_mut_bytes()[V2_LEN..].fill(0);
        if core.di_version == 1 {
            core.di_projid_lo = 0.into();
            core.di_projid_hi = 0.into();
        }
    }
    Ok(core)
}

/// Encodes a version 3 inode: the core and, at their offsets, the forks' bytes.
pub(crate) fn encode(geometry: &Geometry, core: &Core, data: &[u8], attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; geometry.inode_size as usize];
    bytes[..V3_LEN].copy_from_slice(core.as_bytes());
    bytes[V3_LEN..V3_LEN + data.len()].copy_from_slice(data);
    if core.di_forkoff != 0 {
        let at = V3_LEN + usize::from(core.di_forkoff) * 8;
        bytes[at..at + attributes.len()].copy_from_slice(attributes);
    }
    seal(&mut bytes);
    bytes
}

/// Stores the checksum of a finished version 3 inode.
pub(crate) fn seal(bytes: &mut [u8]) {
    seal_checksum(bytes, CRC_OFFSET);
}
