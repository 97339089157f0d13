//! Block group descriptors of 32 or 64 bytes. Kernel documentation, ext4, "Block Group
//! Descriptors".

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, FsSeed, high_half, join_halves, low_half};
use super::features::Features;
use super::numbers::{BlockNumber, GroupNumber, to_usize};
use crate::problem::{Decoded, Problem};

/// Bytes of a descriptor without `64bit`.
pub const LEN_32: u16 = 32;
/// Bytes of a descriptor that we know with `64bit`; larger ones have unknown bytes after these.
pub const LEN_64: u16 = 64;
/// Bit of `bg_flags`: the inode bitmap is not initialised and no inode is in use.
pub const INODE_UNINIT: u16 = 1;
/// Bit of `bg_flags`: the block bitmap is not initialised and only metadata is in use.
pub const BLOCK_UNINIT: u16 = 2;
/// Bit of `bg_flags`: the inode table is all zeros if it is not used.
pub const INODE_ZEROED: u16 = 4;
/// Where `bg_checksum` lies.
const CHECKSUM_AT: usize = 0x1e;

/// A group descriptor as it lies on the disk; the fields named `_hi` are zero with 32 bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "the format's own names")]
pub struct GroupDescriptor {
    pub bg_block_bitmap_lo: U32,
    pub bg_inode_bitmap_lo: U32,
    pub bg_inode_table_lo: U32,
    pub bg_free_blocks_count_lo: U16,
    pub bg_free_inodes_count_lo: U16,
    pub bg_used_dirs_count_lo: U16,
    pub bg_flags: U16,
    pub bg_exclude_bitmap_lo: U32,
    pub bg_block_bitmap_csum_lo: U16,
    pub bg_inode_bitmap_csum_lo: U16,
    pub bg_itable_unused_lo: U16,
    pub bg_checksum: U16,
    pub bg_block_bitmap_hi: U32,
    pub bg_inode_bitmap_hi: U32,
    pub bg_inode_table_hi: U32,
    pub bg_free_blocks_count_hi: U16,
    pub bg_free_inodes_count_hi: U16,
    pub bg_used_dirs_count_hi: U16,
    pub bg_itable_unused_hi: U16,
    pub bg_exclude_bitmap_hi: U32,
    pub bg_block_bitmap_csum_hi: U16,
    pub bg_inode_bitmap_csum_hi: U16,
    pub bg_reserved: U32,
}

const _: () = assert!(size_of::<GroupDescriptor>() == 64);

/// Makes a getter and a setter for a number in two halves. With 32-byte descriptors the high half
/// reads as zero and is not written; no valid number needs it then.
macro_rules! halves {
    ($($get:ident, $set:ident: $lo:ident, $hi:ident;)+) => {
        $(
            #[doc = concat!("`", stringify!($lo), "` with its high half.")]
            pub fn $get(&self) -> u32 {
                join_halves(self.$lo.get(), self.$hi.get())
            }

            #[doc = concat!("Sets `", stringify!($lo), "` and its high half.")]
            pub fn $set(&mut self, value: u32) {
                self.$lo = U16::new(low_half(value));
                self.$hi = U16::new(high_half(value));
            }
        )+
    };
}

impl GroupDescriptor {
    /// Decodes a descriptor. `bytes` has the superblock's descriptor size.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut descriptor = Self::new_zeroed();
        let known = bytes.len().min(to_usize(u32::from(LEN_64)));
        descriptor.as_mut_bytes()[..known].copy_from_slice(&bytes[..known]);
        descriptor
    }

    /// Puts the descriptor into its place, which has the superblock's descriptor size, with its
    /// checksum. Bytes behind those that we know stay.
    pub fn encode_into(
        &self,
        place: &mut [u8],
        group: GroupNumber,
        features: Features,
        seed: FsSeed,
        uuid: &[u8; 16],
    ) {
        let known = place.len().min(to_usize(u32::from(LEN_64)));
        place[..known].copy_from_slice(&self.as_bytes()[..known]);
        if let Some(crc) = group_checksum(place, group, features, seed, uuid) {
            super::put_u16(place, CHECKSUM_AT, crc);
        }
    }

    /// Checks the checksum of a descriptor in its place.
    pub fn verify(
        place: &[u8],
        group: GroupNumber,
        features: Features,
        seed: FsSeed,
        uuid: &[u8; 16],
    ) -> Decoded<()> {
        let seen = super::read_u16(place, CHECKSUM_AT);
        match group_checksum(place, group, features, seed, uuid) {
            Some(expected) if expected != seen => Err(Problem::new(format!(
                "descriptor checksum is {seen:#06x}, computed {expected:#06x}"
            ))),
            _ => Ok(()),
        }
    }

    /// Where the block bitmap lies.
    pub fn block_bitmap(&self) -> BlockNumber {
        join_block(self.bg_block_bitmap_lo, self.bg_block_bitmap_hi)
    }

    /// Where the inode bitmap lies.
    pub fn inode_bitmap(&self) -> BlockNumber {
        join_block(self.bg_inode_bitmap_lo, self.bg_inode_bitmap_hi)
    }

    /// Where the inode table begins.
    pub fn inode_table(&self) -> BlockNumber {
        join_block(self.bg_inode_table_lo, self.bg_inode_table_hi)
    }

    /// Whether `bg_flags` has a bit.
    pub fn has_flag(&self, flag: u16) -> bool {
        self.bg_flags.get() & flag != 0
    }

    /// Clears a bit of `bg_flags`.
    pub fn clear_flag(&mut self, flag: u16) {
        self.bg_flags = U16::new(self.bg_flags.get() & !flag);
    }

    halves! {
        free_blocks_count, set_free_blocks_count: bg_free_blocks_count_lo, bg_free_blocks_count_hi;
        free_inodes_count, set_free_inodes_count: bg_free_inodes_count_lo, bg_free_inodes_count_hi;
        used_dirs_count, set_used_dirs_count: bg_used_dirs_count_lo, bg_used_dirs_count_hi;
        itable_unused, set_itable_unused: bg_itable_unused_lo, bg_itable_unused_hi;
        block_bitmap_csum, set_block_bitmap_csum: bg_block_bitmap_csum_lo, bg_block_bitmap_csum_hi;
        inode_bitmap_csum, set_inode_bitmap_csum: bg_inode_bitmap_csum_lo, bg_inode_bitmap_csum_hi;
    }
}

fn join_block(low: U32, high: U32) -> BlockNumber {
    BlockNumber(u64::from(low.get()) | u64::from(high.get()) << 32)
}

/// The checksum of a descriptor, if the filesystem has one.
fn group_checksum(
    place: &[u8],
    group: GroupNumber,
    features: Features,
    seed: FsSeed,
    uuid: &[u8; 16],
) -> Option<u16> {
    if features.metadata_csum() {
        Some(seed.group(group, place, CHECKSUM_AT))
    } else if features.group_checksums() {
        Some(checksum::crc16(&[
            uuid,
            &group.0.to_le_bytes(),
            &place[..CHECKSUM_AT],
            &place[CHECKSUM_AT + 2..],
        ]))
    } else {
        None
    }
}
