//! Block maps, the form of ext2 and ext3: twelve block numbers in the inode, then a block of block
//! numbers, a block of such blocks, and one of those; 0 is a hole. Kernel documentation, ext4,
//! "Direct/Indirect Block Addressing".

use std::ops::Range;

use super::format::extent::Extent;
use super::format::inode::Inode;
use super::format::numbers::{BlockNumber, FileBlock, InodeNumber};
use super::format::{put_u32, read_u32};
use super::mapping::{Mapping, NodePool, no_unwritten};
use super::stage::Kind;
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};

/// Block numbers in the inode that point to data.
const DIRECT: u64 = 12;
/// Block numbers in a block map can have 32 bits.
pub const BLOCK_LIMIT: u64 = 1 << 32;

/// A walk through a block map.
struct Walk {
    number: InodeNumber,
    range: Range<u64>,
    mapping: Mapping,
    /// Blocks seen, of data and of the map.
    seen: u64,
}

impl Ext4 {
    /// The blocks of a file that lie in a range, as extents, with the blocks of the map that lead
    /// to them, each before those below it.
    pub(super) fn read_block_map(
        &self,
        number: InodeNumber,
        inode: &Inode,
        range: Range<u64>,
    ) -> Result<Mapping> {
        let mut walk = Walk {
            number,
            range,
            mapping: Mapping::default(),
            seen: 0,
        };
        for (pointer, level, base) in self.map_roots() {
            self.walk_map(
                &mut walk,
                read_u32(&inode.head.i_block, pointer),
                level,
                base,
            )?;
        }
        Ok(walk.mapping)
    }

    /// The block numbers in the inode: where each one lies in `i_block`, how many levels of blocks
    /// of block numbers are below it, and the first block of the file that it leads to.
    fn map_roots(&self) -> [(usize, u32, u64); 15] {
        let mut base = 0;
        std::array::from_fn(|slot| {
            let level = u32::try_from(slot.saturating_sub(11)).expect("at most 3");
            let first = base;
            base += self.per_node().pow(level);
            (slot * 4, level, first)
        })
    }

    /// Block numbers in a block.
    fn per_node(&self) -> u64 {
        self.geometry.block_size.bytes64() / 4
    }

    fn walk_map(&self, walk: &mut Walk, pointer: u32, level: u32, base: u64) -> Result<()> {
        let covered = self.per_node().pow(level);
        if pointer == 0 || base >= walk.range.end || base + covered <= walk.range.start {
            return Ok(());
        }
        let block = BlockNumber(u64::from(pointer));
        walk.seen += 1;
        self.count_mapped(walk.number, walk.seen)?;
        if level == 0 {
            return self.visit_block(walk, block, base);
        }
        self.check_file_blocks(walk.number, block, 1)?;
        walk.mapping.nodes.push(block);
        let bytes = self.stage.get(block, Kind::Plain)?;
        let below = covered / self.per_node();
        for (index, raw) in (0..).zip(bytes.chunks_exact(4)) {
            let pointer = read_u32(raw, 0);
            if pointer != 0 {
                self.walk_map(walk, pointer, level - 1, base + index * below)?;
            }
        }
        Ok(())
    }

    /// Adds a block: to the last extent if it continues that one.
    fn visit_block(&self, walk: &mut Walk, block: BlockNumber, at: u64) -> Result<()> {
        let first = u32::try_from(at).map(FileBlock).map_err(|_| {
            corrupt(
                at_inode(walk.number),
                format!("it has a block at number {at} of the file"),
            )
        })?;
        if let Some(last) = walk.mapping.extents.last_mut()
            && last.end() == at
            && last.start.plus(u64::from(last.len)) == block
            && self.geometry.contains(block, 1)
            && !self.zone.overlaps(block, 1)
        {
            last.len += 1;
            return Ok(());
        }
        self.check_file_blocks(walk.number, block, 1)?;
        walk.mapping.extents.push(Extent {
            first,
            len: 1,
            start: block,
            unwritten: false,
        });
        Ok(())
    }

    /// Stores a list of extents as a block map.
    pub(super) fn write_block_map(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        extents: &[Extent],
        pool: &mut NodePool,
    ) -> Result<()> {
        if extents.iter().any(|extent| extent.unwritten) {
            return Err(no_unwritten(number));
        }
        let last = extents.last().map_or(0, Extent::end);
        let most = DIRECT + (1..=3).map(|level| self.per_node().pow(level)).sum::<u64>();
        if last > most {
            return Err(Error::Unstorable {
                what: number.to_string(),
                problem: format!("it cannot have more than {most} blocks, {last} are needed"),
            });
        }
        for (pointer, level, base) in self.map_roots() {
            let block = self.put_map(extents, level, base, pool)?;
            put_u32(&mut inode.head.i_block, pointer, block);
        }
        Ok(())
    }

    /// The block number that leads to the blocks of the file from `base` on: 0 if there are none.
    /// Blocks that already hold what they should are not touched.
    fn put_map(
        &mut self,
        extents: &[Extent],
        level: u32,
        base: u64,
        pool: &mut NodePool,
    ) -> Result<u32> {
        let end = base + self.per_node().pow(level);
        let from = extents.partition_point(|extent| extent.end() <= base);
        let inside = &extents[from..];
        let Some(first) = inside.first().filter(|e| u64::from(e.first.0) < end) else {
            return Ok(0);
        };
        if level == 0 {
            return pointer(first.start.plus(base - u64::from(first.first.0)));
        }
        let (node, was_node) = pool.take(self, BLOCK_LIMIT)?;
        let covered = self.per_node().pow(level - 1);
        let mut bytes = vec![0; self.geometry.block_size.len()];
        for (index, raw) in (0..self.per_node()).zip(bytes.chunks_exact_mut(4)) {
            let block = self.put_map(inside, level - 1, base + index * covered, pool)?;
            put_u32(raw, 0, block);
        }
        if !was_node {
            *self.stage.create(node, Kind::Plain) = bytes;
        } else if *self.stage.get(node, Kind::Plain)? != bytes {
            *self.stage.change(node, Kind::Plain)? = bytes;
        }
        pointer(node)
    }
}

fn pointer(block: BlockNumber) -> Result<u32> {
    u32::try_from(block.0).map_err(|_| Error::Unstorable {
        what: block.to_string(),
        problem: "a file without extents cannot use blocks above 2^32".to_owned(),
    })
}
