//! The copy-on-write delta: what an edit changes, above a base that stays as it is.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bytes::{byte_len, is_zero};
use super::device::check_range;
pub use super::spill::BLOCK_BYTES;
use super::spill::{BLOCK_LEN, Slot, Store};
use super::{BlockDevice, Result};

/// How much of a change is compared or copied in one step.
const STEP_BYTES: u64 = 1 << 20;

/// How many bytes of changed blocks are kept in memory before they go to a temporary file.
const MEMORY_LIMIT_BYTES: u64 = 64 << 20;

/// What the delta knows of a block that it has an entry for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// All zeros, stored nowhere.
    Zero,
    /// Its bytes, which are not all zeros, lie in the store.
    Data(Slot),
}

impl Entry {
    fn kind(self) -> ChangeKind {
        match self {
            Self::Zero => ChangeKind::Zero,
            Self::Data(_) => ChangeKind::Data,
        }
    }

    /// The entry that carries this one on, `count` blocks further.
    fn after(self, count: u64) -> Self {
        match self {
            Self::Zero => Self::Zero,
            Self::Data(slot) => Self::Data(slot.after(count)),
        }
    }
}

/// Entries as runs of blocks that are all zeros, or whose bytes lie one after the other in the store.
/// No run is longer than [`STEP_BYTES`]. The entry is that of its first block.
fn runs(entries: btree_map::Range<'_, u64, Entry>) -> impl Iterator<Item = (Range<u64>, Entry)> {
    let mut entries = entries.peekable();
    iter::from_fn(move || {
        let (&first, &entry) = entries.next()?;
        let mut past = first + 1;
        let goes_on = |past, block, next| block == past && next == entry.after(past - first);
        while past - first < STEP_BYTES / BLOCK_BYTES
            && entries
                .next_if(|&(&block, &next)| goes_on(past, block, next))
                .is_some()
        {
            past += 1;
        }
        Some((first..past, entry))
    })
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

impl State {
    /// Writes whole blocks, none of them all zeros.
    fn write_blocks(&mut self, first: u64, data: &[u8]) -> Result<()> {
        let mut slots = Vec::with_capacity(data.len().div_ceil(BLOCK_LEN));
        for block in first..first + byte_len(data).div_ceil(BLOCK_BYTES) {
            let slot = if let Some(&Entry::Data(slot)) = self.entries.get(&block) {
                slot
            } else {
                let slot = self.store.take()?;
                self.entries.insert(block, Entry::Data(slot));
                slot
            };
            slots.push(slot);
        }
        let mut rest = data;
        for run in slots.chunk_by(|slot, next| slot.after(1) == *next) {
            let (piece, following) = rest.split_at((run.len() * BLOCK_LEN).min(rest.len()));
            self.store.write(run[0], 0, piece)?;
            rest = following;
        }
        Ok(())
    }
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
        let mut add = |range: Range<u64>, kind| match changes.last_mut() {
            Some(last) if last.kind == kind && last.range.end == range.start => {
                last.range.end = range.end;
            }
            _ => changes.push(Change { range, kind }),
        };
        let (mut now, mut before) = (Vec::new(), Vec::new());
        // The next range in which the base holds data; its holes are not read.
        let mut data = self.base.next_data(0)?;
        for (blocks, entry) in runs(state.entries.range(..)) {
            let (mut first, kind) = (blocks.start, entry.kind());
            while first < blocks.end {
                let start = first * BLOCK_BYTES;
                if data.as_ref().is_some_and(|data| data.end <= start) {
                    data = self.base.next_data(start)?;
                }
                let (past, is_hole) = match &data {
                    Some(data) if data.start < start + BLOCK_BYTES => {
                        (data.end.div_ceil(BLOCK_BYTES), false)
                    }
                    Some(data) => (data.start / BLOCK_BYTES, true),
                    None => (blocks.end, true),
                };
                let range = self.bytes_of(first..past.min(blocks.end));
                let entry = entry.after(first - blocks.start);
                first = past;
                if is_hole {
                    if kind == ChangeKind::Data {
                        add(range, kind);
                    }
                    continue;
                }
                let len = index(range.end - range.start);
                before.resize(len, 0);
                self.base.read_padded(range.start, &mut before)?;
                now.resize(len, 0);
                match entry {
                    Entry::Zero => now.fill(0),
                    Entry::Data(slot) => state.store.read(slot, 0, &mut now)?,
                }
                let pieces = now.chunks(BLOCK_LEN).zip(before.chunks(BLOCK_LEN));
                for (block, (now, before)) in (start / BLOCK_BYTES..).zip(pieces) {
                    if now != before {
                        add(self.bytes_of(block..block + 1), kind);
                    }
                }
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

    /// The bytes of some blocks, cut off at the end of the device.
    fn bytes_of(&self, blocks: Range<u64>) -> Range<u64> {
        blocks.start * BLOCK_BYTES..(blocks.end * BLOCK_BYTES).min(self.len)
    }

    /// How many of the first bytes of `data`, which go to `offset`, are whole blocks of one kind, or a
    /// part of one block, which has none. The last block of the device is whole however short it is.
    fn leading(&self, offset: u64, data: &[u8]) -> (usize, Option<ChangeKind>) {
        let past = index(offset % BLOCK_BYTES);
        if past != 0 {
            return (data.len().min(BLOCK_LEN - past), None);
        }
        let ends_device = offset + byte_len(data) == self.len;
        let kind = |piece: &[u8]| match is_zero(piece) {
            _ if piece.len() < BLOCK_LEN && !ends_device => None,
            true => Some(ChangeKind::Zero),
            false => Some(ChangeKind::Data),
        };
        let mut pieces = data.chunks(BLOCK_LEN);
        let first = pieces.next().unwrap_or_default();
        let first_kind = kind(first);
        let others = pieces.take_while(|piece| first_kind.is_some() && kind(piece) == first_kind);
        (
            first.len() + others.map(<[u8]>::len).sum::<usize>(),
            first_kind,
        )
    }

    /// Writes a part of one block.
    fn write_part(&self, state: &mut State, offset: u64, data: &[u8]) -> Result<()> {
        let block = offset / BLOCK_BYTES;
        let inside = index(offset % BLOCK_BYTES);
        let range = self.bytes_of(block..block + 1);
        let mut bytes = [0; BLOCK_LEN];
        let bytes = &mut bytes[..index(range.end - range.start)];
        match state.entries.get(&block) {
            Some(&Entry::Data(slot)) if !is_zero(data) => {
                return state.store.write(slot, inside, data);
            }
            Some(&Entry::Data(slot)) => state.store.read(slot, 0, bytes)?,
            Some(Entry::Zero) => {}
            None => self.base.read_padded(range.start, bytes)?,
        }
        bytes[inside..inside + data.len()].copy_from_slice(data);
        if is_zero(bytes) {
            return self.zero_blocks(state, block..block + 1);
        }
        state.write_blocks(block, bytes)
    }

    /// Makes whole blocks zeros: forgets those that are holes in the base, and marks the others.
    fn zero_blocks(&self, state: &mut State, blocks: Range<u64>) -> Result<()> {
        let changed: Vec<u64> = state
            .entries
            .range(blocks.clone())
            .map(|(&block, _)| block)
            .collect();
        // The slot that is given back last is taken first.
        for block in changed.into_iter().rev() {
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
        for (blocks, entry) in runs(state.entries.range(blocks)) {
            let of_run = self.bytes_of(blocks);
            let range = of_run.start.max(offset)..of_run.end.min(end);
            let (below, rest) = buf[index(done - offset)..].split_at_mut(index(range.start - done));
            if !below.is_empty() {
                self.base.read_padded(done, below)?;
            }
            let piece = &mut rest[..index(range.end - range.start)];
            match entry {
                Entry::Zero => piece.fill(0),
                Entry::Data(slot) => {
                    let inside = index(range.start - of_run.start);
                    state.store.read(slot, inside, piece)?;
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
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let (len, kind) = self.leading(at, rest);
            let (piece, following) = rest.split_at(len);
            let first = at / BLOCK_BYTES;
            at += byte_len(piece);
            match kind {
                Some(ChangeKind::Data) => state.write_blocks(first, piece)?,
                Some(ChangeKind::Zero) => {
                    self.zero_blocks(&mut state, first..at.div_ceil(BLOCK_BYTES))?;
                }
                None => self.write_part(&mut state, at - byte_len(piece), piece)?,
            }
            rest = following;
        }
        Ok(())
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
            return self.write_part(&mut state, offset, &zeros[..index(len)]);
        }
        let head = (first_whole * BLOCK_BYTES).min(end) - offset;
        if head > 0 {
            self.write_part(&mut state, offset, &zeros[..index(head)])?;
        }
        if first_whole < past_whole {
            self.zero_blocks(&mut state, first_whole..past_whole)?;
        }
        let tail = end.saturating_sub((past_whole * BLOCK_BYTES).max(offset + head));
        if tail > 0 {
            self.write_part(&mut state, end - tail, &zeros[..index(tail)])?;
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
