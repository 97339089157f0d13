//! Where a delta keeps its blocks: in memory, and past a limit in a nameless temporary file.

use std::fs::File;
use std::io;
use std::iter;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Error, Result};

/// Bytes in a block of the delta: a page of the host, and a block of most filesystems.
pub const BLOCK_BYTES: u64 = 4096;

/// The same as a length in memory.
pub(super) const BLOCK_LEN: usize = 4096;

/// Bytes in one piece of memory.
const SLAB_BYTES: u64 = 1 << 20;

/// The place of a block in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u64);

impl Slot {
    /// The slot `count` slots after this one.
    pub(super) fn after(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// The offset into the store of the byte at `start` in this slot.
    fn offset(self, start: usize) -> u64 {
        self.0 * BLOCK_BYTES + u64::try_from(start).expect("inside a block")
    }
}

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
        let slabs = memory_limit_bytes / SLAB_BYTES;
        Self {
            slabs: Vec::new(),
            memory_slots: slabs * (SLAB_BYTES / BLOCK_BYTES),
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

    /// A slot for one more block, which holds whatever was there until it is written.
    pub(super) fn take(&mut self) -> Result<Slot> {
        let reused = self.free.pop();
        let slot = reused.unwrap_or(Slot(self.next));
        self.make_room(slot)?;
        if reused.is_none() {
            self.next += 1;
        }
        Ok(slot)
    }

    /// Makes the memory or the file that a slot lies in.
    fn make_room(&mut self, slot: Slot) -> Result<()> {
        match place(self.memory_slots, slot.offset(0)) {
            Place::Memory { slab, .. } if slab == self.slabs.len() => {
                self.slabs
                    .push(vec![0; inside(SLAB_BYTES)].into_boxed_slice());
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

    /// Changes bytes from `start` in a slot on; they may go on into the slots after it.
    pub(super) fn write(&mut self, slot: Slot, start: usize, data: &[u8]) -> Result<()> {
        for (place, range) in pieces(self.memory_slots, slot.offset(start), data.len()) {
            let piece = &data[range];
            match place {
                Place::Memory { slab, start } => {
                    self.slabs[slab][start..start + piece.len()].copy_from_slice(piece);
                }
                Place::File { offset } => {
                    let written = self.file().write_all_at(piece, offset);
                    written.map_err(|e| self.failed("write", offset, piece.len(), e))?;
                }
            }
        }
        Ok(())
    }

    /// Reads bytes from `start` in a slot on, and from the slots after it.
    pub(super) fn read(&self, slot: Slot, start: usize, buf: &mut [u8]) -> Result<()> {
        for (place, range) in pieces(self.memory_slots, slot.offset(start), buf.len()) {
            let piece = &mut buf[range];
            match place {
                Place::Memory { slab, start } => {
                    piece.copy_from_slice(&self.slabs[slab][start..start + piece.len()]);
                }
                Place::File { offset } => {
                    let read = self.file().read_exact_at(piece, offset);
                    read.map_err(|e| self.failed("read", offset, piece.len(), e))?;
                }
            }
        }
        Ok(())
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("made with the first slot in it")
    }

    fn failed(&self, operation: &'static str, offset: u64, len: usize, source: io::Error) -> Error {
        let path = self.dir.join("(temporary file of changed blocks)");
        let len = u64::try_from(len).expect("a length fits 64 bits");
        Error::io(&path, operation, offset, len, source)
    }
}

/// Where the byte at an offset into a store lies, of which so many slots are in memory.
fn place(memory_slots: u64, at: u64) -> Place {
    match at.checked_sub(memory_slots * BLOCK_BYTES) {
        Some(offset) => Place::File { offset },
        None => Place::Memory {
            slab: inside(at / SLAB_BYTES),
            start: inside(at % SLAB_BYTES),
        },
    }
}

/// Where each part of `len` bytes lies, and which of them it is: all that is in the file is one part.
fn pieces(memory_slots: u64, from: u64, len: usize) -> impl Iterator<Item = (Place, Range<usize>)> {
    let mut done = 0;
    iter::from_fn(move || {
        let left = len.checked_sub(done).filter(|left| *left > 0)?;
        let place = place(
            memory_slots,
            from + u64::try_from(done).expect("a length fits 64 bits"),
        );
        let together = match place {
            Place::Memory { start, .. } => left.min(inside(SLAB_BYTES) - start),
            Place::File { .. } => left,
        };
        done += together;
        Some((place, done - together..done))
    })
}

fn inside(number: u64) -> usize {
    usize::try_from(number).expect("an index into memory")
}
