//! Digests of file contents: of one file, or of many while they are read.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::path::ImagePath;
use super::tree::{self, At as _};
use super::{Error, FileSystem, Location, NodeId, Result};
use imgasm_block::Digest;
use imgasm_block::pool::Workers;

/// Bytes read and handed on at a time: large enough that the hand-over costs nothing beside the
/// hashing, small enough that a queue of them stays in the cache of the second core.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces that may wait for a hasher before the reader waits.
const QUEUE_PIECES: usize = 8;

/// Files that may be under way before the reader waits for the first of them.
const QUEUE_FILES: usize = 32;

/// As many hashers as one reader feeds.
const MOST_HASHERS: usize = 4;

/// The SHA-256 of a regular file's content; `path` is only for messages.
///
/// # Errors
/// [`tree::Error::FileSystem`], with those of [`FileSystem::read_at`].
pub fn sha256(fs: &dyn FileSystem, node: NodeId, path: &ImagePath) -> tree::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let count = fs.read_at(node, offset, &mut chunk).at("read", path)?;
        if count == 0 {
            return Ok(Digest::finish(hasher));
        }
        hasher.update(&chunk[..count]);
        offset += count as u64;
    }
}

/// A file for a hasher: its number, and its pieces as they are read.
type Job = (usize, Receiver<Vec<u8>>);

/// How many bytes of holes are hashed in one pass over a filesystem: seconds of work.
const MOST_ZEROS: u64 = 8 << 30;

/// How often the blocks of a filesystem may be read: once, and once more if a comparison meets a file
/// beside two others.
const MOST_HOLDERS: u64 = 2;

/// The same for one whose files can share blocks.
const MOST_SHARERS: u64 = 16;

/// How much of the contents of files may still be read in one pass. A hole takes no room, and in a
/// damaged filesystem any number of files hold the same blocks: a small image may have files of any
/// length.
#[derive(Debug)]
pub struct ContentBudget {
    zeros: u64,
    held: u64,
    /// Whether there was a file that holds more than is left.
    is_spent: bool,
}

impl Default for ContentBudget {
    /// For no filesystem yet.
    fn default() -> Self {
        Self {
            zeros: MOST_ZEROS,
            held: 0,
            is_spent: false,
        }
    }
}

impl ContentBudget {
    /// Allows for the files of a filesystem.
    ///
    /// # Errors
    /// Those of [`FileSystem::info`].
    pub fn allow(&mut self, fs: &dyn FileSystem) -> Result<()> {
        let info = fs.info()?;
        let often = if info.features.contains(&"reflink") {
            MOST_SHARERS
        } else {
            MOST_HOLDERS
        };
        let held = info.total_bytes.saturating_mul(often);
        self.held = self.held.saturating_add(held);
        Ok(())
    }

    /// Whether a regular file of `size` bytes may be read whole; what it holds and its holes are then
    /// taken from what is left.
    ///
    /// # Errors
    /// Those of [`FileSystem::extents`].
    pub fn take(&mut self, fs: &dyn FileSystem, node: NodeId, size: u64) -> Result<bool> {
        if self.is_spent {
            return Ok(false);
        }
        let extents = fs.extents(node)?;
        let held = extents.iter().map(|extent| extent.len);
        let held = held.fold(0, u64::saturating_add);
        let Some(held_left) = self.held.checked_sub(held) else {
            // To find out of thousands of files that they share blocks takes long, too.
            self.is_spent = true;
            return Ok(false);
        };
        let Some(zeros_left) = self.zeros.checked_sub(size.saturating_sub(held)) else {
            return Ok(false);
        };
        (self.zeros, self.held) = (zeros_left, held_left);
        Ok(true)
    }

    /// Takes what a file holds, without its holes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if that is more than is left.
    pub fn take_held(&mut self, fs: &dyn FileSystem, node: NodeId, held: u64) -> Result<()> {
        self.held = self.held.checked_sub(held).ok_or_else(|| Error::Corrupt {
            fs: fs.info().map_or("", |info| info.kind),
            at: Location::Inode(node.0),
            problem:
                "the files up to this one hold more than the filesystem has: they share blocks"
                    .to_owned(),
        })?;
        Ok(())
    }
}

/// What is computed of the content of a file, piece by piece.
pub trait ContentHasher: Default + Send {
    /// What comes of it.
    type Output: Send;

    /// Takes the next piece.
    fn feed(&mut self, piece: &[u8]);

    /// What came of it.
    fn result(self) -> Self::Output;
}

impl ContentHasher for Sha256 {
    type Output = Digest;

    fn feed(&mut self, piece: &[u8]) {
        self.update(piece);
    }

    fn result(self) -> Digest {
        Digest::finish(self)
    }
}

/// Hashes files on the other cores while the calling thread reads them.
pub struct Hashers<H: ContentHasher = Sha256> {
    workers: Workers<Job, (usize, H::Output)>,
    /// Digests that nobody has asked for yet.
    done: VecDeque<(usize, H::Output)>,
    started: usize,
    budget: ContentBudget,
    /// The numbers of the files of the present filesystem: one with several names is read once.
    numbers: HashMap<NodeId, usize>,
}

impl<H: ContentHasher> fmt::Debug for Hashers<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashers")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl<H: ContentHasher> Hashers<H> {
    /// Starts as many hashers as the machine has cores, four at most: one reader feeds no more.
    pub fn start<'scope>(scope: &'scope thread::Scope<'scope, '_>) -> Self
    where
        H: 'scope,
        H::Output: 'scope,
    {
        Self {
            workers: Workers::start_in(scope, MOST_HASHERS, hash::<H>),
            done: VecDeque::new(),
            started: 0,
            budget: ContentBudget::default(),
            numbers: HashMap::new(),
        }
    }

    /// Makes a filesystem the present one, whose files are added from here on.
    ///
    /// # Errors
    /// Those of [`FileSystem::info`].
    pub fn begin(&mut self, fs: &dyn FileSystem) -> Result<()> {
        self.numbers.clear();
        self.budget.allow(fs)
    }

    /// Reads a file of the present filesystem, which should have `size` bytes, and has it hashed. The
    /// number returned is that of its digest, the same for each of its names; `None` for a file that
    /// is more than the [`ContentBudget`] has left, which is not read.
    ///
    /// # Errors
    /// Those of [`FileSystem::extents`] and [`FileSystem::read_at`].
    pub fn add(&mut self, fs: &dyn FileSystem, node: NodeId, size: u64) -> Result<Option<usize>> {
        if let Some(number) = self.numbers.get(&node) {
            return Ok(Some(*number));
        }
        if !self.budget.take(fs, node, size)? {
            return Ok(None);
        }
        let file = self.started;
        self.started += 1;
        self.numbers.insert(node, file);
        while self.workers.under_way() >= QUEUE_FILES {
            self.done.extend(self.workers.take());
        }
        let (queue, pieces) = sync_channel(QUEUE_PIECES);
        self.workers.submit((file, pieces));
        read(fs, node, size, &queue)?;
        Ok(Some(file))
    }

    /// The digests that are ready, with the numbers that [`Hashers::add`] gave.
    pub fn ready(&mut self) -> impl Iterator<Item = (usize, H::Output)> {
        while let Some(digest) = self.workers.try_take() {
            self.done.push_back(digest);
        }
        self.done.drain(..)
    }

    /// Waits for the digests that are still missing.
    pub fn finish(self) -> impl Iterator<Item = (usize, H::Output)> {
        let Self {
            mut workers, done, ..
        } = self;
        done.into_iter()
            .chain(std::iter::from_fn(move || workers.take()))
    }
}

/// Reads a file piece by piece. The file ends where `queue` is dropped, also after an error.
fn read(fs: &dyn FileSystem, node: NodeId, size: u64, queue: &SyncSender<Vec<u8>>) -> Result<()> {
    // One byte more than there is to read shows the end of the file without a further read.
    let len =
        usize::try_from(size).map_or(PIECE_BYTES, |size| PIECE_BYTES.min(size.saturating_add(1)));
    let mut offset = 0;
    loop {
        let mut data = vec![0; len];
        let read = fs.read_at(node, offset, &mut data)?;
        let last = read < data.len();
        data.truncate(read);
        offset += u64::try_from(read).expect("a buffer's length fits 64 bits");
        queue
            .send(data)
            .expect("a hasher takes all pieces of its file");
        if last {
            return Ok(());
        }
    }
}

/// Hashes the pieces of one file.
#[allow(clippy::needless_pass_by_value, reason = "a worker is given its job")]
fn hash<H: ContentHasher>((file, pieces): Job) -> (usize, H::Output) {
    let mut hasher = H::default();
    for piece in &pieces {
        hasher.feed(&piece);
    }
    (file, hasher.result())
}
