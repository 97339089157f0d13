//! Inodes: 128 bytes that all have, then as many as `i_extra_isize` says, then room for extended
//! attributes. Kernel documentation, ext4, "Index Nodes".

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{FsSeed, InodeSeed, high_half, join_halves, low_half};
use super::numbers::{BlockNumber, BlockSize, InodeNumber, halves, to_usize};
use super::{put_u16, put_u32, read_u16, read_u32, time};
use crate::problem::{Decoded, Problem};
use imgasm_fs::types::{FileType, Timestamp};

/// Bytes of an inode that all filesystems have.
pub const HEAD_LEN: usize = 128;
/// Bytes of `i_block`.
pub const I_BLOCK_LEN: usize = 60;
/// Bytes of the fields that we know after the first 128: the `i_extra_isize` of a new inode.
pub const EXTRA_LEN: u16 = 32;

/// Bits of `i_flags`.
pub mod flags {
    /// Must not be changed.
    pub const IMMUTABLE: u32 = 0x10;
    /// Can only grow.
    pub const APPEND: u32 = 0x20;
    /// Of an AFS server (`imagic_inodes`).
    pub const IMAGIC: u32 = 0x2000;
    /// Encrypted.
    pub const ENCRYPT: u32 = 0x800;
    /// A directory with a hash index.
    pub const INDEX: u32 = 0x1000;
    /// `i_blocks` counts filesystem blocks, not sectors.
    pub const HUGE_FILE: u32 = 0x4_0000;
    /// `i_block` holds the root of an extent tree.
    pub const EXTENTS: u32 = 0x8_0000;
    /// Sealed by fs-verity.
    pub const VERITY: u32 = 0x10_0000;
    /// New nodes in the directory belong to its project.
    pub const PROJINHERIT: u32 = 0x2000_0000;
    /// Flags that new nodes inherit from their directory: those of `chattr +suc…`, as in the
    /// kernel's `EXT4_FL_INHERITED`.
    pub const INHERITED: u32 = 0x1
        | 0x2
        | 0x4
        | 0x8
        | 0x40
        | 0x80
        | 0x400
        | 0x4000
        | 0x8000
        | 0x1_0000
        | 0x0200_0000
        | PROJINHERIT
        | CASEFOLD;
    /// The inherited flags that only directories have.
    pub const OF_DIRECTORIES: u32 = 0x1_0000 | PROJINHERIT | CASEFOLD;
    /// The inherited flags of nodes that are neither files nor directories.
    pub const OF_OTHERS: u32 = 0x40 | 0x80;
    /// Holds the value of an extended attribute.
    pub const EA_INODE: u32 = 0x20_0000;
    /// Content lies in `i_block` and the inode's extended attributes.
    pub const INLINE_DATA: u32 = 0x1000_0000;
    /// A directory whose names ignore case.
    pub const CASEFOLD: u32 = 0x4000_0000;
}

/// The first 128 bytes as they lie on the disk.
#[derive(Debug, Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "the format's own names")]
pub struct InodeHead {
    pub i_mode: U16,
    pub i_uid: U16,
    pub i_size_lo: U32,
    pub i_atime: U32,
    pub i_ctime: U32,
    pub i_mtime: U32,
    pub i_dtime: U32,
    pub i_gid: U16,
    pub i_links_count: U16,
    pub i_blocks_lo: U32,
    pub i_flags: U32,
    pub i_version: U32,
    pub i_block: [u8; I_BLOCK_LEN],
    pub i_generation: U32,
    pub i_file_acl_lo: U32,
    pub i_size_high: U32,
    pub i_obso_faddr: U32,
    pub i_blocks_high: U16,
    pub i_file_acl_high: U16,
    pub i_uid_high: U16,
    pub i_gid_high: U16,
    pub i_checksum_lo: U16,
    pub i_reserved: U16,
}

const _: () = assert!(size_of::<InodeHead>() == HEAD_LEN);

/// Where `i_checksum_lo` lies in the head.
const CHECKSUM_LO_AT: usize = 0x7c;

/// Fields behind the first 128 bytes, by their offset from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Half of the checksum; 16 bits.
    ChecksumHalf = 2,
    /// More of the time of change.
    ChangedMore = 4,
    /// More of the time of modification.
    ModifiedMore = 8,
    /// More of the time of access.
    AccessedMore = 12,
    /// Seconds of the time of creation.
    Created = 16,
    /// More of the time of creation.
    CreatedMore = 20,
    /// The project.
    Project = 28,
}

/// Which of an inode's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeField {
    /// Last read.
    Accessed,
    /// Content last changed.
    Modified,
    /// Inode last changed.
    Changed,
}

/// An inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// The first 128 bytes.
    pub head: InodeHead,
    /// The rest, up to the inode size.
    tail: Vec<u8>,
}

impl Inode {
    /// An inode of zeros, with `inode_size` bytes, at least 128.
    pub fn new(inode_size: u16) -> Self {
        let len = to_usize(u32::from(inode_size));
        Self {
            head: InodeHead::new_zeroed(),
            tail: vec![0; len.saturating_sub(HEAD_LEN)],
        }
    }

    /// Decodes an inode and checks that its extra size lies within it. `bytes` has the superblock's
    /// inode size, at least 128.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut head = InodeHead::new_zeroed();
        head.as_mut_bytes().copy_from_slice(&bytes[..HEAD_LEN]);
        let inode = Self {
            head,
            tail: bytes[HEAD_LEN..].to_vec(),
        };
        let extra = inode.extra_isize();
        if extra > inode.tail.len() || !extra.is_multiple_of(4) {
            return Err(Problem::new(format!(
                "i_extra_isize is {extra}, expected a multiple of 4 up to {}",
                inode.tail.len()
            )));
        }
        Ok(inode)
    }

    /// The bytes of the inode.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + self.tail.len());
        bytes.extend_from_slice(self.head.as_bytes());
        bytes.extend_from_slice(&self.tail);
        bytes
    }

    /// The seed of the checksums of this inode and of its blocks.
    pub fn seed(&self, fs: FsSeed, number: InodeNumber) -> InodeSeed {
        fs.inode(number, self.head.i_generation.get())
    }

    /// The checksum that the inode should have; if it has no room for the high half, only the low
    /// 16 bits are stored.
    fn computed_checksum(&self, seed: InodeSeed) -> u32 {
        let head = self.head.as_bytes();
        let mut tail = self.tail.clone();
        if self.has_extra(Extra::ChecksumHalf) {
            put_u16(&mut tail, 2, 0);
        }
        seed.over(&[
            &head[..CHECKSUM_LO_AT],
            &[0; 2],
            &head[CHECKSUM_LO_AT + 2..],
            &tail,
        ])
    }

    /// Stores the checksum.
    pub fn set_checksum(&mut self, seed: InodeSeed) {
        let crc = self.computed_checksum(seed);
        self.head.i_checksum_lo = U16::new(low_half(crc));
        if self.has_extra(Extra::ChecksumHalf) {
            put_u16(&mut self.tail, 2, high_half(crc));
        }
    }

    /// Checks the checksum.
    pub fn verify_checksum(&self, seed: InodeSeed) -> Decoded<()> {
        let computed = self.computed_checksum(seed);
        let low = self.head.i_checksum_lo.get();
        let (seen, expected) = if self.has_extra(Extra::ChecksumHalf) {
            (join_halves(low, read_u16(&self.tail, 2)), computed)
        } else {
            (u32::from(low), u32::from(low_half(computed)))
        };
        if seen == expected {
            Ok(())
        } else {
            Err(Problem::new(format!(
                "inode checksum is {seen:#010x}, computed {expected:#010x}"
            )))
        }
    }

    /// Bytes of fields behind the first 128.
    pub fn extra_isize(&self) -> usize {
        if self.tail.len() < 2 {
            0
        } else {
            usize::from(read_u16(&self.tail, 0))
        }
    }

    /// Sets the number of bytes of fields behind the first 128; does nothing if there is no room.
    pub fn set_extra_isize(&mut self, size: u16) {
        if usize::from(size) <= self.tail.len() && size >= 4 {
            put_u16(&mut self.tail, 0, size);
        }
    }

    fn has_extra(&self, field: Extra) -> bool {
        let width = if field == Extra::ChecksumHalf { 2 } else { 4 };
        field as usize + width <= self.extra_isize()
    }

    /// A 32-bit field behind the first 128 bytes, if the inode has it.
    pub fn extra(&self, field: Extra) -> Option<u32> {
        self.has_extra(field)
            .then(|| read_u32(&self.tail, field as usize))
    }

    /// Sets a 32-bit field behind the first 128 bytes, if the inode has it.
    pub fn set_extra(&mut self, field: Extra, value: u32) {
        if self.has_extra(field) {
            put_u32(&mut self.tail, field as usize, value);
        }
    }

    /// The room for extended attributes, behind the fields; empty if there is none.
    pub fn xattr_area(&self) -> &[u8] {
        match self.extra_isize() {
            0 => &[],
            extra => &self.tail[extra..],
        }
    }

    /// The room for extended attributes, to be changed.
    pub fn xattr_area_mut(&mut self) -> &mut [u8] {
        match self.extra_isize() {
            0 => &mut [],
            extra => &mut self.tail[extra..],
        }
    }

    /// The project that it belongs to (`i_projid`): 0 if it does not store one.
    pub fn project(&self) -> u32 {
        self.extra(Extra::Project).unwrap_or(0)
    }

    /// The file type in the mode.
    pub fn file_type(&self) -> Decoded<FileType> {
        let mode = self.head.i_mode.get();
        FileType::from_mode(mode)
            .ok_or_else(|| Problem::new(format!("mode is {mode:#o}, which names no file type")))
    }

    /// Whether `i_flags` has a bit.
    pub fn has_flag(&self, flag: u32) -> bool {
        self.head.i_flags.get() & flag != 0
    }

    /// Sets a bit of `i_flags`.
    pub fn set_flag(&mut self, flag: u32) {
        self.head.i_flags = U32::new(self.head.i_flags.get() | flag);
    }

    /// Clears a bit of `i_flags`.
    pub fn clear_flag(&mut self, flag: u32) {
        self.head.i_flags = U32::new(self.head.i_flags.get() & !flag);
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        join_halves(self.head.i_uid.get(), self.head.i_uid_high.get())
    }

    /// Sets the owner.
    pub fn set_uid(&mut self, uid: u32) {
        self.head.i_uid = U16::new(low_half(uid));
        self.head.i_uid_high = U16::new(high_half(uid));
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        join_halves(self.head.i_gid.get(), self.head.i_gid_high.get())
    }

    /// Sets the group.
    pub fn set_gid(&mut self, gid: u32) {
        self.head.i_gid = U16::new(low_half(gid));
        self.head.i_gid_high = U16::new(high_half(gid));
    }

    /// Size in bytes. Only regular files have a high half; old directories keep other things there.
    pub fn size(&self) -> u64 {
        let high = match FileType::from_mode(self.head.i_mode.get()) {
            Some(FileType::Regular) => self.head.i_size_high.get(),
            _ => 0,
        };
        u64::from(self.head.i_size_lo.get()) | u64::from(high) << 32
    }

    /// Sets the size in bytes; only a regular file can have 4 GiB or more.
    pub fn set_size(&mut self, size: u64) {
        let (low, high) = halves(size);
        self.head.i_size_lo = U32::new(low);
        self.head.i_size_high = U32::new(high);
    }

    /// Sectors of 512 bytes that the inode uses, for data and for metadata of its own.
    pub fn sectors(&self, block_size: BlockSize) -> u64 {
        let stored =
            u64::from(self.head.i_blocks_lo.get()) | u64::from(self.head.i_blocks_high.get()) << 32;
        if self.has_flag(flags::HUGE_FILE) {
            stored.saturating_mul(block_size.sectors())
        } else {
            stored
        }
    }

    /// Sets the number of sectors, which is a multiple of a block's. More than 32 bits need
    /// `huge_file`, and more than 48 bits its other unit; `None` if it cannot be stored.
    #[must_use]
    pub fn set_sectors(
        &mut self,
        sectors: u64,
        block_size: BlockSize,
        huge_file: bool,
    ) -> Option<()> {
        let stored = if sectors < 1 << 32 || (huge_file && sectors < 1 << 48) {
            self.clear_flag(flags::HUGE_FILE);
            sectors
        } else if huge_file {
            self.set_flag(flags::HUGE_FILE);
            sectors / block_size.sectors()
        } else {
            return None;
        };
        let (low, high) = halves(stored);
        self.head.i_blocks_lo = U32::new(low);
        self.head.i_blocks_high = U16::new(low_half(high));
        Some(())
    }

    /// The block of extended attributes, if there is one.
    pub fn xattr_block(&self) -> Option<BlockNumber> {
        let block = u64::from(self.head.i_file_acl_lo.get())
            | u64::from(self.head.i_file_acl_high.get()) << 32;
        (block != 0).then_some(BlockNumber(block))
    }

    /// Sets the block of extended attributes.
    pub fn set_xattr_block(&mut self, block: Option<BlockNumber>) {
        let (low, high) = halves(block.map_or(0, |block| block.0));
        self.head.i_file_acl_lo = U32::new(low);
        self.head.i_file_acl_high = U16::new(low_half(high));
    }

    /// One of the times.
    pub fn time(&self, field: TimeField) -> Timestamp {
        let (seconds, extra) = match field {
            TimeField::Accessed => (self.head.i_atime, Extra::AccessedMore),
            TimeField::Modified => (self.head.i_mtime, Extra::ModifiedMore),
            TimeField::Changed => (self.head.i_ctime, Extra::ChangedMore),
        };
        time::decode(seconds.get(), self.extra(extra))
    }

    /// Sets one of the times.
    pub fn set_time(&mut self, field: TimeField, to: Timestamp) {
        let extra = match field {
            TimeField::Accessed => Extra::AccessedMore,
            TimeField::Modified => Extra::ModifiedMore,
            TimeField::Changed => Extra::ChangedMore,
        };
        let (seconds, more) = time::encode(to, self.has_extra(extra));
        match field {
            TimeField::Accessed => self.head.i_atime = U32::new(seconds),
            TimeField::Modified => self.head.i_mtime = U32::new(seconds),
            TimeField::Changed => self.head.i_ctime = U32::new(seconds),
        }
        self.set_extra(extra, more);
    }

    /// The time of creation, if the inode has it.
    pub fn created(&self) -> Option<Timestamp> {
        let seconds = self.extra(Extra::Created)?;
        Some(time::decode(seconds, self.extra(Extra::CreatedMore)))
    }

    /// Sets the time of creation, if the inode has it.
    pub fn set_created(&mut self, to: Timestamp) {
        let (seconds, more) = time::encode(to, self.has_extra(Extra::CreatedMore));
        self.set_extra(Extra::Created, seconds);
        self.set_extra(Extra::CreatedMore, more);
    }
}
