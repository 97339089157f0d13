//! Where a delta keeps its blocks: in memory, and past a limit in a nameless temporary file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Error, Result};

/// Bytes in a block of the delta: a page of the host, and a block of most filesystems.
pub const BLOCK_BYTES: u64 = 4096;

/// The same as a length in memory.
pub(super) const BLOCK_LEN: usize = 4096;

/// Blocks in one piece of memory: 1 MiB.
const SLAB_SLOTS: u64 = 256;

/// The place of a block in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u64);

/// Blocks without an order. The first ones live in memory, the others in the file.
pub(super) struct Store {
    slabs: Vec<Box<[u8]>>,
    memory_slots: u64,
    file: Option<File>,
    dir: PathBuf,
    next: u64,
    free: Vec<Slot>,
}

/// Where a slot lies.
enum Place {
    Memory { slab: usize, start: usize },
    File { offset: u64 },
}

impl Store {
    /// An empty store; `dir` is where the file is made when the limit is reached.
    pub(super) fn new(memory_limit_bytes: u64, dir: PathBuf) -> Self {
        let slabs = memory_limit_bytes / (SLAB_SLOTS * BLOCK_BYTES);
        Self {
            slabs: Vec::new(),
            memory_slots: slabs * SLAB_SLOTS,
            file: None,
            dir,
            next: 0,
            free: Vec::new(),
        }
    }

    /// How many blocks are held.
    pub(super) fn used_slots(&self) -> u64 {
        self.next - u64::try_from(self.free.len()).expect("a length fits 64 bits")
    }

    /// Stores a block and says where.
    pub(super) fn add(&mut self, block: &[u8; BLOCK_LEN]) -> Result<Slot> {
        let reused = self.free.pop();
        let slot = reused.unwrap_or(Slot(self.next));
        self.make_room(slot)?;
        self.write(slot, 0, block)?;
        if reused.is_none() {
            self.next += 1;
        }
        Ok(slot)
    }

    /// Makes the memory or the file that a slot lies in.
    fn make_room(&mut self, slot: Slot) -> Result<()> {
        match self.place(slot) {
            Place::Memory { slab, .. } if slab == self.slabs.len() => {
                let len = BLOCK_LEN * usize::try_from(SLAB_SLOTS).expect("a small constant");
                self.slabs.push(vec![0; len].into_boxed_slice());
            }
            Place::File { offset } if self.file.is_none() => {
                let made = tempfile::tempfile_in(&self.dir);
                self.file = Some(made.map_err(|e| self.failed("make a file of", offset, 0, e))?);
            }
            Place::Memory { .. } | Place::File { .. } => {}
        }
        Ok(())
    }

    /// Gives a slot back.
    pub(super) fn release(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// Changes bytes of a stored block, from `start` in it.
    pub(super) fn write(&mut self, slot: Slot, start: usize, data: &[u8]) -> Result<()> {
        match self.place(slot) {
            Place::Memory { slab, start: first } => {
                let first = first + start;
                self.slabs[slab][first..first + data.len()].copy_from_slice(data);
                Ok(())
            }
            Place::File { offset } => {
                let offset = offset + u64::try_from(start).expect("inside a block");
                self.file()
                    .write_all_at(data, offset)
                    .map_err(|e| self.failed("write", offset, data.len(), e))
            }
        }
    }

    /// Reads bytes of a stored block, from `start` in it.
    pub(super) fn read(&self, slot: Slot, start: usize, buf: &mut [u8]) -> Result<()> {
        match self.place(slot) {
            Place::Memory { slab, start: first } => {
                let first = first + start;
                buf.copy_from_slice(&self.slabs[slab][first..first + buf.len()]);
                Ok(())
            }
            Place::File { offset } => {
                let offset = offset + u64::try_from(start).expect("inside a block");
                self.file()
                    .read_exact_at(buf, offset)
                    .map_err(|e| self.failed("read", offset, buf.len(), e))
            }
        }
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("made with the first slot in it")
    }

    fn place(&self, slot: Slot) -> Place {
        if slot.0 < self.memory_slots {
            let inside = usize::try_from(slot.0 % SLAB_SLOTS).expect("below a small constant");
            Place::Memory {
                slab: usize::try_from(slot.0 / SLAB_SLOTS).expect("an index into memory"),
                start: inside * BLOCK_LEN,
            }
        } else {
            Place::File {
                offset: (slot.0 - self.memory_slots) * BLOCK_BYTES,
            }
        }
    }

    fn failed(&self, operation: &'static str, offset: u64, len: usize, source: io::Error) -> Error {
        let path = self.dir.join("(temporary file of changed blocks)");
        let len = u64::try_from(len).expect("a length fits 64 bits");
        Error::io(&path, operation, offset, len, source)
    }
}
