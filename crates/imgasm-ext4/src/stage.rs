//! Metadata blocks in memory: a small cache of those that were read, and all those that were
//! changed and not written yet. Each block has a kind, which says how its checksum is made.
//!
//! Nothing is undone: after a failed change, the stage is useless.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::format::checksum::{FsSeed, InodeSeed};
use super::format::htree::Place;
use super::format::numbers::{BlockNumber, BlockSize};
use super::format::{dirent, extent, htree, xattr};
use crate::problem::Decoded;
use crate::problem::corrupt;
use imgasm_block::BlockDevice;
use imgasm_fs::error::{Location, Result};

/// Unchanged blocks that are kept, in bytes.
const CACHE_BYTES: usize = 16 << 20;
/// Changed blocks that are kept before they are written ahead of a flush, in bytes.
const DIRTY_BYTES: usize = 96 << 20;

/// What a block holds, which decides how its checksum is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No checksum of its own: bitmaps, inode tables, blocks of block numbers.
    Plain,
    /// Directory entries.
    Entries(InodeSeed),
    /// The root or a node of a directory's index.
    Index(Place, InodeSeed),
    /// A node of an extent tree.
    Extents(InodeSeed),
    /// Extended attributes.
    Xattrs,
}

#[derive(Debug, Clone)]
struct Slot {
    bytes: Arc<Vec<u8>>,
    kind: Kind,
    dirty: bool,
}

#[derive(Default)]
struct Slots {
    /// Looked up by number only; whoever iterates over it sorts first.
    by_block: HashMap<BlockNumber, Slot>,
    dirty: usize,
}

/// The metadata blocks in memory.
pub struct Stage {
    device: Arc<dyn BlockDevice>,
    block_size: BlockSize,
    /// The seed of checksums, if blocks have them.
    seed: Option<FsSeed>,
    slots: RefCell<Slots>,
}

impl Stage {
    /// Nothing in memory yet. `seed` is `None` if blocks have no checksums.
    pub fn new(device: Arc<dyn BlockDevice>, block_size: BlockSize, seed: Option<FsSeed>) -> Self {
        Self {
            device,
            block_size,
            seed,
            slots: RefCell::default(),
        }
    }

    /// A block as it is now, without a check of its checksum.
    pub fn peek(&self, block: BlockNumber) -> Result<Arc<Vec<u8>>> {
        if let Some(slot) = self.slots.borrow().by_block.get(&block) {
            return Ok(Arc::clone(&slot.bytes));
        }
        self.read(block)
    }

    /// A block as it is now, which must be of this kind.
    pub fn get(&self, block: BlockNumber, kind: Kind) -> Result<Arc<Vec<u8>>> {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.by_block.get_mut(&block) {
            if slot.kind != kind {
                if slot.dirty {
                    return Err(used_twice(block));
                }
                self.verify(block, &slot.bytes, kind)?;
                slot.kind = kind;
            }
            return Ok(Arc::clone(&slot.bytes));
        }
        let bytes = self.read(block)?;
        self.verify(block, &bytes, kind)?;
        let clean = slots.by_block.len() - slots.dirty;
        if clean >= CACHE_BYTES / self.block_size.len() {
            slots.by_block.retain(|_, slot| slot.dirty);
        }
        let slot = Slot {
            bytes: Arc::clone(&bytes),
            kind,
            dirty: false,
        };
        slots.by_block.insert(block, slot);
        Ok(bytes)
    }

    /// A block of this kind, to be changed.
    pub fn change(&mut self, block: BlockNumber, kind: Kind) -> Result<&mut Vec<u8>> {
        self.get(block, kind)?;
        let slots = self.slots.get_mut();
        let slot = slots
            .by_block
            .get_mut(&block)
            .expect("the block was put into memory just now");
        if !slot.dirty {
            slot.dirty = true;
            slots.dirty += 1;
        }
        Ok(Arc::make_mut(&mut slot.bytes))
    }

    /// A newly allocated block, to be filled; it begins as zeros.
    pub fn create(&mut self, block: BlockNumber, kind: Kind) -> &mut Vec<u8> {
        self.forget(block);
        let slots = self.slots.get_mut();
        slots.dirty += 1;
        let slot = slots.by_block.entry(block).insert_entry(Slot {
            bytes: Arc::new(vec![0; self.block_size.len()]),
            kind,
            dirty: true,
        });
        Arc::make_mut(&mut slot.into_mut().bytes)
    }

    /// Drops a block that holds no metadata any more, so that a flush does not overwrite what is
    /// stored there next.
    pub fn forget(&mut self, block: BlockNumber) {
        let slots = self.slots.get_mut();
        if slots.by_block.remove(&block).is_some_and(|slot| slot.dirty) {
            slots.dirty -= 1;
        }
    }

    /// Drops a run of blocks, most of which were never in memory.
    pub fn forget_range(&mut self, start: BlockNumber, len: u64) {
        let in_memory = u64::try_from(self.slots.get_mut().by_block.len()).unwrap_or(u64::MAX);
        if len <= in_memory {
            (start.0..start.0 + len).for_each(|block| self.forget_if_known(BlockNumber(block)));
            return;
        }
        let range = start..start.plus(len);
        let known: Vec<BlockNumber> = self
            .slots
            .get_mut()
            .by_block
            .keys()
            .copied()
            .filter(|block| range.contains(block))
            .collect();
        for block in known {
            self.forget(block);
        }
    }

    fn forget_if_known(&mut self, block: BlockNumber) {
        if self.slots.get_mut().by_block.contains_key(&block) {
            self.forget(block);
        }
    }

    /// Writes what is staged if there is much of it; [`Stage::flush`] is still needed. Called
    /// between changes, when all that is staged is consistent.
    pub fn relieve(&mut self) -> Result<()> {
        if self.slots.get_mut().dirty > DIRTY_BYTES / self.block_size.len() {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes all changed blocks with their checksums, in the order of their numbers.
    pub fn flush(&mut self) -> Result<()> {
        let seed = self.seed;
        let slots = self.slots.get_mut();
        let mut dirty: Vec<(&BlockNumber, &mut Slot)> = slots
            .by_block
            .iter_mut()
            .filter(|(_, slot)| slot.dirty)
            .collect();
        dirty.sort_unstable_by_key(|(block, _)| **block);
        for (&block, slot) in dirty {
            if let Some(seed) = seed {
                seal(
                    Arc::make_mut(&mut slot.bytes).as_mut_slice(),
                    slot.kind,
                    seed,
                    block,
                );
            }
            self.device
                .write_at(self.block_size.offset_of(block), &slot.bytes)?;
            slot.dirty = false;
            slots.dirty -= 1;
        }
        Ok(())
    }

    fn read(&self, block: BlockNumber) -> Result<Arc<Vec<u8>>> {
        let mut bytes = vec![0; self.block_size.len()];
        self.device
            .read_at(self.block_size.offset_of(block), &mut bytes)?;
        Ok(Arc::new(bytes))
    }

    fn verify(&self, block: BlockNumber, bytes: &[u8], kind: Kind) -> Result<()> {
        match self.seed {
            Some(seed) => {
                verify(bytes, kind, seed, block).map_err(|p| p.at(Location::Block(block.0)))
            }
            None => Ok(()),
        }
    }
}

fn used_twice(block: BlockNumber) -> imgasm_fs::error::Error {
    corrupt(
        Location::Block(block.0),
        "two files or structures claim this block",
    )
}

fn seal(bytes: &mut [u8], kind: Kind, fs: FsSeed, block: BlockNumber) {
    match kind {
        Kind::Plain => {}
        Kind::Entries(seed) => dirent::set_checksum(bytes, seed),
        Kind::Index(place, seed) => htree::set_checksum(bytes, place, seed),
        Kind::Extents(seed) => extent::set_checksum(bytes, seed),
        Kind::Xattrs => xattr::set_checksum(bytes, fs, block),
    }
}

fn verify(bytes: &[u8], kind: Kind, fs: FsSeed, block: BlockNumber) -> Decoded<()> {
    match kind {
        Kind::Plain => Ok(()),
        Kind::Entries(seed) => dirent::verify_checksum(bytes, seed),
        Kind::Index(place, seed) => htree::verify_checksum(bytes, place, seed),
        Kind::Extents(seed) => extent::verify_checksum(bytes, seed),
        Kind::Xattrs => xattr::verify_checksum(bytes, fs, block),
    }
}
