//! The chunk map: the digests of each chunk of a device that holds data.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::bytes::{byte_len, is_zero};
use super::{BlockDevice, Digest, Result, pool};

/// Bytes in a chunk. EBS snapshots have blocks of this size, with SHA-256 as their checksum (EBS
/// direct APIs, "Optimize performance" and `PutSnapshotBlock`).
pub const CHUNK_BYTES: u64 = 512 << 10;

const CHUNK_LEN: usize = 512 << 10;

/// The digest of each chunk of a device that is not all zeros.
///
/// The last chunk is hashed as if zeros followed the device, so a device that is grown keeps its
/// digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkMap {
    device_len: u64,
    /// In the order of their indices, each once.
    chunks: Vec<Chunk>,
}

/// A chunk that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its offset on the device, divided by [`CHUNK_BYTES`].
    pub index: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// BLAKE3 of its bytes: what they are compared by when they are read again, which takes a third of
    /// the time.
    pub check: Check,
}

/// A BLAKE3 digest.
pub type Check = [u8; blake3::OUT_LEN];

impl Chunk {
    fn of(index: u64, bytes: &[u8]) -> Self {
        Self {
            index,
            digest: Digest::of(bytes),
            check: check(bytes),
        }
    }
}

/// The BLAKE3 digest of some bytes.
pub(super) fn check(bytes: &[u8]) -> Check {
    blake3::hash(bytes).into()
}

/// A chunk that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkChange {
    /// It holds this data now.
    Data(Chunk),
    /// The chunk with this index held data and is all zeros now.
    Zero(u64),
}

impl ChunkMap {
    /// Reads a device, its holes left out, and hashes it on all cores.
    ///
    /// # Errors
    /// Those of reading the device.
    pub fn compute(device: &dyn BlockDevice) -> Result<Self> {
        let mut chunks = read_chunks(device, &data_chunks(device), Chunk::of)?;
        chunks.sort_unstable_by_key(|chunk| chunk.index);
        Ok(Self {
            device_len: device.len(),
            chunks,
        })
    }

    /// Whether this is the map of a device: reads it, and compares each chunk.
    pub(super) fn describes(&self, device: &dyn BlockDevice) -> Result<bool> {
        let is_as_here = |index, bytes: &[u8]| {
            let chunk = self.chunk(index);
            chunk.is_some_and(|chunk| chunk.check == check(bytes))
        };
        let found = read_chunks(device, &data_chunks(device), is_as_here)?;
        Ok(self.device_len == device.len()
            && found.len() == self.chunks.len()
            && found.into_iter().all(|is_as_here| is_as_here))
    }

    /// The map of `device`, which differs from the device of this map only in the byte ranges
    /// `changed`.
    ///
    /// # Errors
    /// Those of reading the device.
    pub fn updated(
        &self,
        device: &dyn BlockDevice,
        changed: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Self> {
        let device_len = device.len();
        let mut indices = BTreeSet::new();
        for range in changed {
            let end = range.end.min(device_len);
            indices.extend(range.start / CHUNK_BYTES..end.div_ceil(CHUNK_BYTES));
        }
        if device_len < self.device_len {
            // The chunk in which the device now ends changes; those past it are gone.
            indices.extend(
                (!device_len.is_multiple_of(CHUNK_BYTES)).then_some(device_len / CHUNK_BYTES),
            );
        }
        let kept = self.chunks.iter().filter(|chunk| {
            chunk.index < device_len.div_ceil(CHUNK_BYTES) && !indices.contains(&chunk.index)
        });
        let mut chunks: Vec<Chunk> = kept.copied().collect();
        let queue = Mutex::new(indices.iter().copied());
        let next = || {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(queue.next())
        };
        chunks.extend(read_chunks(device, &next, Chunk::of)?);
        chunks.sort_unstable_by_key(|chunk| chunk.index);
        Ok(Self { device_len, chunks })
    }

    /// A map from its parts; `None` if the chunks are not in order or lie past the end.
    pub(super) fn from_parts(device_len: u64, chunks: Vec<Chunk>) -> Option<Self> {
        let ordered = chunks.windows(2).all(|pair| pair[0].index < pair[1].index);
        let inside = chunks
            .last()
            .is_none_or(|last| last.index < device_len.div_ceil(CHUNK_BYTES));
        (ordered && inside).then_some(Self { device_len, chunks })
    }

    /// Length of the device in bytes.
    pub fn device_len(&self) -> u64 {
        self.device_len
    }

    /// The chunks that hold data, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The digest of one chunk; `None` if it is all zeros.
    pub fn get(&self, index: u64) -> Option<Digest> {
        self.chunk(index).map(|chunk| chunk.digest)
    }

    pub(super) fn chunk(&self, index: u64) -> Option<&Chunk> {
        let found = self
            .chunks
            .binary_search_by_key(&index, |chunk| chunk.index);
        found.ok().map(|at| &self.chunks[at])
    }

    /// SHA-256 over the digests of the chunks that hold data, in order: the digest of an image,
    /// and EBS's checksum of a snapshot (`CompleteSnapshot`, aggregation method `LINEAR`).
    ///
    /// It does not distinguish devices that differ only in how long the runs of zero chunks between
    /// the same data are; comparing maps does.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        for chunk in &self.chunks {
            hasher.update(chunk.digest.as_bytes());
        }
        Digest::finish(hasher)
    }

    /// What has to be written to a device with the map `base` to give it this map, in order. Chunks
    /// past the end of this device are left out.
    pub fn changes_since<'a>(&'a self, base: &'a Self) -> Vec<ChunkChange> {
        let end = self.device_len.div_ceil(CHUNK_BYTES);
        let mut before = base.chunks.iter().take_while(|c| c.index < end).peekable();
        let mut changes = Vec::new();
        for &chunk in &self.chunks {
            while let Some(gone) = before.next_if(|old| old.index < chunk.index) {
                changes.push(ChunkChange::Zero(gone.index));
            }
            if before.next_if(|old| old.index == chunk.index) != Some(&chunk) {
                changes.push(ChunkChange::Data(chunk));
            }
        }
        changes.extend(before.map(|gone| ChunkChange::Zero(gone.index)));
        changes
    }
}

/// Gives the chunks of a device in which there is data, one after the other.
fn data_chunks(device: &dyn BlockDevice) -> impl Fn() -> Result<Option<u64>> + Sync {
    let position = Mutex::new(0);
    move || {
        let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(data) = device.next_data(*position)? else {
            *position = device.len();
            return Ok(None);
        };
        let index = data.start / CHUNK_BYTES;
        *position = (index + 1) * CHUNK_BYTES;
        Ok(Some(index))
    }
}

/// Reads the chunks that `next` gives, on all cores, and does `work` on each that is not all zeros.
fn read_chunks<T: Send>(
    device: &dyn BlockDevice,
    next: &(dyn Fn() -> Result<Option<u64>> + Sync),
    work: impl Fn(u64, &[u8]) -> T + Sync,
) -> Result<Vec<T>> {
    let run = || {
        let mut done = Vec::new();
        let mut buf = vec![0; CHUNK_LEN];
        while let Some(index) = next()? {
            device.read_padded(index * CHUNK_BYTES, &mut buf)?;
            if !is_zero(&buf) {
                done.push(work(index, &buf));
            }
        }
        Ok(done)
    };
    Ok(pool::on_all_cores(run)?.into_iter().flatten().collect())
}

/// Makes a chunk map of a device whose bytes come one after the other.
#[derive(Debug, Default)]
pub struct ChunkMapBuilder {
    device_len: u64,
    chunks: Vec<Chunk>,
    /// The hashes of the chunk under way, from its first byte that is not zero.
    hashers: Option<Hashers>,
    /// Zeros of the chunk under way that `hashers` have not seen.
    pending_zeros: usize,
}

impl ChunkMapBuilder {
    /// A map of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the device.
    pub fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let room = CHUNK_BYTES - self.device_len % CHUNK_BYTES;
            let room = usize::try_from(room).expect("within a chunk");
            let (piece, rest) = data.split_at(room.min(data.len()));
            self.device_len += byte_len(piece);
            if is_zero(piece) {
                self.pending_zeros += piece.len();
            } else {
                let hashers = self.hashers.get_or_insert_default();
                hashers.update_zeros(self.pending_zeros);
                self.pending_zeros = 0;
                hashers.update(piece);
            }
            if piece.len() == room {
                self.end_chunk((self.device_len - 1) / CHUNK_BYTES);
            }
            data = rest;
        }
    }

    /// The next `len` bytes of the device are zeros.
    pub fn push_zeros(&mut self, len: u64) {
        let room = CHUNK_BYTES - self.device_len % CHUNK_BYTES;
        let index = self.device_len / CHUNK_BYTES;
        if len >= room {
            self.pending_zeros += usize::try_from(room).expect("within a chunk");
            self.end_chunk(index);
            // Whole chunks of zeros leave no trace.
            let tail = (len - room) % CHUNK_BYTES;
            self.pending_zeros = usize::try_from(tail).expect("within a chunk");
        } else {
            self.pending_zeros += usize::try_from(len).expect("within a chunk");
        }
        self.device_len += len;
    }

    /// The map, once all bytes have been given.
    pub fn finish(mut self) -> ChunkMap {
        let filled = self.device_len % CHUNK_BYTES;
        if filled != 0 {
            self.pending_zeros += usize::try_from(CHUNK_BYTES - filled).expect("within a chunk");
            self.end_chunk(self.device_len / CHUNK_BYTES);
        }
        ChunkMap {
            device_len: self.device_len,
            chunks: self.chunks,
        }
    }

    fn end_chunk(&mut self, index: u64) {
        if let Some(mut hashers) = self.hashers.take() {
            hashers.update_zeros(self.pending_zeros);
            self.chunks.push(Chunk {
                index,
                digest: Digest::finish(hashers.digest),
                check: hashers.check.finalize().into(),
            });
        }
        self.pending_zeros = 0;
    }
}

#[derive(Debug, Default)]
struct Hashers {
    digest: Sha256,
    check: blake3::Hasher,
}

impl Hashers {
    fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.check.update(bytes);
    }

    fn update_zeros(&mut self, mut len: usize) {
        static ZEROS: [u8; 4096] = [0; 4096];
        while len > 0 {
            let piece = len.min(ZEROS.len());
            self.update(&ZEROS[..piece]);
            len -= piece;
        }
    }
}
