//! What the blocks of a jbd2 journal mean. All numbers are big-endian.
//!
//! Kernel documentation, ext4, "Journal (jbd2)".

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::checksum::crc32c;

/// `h_magic` of every block that the journal itself owns.
pub const MAGIC: u32 = 0xc03b_3998;

/// `h_blocktype` of a descriptor block: the homes of the data blocks that follow it.
pub const DESCRIPTOR_BLOCK: u32 = 1;
/// `h_blocktype` of a commit block: the end of a transaction.
pub const COMMIT_BLOCK: u32 = 2;
/// `h_blocktype` of the first version of the journal superblock, which has no feature fields.
pub const SUPERBLOCK_V1: u32 = 3;
/// `h_blocktype` of the second version of the journal superblock.
pub const SUPERBLOCK_V2: u32 = 4;
/// `h_blocktype` of a revoke block: homes that older data must not be written to.
pub const REVOKE_BLOCK: u32 = 5;

/// `JBD2_FEATURE_COMPAT_CHECKSUM`: commit blocks carry a CRC-32 over the transaction.
pub const COMPAT_CHECKSUM: u32 = 0x1;
/// `JBD2_FEATURE_INCOMPAT_REVOKE`: revoke blocks occur.
pub const INCOMPAT_REVOKE: u32 = 0x1;
/// `JBD2_FEATURE_INCOMPAT_64BIT`: block numbers have 64 bits.
pub const INCOMPAT_64BIT: u32 = 0x2;
/// `JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT`: a commit block may reach the disk before what it commits.
pub const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
/// `JBD2_FEATURE_INCOMPAT_CSUM_V2`: journal blocks and, in 16 bits, data blocks have a CRC-32C.
pub const INCOMPAT_CSUM_V2: u32 = 0x8;
/// `JBD2_FEATURE_INCOMPAT_CSUM_V3`: the same with all 32 bits for data blocks.
pub const INCOMPAT_CSUM_V3: u32 = 0x10;
/// `JBD2_FEATURE_INCOMPAT_FAST_COMMIT`: the end of the journal holds fast commits.
pub const INCOMPAT_FAST_COMMIT: u32 = 0x20;

/// The features that a replay supports.
pub const KNOWN_INCOMPAT: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;

/// `JBD2_CRC32_CHKSUM`: `h_chksum_type` of a commit block with a CRC-32 over its transaction.
pub const CHECKSUM_CRC32: u8 = 1;
/// `JBD2_CRC32C_CHKSUM`: the `s_checksum_type` that goes with checksums of version 2 and 3.
pub const CHECKSUM_CRC32C: u8 = 4;

/// Fast commit blocks if `s_num_fc_blks` is zero.
const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;

/// Bytes of the journal superblock.
pub const SUPERBLOCK_LEN: usize = 1024;

/// The first bytes of every block that the journal itself owns (`journal_header_s`).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "the kernel's own names")]
pub struct BlockHeader {
    /// [`MAGIC`].
    pub h_magic: U32,
    /// [`DESCRIPTOR_BLOCK`] and its siblings.
    pub h_blocktype: U32,
    /// The transaction that the block belongs to.
    pub h_sequence: U32,
}

/// The superblock in block 0 of the journal (`journal_superblock_s`).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct JournalSuperblock {
    /// Magic, [`SUPERBLOCK_V1`] or [`SUPERBLOCK_V2`]; its sequence number means nothing.
    pub header: BlockHeader,
    /// Bytes in a block.
    pub s_blocksize: U32,
    /// Blocks in the journal.
    pub s_maxlen: U32,
    /// First block of the log.
    pub s_first: U32,
    /// First transaction that is expected in the log.
    pub s_sequence: U32,
    /// Block in which the log starts; 0 if it is empty.
    pub s_start: U32,
    /// Error that the journal was aborted with.
    pub s_errno: U32,
    /// Features that a replay may ignore.
    pub s_feature_compat: U32,
    /// Features that a replay must know.
    pub s_feature_incompat: U32,
    /// Features that a writer must know.
    pub s_feature_ro_compat: U32,
    /// Identity of the journal; seed of its checksums.
    pub s_uuid: [u8; 16],
    /// Filesystems that share the journal.
    pub s_nr_users: U32,
    /// Unused.
    pub s_dynsuper: U32,
    /// Unused.
    pub s_max_transaction: U32,
    /// Unused.
    pub s_max_trans_data: U32,
    /// [`CHECKSUM_CRC32C`] with checksums of version 2 and 3.
    pub s_checksum_type: u8,
    /// Unused.
    pub s_padding2: [u8; 3],
    /// Blocks at the end that are kept for fast commits; 0 stands for 256.
    pub s_num_fc_blks: U32,
    /// Block in which the next transaction starts, in a journal that is reused cyclically.
    pub s_head: U32,
    /// Unused.
    pub s_padding: [U32; 40],
    /// CRC-32C of these 1024 bytes with this field zero.
    pub s_checksum: U32,
    /// Identities of the filesystems that share the journal.
    pub s_users: [[u8; 16]; 48],
}

const _: () = assert!(size_of::<JournalSuperblock>() == SUPERBLOCK_LEN);

impl JournalSuperblock {
    /// The superblock of an empty journal of `blocks` blocks. The kernel turns features on when it
    /// mounts.
    pub fn fresh(block_size: u32, blocks: u32, uuid: [u8; 16]) -> Self {
        let mut superblock = Self::new_zeroed();
        superblock.header.h_magic = MAGIC.into();
        superblock.header.h_blocktype = SUPERBLOCK_V2.into();
        superblock.s_blocksize = block_size.into();
        superblock.s_maxlen = blocks.into();
        superblock.s_first = 1.into();
        superblock.s_sequence = 1.into();
        superblock.s_nr_users = 1.into();
        superblock.s_uuid = uuid;
        superblock
    }

    /// Decodes the first bytes of block 0 of the journal; `None` if there are too few.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let (superblock, _) = Self::read_from_prefix(block).ok()?;
        Some(superblock)
    }

    /// Whether it has the fields from `s_feature_compat` on.
    fn is_version_2(&self) -> bool {
        self.header.h_blocktype.get() == SUPERBLOCK_V2
    }

    /// Whether one of the incompatible features `bits` is on.
    pub fn has_incompat(&self, bits: u32) -> bool {
        self.is_version_2() && self.s_feature_incompat.get() & bits != 0
    }

    /// Whether one of the compatible features `bits` is on.
    pub fn has_compat(&self, bits: u32) -> bool {
        self.is_version_2() && self.s_feature_compat.get() & bits != 0
    }

    /// The incompatible features that a replay does not know.
    pub fn unknown_incompat(&self) -> u32 {
        if self.is_version_2() {
            self.s_feature_incompat.get() & !KNOWN_INCOMPAT
        } else {
            0
        }
    }

    /// Whether its blocks carry a CRC-32C.
    pub fn has_block_checksums(&self) -> bool {
        self.has_incompat(INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3)
    }

    /// The checksum that belongs in `s_checksum`.
    pub fn checksum(&self) -> u32 {
        let mut copy = *self;
        copy.s_checksum = U32::ZERO;
        crc32c(!0, copy.as_bytes())
    }

    /// The seed of the checksums of the journal's blocks.
    pub fn checksum_seed(&self) -> u32 {
        crc32c(!0, &self.s_uuid)
    }

    /// Blocks at the end of the journal that are kept for fast commits.
    pub fn fast_commit_blocks(&self) -> u32 {
        match (
            self.has_incompat(INCOMPAT_FAST_COMMIT),
            self.s_num_fc_blks.get(),
        ) {
            (false, _) => 0,
            (true, 0) => DEFAULT_FAST_COMMIT_BLOCKS,
            (true, blocks) => blocks,
        }
    }

    /// How descriptor and revoke blocks are laid out in this journal.
    pub fn layout(&self) -> Layout {
        Layout {
            block_numbers_64bit: self.has_incompat(INCOMPAT_64BIT),
            tag_checksum: if self.has_incompat(INCOMPAT_CSUM_V3) {
                TagChecksum::Full
            } else if self.has_incompat(INCOMPAT_CSUM_V2) {
                TagChecksum::Half
            } else {
                TagChecksum::None
            },
        }
    }
}

/// How much of a data block's checksum its tag holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagChecksum {
    /// Nothing.
    None,
    /// The low 16 bits (checksums of version 2).
    Half,
    /// All 32 bits (checksums of version 3).
    Full,
}

/// How descriptor and revoke blocks are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    block_numbers_64bit: bool,
    tag_checksum: TagChecksum,
}

/// `JBD2_FLAG_ESCAPE`: the data began with [`MAGIC`], which is zeroed in the journal.
const TAG_ESCAPED: u32 = 0x1;
/// `JBD2_FLAG_SAME_UUID`: no UUID follows the tag.
const TAG_SAME_UUID: u32 = 0x2;
/// `JBD2_FLAG_LAST_TAG`: the last tag of the block.
const TAG_LAST: u32 = 0x8;

/// Bytes of the UUID that follows a tag without `JBD2_FLAG_SAME_UUID`.
const TAG_UUID_LEN: usize = 16;

/// Bytes at the end of a descriptor or revoke block that hold its checksum.
const TAIL_LEN: usize = 4;

/// Where a data block of the log belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Its home in the filesystem.
    pub home: u64,
    /// Whether its first four bytes are zeroed in the log and must be made [`MAGIC`] again.
    pub escaped: bool,
    /// The part of its checksum that is stored.
    checksum: u32,
}

impl Layout {
    /// Bytes of a descriptor or revoke block before its checksum.
    fn body(self, block: &[u8]) -> &[u8] {
        match self.tag_checksum {
            TagChecksum::None => block,
            TagChecksum::Half | TagChecksum::Full => &block[..block.len().saturating_sub(TAIL_LEN)],
        }
    }

    /// The tags of a descriptor block, in the order of the data blocks that follow it.
    pub fn tags(self, block: &[u8]) -> Vec<Tag> {
        let mut rest = self
            .body(block)
            .get(size_of::<BlockHeader>()..)
            .unwrap_or_default();
        let mut tags = Vec::new();
        while let Some((tag, flags, after)) = self.tag(rest) {
            tags.push(tag);
            if flags & TAG_LAST != 0 {
                break;
            }
            rest = if flags & TAG_SAME_UUID == 0 {
                after.get(TAG_UUID_LEN..).unwrap_or_default()
            } else {
                after
            };
        }
        tags
    }

    /// The first tag, its flags and the bytes after it.
    fn tag(self, bytes: &[u8]) -> Option<(Tag, u32, &[u8])> {
        let (low, high, flags, checksum, after) = if self.tag_checksum == TagChecksum::Full {
            let (tag, after) = RawTagV3::ref_from_prefix(bytes).ok()?;
            let high = tag.t_blocknr_high.get();
            (
                tag.t_blocknr.get(),
                high,
                tag.t_flags.get(),
                tag.t_checksum.get(),
                after,
            )
        } else {
            let (tag, mut after) = RawTag::ref_from_prefix(bytes).ok()?;
            let mut high = 0;
            if self.block_numbers_64bit {
                let (number, rest) = U32::ref_from_prefix(after).ok()?;
                (high, after) = (number.get(), rest);
            }
            if self.tag_checksum == TagChecksum::Half {
                // The structure of version 2 is two bytes longer than its fields need.
                after = after.get(2..)?;
            }
            (
                tag.t_blocknr.get(),
                high,
                u32::from(tag.t_flags.get()),
                u32::from(tag.t_checksum.get()),
                after,
            )
        };
        let home = if self.block_numbers_64bit {
            u64::from(high) << 32 | u64::from(low)
        } else {
            u64::from(low)
        };
        let tag = Tag {
            home,
            escaped: flags & TAG_ESCAPED != 0,
            checksum,
        };
        Some((tag, flags, after))
    }

    /// The homes that a revoke block names, or what is wrong with it.
    pub fn revoked(self, block: &[u8]) -> Result<Vec<u64>, String> {
        let (header, _) = RawRevokeHeader::ref_from_prefix(block)
            .map_err(|_| "the revoke block is too short".to_owned())?;
        let end = header.r_count.get();
        let records = usize::try_from(end)
            .ok()
            .and_then(|end| self.body(block).get(size_of::<RawRevokeHeader>()..end))
            .ok_or_else(|| format!("the revoke block claims {end} bytes"))?;
        let homes = if self.block_numbers_64bit {
            let (homes, _) = <[U64]>::ref_from_prefix_with_elems(records, records.len() / 8)
                .map_err(|_| "the revoke records are cut short".to_owned())?;
            homes.iter().map(|home| home.get()).collect()
        } else {
            let (homes, _) = <[U32]>::ref_from_prefix_with_elems(records, records.len() / 4)
                .map_err(|_| "the revoke records are cut short".to_owned())?;
            homes.iter().map(|home| u64::from(home.get())).collect()
        };
        Ok(homes)
    }

    /// Whether the checksum at the end of a descriptor or revoke block is right, if there is one.
    /// `seed` is [`JournalSuperblock::checksum_seed`].
    pub fn tail_is_valid(self, block: &[u8], seed: u32) -> bool {
        if self.tag_checksum == TagChecksum::None {
            return true;
        }
        let Some((body, tail)) = block.split_last_chunk::<TAIL_LEN>() else {
            return false;
        };
        crc32c(crc32c(seed, body), &[0; TAIL_LEN]) == u32::from_be_bytes(*tail)
    }

    /// Whether a data block, as the log holds it, matches the checksum in its tag, if there is one.
    pub fn data_is_valid(self, tag: &Tag, data: &[u8], sequence: u32, seed: u32) -> bool {
        let checksum = || crc32c(crc32c(seed, &sequence.to_be_bytes()), data);
        match self.tag_checksum {
            TagChecksum::None => true,
            TagChecksum::Half => checksum() & 0xffff == tag.checksum,
            TagChecksum::Full => checksum() == tag.checksum,
        }
    }
}

/// `journal_block_tag_t` without its optional `t_blocknr_high`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "the kernel's own names")]
struct RawTag {
    t_blocknr: U32,
    t_checksum: U16,
    t_flags: U16,
}

/// `journal_block_tag3_t`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "the kernel's own names")]
struct RawTagV3 {
    t_blocknr: U32,
    t_flags: U32,
    t_blocknr_high: U32,
    t_checksum: U32,
}

/// `jbd2_journal_revoke_header_t`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRevokeHeader {
    r_header: BlockHeader,
    /// Bytes used in the block, this header included.
    r_count: U32,
}

/// The start of a commit block (`commit_header`).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CommitHeader {
    /// Magic, [`COMMIT_BLOCK`] and the transaction that ends here.
    pub header: BlockHeader,
    /// [`CHECKSUM_CRC32`] with [`COMPAT_CHECKSUM`], else 0.
    pub h_chksum_type: u8,
    /// Bytes of that checksum.
    pub h_chksum_size: u8,
    /// Unused.
    pub h_padding: [u8; 2],
    /// The first word is the CRC-32 of the transaction or the CRC-32C of this block.
    pub h_chksum: [U32; 8],
    /// When it was committed, in seconds since 1970.
    pub h_commit_sec: U64,
    /// Nanoseconds after that.
    pub h_commit_nsec: U32,
}

impl CommitHeader {
    /// Decodes the start of a commit block; `None` if there are too few bytes.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let (header, _) = Self::read_from_prefix(block).ok()?;
        Some(header)
    }

    /// Whether the CRC-32C of the commit `block` that it heads is right. A block of which only the
    /// header reached the disk, followed by zeros, counts as right, as in the kernel.
    pub fn block_checksum_is_valid(&self, block: &[u8], seed: u32) -> bool {
        let mut copy = *self;
        copy.h_chksum[0] = U32::ZERO;
        let start = crc32c(seed, copy.as_bytes());
        let rest = block.get(size_of::<Self>()..).unwrap_or_default();
        let found = self.h_chksum[0].get();
        crc32c(start, rest) == found || {
            // The kernel's structure is padded to a multiple of eight bytes.
            let (padding, rest) = rest.split_at(rest.len().min(4));
            crc32c(crc32c(start, padding), &vec![0; rest.len()]) == found
        }
    }

    /// Whether the CRC-32 of the transaction is `crc`, or was never written.
    pub fn transaction_checksum_is_valid(&self, crc: u32) -> bool {
        let found = self.h_chksum[0].get();
        match (self.h_chksum_type, self.h_chksum_size) {
            (0, 0) => found == 0,
            (CHECKSUM_CRC32, 4) => found == crc,
            _ => false,
        }
    }
}
