//! A file whose bytes are compared with their digests as they are read.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::bytes::byte_len;
use super::chunk_map::{CHUNK_BYTES, Chunk, check};
use super::device::check_range;
use super::{BlockDevice, ChunkMap, Error, FileDevice, Result};

/// How many chunks stay in memory after a part of them was read, so that a filesystem's small reads
/// do not hash the same chunk again and again: 32 MiB.
const MOST_HELD: usize = 64;

/// The longest range that [`Verified::next_data`] gives, in chunks.
const LONGEST_RANGE: u64 = 64;

/// A file on the host, read as its chunk map describes it.
///
/// A file can be written while it is read, and through a mapping even without a change of its times.
/// So each chunk is hashed in the buffer that is handed out, and a chunk that is not in the map reads
/// as zeros without a look at the file: the reader gets what the digests say, or an error.
pub struct Verified {
    file: Arc<FileDevice>,
    chunk_map: Arc<ChunkMap>,
    /// Called when a chunk does not match its digest.
    mistrust: Box<dyn Fn() + Send + Sync>,
    /// The last read first.
    held: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Verified {
    /// Reads `file` as `chunk_map` describes it. `mistrust` is called before an error about a chunk
    /// that differs, so that whoever remembered the map forgets it.
    ///
    /// # Errors
    /// [`Error::Changed`] if the file does not have the length that the map has.
    pub fn new(
        file: Arc<FileDevice>,
        chunk_map: Arc<ChunkMap>,
        mistrust: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self> {
        let verified = Self {
            file,
            chunk_map,
            mistrust: Box::new(mistrust),
            held: Mutex::default(),
        };
        if verified.file.len() == verified.chunk_map.device_len() {
            Ok(verified)
        } else {
            Err(verified.changed(0))
        }
    }

    fn changed(&self, index: u64) -> Error {
        (self.mistrust)();
        Error::Changed {
            path: self.file.path().to_owned(),
            offset: index * CHUNK_BYTES,
        }
    }

    /// A whole chunk that is in the map, hashed in the caller's buffer.
    fn read_chunk(&self, expected: &Chunk, buf: &mut [u8]) -> Result<()> {
        self.file.read_padded(expected.index * CHUNK_BYTES, buf)?;
        if check(buf) == expected.check {
            Ok(())
        } else {
            Err(self.changed(expected.index))
        }
    }

    /// A chunk of which a part is wanted.
    fn held(&self, expected: &Chunk) -> Result<Arc<Vec<u8>>> {
        let index = expected.index;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|(known, _)| *known == index)
            && let Some(entry) = held.remove(at)
        {
            let chunk = Arc::clone(&entry.1);
            held.push_front(entry);
            return Ok(chunk);
        }
        let mut chunk = vec![0; chunk_len()];
        self.read_chunk(expected, &mut chunk)?;
        let chunk = Arc::new(chunk);
        held.push_front((index, Arc::clone(&chunk)));
        held.truncate(MOST_HELD);
        Ok(chunk)
    }
}

fn chunk_len() -> usize {
    usize::try_from(CHUNK_BYTES).expect("a small constant")
}

impl BlockDevice for Verified {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, byte_len(buf), self.len())?;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let index = at / CHUNK_BYTES;
            let inside = usize::try_from(at % CHUNK_BYTES).expect("within a chunk");
            let len = rest.len().min(chunk_len() - inside);
            let (piece, following) = rest.split_at_mut(len);
            match self.chunk_map.chunk(index) {
                None => piece.fill(0),
                Some(expected) if piece.len() == chunk_len() => {
                    self.read_chunk(expected, piece)?;
                }
                Some(expected) => {
                    let chunk = self.held(expected)?;
                    piece.copy_from_slice(&chunk[inside..inside + len]);
                }
            }
            at += byte_len(piece);
            rest = following;
        }
        Ok(())
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn write_zeros(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Error::ReadOnly)
    }

    /// What the map says: the holes that the file has now mean nothing.
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        if from >= self.len() {
            return Ok(None); // The last chunk may reach past the end.
        }
        let chunks = self.chunk_map.chunks();
        let first = chunks.partition_point(|chunk| (chunk.index + 1) * CHUNK_BYTES <= from);
        let Some(start) = chunks.get(first).map(|chunk| chunk.index) else {
            return Ok(None);
        };
        let following = chunks[first..].iter().zip(start..start + LONGEST_RANGE);
        let run = following.take_while(|(chunk, index)| chunk.index == *index);
        let past = start + u64::try_from(run.count()).expect("a short range");
        let end = (past * CHUNK_BYTES).min(self.len());
        Ok(Some((start * CHUNK_BYTES).max(from)..end))
    }

    fn host_file(&self) -> Option<&FileDevice> {
        Some(&self.file)
    }

    fn digests(&self) -> Option<&ChunkMap> {
        Some(&self.chunk_map)
    }
}
