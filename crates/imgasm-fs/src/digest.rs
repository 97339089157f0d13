//! Digests of file contents, computed beside the reading.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use sha2::{Digest as _, Sha256};

use super::{FileSystem, NodeId, Result};
use imgasm_block::Digest;

/// Bytes read and handed on at a time: large enough that the hand-over costs nothing beside the
/// hashing, small enough that a queue of them stays in the cache of the second core.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces that may wait for a hasher before the reader waits.
const QUEUE_PIECES: usize = 8;

/// A piece of a file for a hasher; `last` closes the file.
struct Piece {
    file: usize,
    data: Vec<u8>,
    last: bool,
}

/// Hashes files on the other cores while the calling thread reads them.
pub struct Hashers<'scope> {
    queues: Vec<SyncSender<Piece>>,
    results: Receiver<(usize, Digest)>,
    workers: Vec<ScopedJoinHandle<'scope, ()>>,
    started: usize,
}

impl<'scope> Hashers<'scope> {
    /// Starts as many hashers as the machine has cores, four at most: one reader feeds no more.
    pub fn start(scope: &'scope thread::Scope<'scope, '_>) -> Self {
        let count = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(4);
        let (done, results) = channel();
        let mut queues = Vec::with_capacity(count);
        let mut workers = Vec::with_capacity(count);
        for _ in 0..count {
            let (queue, pieces) = sync_channel::<Piece>(QUEUE_PIECES);
            let done = done.clone();
            queues.push(queue);
            workers.push(scope.spawn(move || {
                let mut hasher = Sha256::new();
                for piece in pieces {
                    hasher.update(&piece.data);
                    if piece.last {
                        let digest = Digest::finish(std::mem::take(&mut hasher));
                        // Nobody waits for the digest any more when this fails.
                        let _ = done.send((piece.file, digest));
                    }
                }
            }));
        }
        Self {
            queues,
            results,
            workers,
            started: 0,
        }
    }

    /// Reads a file, which should have `size` bytes, and has it hashed. The number given back is its
    /// place among the files added, from 0.
    pub fn add(&mut self, fs: &dyn FileSystem, node: NodeId, size: u64) -> Result<usize> {
        let file = self.started;
        self.started += 1;
        let queue = &self.queues[file % self.queues.len()];
        // One byte more than there is to read shows the end of the file without a further read.
        let len = usize::try_from(size).map_or(PIECE_BYTES, |size| PIECE_BYTES.min(size + 1));
        let mut offset = 0;
        loop {
            let mut data = vec![0; len];
            let read = match fs.read_at(node, offset, &mut data) {
                Ok(read) => read,
                Err(error) => {
                    // The file must be closed, or its bytes would run into the next one's.
                    let _ = queue.send(Piece {
                        file,
                        data: Vec::new(),
                        last: true,
                    });
                    return Err(error);
                }
            };
            let last = read < data.len();
            data.truncate(read);
            offset += u64::try_from(read).expect("a buffer's length fits 64 bits");
            queue
                .send(Piece { file, data, last })
                .expect("a hasher lives as long as its queue");
            if last {
                return Ok(file);
            }
        }
    }

    /// The digests that are ready, with the numbers that [`Hashers::add`] gave, in no order.
    pub fn ready(&self) -> impl Iterator<Item = (usize, Digest)> {
        self.results.try_iter()
    }

    /// Waits for the digests that are still missing.
    pub fn finish(self) -> impl Iterator<Item = (usize, Digest)> {
        drop(self.queues);
        for worker in self.workers {
            worker.join().expect("a hasher does not panic");
        }
        self.results.into_iter()
    }
}
