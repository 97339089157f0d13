//! Which bytes of two devices differ.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{Error, Result, Side};
use imgasm_block::{BlockDevice, CHUNK_BYTES, ChunkMap, pool};

/// The unit of comparison: the smallest sector, so that a difference never extends from one block
/// of a filesystem into the next.
pub(super) const SECTOR_BYTES: u64 = 512;
const SECTOR_LEN: usize = 512;

/// Ranges of bytes in order, of which no two touch.
pub type Ranges = Vec<Range<u64>>;

/// The ranges in which two devices differ, in whole sectors of 512 bytes. A shorter device counts
/// as if zeros followed. If `suspects` are given, nothing outside them differs, and only they are
/// read; else all that is not a hole on both sides is, on all cores.
pub fn differing(
    old: &dyn BlockDevice,
    new: &dyn BlockDevice,
    suspects: Option<&Ranges>,
) -> Result<Ranges> {
    let position = Mutex::new(0);
    let next = || {
        let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match suspects {
            Some(suspects) => next_suspect(suspects, *position),
            None => next_chunk(old, new, *position)?,
        };
        *position = index.map_or(u64::MAX, |index| index + 1);
        Ok(index)
    };
    let work = || {
        let mut found = Ranges::new();
        let mut before = vec![0; chunk_len()];
        let mut after = vec![0; chunk_len()];
        while let Some(index) = next()? {
            let start = index * CHUNK_BYTES;
            read(Side::Old, old, start, &mut before)?;
            read(Side::New, new, start, &mut after)?;
            if before == after {
                continue;
            }
            let sectors = before.chunks(SECTOR_LEN).zip(after.chunks(SECTOR_LEN));
            for (at, (a, b)) in (start..).step_by(SECTOR_LEN).zip(sectors) {
                if a != b {
                    push(&mut found, at..at + SECTOR_BYTES);
                }
            }
        }
        Ok(found)
    };
    let mut found = pool::on_all_cores(work)?.concat();
    join(&mut found);
    Ok(found)
}

fn chunk_len() -> usize {
    usize::try_from(CHUNK_BYTES).expect("half a mebibyte")
}

/// The chunks whose digests differ.
pub fn differing_chunks(old: &ChunkMap, new: &ChunkMap) -> Ranges {
    let mut indices: Vec<u64> = old
        .chunks()
        .iter()
        .chain(new.chunks())
        .map(|c| c.index)
        .collect();
    indices.sort_unstable();
    indices.dedup();
    indices.retain(|&index| old.get(index) != new.get(index));
    merged(
        indices
            .into_iter()
            .map(|index| index * CHUNK_BYTES..(index + 1) * CHUNK_BYTES),
    )
}

/// The number of the next chunk, from `from` on, that a suspect lies in.
fn next_suspect(suspects: &Ranges, from: u64) -> Option<u64> {
    let start = from.checked_mul(CHUNK_BYTES)?;
    let next = suspects.partition_point(|range| range.end <= start);
    let range = suspects.get(next)?;
    Some(range.start.max(start) / CHUNK_BYTES)
}

/// The number of the next chunk, from `from` on, that is not a hole on both sides.
fn next_chunk(old: &dyn BlockDevice, new: &dyn BlockDevice, from: u64) -> Result<Option<u64>> {
    let Some(from) = from.checked_mul(CHUNK_BYTES) else {
        return Ok(None);
    };
    let data = |side, device: &dyn BlockDevice| match device.next_data(from) {
        Ok(data) => Ok(data.map(|data| data.start / CHUNK_BYTES)),
        Err(source) => Err(Error::Device { side, source }),
    };
    Ok(match (data(Side::Old, old)?, data(Side::New, new)?) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    })
}

/// Reads from a device; what lies past its end is zeros.
fn read(side: Side, device: &dyn BlockDevice, offset: u64, buf: &mut [u8]) -> Result<()> {
    let there = device.len().saturating_sub(offset);
    let (data, past) = match usize::try_from(there) {
        Ok(there) if there < buf.len() => buf.split_at_mut(there),
        _ => (buf, &mut [][..]),
    };
    past.fill(0);
    if data.is_empty() {
        return Ok(());
    }
    device
        .read_at(offset, data)
        .map_err(|source| Error::Device { side, source })
}

/// Joins ranges that touch or overlap; they must be in order of their starts.
fn merged(ranges: impl IntoIterator<Item = Range<u64>>) -> Ranges {
    let mut merged: Ranges = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        push(&mut merged, range);
    }
    merged
}

/// Adds a range, as a part of the last one if it continues it.
pub(super) fn push(ranges: &mut Ranges, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if (last.start..=last.end).contains(&range.start) => {
            last.end = last.end.max(range.end);
        }
        _ => ranges.push(range),
    }
}

/// Sorts ranges and joins those that touch or overlap, in place: there may be millions.
pub fn join(ranges: &mut Ranges) {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let touches = last.end >= next.start;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
}

/// What lies in either.
pub fn union(a: &[Range<u64>], b: &[Range<u64>]) -> Ranges {
    let mut all = [a, b].concat();
    join(&mut all);
    all
}

/// What lies in both.
pub fn intersection(a: &[Range<u64>], b: &[Range<u64>]) -> Ranges {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut both = Vec::new();
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        both.push(x.start.max(y.start)..x.end.min(y.end));
        if x.end < y.end {
            a.next();
        } else {
            b.next();
        }
    }
    merged(both)
}

/// What lies in `a` and not in `b`.
pub fn difference(a: &[Range<u64>], b: &[Range<u64>]) -> Ranges {
    let mut left = Vec::new();
    let mut holes = b.iter().peekable();
    for range in a {
        let mut start = range.start;
        while let Some(hole) = holes.peek().filter(|hole| hole.start < range.end) {
            left.push(start..hole.start.max(start));
            start = start.max(hole.end);
            if hole.end >= range.end {
                break;
            }
            holes.next();
        }
        left.push(start..range.end.max(start));
    }
    merged(left)
}

/// The parts of `ranges` that lie in `range`.
pub fn within(ranges: &[Range<u64>], range: &Range<u64>) -> Ranges {
    let first = ranges.partition_point(|candidate| candidate.end <= range.start);
    let inside = ranges.iter().skip(first);
    let inside = inside.take_while(|candidate| candidate.start < range.end);
    merged(inside.map(|candidate| candidate.start.max(range.start)..candidate.end.min(range.end)))
}

/// How many bytes lie in the ranges.
pub fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgasm_block::MemoryDevice;

    #[test]
    fn sets_of_ranges() {
        let a = [0..10, 20..30, 40..50];
        let b = [5..25, 45..46];
        assert_eq!(union(&a, &b), [0..30, 40..50]);
        assert_eq!(intersection(&a, &b), [5..10, 20..25, 45..46]);
        assert_eq!(difference(&a, &b), [0..5, 25..30, 40..45, 46..50]);
        assert_eq!(difference(&a, &a), []);
        assert_eq!(
            difference(std::slice::from_ref(&(0..100)), &a),
            [10..20, 30..40, 50..100]
        );
        assert_eq!(within(&a, &(9..45)), [9..10, 20..30, 40..45]);
        assert_eq!(within(&a, &(10..20)), []);
        assert_eq!(within(&a, &(50..60)), []);
        assert_eq!(total(&a), 30);
    }

    #[test]
    fn differences_in_sectors() {
        let mut bytes = vec![7; 2 << 20];
        let old = MemoryDevice::new(bytes.clone());
        bytes[4095] = 8;
        bytes[4096] = 8;
        bytes[(1 << 20) + 5000] = 8;
        bytes.extend([0; 5000]);
        let new = MemoryDevice::new(bytes);
        let expected = [3584..4608, (1 << 20) + 4608..(1 << 20) + 5120];
        assert_eq!(differing(&old, &new, None).unwrap(), expected);
        let maps = (
            ChunkMap::compute(&old).unwrap(),
            ChunkMap::compute(&new).unwrap(),
        );
        let suspects = differing_chunks(&maps.0, &maps.1);
        assert_eq!(suspects, [0..CHUNK_BYTES, 2 * CHUNK_BYTES..3 * CHUNK_BYTES]);
        assert_eq!(differing(&old, &new, Some(&suspects)).unwrap(), expected);
        assert_eq!(differing(&old, &old, None).unwrap(), []);
    }
}
