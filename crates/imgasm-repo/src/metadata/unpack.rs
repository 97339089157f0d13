//! The compressions in which metadata comes.

use std::io::{self, BufRead, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

/// The most bytes of an unpacked file. Those of the largest distributions have a tenth of it.
const MAX_UNPACKED: u64 = 4 << 30;
/// The most memory of a decoder, in the power of two that zstd counts in.
const MAX_WINDOW: u32 = 27;
/// How many bytes are unpacked at once, and how many pieces of these may wait to be read.
const PIECE: usize = 256 << 10;
const QUEUE: usize = 4;

/// Unpacks bytes by how they begin; what begins like no compression is not packed. That is done beside
/// the reading.
pub(super) fn unpack(bytes: Vec<u8>) -> io::Result<Box<dyn BufRead>> {
    let packed = Cursor::new(bytes);
    let start = packed.get_ref().as_slice();
    let reader: Box<dyn Read + Send> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(packed))
    } else if start.starts_with(b"\xfd7zXZ\0") {
        Box::new(XzDecoder::new_multi_decoder(packed))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(packed)?;
        decoder.window_log_max(MAX_WINDOW)?;
        Box::new(decoder)
    } else {
        return Ok(Box::new(packed));
    };
    let (queue, pieces) = sync_channel(QUEUE);
    thread::Builder::new().spawn(move || send(reader, &queue))?;
    Ok(Box::new(Unpacked {
        pieces,
        piece: Cursor::new(Vec::new()),
    }))
}

/// Hands over what a reader has, piece by piece, until nobody wants more; the last one is empty, or an
/// error.
fn send(mut reader: Box<dyn Read + Send>, queue: &SyncSender<io::Result<Vec<u8>>>) {
    let mut left = MAX_UNPACKED;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = (&mut reader).take(PIECE as u64).read_to_end(&mut piece);
        let piece = read.and_then(|count| {
            let rest = left.checked_sub(count as u64);
            left = rest.ok_or_else(|| io::Error::other("it unpacks to more than 4 GiB"))?;
            Ok(piece)
        });
        let is_last = !piece.as_ref().is_ok_and(|piece| !piece.is_empty());
        if queue.send(piece).is_err() || is_last {
            return;
        }
    }
}

/// What another thread unpacks.
struct Unpacked {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
}

impl BufRead for Unpacked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.fill_buf()?.is_empty() {
            // The sender is gone behind the last piece only.
            let piece = self.pieces.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            self.piece = Cursor::new(piece);
        }
        self.piece.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.piece.consume(count);
    }
}

impl Read for Unpacked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}
