//! A file read once: its SHA-256 and its chunk map, both of the same bytes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use super::bytes::byte_len;
use super::{
    BlockDevice, ChunkMap, ChunkMapBuilder, Digest, Error, FileDevice, Reader, Result, Verified,
    pool,
};

/// How far a long read is: called with the bytes that are done and all of them.
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// How much is read in one step.
const READ_BYTES: u64 = 1 << 20;

/// How many pieces may be in the queue between the two threads.
const QUEUE: usize = 8;

/// What lies next in the file.
enum Piece {
    Data(Vec<u8>),
    /// A hole of this many bytes.
    Zeros(u64),
}

/// Reads a file; one core hashes the file as a whole, the other its chunks. What is read of it later
/// is the same if it is read through [`Verified`] with this chunk map.
///
/// # Errors
/// [`Error::File`] if it has become shorter.
pub fn read(file: &FileDevice, progress: &Progress<'_>) -> Result<(Digest, ChunkMap)> {
    let (to_map, from_file) = sync_channel(QUEUE);
    let (digest, chunk_map) = pool::both(
        move || hash(file, &to_map, progress),
        move || build(&from_file),
    );
    let (digest, chunk_map) = (digest?, chunk_map);
    if chunk_map.device_len() == file.len() {
        Ok((digest, chunk_map))
    } else {
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        Err(Error::file(file.path(), "read", cut))
    }
}

/// A file that was hashed, and is read as it was then, whoever writes it meanwhile.
#[derive(Debug)]
pub struct Hashed {
    file: Arc<FileDevice>,
    chunk_map: Arc<ChunkMap>,
    digest: Digest,
}

impl Hashed {
    /// Opens and hashes a file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, or is no regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = FileDevice::open(path).map_err(|error| Error::file(path, "open", error))?;
        let (digest, chunk_map) = read(&file, &|_, _| ())?;
        Ok(Self {
            file: Arc::new(file),
            chunk_map: Arc::new(chunk_map),
            digest,
        })
    }

    /// Its SHA-256.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.chunk_map.device_len()
    }

    /// Its bytes from this one on. Reading them fails if they are others than were hashed.
    ///
    /// # Errors
    /// [`Error::Changed`] if the file has another length by now.
    pub fn reader(&self, from: u64) -> Result<Reader> {
        let (file, chunk_map) = (Arc::clone(&self.file), Arc::clone(&self.chunk_map));
        let verified = Verified::new(file, chunk_map, || ())?;
        let range = from..verified.len();
        Ok(Reader::new(Arc::new(verified), range))
    }
}

fn hash(file: &FileDevice, to_map: &SyncSender<Piece>, progress: &Progress<'_>) -> Result<Digest> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut hasher = Sha256::new();
    let mut at = 0;
    // The other thread receives until this one ends.
    let send = |piece| {
        let _ = to_map.send(piece);
    };
    while at < file.len() {
        let data = file.next_data(at)?.unwrap_or(file.len()..file.len());
        if data.start > at {
            let mut left = data.start - at;
            send(Piece::Zeros(left));
            while left > 0 {
                let step = left.min(byte_len(&ZEROS));
                hasher.update(&ZEROS[..usize::try_from(step).expect("at most 64 KiB")]);
                left -= step;
            }
            at = data.start;
        }
        while at < data.end {
            let step = (data.end - at).min(READ_BYTES);
            let mut piece = vec![0; usize::try_from(step).expect("at most 1 MiB")];
            file.read_at(at, &mut piece)?;
            hasher.update(&piece);
            at += step;
            send(Piece::Data(piece));
            progress(at, file.len());
        }
    }
    progress(file.len(), file.len());
    Ok(Digest::finish(hasher))
}

fn build(pieces: &Receiver<Piece>) -> ChunkMap {
    let mut builder = ChunkMapBuilder::new();
    while let Ok(piece) = pieces.recv() {
        match piece {
            Piece::Data(data) => builder.push(&data),
            Piece::Zeros(len) => builder.push_zeros(len),
        }
    }
    builder.finish()
}
