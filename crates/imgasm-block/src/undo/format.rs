//! The undo file as bytes.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `IMGUNDO3` |
//! | 8 | inode number of the image on the host; of a block device, its device number |
//! | 8 | length of the image before |
//! | 8 | length of the image after |
//! | 8 | number of records |
//! | … | records |
//! | 32 | SHA-256 of all bytes before it |
//!
//! A record is the offset (8) and length (8) of a range, its kind (8: 0 if it held zeros, 1 if it
//! held data, which follows), and for each 512 bytes of the range, the XXH3 (8) of what they are to
//! hold. Numbers are little-endian.
//!
//! The new content is known per 512 bytes, because an interrupted write leaves a range that is new
//! up to some sector and old from there on. It is known by its XXH3 (xxHash's specification 0.2.0,
//! 64 bits, no seed), which tells apart what happens, not what somebody contrives: whoever could
//! write such sectors into the image could write any others.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use twox_hash::XxHash3_64;

use crate::{Digest, Error, Result};

const MAGIC: [u8; 8] = *b"IMGUNDO3";

/// Most bytes in one record, so that a damaged length cannot ask for much memory.
pub(super) const RECORD_BYTES: u64 = 1 << 20;

/// The unit that an interrupted write does not divide.
pub(super) const SECTOR_LEN: usize = 512;

const KIND_ZEROS: u64 = 0;
const KIND_DATA: u64 = 1;

/// What a sector is known by.
pub(super) type Sum = [u8; 8];

/// The sum of one sector; the last of an image may be shorter.
pub(super) fn sum_of_sector(sector: &[u8]) -> Sum {
    XxHash3_64::oneshot(sector).to_le_bytes()
}

/// What holds for a change as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// What identifies the image on its host.
    pub(super) inode: u64,
    pub(super) old_len: u64,
    pub(super) new_len: u64,
    pub(super) records: u64,
}

/// What a range held before a change, and what it is to hold after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) range: Range<u64>,
    /// What it held; `None` if that was zeros.
    pub(super) old: Option<Vec<u8>>,
    /// What its sectors are to hold.
    pub(super) new: Vec<Sum>,
}

/// Writes an undo file.
pub(super) struct Writer<W> {
    out: W,
    hasher: Sha256,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self {
            out,
            hasher: Sha256::new(),
        };
        writer.put(&MAGIC)?;
        for number in [header.inode, header.old_len, header.new_len, header.records] {
            writer.put(&number.to_le_bytes())?;
        }
        Ok(writer)
    }

    pub(super) fn record(&mut self, record: &Record) -> io::Result<()> {
        let len = record.range.end - record.range.start;
        let kind = record.old.as_ref().map_or(KIND_ZEROS, |_| KIND_DATA);
        for number in [record.range.start, len, kind] {
            self.put(&number.to_le_bytes())?;
        }
        if let Some(old) = &record.old {
            self.put(old)?;
        }
        self.put(record.new.as_flattened())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let digest = Digest::finish(self.hasher);
        self.out.write_all(digest.as_bytes())?;
        self.out.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads an undo file that was written to its end.
pub(super) struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    pub(super) header: Header,
}

impl Reader {
    /// Begins to read; `None` if the file was not written to its end, which shows in its checksum.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a whole file of another kind or version.
    pub(super) fn open(path: &Path, file: File) -> Result<Option<Self>> {
        let failed = |e| Error::file(path, "read", e);
        let mut input = BufReader::new(file);
        if !is_whole(&mut input).map_err(failed)? {
            return Ok(None);
        }
        input.rewind().map_err(failed)?;
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(failed)?;
        if magic != MAGIC {
            return Err(Error::Corrupt {
                path: path.to_owned(),
                problem: "this is not an undo file of this version: recover the image with the \
                          version that left it, or remove this file if the image is right as it is"
                    .to_owned(),
            });
        }
        let [inode, old_len, new_len, records] = numbers(&mut input).map_err(failed)?;
        Ok(Some(Self {
            path: path.to_owned(),
            input,
            header: Header {
                inode,
                old_len,
                new_len,
                records,
            },
        }))
    }

    /// Calls `each` for each record, from the first one on.
    pub(super) fn records(&mut self, mut each: impl FnMut(Record) -> Result<()>) -> Result<()> {
        let start = u64::try_from(MAGIC.len() + 4 * 8).expect("a small constant");
        self.input
            .seek(io::SeekFrom::Start(start))
            .map_err(|e| Error::file(&self.path, "read", e))?;
        for _ in 0..self.header.records {
            let record = self.record()?;
            each(record)?;
        }
        Ok(())
    }

    fn record(&mut self) -> Result<Record> {
        let failed = |e| Error::file(&self.path, "read", e);
        let [start, len, kind] = numbers(&mut self.input).map_err(failed)?;
        let end = start.checked_add(len);
        let (Some(end), 0..=RECORD_BYTES, KIND_ZEROS | KIND_DATA) = (end, len, kind) else {
            return Err(self.outside());
        };
        if end > self.header.old_len.max(self.header.new_len) {
            return Err(self.outside());
        }
        let len = usize::try_from(len).expect("at most a record");
        let mut bytes = |len| {
            let mut bytes = vec![0; len];
            self.input.read_exact(&mut bytes).map(|()| bytes)
        };
        let old = (kind == KIND_DATA).then(|| bytes(len)).transpose();
        let old = old.map_err(failed)?;
        let new = bytes(len.div_ceil(SECTOR_LEN) * size_of::<Sum>()).map_err(failed)?;
        let (new, _) = new.as_chunks();
        Ok(Record {
            range: start..end,
            old,
            new: new.to_vec(),
        })
    }

    fn outside(&self) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            problem: "a record of this undo file lies outside the image".to_owned(),
        }
    }
}

/// Whether the file was written to its end: its checksum fits.
fn is_whole(input: &mut BufReader<File>) -> io::Result<bool> {
    let digest_len = u64::try_from(Digest::LEN).expect("32");
    let Some(mut left) = input.get_ref().metadata()?.len().checked_sub(digest_len) else {
        return Ok(false);
    };
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 16];
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let read = input.read(&mut buf[..step])?;
        if read == 0 {
            return Ok(false);
        }
        hasher.update(&buf[..read]);
        left -= u64::try_from(read).expect("a buffer's length fits 64 bits");
    }
    let mut stored = [0; Digest::LEN];
    input.read_exact(&mut stored)?;
    Ok(Digest::finish(hasher) == Digest::from_bytes(stored))
}

fn numbers<const N: usize>(input: &mut impl Read) -> io::Result<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let mut bytes = [0; 8];
        input.read_exact(&mut bytes)?;
        *number = u64::from_le_bytes(bytes);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_xxhsum() {
        let sector: Vec<u8> = (0..=250).cycle().take(SECTOR_LEN).collect();
        // As `xxhsum -H3` of xxHash has them.
        let sum = |len: usize| u64::from_le_bytes(sum_of_sector(&sector[..len]));
        assert_eq!(sum(SECTOR_LEN), 0x5c02_1aac_1395_4143);
        assert_eq!(sum(100), 0x004e_4f92_1a64_bd1c);
    }
}
