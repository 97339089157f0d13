//! Directory entries: inode, record length, name length, file type, name; the records of a block
//! fill it without gaps, up to a checksum if there is one. Kernel documentation, ext4, "Directory
//! Entries", "Linear (Classic) Directories".

use super::checksum::InodeSeed;
use super::numbers::{InodeNumber, to_u32};
use super::{put_u16, put_u32, read_u16, read_u32};
use crate::problem::{Decoded, Problem};
use imgasm_fs::types::FileType;

/// Bytes before an entry's name.
pub const HEADER_LEN: usize = 8;
/// Bytes of the record at the end of a block that holds the block's checksum.
pub const TAIL_LEN: usize = 12;
/// The file type of the checksum's record.
const TAIL_FILE_TYPE: u8 = 0xde;

/// A directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it begins in its block, in bytes.
    pub offset: usize,
    /// Bytes up to the next entry.
    pub rec_len: usize,
    /// The inode; `None` if the entry is unused.
    pub inode: Option<InodeNumber>,
    /// The code of the file type; 0 if the filesystem does not store it.
    pub file_type: u8,
    /// The name.
    pub name: &'a [u8],
}

impl Entry<'_> {
    /// Bytes that the entry itself needs: none if it is unused.
    pub fn used_len(&self) -> usize {
        if self.inode.is_some() {
            record_len(self.name.len())
        } else {
            0
        }
    }
}

/// Bytes that an entry with a name of `name_len` bytes needs.
pub const fn record_len(name_len: usize) -> usize {
    (HEADER_LEN + name_len).next_multiple_of(4)
}

/// Bytes of a block that entries may fill.
pub fn entries_len(block_len: usize, has_checksum: bool) -> usize {
    block_len - if has_checksum { TAIL_LEN } else { 0 }
}

/// The entries of a block, or of the part of it that they fill. Ends with the first problem.
pub fn entries(area: &[u8]) -> Entries<'_> {
    Entries { area, offset: 0 }
}

/// Iterator over the entries of a block.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    area: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Decoded<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.area.len() {
            return None;
        }
        let entry = decode_at(self.area, self.offset);
        self.offset = match &entry {
            Ok(entry) => entry.offset + entry.rec_len,
            Err(_) => self.area.len(),
        };
        Some(entry)
    }
}

/// The entry at `offset` of a block's entries.
pub fn decode_at(area: &[u8], offset: usize) -> Decoded<Entry<'_>> {
    let rest = &area[offset..];
    if rest.len() < HEADER_LEN {
        return Err(Problem::new(format!(
            "directory entry at {offset} has only {} bytes",
            rest.len()
        )));
    }
    let rec_len = decode_rec_len(read_u16(rest, 4));
    let name_len = usize::from(rest[6]);
    let inode = read_u32(rest, 0);
    let needed = record_len(if inode == 0 { 0 } else { name_len });
    if rec_len < needed || !rec_len.is_multiple_of(4) || rec_len > rest.len() {
        return Err(Problem::new(format!(
            "directory entry at {offset} has record length {rec_len}, expected a multiple of 4 \
             from {needed} to {}",
            rest.len()
        )));
    }
    Ok(Entry {
        offset,
        rec_len,
        inode: (inode != 0).then_some(InodeNumber(inode)),
        file_type: rest[7],
        name: if inode == 0 {
            &[]
        } else {
            &rest[HEADER_LEN..HEADER_LEN + name_len]
        },
    })
}

/// Record lengths are multiples of 4, so 65536, the length of the largest block, is written as
/// 65535 or 0.
fn decode_rec_len(stored: u16) -> usize {
    match stored {
        0 | u16::MAX => 1 << 16,
        len => usize::from(len),
    }
}

fn encode_rec_len(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Sets the record length of the entry at `offset`.
pub fn set_rec_len(block: &mut [u8], offset: usize, rec_len: usize) {
    put_u16(block, offset + 4, encode_rec_len(rec_len));
}

/// Writes an entry at `offset`; its bytes behind the name stay.
pub fn put(
    block: &mut [u8],
    offset: usize,
    rec_len: usize,
    inode: InodeNumber,
    file_type: u8,
    name: &[u8],
) {
    put_u32(block, offset, inode.0);
    set_rec_len(block, offset, rec_len);
    block[offset + 6] = u8::try_from(name.len()).expect("names have at most 255 bytes");
    block[offset + 7] = file_type;
    block[offset + HEADER_LEN..offset + HEADER_LEN + name.len()].copy_from_slice(name);
}

/// Makes the entry at `offset` an unused one of `rec_len` bytes.
pub fn put_unused(block: &mut [u8], offset: usize, rec_len: usize) {
    put_u32(block, offset, 0);
    set_rec_len(block, offset, rec_len);
    block[offset + 6] = 0;
    block[offset + 7] = 0;
}

/// Sets the inode and the file type of the entry at `offset`.
pub fn set_target(block: &mut [u8], offset: usize, inode: InodeNumber, file_type: u8) {
    put_u32(block, offset, inode.0);
    block[offset + 7] = file_type;
}

/// Puts the record for the checksum at the end of a block.
pub fn put_tail(block: &mut [u8]) {
    let at = block.len() - TAIL_LEN;
    block[at..].fill(0);
    put_u16(block, at + 4, 12);
    block[at + 7] = TAIL_FILE_TYPE;
}

/// Whether a block ends with the record for a checksum.
fn has_tail(block: &[u8]) -> bool {
    let at = block.len() - TAIL_LEN;
    read_u32(block, at) == 0
        && read_u16(block, at + 4) == 12
        && block[at + 6] == 0
        && block[at + 7] == TAIL_FILE_TYPE
}

/// Stores the checksum of a block of entries.
pub fn set_checksum(block: &mut [u8], seed: InodeSeed) {
    let at = block.len() - TAIL_LEN;
    let crc = seed.over(&[&block[..at]]);
    put_u32(block, at + 8, crc);
}

/// Checks the checksum of a block of entries.
pub fn verify_checksum(block: &[u8], seed: InodeSeed) -> Decoded<()> {
    if !has_tail(block) {
        return Err(Problem::new("directory block has no checksum record"));
    }
    let at = block.len() - TAIL_LEN;
    let (seen, expected) = (read_u32(block, at + 8), seed.over(&[&block[..at]]));
    if seen == expected {
        Ok(())
    } else {
        Err(Problem::new(format!(
            "directory block checksum is {seen:#010x}, computed {expected:#010x}"
        )))
    }
}

/// The code of a file type in a directory entry.
pub const fn file_type_code(file_type: FileType) -> u8 {
    match file_type {
        FileType::Regular => 1,
        FileType::Directory => 2,
        FileType::CharDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
        FileType::Socket => 6,
        FileType::Symlink => 7,
    }
}

/// The file type that a code in a directory entry stands for, if any.
pub const fn file_type_of(code: u8) -> Option<FileType> {
    Some(match code {
        1 => FileType::Regular,
        2 => FileType::Directory,
        3 => FileType::CharDevice,
        4 => FileType::BlockDevice,
        5 => FileType::Fifo,
        6 => FileType::Socket,
        7 => FileType::Symlink,
        _ => return None,
    })
}

/// The first block of a new directory: `.` and `..`, which takes the rest.
pub fn put_dots(
    block: &mut [u8],
    has_checksum: bool,
    itself: InodeNumber,
    parent: InodeNumber,
    file_type: u8,
) {
    let end = entries_len(block.len(), has_checksum);
    let dot = record_len(1);
    put(block, 0, dot, itself, file_type, b".");
    put(block, dot, end - dot, parent, file_type, b"..");
    if has_checksum {
        put_tail(block);
    }
}

/// The longest unused stretch among a block's entries, as room for a new one.
pub fn largest_gap(area: &[u8]) -> Decoded<u32> {
    let mut largest = 0;
    for entry in entries(area) {
        let entry = entry?;
        largest = largest.max(entry.rec_len - entry.used_len());
    }
    Ok(to_u32(largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_read_back() {
        for (len, has_checksum) in [(1024, true), (4096, false), (1 << 16, false)] {
            let mut block = vec![0; len];
            put_dots(&mut block, has_checksum, InodeNumber(12), InodeNumber(2), 2);
            let area = &block[..entries_len(len, has_checksum)];
            let names: Vec<_> = entries(area)
                .map(|entry| entry.map(|e| (e.name.to_vec(), e.inode)))
                .collect();
            assert_eq!(
                names,
                [
                    Ok((b".".to_vec(), Some(InodeNumber(12)))),
                    Ok((b"..".to_vec(), Some(InodeNumber(2)))),
                ]
            );
        }
    }

    #[test]
    fn a_record_beyond_the_block_is_a_problem() {
        let mut block = vec![0; 64];
        put_unused(&mut block, 0, 32);
        put_unused(&mut block, 32, 36);
        let seen: Vec<bool> = entries(&block).map(|entry| entry.is_ok()).collect();
        assert_eq!(seen, [true, false]);
    }
}
