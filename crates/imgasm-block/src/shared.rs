//! The blocks that two files on the host share: `cp --reflink` makes a file out of the blocks of
//! another, and a write then gives the file blocks of its own.

use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use fiemap::{Fiemap, FiemapExtent, FiemapExtentFlags, FiemapFlags};

use super::FileDevice;

/// The most extents of a file that are asked for: a file in more pieces shares little.
const MOST_EXTENTS: usize = 200_000;

/// The data of two files without the blocks that they share: outside these ranges, which are in
/// order of their starts, both files hold the same. `None` if they share nothing or it cannot be
/// found out.
///
/// A block is shared if both files are on one file system, which reports the same place for the
/// same offset in both, and reports it as a whole block of data that belongs to several files
/// (`FIEMAP`, Linux `Documentation/filesystems/fiemap.rst`).
pub fn unshared(old: &FileDevice, new: &FileDevice) -> Option<Vec<Range<u64>>> {
    let (before, after) = (old.file().metadata().ok()?, new.file().metadata().ok()?);
    if before.dev() != after.dev() {
        return None;
    }
    let (old, new) = (extents(old)?, extents(new)?);
    let mut shared = Vec::new();
    let mut others = new.iter().peekable();
    for extent in &old {
        while let Some(other) = others.peek() {
            let common = extent.start.max(other.start)..extent.end.min(other.end);
            if !common.is_empty() && extent.place.is_some() && extent.place == other.place {
                shared.push(common);
            }
            if other.end > extent.end {
                break;
            }
            others.next();
        }
    }
    if shared.is_empty() {
        return None;
    }
    let mut data: Vec<Range<u64>> = [old, new]
        .concat()
        .iter()
        .map(|extent| extent.start..extent.end)
        .collect();
    data.sort_unstable_by_key(|range| range.start);
    Some(without(data, &shared))
}

/// A run of a file's bytes.
#[derive(Debug, Clone, Copy)]
struct Extent {
    start: u64,
    end: u64,
    /// The place on the disk less the offset in the file, which is equal if two files share a
    /// block; `None` if the blocks cannot be shared.
    place: Option<i128>,
}

/// Where the data of a file lies, in order.
fn extents(device: &FileDevice) -> Option<Vec<Extent>> {
    let mut extents = Vec::new();
    for extent in Fiemap::with_flags(device.file(), FiemapFlags::SYNC) {
        let FiemapExtent {
            fe_logical: start,
            fe_physical,
            fe_length,
            fe_flags,
            ..
        } = extent.ok()?;
        let plain = FiemapExtentFlags::LAST | FiemapExtentFlags::SHARED | FiemapExtentFlags::MERGED;
        let is_shared = fe_flags.contains(FiemapExtentFlags::SHARED) && plain.contains(fe_flags);
        extents.push(Extent {
            start,
            end: start.checked_add(fe_length)?,
            place: is_shared.then(|| i128::from(fe_physical) - i128::from(start)),
        });
        if extents.len() > MOST_EXTENTS {
            return None;
        }
    }
    let is_ordered = extents.windows(2).all(|pair| pair[0].end <= pair[1].start);
    is_ordered.then_some(extents)
}

/// The bytes of `ranges` that are not in `holes`. Both are in order of their starts; `holes` do not
/// overlap.
fn without(ranges: Vec<Range<u64>>, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in ranges {
        let first = holes.partition_point(|hole| hole.end <= range.start);
        let mut start = range.start;
        for hole in holes[first..]
            .iter()
            .take_while(|hole| hole.start < range.end)
        {
            left.push(start..hole.start);
            start = hole.end;
        }
        left.push(start..range.end);
    }
    left.retain(|range| range.start < range.end);
    left
}
