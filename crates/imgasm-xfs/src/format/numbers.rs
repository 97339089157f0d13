//! Numbers with a unit, so that one thing's cannot be mistaken for another's. What leads from one
//! kind to another is in [`geometry`](crate::format::geometry).

use std::fmt;

use imgasm_fs::NodeId;

/// An allocation group, counted from 0 (`xfs_agnumber_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct GroupNumber(pub(crate) u32);

/// A block of a group, counted from the group's start (`xfs_agblock_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct GroupBlock(pub(crate) u32);

/// A block of the filesystem: the group's number above the block's number in the group, with a gap
/// between the groups if their size is not a power of two (`xfs_fsblock_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FsBlock(pub(crate) u64);

/// A place on the device in units of 512 bytes, without gaps (`xfs_daddr_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DiskAddress(pub(crate) u64);

/// An inode of the filesystem: the group's number above the inode's number in the group
/// (`xfs_ino_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InodeNumber(pub(crate) u64);

/// An inode of a group, counted as if all blocks of the group held inodes (`xfs_agino_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct GroupInode(pub(crate) u32);

/// A block of a file or of its attributes, counted from the start of the fork (`xfs_fileoff_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileBlock(pub(crate) u64);

/// The same in the trees by hash of directories and attributes, where it has 32 bits
/// (`xfs_dablk_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HashTreeBlock(pub(crate) u32);

/// A data block of a directory, in units of directory blocks, which may be several blocks of the
/// file (`xfs_dir2_db_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DirectoryBlock(pub(crate) u32);

impl GroupNumber {
    /// The first group, whose superblock is the one that counts.
    pub(crate) const FIRST: Self = Self(0);
}

impl GroupBlock {
    /// What stands for no block (`NULLAGBLOCK`).
    pub(crate) const NONE: Self = Self(u32::MAX);
}

impl FsBlock {
    /// The block `n` blocks further on in the same group. Callers have checked that it exists.
    pub(crate) const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl DiskAddress {
    /// The place of a byte of the device.
    pub(crate) const fn of_byte(offset: u64) -> Self {
        Self(offset / 512)
    }
}

impl GroupInode {
    /// What stands for no inode, and ends a list of unlinked ones (`NULLAGINO`).
    pub(crate) const NONE: Self = Self(u32::MAX);
}

impl HashTreeBlock {
    /// The root of the attributes' tree, or their only leaf.
    pub(crate) const ATTRIBUTES: Self = Self(0);
    /// What stands for no neighbour on the same level, because block 0 can be nobody's.
    pub(crate) const NONE: Self = Self(0);

    /// The block `n` blocks further on, which callers have checked to exist.
    pub(crate) const fn plus(self, n: u32) -> Self {
        Self(self.0 + n)
    }
}

impl DirectoryBlock {
    /// The first block, which has `.` and `..`.
    pub(crate) const FIRST: Self = Self(0);
}

impl From<HashTreeBlock> for FileBlock {
    fn from(block: HashTreeBlock) -> Self {
        Self(block.0.into())
    }
}

impl From<NodeId> for InodeNumber {
    fn from(node: NodeId) -> Self {
        Self(node.0)
    }
}

impl From<InodeNumber> for NodeId {
    fn from(inode: InodeNumber) -> Self {
        Self(inode.0)
    }
}

/// The first number; the one that lies `n` further on, which callers have checked to exist; the way
/// from one to a later one.
macro_rules! counted {
    ($($name:ident: $int:ty),+) => {
        $(impl $name {
            pub(crate) const FIRST: Self = Self(0);

            pub(crate) const fn plus(self, n: $int) -> Self {
                Self(self.0 + n)
            }

            pub(crate) const fn since(self, earlier: Self) -> $int {
                self.0 - earlier.0
            }
        })+
    };
}
counted!(GroupBlock: u32, GroupInode: u32, FileBlock: u64);

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
shown_as_numbers!(
    GroupNumber,
    GroupBlock,
    FsBlock,
    DiskAddress,
    InodeNumber,
    GroupInode,
    FileBlock,
    HashTreeBlock,
    DirectoryBlock
);
