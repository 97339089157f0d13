//! Numbers with a unit, so that a block of one thing cannot be mistaken for a block of another.

/// A block of the filesystem: the group's number above the block's number in the group, with a gap
/// between the groups if their size is not a power of two (`xfs_fsblock_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FsBlock(pub(crate) u64);
