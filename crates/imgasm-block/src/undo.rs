//! The undo file of a change in place: what the image held where it is about to change.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `IMGUNDO1` |
//! | 8 | inode number of the image on the host |
//! | 8 | length of the image before |
//! | 8 | length of the image after |
//! | 8 | number of records |
//! | … | records: offset (8), length (8), kind (8): 0 zeros, 1 data, whose bytes follow |
//! | 32 | SHA-256 of all before |
//!
//! Numbers are little-endian. The file is on the disk before the first byte of the image changes,
//! and removed after the last one is on the disk. So a whole undo file means that the image may be
//! half-changed, and one that is cut off or does not fit its checksum means that it is untouched.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{BlockDevice, Digest, Error, FileDevice, Result};

const MAGIC: [u8; 8] = *b"IMGUNDO1";

/// Most data in one record, so that a damaged length cannot ask for much memory.
const RECORD_BYTES: u64 = 1 << 20;

const KIND_ZEROS: u64 = 0;
const KIND_DATA: u64 = 1;

/// What was found and done about a change in place that had been interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// The image was half-changed and is again as it was before.
    RolledBack {
        /// Bytes that were put back.
        bytes: u64,
    },
    /// The change had not begun; only the undo file was removed.
    NotBegun,
}

/// The name of the undo file of an image.
pub fn undo_path(image: &Path) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(".imgasm-undo");
    PathBuf::from(path)
}

/// Fixed facts about a change, as the undo file's header has them.
struct Header {
    inode: u64,
    old_len: u64,
    new_len: u64,
    records: u64,
}

/// Writes the undo file for a change of the bytes `ranges` of `image` and brings it to the disk.
pub(super) fn write(image: &FileDevice, ranges: &[Range<u64>], new_len: u64) -> Result<()> {
    let path = undo_path(image.path());
    let failed = |e| Error::file(&path, "write", e);
    let inode = image.file().metadata().map_err(failed)?.ino();
    let records = records(image, ranges)?;
    let file = File::create_new(&path).map_err(|e| Error::file(&path, "make", e))?;
    let mut out = Hashing::new(BufWriter::new(&file));
    out.write_all(&MAGIC).map_err(failed)?;
    let count = u64::try_from(records.len()).expect("a length fits 64 bits");
    for number in [inode, image.len(), new_len, count] {
        out.write_all(&number.to_le_bytes()).map_err(failed)?;
    }
    let mut buf = Vec::new();
    for (range, kind) in records {
        let len = range.end - range.start;
        for number in [range.start, len, kind] {
            out.write_all(&number.to_le_bytes()).map_err(failed)?;
        }
        if kind == KIND_DATA {
            buf.resize(usize::try_from(len).expect("at most a record"), 0);
            image.read_at(range.start, &mut buf)?;
            out.write_all(&buf).map_err(failed)?;
        }
    }
    let (mut out, digest) = out.finish();
    out.write_all(digest.as_bytes()).map_err(failed)?;
    out.flush().map_err(failed)?;
    drop(out);
    file.sync_all().map_err(failed)?;
    sync_folder_of(&path)
}

/// The records for some ranges: what is a hole before becomes one again.
fn records(image: &FileDevice, ranges: &[Range<u64>]) -> Result<Vec<(Range<u64>, u64)>> {
    let mut records = Vec::new();
    for range in ranges {
        let end = range.end.min(image.len());
        let mut at = range.start;
        while at < end {
            let data = image.next_data(at)?.unwrap_or(end..end);
            let data = data.start.min(end)..data.end.min(end);
            if data.start > at {
                records.push((at..data.start, KIND_ZEROS));
                at = data.start;
            } else {
                let step = data.end.min(at + RECORD_BYTES);
                records.push((at..step, KIND_DATA));
                at = step;
            }
        }
    }
    Ok(records)
}

/// Removes the undo file, after which the change counts as done.
pub(super) fn remove(image: &Path) -> Result<()> {
    let path = undo_path(image);
    fs::remove_file(&path).map_err(|e| Error::file(&path, "remove", e))?;
    sync_folder_of(&path)
}

/// Puts an image back as it was, if an undo file lies beside it. The image must be locked.
pub(super) fn recover(image: &FileDevice) -> Result<Option<Recovery>> {
    let path = undo_path(image.path());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::file(&path, "open", e)),
    };
    let mut reader = Reader {
        path: &path,
        input: Hashing::new(BufReader::new(file)),
    };
    let recovery = if is_whole(&mut reader)? {
        reader.rewind()?;
        Recovery::RolledBack {
            bytes: roll_back(image, &mut reader)?,
        }
    } else {
        Recovery::NotBegun
    };
    remove(image.path())?;
    Ok(Some(recovery))
}

/// Whether the file was written to its end: its checksum fits.
fn is_whole(reader: &mut Reader<'_>) -> Result<bool> {
    let failed = |e| Error::file(reader.path, "read", e);
    let len = reader
        .input
        .inner
        .get_ref()
        .metadata()
        .map_err(failed)?
        .len();
    let Some(body) = len.checked_sub(u64::try_from(Digest::LEN).expect("32")) else {
        return Ok(false);
    };
    let copied = io::copy(&mut (&mut reader.input).take(body), &mut io::sink()).map_err(failed)?;
    let digest = reader.input.digest();
    let mut stored = [0; Digest::LEN];
    reader.input.inner.read_exact(&mut stored).map_err(failed)?;
    Ok(copied == body && digest == Digest::from_bytes(stored))
}

/// Puts the old bytes back, gives the image its old length and brings it to the disk.
fn roll_back(image: &FileDevice, reader: &mut Reader<'_>) -> Result<u64> {
    let header = reader.header()?;
    let failed = |e| Error::file(image.path(), "roll back", e);
    let metadata = image.file().metadata().map_err(failed)?;
    if metadata.ino() != header.inode || ![header.old_len, header.new_len].contains(&metadata.len())
    {
        return Err(reader.corrupt(
            "this undo file belongs to another file than the one beside it; remove it if the \
             image is known to be good",
        ));
    }
    let mut bytes = 0;
    let mut buf = Vec::new();
    for _ in 0..header.records {
        let [offset, len, kind] = reader.numbers()?;
        let inside = offset
            .checked_add(len)
            .is_some_and(|end| end <= header.old_len);
        match kind {
            KIND_ZEROS if inside => image.write_zeros(offset, len)?,
            KIND_DATA if inside && len <= RECORD_BYTES => {
                buf.resize(usize::try_from(len).expect("at most a record"), 0);
                reader.bytes(&mut buf)?;
                image.write_at(offset, &buf)?;
            }
            _ => return Err(reader.corrupt("a record lies outside the image")),
        }
        bytes += len;
    }
    image.file().set_len(header.old_len).map_err(failed)?;
    image.file().sync_all().map_err(failed)?;
    Ok(bytes)
}

/// Brings the names in the folder that holds `path` to the disk.
fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::file(folder, "bring to the disk", e))
}

/// Reads an undo file.
struct Reader<'a> {
    path: &'a Path,
    input: Hashing<BufReader<File>>,
}

impl Reader<'_> {
    fn rewind(&mut self) -> Result<()> {
        let rewound = self.input.inner.rewind();
        rewound.map_err(|e| Error::file(self.path, "read", e))
    }

    fn bytes(&mut self, buf: &mut [u8]) -> Result<()> {
        let read = self.input.read_exact(buf);
        read.map_err(|e| Error::file(self.path, "read", e))
    }

    fn numbers<const N: usize>(&mut self) -> Result<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let mut bytes = [0; 8];
            self.bytes(&mut bytes)?;
            *number = u64::from_le_bytes(bytes);
        }
        Ok(numbers)
    }

    fn header(&mut self) -> Result<Header> {
        let mut magic = [0; MAGIC.len()];
        self.bytes(&mut magic)?;
        if magic != MAGIC {
            return Err(self.corrupt("this is not an undo file"));
        }
        let [inode, old_len, new_len, records] = self.numbers()?;
        Ok(Header {
            inode,
            old_len,
            new_len,
            records,
        })
    }

    fn corrupt(&self, problem: &str) -> Error {
        Error::Corrupt {
            path: self.path.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// A reader or writer that hashes what passes.
struct Hashing<T> {
    inner: T,
    hasher: Sha256,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
        }
    }

    fn digest(&self) -> Digest {
        Digest::finish(self.hasher.clone())
    }

    fn finish(self) -> (T, Digest) {
        (self.inner, Digest::finish(self.hasher))
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        self.hasher.update(&buf[..len]);
        Ok(len)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(buf)?;
        self.hasher.update(&buf[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
