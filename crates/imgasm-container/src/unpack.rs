//! Unpacking a compressed file or a tar into a sparse file.
//!
//! Three threads work side by side: one reads the file and hashes it as it is, the calling one
//! decodes ([`super::peel`]), and one hashes the chunks of what comes out and writes what is not
//! zeros. So decoding runs on one core and everything else on the other.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use super::budget::Budget;
use super::peel::{self, Layer, Sink};
use super::{Error, Progress, Result};
use imgasm_block::bytes::{byte_len, write_non_zero};
use imgasm_block::{CHUNK_BYTES, ChunkMap, ChunkMapBuilder, Digest, Output, pool};

/// How much of the file is read in one step.
const READ_LEN: usize = 512 << 10;

/// How many buffers may be in the queue between two threads.
const QUEUE: usize = 8;

/// What was learned while unpacking.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// SHA-256 of the file that was unpacked.
    pub(super) digest: Digest,
    /// The chunks of what was in it.
    pub(super) chunk_map: ChunkMap,
    /// What it was wrapped in, outermost first.
    pub(super) layers: Vec<Layer>,
}

/// Unpacks `input` into `output`, which gets the length of the disk in it.
pub(super) fn unpack(
    path: &Path,
    input: &File,
    output: &Output,
    expected: Option<Digest>,
    max_bytes: Option<u64>,
    progress: &Progress<'_>,
) -> Result<Unpacked> {
    let len = input.metadata().map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    });
    let usual = Budget::usual(len?.len());
    let budget = max_bytes.map_or(usual, Budget::of);
    let (to_decoder, from_file) = sync_channel(QUEUE);
    let (to_writer, from_decoder) = sync_channel(QUEUE);
    let (to_spare, spare) = sync_channel(QUEUE + 2);
    let decode = || {
        let mut source = Source::new(from_file);
        let mut sink = ChunkSink {
            budget,
            offset: 0,
            to_writer,
            spare,
        };
        let peeled = peel::peel(path, &mut source, budget, &mut sink);
        if peeled.is_ok() || expected.is_some() {
            // The digest covers the whole file, and shows a wrong file whatever is wrong with it.
            source.drain();
        }
        peeled
    };
    let (read, (written, peeled)) = pool::both(
        move || read(path, input, &to_decoder, progress),
        || {
            pool::both(
                move || write(path, budget, output, &from_decoder, &to_spare),
                decode,
            )
        },
    );
    let digest = read?;
    if let Some(expected) = expected.filter(|expected| digest != *expected) {
        return Err(Error::DigestMismatch {
            path: path.to_owned(),
            expected,
            found: digest,
        });
    }
    let chunk_map = written?;
    // Also for input that is cut short: somebody may want to look at what there is.
    output
        .file()
        .set_len(chunk_map.device_len())
        .map_err(|e| imgasm_block::Error::file(output.path(), "set the length of", e))?;
    Ok(Unpacked {
        digest,
        chunk_map,
        layers: peeled?,
    })
}

/// Reads and hashes the file from its beginning to its end, wherever its position is, or until nobody
/// receives it any more.
fn read(
    path: &Path,
    input: &File,
    to_decoder: &SyncSender<Vec<u8>>,
    progress: &Progress<'_>,
) -> Result<Digest> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let total = input.metadata().map_err(failed)?.len();
    let mut hasher = Sha256::new();
    let mut done = 0;
    loop {
        let mut buf = vec![0; READ_LEN];
        let len = match input.read_at(&mut buf, done) {
            Ok(len) => len,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(failed(e)),
        };
        buf.truncate(len);
        hasher.update(&buf);
        done += byte_len(&buf);
        progress(done, total);
        if len == 0 || to_decoder.send(buf).is_err() {
            return Ok(Digest::finish(hasher));
        }
    }
}

/// Hashes and writes chunks until no more come.
fn write(
    path: &Path,
    budget: Budget,
    output: &Output,
    from_decoder: &Receiver<(u64, Vec<u8>)>,
    to_spare: &SyncSender<Vec<u8>>,
) -> Result<ChunkMap> {
    let mut builder = ChunkMapBuilder::new();
    let mut data_bytes = 0;
    while let Ok((offset, chunk)) = from_decoder.recv() {
        builder.push(&chunk);
        write_non_zero(offset, &chunk, |at, data| {
            data_bytes += byte_len(data);
            output
                .file()
                .write_all_at(data, at)
                .map_err(|e| imgasm_block::Error::io(output.path(), "write", at, byte_len(data), e))
        })?;
        let checked = budget.check_data(data_bytes);
        checked.map_err(|error| Error::reading(path, None, data_bytes, error))?;
        // A buffer that is not taken back is simply freed.
        let _ = to_spare.try_send(chunk);
    }
    Ok(builder.finish())
}

/// The bytes of the file as the reading thread delivers them.
struct Source {
    from_file: Receiver<Vec<u8>>,
    buf: Vec<u8>,
    at: usize,
}

impl Source {
    fn new(from_file: Receiver<Vec<u8>>) -> Self {
        Self {
            from_file,
            buf: Vec::new(),
            at: 0,
        }
    }

    /// Lets the reading thread continue to the end.
    fn drain(&mut self) {
        while self.from_file.recv().is_ok() {}
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buf.len() {
            // The channel is closed at the end of the file. It is closed on a failure as well,
            // which the reading thread reports itself.
            let Ok(next) = self.from_file.recv() else {
                return Ok(0);
            };
            self.buf = next;
            self.at = 0;
        }
        let rest = &self.buf[self.at..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

/// Cuts a disk into chunks for the writing thread.
struct ChunkSink {
    budget: Budget,
    offset: u64,
    to_writer: SyncSender<(u64, Vec<u8>)>,
    spare: Receiver<Vec<u8>>,
}

impl Sink for ChunkSink {
    fn take(&mut self, input: &mut dyn Read) -> io::Result<()> {
        let chunk_len = usize::try_from(CHUNK_BYTES).expect("a small constant");
        loop {
            let mut chunk = self.spare.try_recv().unwrap_or_default();
            chunk.resize(chunk_len, 0);
            let mut filled = 0;
            while filled < chunk_len {
                match input.read(&mut chunk[filled..]) {
                    Ok(0) => break,
                    Ok(len) => filled += len,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            chunk.truncate(filled);
            let offset = self.offset;
            self.offset += byte_len(&chunk);
            self.budget.check(self.offset)?;
            if filled == 0 || self.to_writer.send((offset, chunk)).is_err() {
                // Nobody receives when writing has failed, which the writing thread reports.
                return Ok(());
            }
            if filled < chunk_len {
                return Ok(());
            }
        }
    }

    fn taken(&self) -> u64 {
        self.offset
    }
}
