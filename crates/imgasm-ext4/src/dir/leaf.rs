//! A block of directory entries: finding, adding and removing one. Pure; `area` is the part of the
//! block that entries fill.

use crate::format::dirent::{self, record_len};
use crate::format::numbers::InodeNumber;
use crate::problem::Decoded;

/// An entry to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry<'a> {
    /// The inode.
    pub inode: InodeNumber,
    /// The code of the file type.
    pub file_type: u8,
    /// The name.
    pub name: &'a [u8],
}

/// Where an entry is in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Where it begins.
    pub offset: usize,
    /// Where the entry before it begins, if it is not the first.
    pub previous: Option<usize>,
    /// The inode.
    pub inode: InodeNumber,
}

/// The entry with a name.
pub fn find(area: &[u8], name: &[u8]) -> Decoded<Option<Position>> {
    let mut previous = None;
    for entry in dirent::entries(area) {
        let entry = entry?;
        if let Some(inode) = entry.inode
            && entry.name == name
        {
            return Ok(Some(Position {
                offset: entry.offset,
                previous,
                inode,
            }));
        }
        previous = Some(entry.offset);
    }
    Ok(None)
}

/// The first entry behind which, or in place of which, a name of `name_len` bytes fits.
pub fn room(area: &[u8], name_len: usize) -> Decoded<Option<usize>> {
    for entry in dirent::entries(area) {
        let entry = entry?;
        if entry.rec_len - entry.used_len() >= record_len(name_len) {
            return Ok(Some(entry.offset));
        }
    }
    Ok(None)
}

/// Puts an entry behind the one at `offset`, or in its place, as [`room`] gave it.
pub fn insert(area: &mut [u8], offset: usize, new: &NewEntry<'_>) -> Decoded<()> {
    let before = dirent::decode_at(area, offset)?;
    let (used, rec_len) = (before.used_len(), before.rec_len);
    if used > 0 {
        dirent::set_rec_len(area, offset, used);
    }
    let (at, rest) = (offset + used, rec_len - used);
    dirent::put(area, at, rest, new.inode, new.file_type, new.name);
    Ok(())
}

/// Removes an entry: its room goes to the entry before it.
pub fn remove(area: &mut [u8], position: Position) -> Decoded<()> {
    let rec_len = dirent::decode_at(area, position.offset)?.rec_len;
    match position.previous {
        Some(previous) => dirent::set_rec_len(area, previous, position.offset - previous + rec_len),
        None => dirent::put_unused(area, position.offset, rec_len),
    }
    Ok(())
}

/// Fills a block with entries, the last of which takes the rest. Callers have made sure that they
/// fit.
pub fn fill(area: &mut [u8], entries: &[NewEntry<'_>]) {
    area.fill(0);
    let len = area.len();
    dirent::put_unused(area, 0, len);
    let mut at = 0;
    for (index, entry) in entries.iter().enumerate() {
        let rec_len = if index + 1 == entries.len() {
            len - at
        } else {
            record_len(entry.name.len())
        };
        dirent::put(area, at, rec_len, entry.inode, entry.file_type, entry.name);
        at += rec_len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(area: &[u8]) -> Vec<Vec<u8>> {
        dirent::entries(area)
            .map(|entry| entry.expect("sound"))
            .filter(|entry| entry.inode.is_some())
            .map(|entry| entry.name.to_vec())
            .collect()
    }

    #[test]
    fn a_block_fills_up_and_empties() {
        let mut area = vec![0; 100];
        fill(&mut area, &[]);
        let mut count = 0;
        while let Some(offset) = room(&area, 4).expect("sound") {
            let name = format!("n{count:03}");
            let new = NewEntry {
                inode: InodeNumber(20 + count),
                file_type: 1,
                name: name.as_bytes(),
            };
            insert(&mut area, offset, &new).expect("sound");
            count += 1;
        }
        assert_eq!(names(&area).len(), 100 / 12);
        for name in [&b"n000"[..], b"n003", b"n007", b"n004"] {
            let position = find(&area, name).expect("sound").expect("there");
            remove(&mut area, position).expect("sound");
            assert_eq!(find(&area, name), Ok(None));
        }
        assert_eq!(names(&area), [b"n001", b"n002", b"n005", b"n006"]);
        // n003 and n004 left 24 bytes behind n002; no other gap is longer than 16.
        assert!(room(&area, 16).expect("sound").is_some());
        assert_eq!(room(&area, 17), Ok(None));
    }
}
