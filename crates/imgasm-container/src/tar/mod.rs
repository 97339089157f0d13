//! Reading tar archives as a stream: every form of names and of sparse files, within bounds.
//!
//! - `entry`: what an archive says of one of its members.
//! - `sparse`: which bytes of a sparse file are stored.
//!
//! The `tar` crate decodes the headers. Moving from one to the next is done here, because the crate
//! holds names and records of any length in memory and does not know the sparse files of PAX
//! records, which bsdtar and GNU tar write.

mod entry;
mod sparse;

use std::io::{self, Read};

pub use entry::{Entry, Kind};

use entry::About;
use imgasm_block::bytes::is_zero;
use sparse::{Map, Piece};

const BLOCK_BYTES: u64 = 512;

/// The most bytes of one name or one set of records. A path has 4096 bytes on Linux; a sparse map
/// of version 0.1 is a record too.
const RECORD_LIMIT_BYTES: u64 = 4 << 20;

/// The most records between two files, and the most headers that only continue a map.
const RECORDS_LIMIT: usize = 1 << 16;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Damage(String);

/// An error of the archive.
fn bad(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damage(problem.to_owned()))
}

/// An error of the crate about a header.
#[allow(clippy::needless_pass_by_value, reason = "it is mapped from a result")]
fn damaged(error: io::Error) -> io::Error {
    bad(&error.to_string())
}

/// Whether the archive is damaged, as opposed to a failure to read it.
pub fn is_damage(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Damage>())
        .is_some()
}

/// Whether a block is the header of an archive's member: its checksum fits. The oldest archives
/// (version 7) have no other sign.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<512>() else {
        return false;
    };
    let header = tar::Header::from_byte_slice(block);
    // A checksum field of only spaces or zeros belongs to an empty block.
    let digits = &block[148..156];
    digits.iter().any(u8::is_ascii_digit) && header.cksum().is_ok_and(|sum| sum == checksum(block))
}

/// The sum of a header's bytes, with its own eight as spaces.
fn checksum(block: &[u8; 512]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

/// An archive that is read from its beginning to its end.
pub struct Archive<'a> {
    input: &'a mut dyn Read,
    /// Stored bytes of the current member that have not been read, with the padding of its last
    /// block.
    left: u64,
    padding: u64,
}

impl<'a> Archive<'a> {
    /// The archive that `input` holds, uncompressed.
    pub fn new(input: &'a mut dyn Read) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
        }
    }

    /// The next member; what was left of the one before is skipped. `None` after the last.
    ///
    /// # Errors
    /// What the input fails with, and those that [`is_damage`] knows.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut about = About::default();
        for _ in 0..RECORDS_LIMIT {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(damaged)?;
            if kind.is_gnu_longname() {
                about.name = Some(until_zero(self.record(size)?));
            } else if kind.is_gnu_longlink() {
                about.target = Some(until_zero(self.record(size)?));
            } else if kind.is_pax_local_extensions() {
                about.take(&self.record(size)?)?;
            } else if kind.is_pax_global_extensions() {
                self.record(size)?;
            } else {
                // Links and devices have no content, whatever their size is said to be.
                let stored = if kind.is_hard_link() || kind.is_symlink() {
                    0
                } else {
                    about.size.unwrap_or(size)
                };
                self.begin(stored);
                match Kind::of(&header, &mut about)? {
                    Some(Kind::File) => {
                        let (map, len) = self.map(&header, stored, &mut about)?;
                        let pieces = map.checked(len, self.left)?;
                        return about.entry(&header, Kind::File, len, pieces).map(Some);
                    }
                    Some(kind) => return about.entry(&header, kind, 0, Vec::new()).map(Some),
                    None => about = About::default(),
                }
            }
        }
        Err(bad("too many records without a file"))
    }

    /// The next regular file.
    pub(super) fn next_file(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let entry = self.next_entry()?;
            if entry.as_ref().is_none_or(|entry| entry.kind == Kind::File) {
                return Ok(entry);
            }
        }
    }

    /// The content of the file that [`Archive::next_entry`] gave last.
    pub fn content<'b>(&'b mut self, member: &'b Entry) -> Content<'b> {
        Content {
            input: Read::take(&mut *self.input, self.left),
            left: &mut self.left,
            pieces: &member.pieces,
            at: 0,
            len: member.len,
        }
    }

    /// Which bytes of a file are stored, and its length once it is unpacked.
    fn map(
        &mut self,
        header: &tar::Header,
        stored: u64,
        about: &mut About,
    ) -> io::Result<(Map, u64)> {
        if header.entry_type().is_gnu_sparse() {
            return self.old_gnu_map(header);
        }
        let Some(len) = about.sparse_size else {
            return Ok((Map::whole(stored), stored));
        };
        if about.map_is_stored {
            let (map, taken) = Map::read(self.input, stored)?;
            self.left -= taken;
            return Ok((map, len));
        }
        let map = about.map.take();
        Ok((map.unwrap_or_else(|| Map::whole(stored)), len))
    }

    /// The map of an old GNU sparse file: four pieces in the header, then 21 in each following
    /// block, as long as the block before says that one follows. The blocks are not counted in the
    /// file's size.
    fn old_gnu_map(&mut self, header: &tar::Header) -> io::Result<(Map, u64)> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| bad("a sparse file without a GNU header"))?;
        let mut map = Map::default();
        let mut add = |piece: &tar::GnuSparseHeader| {
            if piece.is_empty() {
                return Ok(());
            }
            let (start, len) = (piece.offset(), piece.length());
            map.push(start.map_err(damaged)?, len.map_err(damaged)?)
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut is_extended = gnu.is_extended();
        while is_extended {
            let mut more = tar::GnuExtSparseHeader::new();
            self.input.read_exact(more.as_mut_bytes())?;
            more.sparse().iter().try_for_each(&mut add)?;
            is_extended = more.is_extended();
        }
        Ok((map, gnu.real_size().map_err(damaged)?))
    }

    /// The next header; `None` at the end, which is a block of zeros or the end of the input.
    fn header(&mut self) -> io::Result<Option<tar::Header>> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => filled += len,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if is_zero(block) {
            return Ok(None);
        }
        if !is_header(block) {
            return Err(bad("a header's checksum does not fit"));
        }
        Ok(Some(header))
    }

    fn begin(&mut self, stored: u64) {
        self.left = stored;
        self.padding = stored.wrapping_neg() % BLOCK_BYTES;
    }

    fn skip(&mut self) -> io::Result<()> {
        let left = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut Read::take(&mut *self.input, left), &mut io::sink())?;
        if skipped < left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// A name or a set of records.
    fn record(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > RECORD_LIMIT_BYTES {
            return Err(bad(&format!(
                "a name or record of {size} bytes, and no more than {RECORD_LIMIT_BYTES} are read"
            )));
        }
        self.begin(size);
        let mut record = Vec::new();
        Read::take(&mut *self.input, size).read_to_end(&mut record)?;
        let read = u64::try_from(record.len()).expect("at most 4 MiB");
        if read < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = 0;
        Ok(record)
    }
}

/// A name without the zero that ends it.
fn until_zero(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
    name
}

/// The bytes of a member, with its holes as zeros.
pub struct Content<'a> {
    input: io::Take<&'a mut dyn Read>,
    left: &'a mut u64,
    /// The pieces from the one that is being read, or comes next.
    pieces: &'a [Piece],
    at: u64,
    len: u64,
}

impl Content<'_> {
    /// Passes over a hole, if the next byte lies in one; gives where in the member that byte is now.
    pub fn skip_hole(&mut self) -> u64 {
        let at = self.at;
        self.at = match self.piece() {
            Some(piece) => at.max(piece.start),
            None => self.len,
        };
        self.at
    }

    /// The piece in which the next byte lies, or that comes next.
    fn piece(&mut self) -> Option<&Piece> {
        while let Some(piece) = self.pieces.first()
            && self.at >= piece.start + piece.len
        {
            self.pieces = &self.pieces[1..];
        }
        self.pieces.first()
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (at, len) = (self.at, self.len);
        let (until, is_stored) = match self.piece() {
            Some(piece) if at >= piece.start => (piece.start + piece.len, true),
            Some(piece) => (piece.start, false),
            None => (len, false),
        };
        let most = usize::try_from(until - self.at).map_or(buf.len(), |most| most.min(buf.len()));
        let buf = &mut buf[..most];
        let mut read = most;
        if is_stored && !buf.is_empty() {
            read = self.input.read(buf)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *self.left -= u64::try_from(read).expect("a buffer's length fits 64 bits");
        } else {
            buf.fill(0);
        }
        self.at += u64::try_from(read).expect("a buffer's length fits 64 bits");
        Ok(read)
    }
}
