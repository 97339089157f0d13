//! The head of an allocation group: one sector each for the superblock's copy, the free space, the
//! inodes, and the list of free blocks for the trees.

/// The sectors of a group's head.
pub(crate) mod sector {
    pub(crate) const AGF: u32 = 1;
    pub(crate) const AGI: u32 = 2;
    pub(crate) const AGFL: u32 = 3;
    /// How many there are.
    pub(crate) const COUNT: u32 = 4;
}
