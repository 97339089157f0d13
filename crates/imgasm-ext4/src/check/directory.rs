//! A directory while its names are checked.

use std::collections::HashSet;

use crate::dir::at_file_block;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{BlockNumber, FileBlock, InodeNumber};
use crate::mapping::Mapping;
use imgasm_fs::error::Location;

/// A directory while its names are checked.
pub(super) struct Directory {
    pub(super) number: InodeNumber,
    pub(super) inode: Inode,
    /// Its blocks.
    pub(super) mapping: Mapping,
    /// Names met so far.
    pub(super) names: HashSet<Vec<u8>>,
}

impl Directory {
    /// Number of blocks.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.mapping.end()).unwrap_or(u32::MAX)
    }

    /// Where a block lies, unless it is a hole.
    pub(super) fn block(&self, block: FileBlock) -> Option<BlockNumber> {
        let extent = self.mapping.find(block)?;
        let within = block.0 - extent.first.0;
        (!extent.unwritten).then(|| extent.start.plus(u64::from(within)))
    }

    /// Its blocks in their order; holes are skipped, so that a forged size costs no time.
    pub(super) fn blocks(&self) -> Vec<FileBlock> {
        let extents = self.mapping.extents.iter();
        extents
            .filter(|extent| !extent.unwritten)
            .flat_map(|extent| (0..extent.len).map(|n| FileBlock(extent.first.0 + n)))
            .collect()
    }

    pub(super) fn at(&self, block: FileBlock) -> Location {
        at_file_block(self.number, block)
    }

    /// Whether names are stored in a form that only a key makes readable.
    pub(super) fn is_encrypted(&self) -> bool {
        self.inode.has_flag(flags::ENCRYPT)
    }
}
