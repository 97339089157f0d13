//! The resize inode: a block-mapped file that owns the blocks behind every descriptor table, so that
//! the tables can grow into them. Its blocks of pointers are the reserved blocks of group 0, each of
//! which points to the reserved blocks at the same place behind the backups.
//! Kernel documentation, ext4, "Block and Inode Allocation Policy" and "Special inodes".

use crate::format::inode::Inode;
use crate::format::numbers::{BlockNumber, GroupNumber, InodeNumber, to_u64};
use crate::format::{put_u32, read_u32};
use crate::problem::{at_inode, corrupt};
use crate::stage::Kind;
use crate::volume::Ext4;
use imgasm_fs::Result;
use imgasm_fs::error::Error;

/// The pointer in `i_block` to a block of pointers to blocks of pointers.
const DOUBLE_INDIRECT: usize = 13;

impl Ext4 {
    /// The block of pointers to blocks of pointers.
    fn resize_top(&self, inode: &Inode) -> Result<BlockNumber> {
        let number = InodeNumber::RESIZE;
        let top = BlockNumber(read_u32(&inode.head.i_block, DOUBLE_INDIRECT * 4).into());
        if !self.geometry.contains(top, 1) || self.zone.overlaps(top, 1) {
            return Err(corrupt(
                at_inode(number),
                format!("its doubly indirect block is {top}, which cannot belong to a file"),
            ));
        }
        Ok(top)
    }

    /// Makes the file hold the blocks that are reserved now, and none that has become part of the
    /// descriptor table.
    pub(super) fn fill_resize_inode(&mut self) -> Result<()> {
        let number = InodeNumber::RESIZE;
        let mut inode = self.read_inode_unchecked(number)?;
        let top = self.resize_top(&inode)?;
        let geometry = self.geometry.clone();
        let in_use = u64::from(geometry.descriptor_blocks());
        let reserved = u64::from(geometry.reserved_gdt_blocks);
        let pointers = geometry.block_size.bytes64() / 4;
        let backups: Vec<u64> = (1..geometry.group_count)
            .filter(|&group| geometry.has_superblock(GroupNumber(group)))
            .map(|group| u64::from(group) * u64::from(geometry.blocks_per_group))
            .collect();
        if to_u64(backups.len()) > pointers {
            return Err(unstorable(format!("{} backups", backups.len())));
        }

        let first = geometry.descriptor_block(0).plus(in_use);
        let mut top_bytes = vec![0; geometry.block_size.len()];
        for n in 0..reserved {
            let block = first.plus(n);
            let bytes = self.stage.create(block, Kind::Plain);
            for (place, backup) in bytes.chunks_exact_mut(4).zip(&backups) {
                place.copy_from_slice(&pointer(block.0 + backup)?.to_le_bytes());
            }
            // The tree is indexed by the place in the descriptor table, modulo its width.
            let slot = usize::try_from((in_use + n) % pointers).expect("below a block's length");
            put_u32(&mut top_bytes, slot * 4, pointer(block.0)?);
        }
        *self.stage.create(top, Kind::Plain) = top_bytes;
        let blocks = 1 + reserved * (1 + to_u64(backups.len()));
        let sectors = blocks * geometry.block_size.sectors();
        inode
            .set_sectors(sectors, geometry.block_size, false)
            .ok_or_else(|| unstorable(format!("{sectors} sectors")))?;
        self.write_inode(number, &mut inode)
    }

    /// Clears the file; all of its blocks become part of the descriptor table.
    pub(super) fn drop_resize_inode(&mut self) -> Result<()> {
        let number = InodeNumber::RESIZE;
        let inode = self.read_inode_unchecked(number)?;
        let top = self.resize_top(&inode)?;
        self.free_blocks(top, 1)?;
        self.write_inode(number, &mut Inode::new(self.geometry.inode_size))
    }
}

/// A pointer of a block-mapped file.
fn pointer(block: u64) -> Result<u32> {
    u32::try_from(block).map_err(|_| unstorable(format!("block {block}")))
}

fn unstorable(what: String) -> Error {
    Error::Unstorable {
        what,
        problem: "the resize inode cannot hold it".to_owned(),
    }
}
