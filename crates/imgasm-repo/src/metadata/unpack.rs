//! The compressions in which metadata comes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

/// The most bytes of an unpacked file. Those of the largest distributions have a tenth of it.
const MAX_UNPACKED: u64 = 4 << 30;
/// The most memory of a decoder, in the power of two that zstd counts in.
const MAX_WINDOW: u32 = 27;

/// Unpacks bytes by how they begin; what begins like no compression is not packed.
pub(super) fn unpack(bytes: Vec<u8>) -> io::Result<Box<dyn BufRead>> {
    let packed = Cursor::new(bytes);
    let start = packed.get_ref().as_slice();
    let reader: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(packed))
    } else if start.starts_with(b"\xfd7zXZ\0") {
        Box::new(XzDecoder::new_multi_decoder(packed))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(packed)?;
        decoder.window_log_max(MAX_WINDOW)?;
        Box::new(decoder)
    } else {
        Box::new(packed)
    };
    let limited = Limited {
        reader,
        left: MAX_UNPACKED,
    };
    Ok(Box::new(BufReader::with_capacity(1 << 16, limited)))
}

/// A reader that fails where there is more than may be.
struct Limited {
    reader: Box<dyn Read>,
    left: u64,
}

impl Read for Limited {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buf)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("it unpacks to more than 4 GiB"))?;
        Ok(count)
    }
}
