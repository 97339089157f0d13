//! Names of large directories without an index, so that neither finding a name nor finding room for
//! one reads all blocks each time.

use std::collections::{BTreeMap, HashMap};

use crate::format::dirent::{self, record_len};
use crate::format::numbers::{FileBlock, InodeNumber, to_u32, to_usize};
use crate::problem::Decoded;

/// Names that are kept, of all directories together.
const MOST_NAMES: usize = 1 << 20;

/// The names of one directory.
#[derive(Debug, Default)]
pub struct Names {
    /// The block that each name is in.
    blocks: HashMap<Vec<u8>, FileBlock>,
    /// The longest free stretch of each block, in bytes.
    gaps: Vec<u32>,
}

impl Names {
    /// Adds the next block of the directory.
    pub fn add_block(&mut self, area: &[u8]) -> Decoded<()> {
        let block = FileBlock(to_u32(self.gaps.len()));
        for entry in dirent::entries(area) {
            let entry = entry?;
            if entry.inode.is_some() {
                self.blocks.insert(entry.name.to_vec(), block);
            }
        }
        self.gaps.push(dirent::largest_gap(area)?);
        Ok(())
    }

    /// The block that a name is in.
    pub fn block_of(&self, name: &[u8]) -> Option<FileBlock> {
        self.blocks.get(name).copied()
    }

    /// The first block with room for a name.
    pub fn room_for(&self, name: &[u8]) -> Option<FileBlock> {
        let needed = to_u32(record_len(name.len()));
        let block = self.gaps.iter().position(|&gap| gap >= needed)?;
        Some(FileBlock(to_u32(block)))
    }

    /// Notes that a name was added to a block, which has already changed.
    pub fn added(&mut self, name: &[u8], block: FileBlock, area: &[u8]) -> Decoded<()> {
        self.blocks.insert(name.to_vec(), block);
        self.changed(block, area)
    }

    /// Notes that a name was removed from a block, which has already changed.
    pub fn removed(&mut self, name: &[u8], block: FileBlock, area: &[u8]) -> Decoded<()> {
        self.blocks.remove(name);
        self.changed(block, area)
    }

    fn changed(&mut self, block: FileBlock, area: &[u8]) -> Decoded<()> {
        let index = to_usize(block.0);
        if index >= self.gaps.len() {
            self.gaps.resize(index + 1, 0);
        }
        self.gaps[index] = dirent::largest_gap(area)?;
        Ok(())
    }
}

/// The names of several directories.
#[derive(Debug, Default)]
pub struct NameCache {
    directories: BTreeMap<InodeNumber, Names>,
}

impl NameCache {
    /// The names of a directory, if they are known.
    pub fn get(&mut self, directory: InodeNumber) -> Option<&mut Names> {
        self.directories.get_mut(&directory)
    }

    /// Keeps the names of a directory; those of others are dropped if there are many.
    pub fn put(&mut self, directory: InodeNumber, names: Names) {
        let kept: usize = self.directories.values().map(|n| n.blocks.len()).sum();
        if kept + names.blocks.len() > MOST_NAMES {
            self.directories.clear();
        }
        self.directories.insert(directory, names);
    }

    /// Drops the names of a directory.
    pub fn forget(&mut self, directory: InodeNumber) {
        self.directories.remove(&directory);
    }
}
