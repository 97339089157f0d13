//! The payload of a package: a cpio archive, packed.
//!
//! Two forms occur: *newc* (cpio(5), "New ASCII Format"), with a name before each file, and RPM's
//! own stripped form for files above 4 GiB, with the number that the file has in the package's
//! header. In both, what belongs to one entry is padded to four bytes.

use std::io::{self, BufRead, BufReader, Read};

use super::header::Header;
use super::tags;
use imgasm_block::Reader;

/// Bytes of a newc entry before its name.
const NEWC_LEN: usize = 110;
/// Bytes of a stripped entry.
const STRIPPED_LEN: usize = 14;
/// Bytes that tell the form of an entry.
const MAGIC_LEN: usize = 6;
/// The longest name that is read: Linux's own limit of a path.
const MAX_NAME: usize = 4096;
/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// How gzip begins (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The most memory that unpacking xz may take.
const XZ_MEMORY: u64 = 1 << 30;
/// What everything is padded to a multiple of.
const ALIGNMENT: u64 = 4;

/// Which file of the package an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The one with this path, without the `.` before it.
    Path(Vec<u8>),
    /// The one with this number.
    Index(usize),
}

/// One file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which it is.
    pub key: Key,
    /// Bytes that follow; `None` if only the package's header tells.
    pub size: Option<u64>,
}

/// Unpacks the payload of the package with this header.
///
/// # Errors
/// If the header names a packer or a form that is not known.
pub fn unpack(header: &Header, payload: Reader) -> io::Result<Archive<Box<dyn Read>>> {
    let format = header.string(tags::PAYLOAD_FORMAT);
    if let Some(format) = format.filter(|format| format != "cpio") {
        let problem = format!("payloads in the form {format:?} are not supported");
        return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
    }
    let compressor = header.string(tags::PAYLOAD_COMPRESSOR);
    let mut file = BufReader::new(payload);
    // If nothing is said, it is gzip, or nothing at all.
    let is_gzip = file.fill_buf()?.starts_with(&GZIP_MAGIC);
    let reader: Box<dyn Read> = match compressor.as_deref() {
        Some("gzip") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        None if is_gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        None => Box::new(file),
        Some("bzip2") => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        Some("xz" | "lzma") => {
            let stream = liblzma::stream::Stream::new_auto_decoder(XZ_MEMORY, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
        }
        Some("zstd") => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        Some("identity" | "none" | "uncompressed") => Box::new(file),
        Some(other) => {
            let problem = format!("payloads packed by {other:?} are not supported");
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        }
    };
    Ok(Archive {
        reader: BufReader::new(reader),
        position: 0,
    })
}

/// An archive that is read from its beginning to its end.
pub struct Archive<R> {
    reader: BufReader<R>,
    position: u64,
}

impl<R: Read> Archive<R> {
    /// The next entry; `None` behind the last. What came with the one before must have been read
    /// to its end.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        self.align()?;
        let mut magic = [0; MAGIC_LEN];
        self.read_exact(&mut magic)?;
        match &magic {
            b"070701" | b"070702" => self.newc(),
            b"07070X" => {
                let mut rest = [0; STRIPPED_LEN - MAGIC_LEN];
                self.read_exact(&mut rest)?;
                let index = usize::try_from(hex(&rest)?).unwrap_or(usize::MAX);
                self.align()?;
                Ok(Some(Entry {
                    key: Key::Index(index),
                    size: None,
                }))
            }
            _ => Err(invalid("an entry of the payload begins with no known mark")),
        }
    }

    fn newc(&mut self) -> io::Result<Option<Entry>> {
        let mut rest = [0; NEWC_LEN - MAGIC_LEN];
        self.read_exact(&mut rest)?;
        // Thirteen fields of eight digits; of these the sizes of content and name matter.
        let field = |number: usize| hex(&rest[number * 8..][..8]);
        let size = field(6)?;
        let name_len = usize::try_from(field(11)?).unwrap_or(usize::MAX);
        if name_len == 0 || name_len > MAX_NAME {
            return Err(invalid(
                "an entry of the payload has a name of impossible length",
            ));
        }
        let mut name = vec![0; name_len];
        self.read_exact(&mut name)?;
        self.align()?;
        let end = name.iter().position(|&byte| byte == 0);
        name.truncate(end.unwrap_or(name_len));
        if name == TRAILER {
            return Ok(None);
        }
        // rpmbuild writes `./`, others leave that or the dot out.
        let path = name.strip_prefix(b"./").or(name.strip_prefix(b"/"));
        let name = [b"/", path.unwrap_or(&name)].concat();
        Ok(Some(Entry {
            key: Key::Path(name),
            size: Some(size),
        }))
    }

    /// The next `size` bytes, which belong to an entry.
    pub fn content(&mut self, size: u64) -> Content<'_, R> {
        Content {
            archive: self,
            left: size,
        }
    }

    fn align(&mut self) -> io::Result<()> {
        let padding = self.position.next_multiple_of(ALIGNMENT) - self.position;
        let mut pad = [0; 4];
        let len = usize::try_from(padding).unwrap_or_default();
        self.read_exact(&mut pad[..len])
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buf)?;
        self.position = self.position.wrapping_add(buf.len() as u64);
        Ok(())
    }
}

/// The content of an entry.
pub struct Content<'a, R> {
    archive: &'a mut Archive<R>,
    left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    /// # Errors
    /// Where the archive ends before the content.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        if len == 0 {
            return Ok(0);
        }
        let count = self.archive.reader.read(&mut buf[..len])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.archive.position = self.archive.position.wrapping_add(count as u64);
        Ok(count)
    }
}

fn hex(digits: &[u8]) -> io::Result<u64> {
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex);
    let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    number.ok_or_else(|| invalid("an entry of the payload has a number that is none"))
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(bytes: &[u8]) -> Archive<&[u8]> {
        Archive {
            reader: BufReader::new(bytes),
            position: 0,
        }
    }

    fn newc(name: &str, content: &[u8]) -> Vec<u8> {
        let mut entry = b"070701".to_vec();
        for number in [
            1,
            0o100_644,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ] {
            entry.extend(format!("{number:08x}").bytes());
        }
        entry.extend(name.bytes());
        entry.push(0);
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry.extend(content);
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry
    }

    #[test]
    fn entries_and_their_content() {
        let bytes = [newc("./etc/a", b"12345"), newc("TRAILER!!!", b"")].concat();
        let mut archive = archive(&bytes);
        let entry = archive.next_entry().unwrap().unwrap();
        assert_eq!(entry.key, Key::Path(b"/etc/a".to_vec()));
        let mut content = Vec::new();
        archive
            .content(entry.size.unwrap())
            .read_to_end(&mut content)
            .unwrap();
        assert_eq!(content, b"12345");
        assert_eq!(archive.next_entry().unwrap(), None);
    }

    #[test]
    fn names_come_in_three_forms() {
        for name in ["./etc/a", "/etc/a", "etc/a"] {
            let entry = archive(&newc(name, b"")).next_entry().unwrap().unwrap();
            assert_eq!(entry.key, Key::Path(b"/etc/a".to_vec()), "{name}");
        }
    }

    #[test]
    fn what_is_cut_short_or_no_archive_is_an_error() {
        let whole = [newc("./etc/a", b"12345"), newc("TRAILER!!!", b"")].concat();
        for bytes in [&whole[..100], b"070707", b"07070X0000000g", b""] {
            assert!(archive(bytes).next_entry().is_err());
        }
        let mut cut = archive(&whole[..120]);
        let entry = cut.next_entry().unwrap().unwrap();
        let read = cut
            .content(entry.size.unwrap())
            .read_to_end(&mut Vec::new());
        assert!(read.is_err());
    }
}
