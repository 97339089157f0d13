//! Numbers with a unit, so that a block of a file cannot be mistaken for a block of the filesystem.

use std::fmt;

use crate::problem::{Decoded, Problem};

/// A block of the filesystem, counted from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u64);

/// A block of a file, counted from the file's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileBlock(pub u32);

/// An inode. The first one is number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeNumber(pub u32);

/// A block group, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupNumber(pub u32);

impl InodeNumber {
    /// The root directory.
    pub const ROOT: Self = Self(2);
    /// The hidden file that reserves the blocks into which the descriptor table may grow.
    pub const RESIZE: Self = Self(7);
    /// The journal, if the superblock names no other inode.
    pub const JOURNAL: Self = Self(8);
}

impl BlockNumber {
    /// The block `n` blocks further on. Callers have checked that it exists.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

macro_rules! display_as_number {
    ($($name:ident: $word:literal),+) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}"), self.0)
            }
        })+
    };
}
display_as_number!(BlockNumber: "block", FileBlock: "file block", InodeNumber: "inode", GroupNumber: "group");

/// The size of a block: a power of two from 1 KiB to 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSize(u32);

impl BlockSize {
    /// From `s_log_block_size`, which counts from 1 KiB.
    pub fn from_log(s_log_block_size: u32) -> Decoded<Self> {
        if s_log_block_size > 6 {
            return Err(Problem::new(format!(
                "s_log_block_size is {s_log_block_size}, expected 0 to 6"
            )));
        }
        Ok(Self(1024 << s_log_block_size))
    }

    /// In bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// In bytes, for indexing buffers.
    pub fn len(self) -> usize {
        to_usize(self.0)
    }

    /// In bytes, for computing offsets.
    pub fn bytes64(self) -> u64 {
        u64::from(self.0)
    }

    /// Where a block begins on the device. Block numbers are below 2^48, so this cannot overflow.
    pub fn offset_of(self, block: BlockNumber) -> u64 {
        block.0 * self.bytes64()
    }

    /// How many blocks hold `bytes` bytes.
    pub fn blocks_for(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.bytes64())
    }

    /// Sectors of 512 bytes in a block: the unit of `i_blocks`.
    pub fn sectors(self) -> u64 {
        self.bytes64() / 512
    }
}

/// A 32-bit number as an index. The supported hosts have pointers of at least 32 bits.
pub fn to_usize(n: u32) -> usize {
    usize::try_from(n).expect("pointers have at least 32 bits")
}

/// A length or index in memory as a 32-bit number; all buffers here are below 4 GiB.
pub fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("buffers of the engine are below 4 GiB")
}

/// The low and the high half of a 64-bit number.
pub fn halves(n: u64) -> (u32, u32) {
    let low = u32::try_from(n & u64::from(u32::MAX)).expect("masked to 32 bits");
    let high = u32::try_from(n >> 32).expect("shifted to 32 bits");
    (low, high)
}

/// A length or index in memory as a 64-bit number.
pub fn to_u64(n: usize) -> u64 {
    u64::try_from(n).expect("a length in memory fits 64 bits")
}
