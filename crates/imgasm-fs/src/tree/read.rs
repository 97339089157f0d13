//! The content of files.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

use super::resolve::{LastLink, resolve};
use super::{At, Entry, Error, Result};
use crate::path::ImagePath;
use crate::{FileSystem, FileType, NodeId};

/// Bytes read at a time when a file is streamed.
const CHUNK: usize = 128 << 10;

/// The whole content of the regular file at `path`, following links, if it has no more than
/// `limit` bytes.
///
/// # Errors
/// Those of [`resolve`] and [`read_node`].
pub fn read_file(fs: &dyn FileSystem, path: &ImagePath, limit: u64) -> Result<Vec<u8>> {
    let (node, path) = resolve(fs, path, LastLink::Follow)?;
    read_node(fs, node, &path, limit)
}

/// Like [`read_file`], for a node that is already known; `path` is only for messages.
///
/// # Errors
/// [`Error::WrongType`] if it is no regular file, [`Error::TooLarge`] if it has more than `limit` bytes;
/// [`Error::FileSystem`].
pub fn read_node(
    fs: &dyn FileSystem,
    node: NodeId,
    path: &ImagePath,
    limit: u64,
) -> Result<Vec<u8>> {
    let metadata = fs.metadata(node).at("read", path)?;
    if metadata.file_type != FileType::Regular {
        return Err(Error::WrongType {
            path: path.clone(),
            found: metadata.file_type,
            expected: "a regular file",
        });
    }
    if metadata.size > limit {
        return Err(Error::TooLarge {
            path: path.clone(),
            size: metadata.size,
            limit,
        });
    }
    let mut content = Vec::new();
    let mut chunk = vec![0; usize::try_from(metadata.size).map_or(CHUNK, |size| size.min(CHUNK))];
    loop {
        let offset = content.len() as u64;
        if offset >= metadata.size {
            return Ok(content);
        }
        let count = fs.read_at(node, offset, &mut chunk).at("read", path)?;
        if count == 0 {
            return Ok(content);
        }
        content.extend_from_slice(&chunk[..count]);
    }
}

/// Hands over the bytes of an entry's content in this range, in order and piece by piece, as many at a
/// time as the buffer holds.
///
/// # Errors
/// What `take` fails with; [`Error::FileSystem`] also if the content ends before the range.
pub fn read_range<E: From<Error>>(
    fs: &dyn FileSystem,
    entry: &Entry,
    range: Range<u64>,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = range.start;
    while at < range.end {
        let left = range.end - at;
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = fs.read_at(entry.node, at, &mut buffer[..most]);
        let read = read.and_then(|read| match read {
            0 => Err(crate::Error::Content(io::ErrorKind::UnexpectedEof.into())),
            read => Ok(read),
        });
        let read = read.at("read", &entry.path)?;
        take(&buffer[..read])?;
        at += read as u64;
    }
    Ok(())
}

/// A regular file as a stream of its bytes.
pub struct FileReader<'a> {
    fs: &'a dyn FileSystem,
    node: NodeId,
    offset: u64,
}

impl fmt::Debug for FileReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader")
            .field("node", &self.node)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl<'a> FileReader<'a> {
    /// A stream from the first byte of `node`.
    pub fn new(fs: &'a dyn FileSystem, node: NodeId) -> Self {
        let offset = 0;
        Self { fs, node, offset }
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fs.read_at(self.node, self.offset, buf);
        let count = count.map_err(io::Error::other)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Whether a file has these bytes there.
///
/// # Errors
/// Those of [`FileSystem::read_at`].
pub fn holds(fs: &dyn FileSystem, node: NodeId, offset: u64, wanted: &[u8]) -> crate::Result<bool> {
    let mut found = vec![0; wanted.len()];
    let mut done = 0;
    while done < found.len() {
        match fs.read_at(node, offset + done as u64, &mut found[done..])? {
            0 => return Ok(false),
            count => done += count,
        }
    }
    Ok(found == wanted)
}

/// Whether `node` holds exactly the `size` bytes of `content`. A stream that ends early is an
/// error of kind [`io::ErrorKind::UnexpectedEof`].
pub(super) fn same_content(
    fs: &dyn FileSystem,
    node: NodeId,
    size: u64,
    content: &mut dyn Read,
) -> io::Result<bool> {
    let metadata = fs.metadata(node).map_err(io::Error::other)?;
    if metadata.size != size {
        return Ok(false);
    }
    let mut stored = vec![0; CHUNK];
    let mut wanted = vec![0; CHUNK];
    let mut offset = 0;
    while offset < size {
        let count = fs.read_at(node, offset, &mut stored);
        let count = count.map_err(io::Error::other)?;
        if count == 0 {
            return Ok(false);
        }
        content.read_exact(&mut wanted[..count])?;
        if stored[..count] != wanted[..count] {
            return Ok(false);
        }
        offset += count as u64;
    }
    Ok(true)
}
