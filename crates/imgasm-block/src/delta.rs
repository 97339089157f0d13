//! The copy-on-write delta: what an edit changes, above a base that stays as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bytes::{byte_len, is_zero};
use super::device::check_range;
pub use super::spill::BLOCK_BYTES;
use super::spill::{BLOCK_LEN, Slot, Store};
use super::{BlockDevice, Result};

/// How much of a change is copied in one step.
const STEP_BYTES: u64 = 1 << 20;

/// How many bytes of changed blocks are kept in memory before they go to a temporary file.
const MEMORY_LIMIT_BYTES: u64 = 64 << 20;

/// What the delta knows of a block that it has an entry for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// All zeros, stored nowhere.
    Zero,
    /// Its bytes lie in the store.
    Data(Slot),
}

/// A device that reads from a base and keeps what is written to itself.
///
/// Changed blocks of [`BLOCK_BYTES`] are held in memory up to a limit and in a nameless temporary
/// file past it. Blocks of zeros take no room. Any number of threads may read at the same time.
///
/// A delta may be longer than its base: what lies past the base reads as zeros.
pub struct Delta {
    base: Arc<dyn BlockDevice>,
    len: u64,
    state: RwLock<State>,
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delta")
            .field("len", &self.len)
            .field("stored_bytes", &self.stored_bytes())
            .finish_non_exhaustive()
    }
}

struct State {
    /// By block number: the offset divided by [`BLOCK_BYTES`].
    entries: BTreeMap<u64, Entry>,
    store: Store,
}

/// What became of a changed range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It holds data, to be read from the delta.
    Data,
    /// It holds zeros only, and the base did not.
    Zero,
}

/// A range of bytes that differs from the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The bytes: whole blocks, but for the end of the device.
    pub range: Range<u64>,
    /// What they hold now.
    pub kind: ChangeKind,
}

impl Delta {
    /// An empty delta over `base`, with the usual memory limit and temporary folder.
    pub fn new(base: Arc<dyn BlockDevice>) -> Self {
        let len = base.len();
        Self::grown(base, len)
    }

    /// An empty delta that makes `base` a device of `len` bytes: what lies past the base reads as
    /// zeros. It is never shorter than the base.
    pub fn grown(base: Arc<dyn BlockDevice>, len: u64) -> Self {
        Self::with_limit(base, len, MEMORY_LIMIT_BYTES, &tempfile::env::temp_dir())
    }

    /// As [`Delta::grown`]; holds at most `memory_limit_bytes` of blocks in memory and the rest in a
    /// nameless file in the folder `spill_dir`, which is not used before that.
    pub fn with_limit(
        base: Arc<dyn BlockDevice>,
        len: u64,
        memory_limit_bytes: u64,
        spill_dir: &Path,
    ) -> Self {
        let spill_dir: PathBuf = spill_dir.to_owned();
        Self {
            len: len.max(base.len()),
            base,
            state: RwLock::new(State {
                entries: BTreeMap::new(),
                store: Store::new(memory_limit_bytes, spill_dir),
            }),
        }
    }

    /// The device below.
    pub fn base(&self) -> &Arc<dyn BlockDevice> {
        &self.base
    }

    /// Bytes of changed blocks that are stored, in memory or in the temporary file.
    pub fn stored_bytes(&self) -> u64 {
        self.read_state().store.used_slots() * BLOCK_BYTES
    }

    /// What differs from the base, in order; neighbours of one kind are one range.
    ///
    /// Blocks are compared with the base here and nowhere else: a block that was written with the
    /// bytes it had is not a change, so an edit that changes nothing gives an empty list.
    ///
    /// # Errors
    /// Those of reading the base; [`Error::Io`](super::Error::Io) if the temporary file cannot be read.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let state = self.read_state();
        let mut changes: Vec<Change> = Vec::new();
        let mut now = vec![0; BLOCK_LEN];
        let mut before = vec![0; BLOCK_LEN];
        // The next range in which the base holds data; its holes are not read.
        let mut data = self.base.next_data(0)?;
        for (&block, &entry) in &state.entries {
            let range = self.block_range(block);
            let len = index(range.end - range.start);
            if data.as_ref().is_some_and(|data| data.end <= range.start) {
                data = self.base.next_data(range.start)?;
            }
            match &data {
                Some(data) if data.start < range.end => {
                    self.base.read_padded(range.start, &mut before[..len])?;
                }
                _ => before[..len].fill(0),
            }
            let (same, kind) = match entry {
                Entry::Zero => (is_zero(&before[..len]), ChangeKind::Zero),
                Entry::Data(slot) => {
                    state.store.read(slot, 0, &mut now[..len])?;
                    let kind = if is_zero(&now[..len]) {
                        ChangeKind::Zero
                    } else {
                        ChangeKind::Data
                    };
                    (now[..len] == before[..len], kind)
                }
            };
            if same {
                continue;
            }
            match changes.last_mut() {
                Some(last) if last.kind == kind && last.range.end == range.start => {
                    last.range.end = range.end;
                }
                _ => changes.push(Change { range, kind }),
            }
        }
        Ok(changes)
    }

    /// Copies `changes`, as [`Delta::changes`] gave them, into a device that holds the base.
    ///
    /// # Errors
    /// Those of reading the delta and of writing `device`, which may then hold a part of the changes.
    pub fn copy_changes(&self, changes: &[Change], device: &dyn BlockDevice) -> Result<()> {
        let mut buf = Vec::new();
        for change in changes {
            let range = change.range.clone();
            if change.kind == ChangeKind::Zero {
                device.write_zeros(range.start, range.end - range.start)?;
                continue;
            }
            let mut at = range.start;
            while at < range.end {
                let step = (range.end - at).min(STEP_BYTES);
                buf.resize(index(step), 0);
                self.read_at(at, &mut buf)?;
                device.write_at(at, &buf)?;
                at += step;
            }
        }
        Ok(())
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of a block, cut off at the end of the device.
    fn block_range(&self, block: u64) -> Range<u64> {
        let start = block * BLOCK_BYTES;
        start..(start + BLOCK_BYTES).min(self.len)
    }

    /// Writes one block or a part of it.
    fn write_block(&self, state: &mut State, offset: u64, data: &[u8]) -> Result<()> {
        let block = offset / BLOCK_BYTES;
        let inside = index(offset % BLOCK_BYTES);
        if let Some(&Entry::Data(slot)) = state.entries.get(&block) {
            return state.store.write(slot, inside, data);
        }
        let mut bytes = [0; BLOCK_LEN];
        let range = self.block_range(block);
        let whole = byte_len(data) == range.end - range.start;
        if !whole && !state.entries.contains_key(&block) {
            self.base
                .read_padded(range.start, &mut bytes[..index(range.end - range.start)])?;
        }
        bytes[inside..inside + data.len()].copy_from_slice(data);
        if is_zero(&bytes) {
            return self.zero_blocks(state, block..block + 1);
        }
        let slot = state.store.add(&bytes)?;
        state.entries.insert(block, Entry::Data(slot));
        Ok(())
    }

    /// Makes whole blocks zeros: forgets those that are holes in the base, and marks the others.
    fn zero_blocks(&self, state: &mut State, blocks: Range<u64>) -> Result<()> {
        let changed: Vec<u64> = state
            .entries
            .range(blocks.clone())
            .map(|(&block, _)| block)
            .collect();
        for block in changed {
            if let Some(Entry::Data(slot)) = state.entries.remove(&block) {
                state.store.release(slot);
            }
        }
        let end = blocks.end * BLOCK_BYTES;
        let mut from = blocks.start * BLOCK_BYTES;
        while let Some(data) = self.base.next_data(from)? {
            if data.start >= end {
                break;
            }
            let last = data.end.min(end).div_ceil(BLOCK_BYTES);
            for block in data.start / BLOCK_BYTES..last {
                state.entries.insert(block, Entry::Zero);
            }
            from = last * BLOCK_BYTES;
        }
        Ok(())
    }

    /// The stretch from `from` on that is either all data or all zeros that need no reading; `true`
    /// for data.
    fn stretch(&self, state: &State, from: u64) -> Result<(u64, bool)> {
        let block = from / BLOCK_BYTES;
        let mut entries = state.entries.range(block..).peekable();
        match entries.peek() {
            Some(&(&first, &entry)) if first == block => {
                let is_data = entry != Entry::Zero;
                let mut end = block;
                for (&next, &entry) in entries {
                    if next != end || (entry != Entry::Zero) != is_data {
                        break;
                    }
                    end += 1;
                }
                Ok(((end * BLOCK_BYTES).min(self.len), is_data))
            }
            following => {
                let end = following.map_or(self.len, |&(&next, _)| next * BLOCK_BYTES);
                Ok(match self.base.next_data(from)? {
                    Some(data) if data.start <= from => (data.end.min(end), true),
                    Some(data) => (data.start.min(end), false),
                    None => (end, false),
                })
            }
        }
    }
}

/// Whether a range of data is still short enough to be joined with the next. The limit is long
/// enough for any reader, and a reader that wants less does not pay for all of the data.
fn is_short(range: &Range<u64>) -> bool {
    range.end - range.start < 16 << 20
}

/// A number of bytes that is known not to exceed a buffer's length.
fn index(len: u64) -> usize {
    usize::try_from(len).expect("bounded by a buffer in memory")
}

impl BlockDevice for Delta {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len)?;
        let end = offset + byte_len(buf);
        let state = self.read_state();
        let blocks = offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES);
        let mut done = offset;
        for (&block, &entry) in state.entries.range(blocks) {
            let range = self.block_range(block);
            let range = range.start.max(offset)..range.end.min(end);
            let (below, rest) = buf[index(done - offset)..].split_at_mut(index(range.start - done));
            if !below.is_empty() {
                self.base.read_padded(done, below)?;
            }
            let piece = &mut rest[..index(range.end - range.start)];
            match entry {
                Entry::Zero => piece.fill(0),
                Entry::Data(slot) => {
                    state
                        .store
                        .read(slot, index(range.start % BLOCK_BYTES), piece)?;
                }
            }
            done = range.end;
        }
        if done < end {
            self.base
                .read_padded(done, &mut buf[index(done - offset)..])?;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len)?;
        let mut state = self.write_state();
        let mut zeros: Option<Range<u64>> = None;
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let block = at / BLOCK_BYTES;
            let range = self.block_range(block);
            let (piece, following) = rest.split_at(index(range.end - at).min(rest.len()));
            let whole = at == range.start && byte_len(piece) == range.end - range.start;
            if whole && is_zero(piece) {
                zeros = Some(zeros.map_or(block, |run| run.start)..block + 1);
            } else {
                if let Some(run) = zeros.take() {
                    self.zero_blocks(&mut state, run)?;
                }
                self.write_block(&mut state, at, piece)?;
            }
            at += byte_len(piece);
            rest = following;
        }
        zeros.map_or(Ok(()), |run| self.zero_blocks(&mut state, run))
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.len)?;
        if len == 0 {
            return Ok(());
        }
        let end = offset + len;
        let mut state = self.write_state();
        let zeros = [0; BLOCK_LEN];
        let first_whole = offset.div_ceil(BLOCK_BYTES);
        // The last block of the device counts as whole, however short it is.
        let past_whole = if end == self.len {
            end.div_ceil(BLOCK_BYTES)
        } else {
            end / BLOCK_BYTES
        };
        if first_whole > past_whole {
            // Both ends lie inside one block.
            return self.write_block(&mut state, offset, &zeros[..index(len)]);
        }
        let head = (first_whole * BLOCK_BYTES).min(end) - offset;
        if head > 0 {
            self.write_block(&mut state, offset, &zeros[..index(head)])?;
        }
        if first_whole < past_whole {
            self.zero_blocks(&mut state, first_whole..past_whole)?;
        }
        let tail = end.saturating_sub((past_whole * BLOCK_BYTES).max(offset + head));
        if tail > 0 {
            self.write_block(&mut state, end - tail, &zeros[..index(tail)])?;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        let state = self.read_state();
        let mut start = from;
        let mut found = None;
        while start < self.len && found.as_ref().is_none_or(is_short) {
            let (end, is_data) = self.stretch(&state, start)?;
            match (&mut found, is_data) {
                (None, true) => found = Some(start..end),
                (Some(range), true) => range.end = end,
                (Some(_), false) => break,
                (None, false) => {}
            }
            start = end;
        }
        Ok(found)
    }
}
