//! The build id of a program or library.
//!
//! ELF: System V Application Binary Interface, chapters 4 and 5. The build id is the note of type 3
//! (`NT_GNU_BUILD_ID`) with the name `GNU` in a segment of notes.

use super::Facts;

/// How much of a file is read: headers and notes are at its beginning.
pub(super) const HEAD_BYTES: u64 = 64 << 10;

/// Type of a segment of notes.
const PT_NOTE: u64 = 4;
/// Type of the note that holds the build id.
const NT_GNU_BUILD_ID: u64 = 3;

/// The build id; no facts if the file has none; `None` if it is not an ELF file.
pub(super) fn facts(head: &[u8]) -> Option<Facts> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let id = Elf::new(head).and_then(|elf| elf.build_id());
    Some(
        id.map(|id| ("build id".to_owned(), id))
            .into_iter()
            .collect(),
    )
}

/// The beginning of an ELF file.
struct Elf<'a> {
    bytes: &'a [u8],
    is_64_bit: bool,
    is_big_endian: bool,
}

impl<'a> Elf<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (class, data) = (*bytes.get(4)?, *bytes.get(5)?);
        Some(Self {
            bytes,
            is_64_bit: class == 2,
            is_big_endian: data == 2,
        })
    }

    /// A number of up to 8 bytes.
    fn number(&self, at: u64, len: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(len)?)?;
        let mut wide = [0; 8];
        for (to, from) in wide.iter_mut().zip(bytes) {
            *to = *from;
        }
        if self.is_big_endian {
            wide[..len].reverse();
        }
        Some(u64::from_le_bytes(wide))
    }

    fn build_id(&self) -> Option<String> {
        let (table, entry_len, count) = if self.is_64_bit {
            (
                self.number(32, 8)?,
                self.number(54, 2)?,
                self.number(56, 2)?,
            )
        } else {
            (
                self.number(28, 4)?,
                self.number(42, 2)?,
                self.number(44, 2)?,
            )
        };
        (0..count).find_map(|index| {
            let header = table.checked_add(index * entry_len)?;
            if self.number(header, 4)? != PT_NOTE {
                return None;
            }
            let field = |wide: u64, narrow: u64| {
                if self.is_64_bit {
                    self.number(header.checked_add(wide)?, 8)
                } else {
                    self.number(header.checked_add(narrow)?, 4)
                }
            };
            let (start, len) = (field(8, 4)?, field(32, 16)?);
            self.build_id_in(start, start.checked_add(len)?)
        })
    }

    /// The build id among the notes in a range of bytes.
    fn build_id_in(&self, mut at: u64, end: u64) -> Option<String> {
        while at < end {
            let (name_len, len) = (self.number(at, 4)?, self.number(at + 4, 4)?);
            let name_at = at.checked_add(12)?;
            let value_at = name_at.checked_add(name_len.next_multiple_of(4))?;
            let slice = |at: u64, len: u64| {
                let at = usize::try_from(at).ok()?;
                self.bytes
                    .get(at..at.checked_add(usize::try_from(len).ok()?)?)
            };
            if self.number(at + 8, 4)? == NT_GNU_BUILD_ID && slice(name_at, name_len)? == b"GNU\0" {
                return Some(hex::encode(slice(value_at, len)?));
            }
            at = value_at.checked_add(len.next_multiple_of(4))?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_headers_are_no_build_id() {
        assert_eq!(facts(b"#!/bin/sh"), None);
        let mut head = vec![0xff; 256];
        for len in 4..head.len() {
            head[..4].copy_from_slice(b"\x7fELF");
            assert_eq!(facts(&head[..len]), Some(Facts::new()));
        }
    }
}
