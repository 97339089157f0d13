//! Directories. (Kernel documentation of XFS, "Directories".)
//!
//! - here: a directory in memory: names in data blocks, whatever their form on the disk.
//! - [`shortform`]: a few names in the inode.
//! - [`load`]: from the disk to memory.
//! - [`edit`]: changes in memory.
//! - [`layout`]: from memory to the form on the disk.

pub(crate) mod edit;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod shortform;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::format::dir::entry::Entry;
use crate::format::numbers::{DirectoryBlock, InodeNumber};

/// A block of names: the names by their byte offset in the block.
#[derive(Debug, Clone)]
pub(crate) struct DataBlock {
    pub(crate) entries: BTreeMap<u32, Entry>,
    /// No gap between two names is longer than this.
    longest_gap: u32,
}

impl Default for DataBlock {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            longest_gap: u32::MAX,
        }
    }
}

/// More units of eight bytes than the longest entry has.
const LENGTH_CLASSES: usize = 40;

/// The form of a directory on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the inode, or not at all yet.
    Inode,
    /// In one block with its index.
    Whole,
    /// In data blocks with an index of their own.
    Parts,
}

/// A directory in memory.
///
/// Names stay where they lie, so that a change touches few blocks of the disk. Names of a directory
/// in the inode have the places that they would have in a block.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    /// The inode that `..` names.
    pub(crate) parent: InodeNumber,
    /// Data blocks by their number.
    pub(crate) blocks: BTreeMap<DirectoryBlock, DataBlock>,
    /// Where each name is: block and offset.
    names: HashMap<Vec<u8>, (DirectoryBlock, u32)>,
    /// The form on the disk.
    form: Form,
    /// Data blocks that differ from those on the disk.
    changed: BTreeSet<DirectoryBlock>,
    /// For each length of entries, in units of eight bytes, the first block that may have room.
    candidates: [DirectoryBlock; LENGTH_CLASSES],
}

impl Directory {
    /// An empty directory.
    pub(crate) fn new(parent: InodeNumber) -> Self {
        Self {
            parent,
            blocks: BTreeMap::from([(DirectoryBlock::FIRST, DataBlock::default())]),
            names: HashMap::new(),
            form: Form::Inode,
            changed: BTreeSet::new(),
            candidates: [DirectoryBlock::FIRST; LENGTH_CLASSES],
        }
    }

    /// Puts an entry at the place where it was found; false if the name is there already.
    fn place(&mut self, block: DirectoryBlock, offset: u32, entry: Entry) -> bool {
        let known = self.names.insert(entry.name.clone(), (block, offset));
        self.blocks
            .entry(block)
            .or_default()
            .entries
            .insert(offset, entry);
        known.is_none()
    }

    /// What a name refers to.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Entry> {
        let (block, offset) = self.names.get(name)?;
        self.blocks.get(block)?.entries.get(offset)
    }

    /// All entries, in the order in which they lie.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.blocks
            .values()
            .flat_map(|block| block.entries.values())
    }

    /// Number of names, without `.` and `..`.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}
