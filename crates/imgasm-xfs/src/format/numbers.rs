//! Numbers with a unit, so that one thing's cannot be mistaken for another's. What leads from one
//! kind to another is in [`geometry`](crate::format::geometry).

use std::fmt;

/// An allocation group, counted from 0 (`xfs_agnumber_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupNumber(pub(crate) u32);

/// A block of the filesystem: the group's number above the block's number in the group, with a gap
/// between the groups if their size is not a power of two (`xfs_fsblock_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FsBlock(pub(crate) u64);

impl GroupNumber {
    /// The first group, whose superblock is the one that counts.
    pub(crate) const FIRST: Self = Self(0);
}

/// Messages show numbers, and records that hold them, without the names of the types.
macro_rules! shown_as_numbers {
    ($($name:ident),+) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        })+
    };
}
shown_as_numbers!(GroupNumber, FsBlock);
