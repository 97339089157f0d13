//! An allocation group in memory, as far as it has been needed.

use imgasm_fs::{Location, Result};

use crate::ag::{TreeBlocks, read_free_space, read_inode_chunks, read_refcounts};
use crate::alloc::chunks::Chunks;
use crate::alloc::free_runs::FreeRuns;
use crate::alloc::shared::SharedRuns;
use crate::format::agf::Agf;
use crate::format::agi::Agi;
use crate::format::numbers::{GroupBlock, GroupNumber};
use crate::problem::corrupt;
use crate::volume::Volume;

/// A group's free space, and whatever else of it has been read.
pub(crate) struct Group {
    pub(crate) number: GroupNumber,
    /// The head as it is on the disk.
    pub(crate) agf: Agf,
    pub(crate) free: FreeRuns,
    pub(crate) by_block: TreeBlocks,
    pub(crate) by_size: TreeBlocks,
    /// The list of free blocks for the trees.
    pub(crate) list: Vec<GroupBlock>,
    pub(crate) inodes: Option<GroupInodes>,
    pub(crate) shared: Option<GroupShared>,
    /// Whether blocks have been allocated or freed, or owners have changed.
    pub(crate) changed: bool,
}

/// A group's inodes.
pub(crate) struct GroupInodes {
    /// The head as it is on the disk.
    pub(crate) agi: Agi,
    pub(crate) chunks: Chunks,
    pub(crate) tree: TreeBlocks,
    pub(crate) free_tree: TreeBlocks,
    pub(crate) changed: bool,
}

/// A group's shared blocks.
pub(crate) struct GroupShared {
    pub(crate) runs: SharedRuns,
    pub(crate) tree: TreeBlocks,
}

impl Group {
    /// Reads a group's free space.
    pub(crate) fn read(volume: &Volume, number: GroupNumber) -> Result<Self> {
        let space = read_free_space(volume, number)?;
        Ok(Self {
            number,
            agf: space.agf,
            free: FreeRuns::new(&space.runs),
            by_block: space.by_block_blocks,
            by_size: space.by_size_blocks,
            list: space.list,
            inodes: None,
            shared: None,
            changed: false,
        })
    }

    /// The group's inodes, read when first asked for.
    pub(crate) fn inodes(&mut self, volume: &Volume) -> Result<&mut GroupInodes> {
        if self.inodes.is_none() {
            let read = read_inode_chunks(volume, self.number)?;
            self.inodes = Some(GroupInodes {
                agi: read.agi,
                chunks: Chunks::new(&read.chunks),
                tree: read.tree_blocks,
                free_tree: read.free_tree_blocks,
                changed: false,
            });
        }
        Ok(self.inodes.as_mut().expect("just read"))
    }

    /// The group's shared blocks, read when first asked for.
    pub(crate) fn shared(&mut self, volume: &Volume) -> Result<&mut GroupShared> {
        if self.shared.is_none() {
            let (records, tree) = read_refcounts(volume, self.number, &self.agf)?;
            self.shared = Some(GroupShared {
                runs: SharedRuns::new(&records),
                tree,
            });
        }
        Ok(self.shared.as_mut().expect("just read"))
    }

    /// Allocates blocks that are free.
    pub(crate) fn take(&mut self, start: GroupBlock, len: u32) {
        self.free.take(start, len);
        self.changed = true;
    }

    /// Frees blocks that must not be free.
    pub(crate) fn give(&mut self, start: GroupBlock, len: u32) -> Result<()> {
        self.changed = true;
        if self.free.give(start, len) {
            Ok(())
        } else {
            Err(corrupt(
                Location::Group(self.number.0),
                format!("{len} blocks from {start} are freed, but are free already"),
            ))
        }
    }

    /// Releases one owner's hold on blocks that may be shared; gives how many became free.
    pub(crate) fn give_shared(
        &mut self,
        volume: &Volume,
        start: GroupBlock,
        len: u32,
    ) -> Result<u32> {
        self.changed = true;
        let unowned = self.shared(volume)?.runs.release(start, len);
        let mut freed = 0;
        for (start, len) in unowned {
            self.give(start, len)?;
            freed += len;
        }
        Ok(freed)
    }
}
