//! Decoding zstd frames on all cores.
//!
//! Frames are independent of each other, and one that says how much it holds can be decoded by
//! itself. The end of a frame is found by skipping its blocks (RFC 8878, section 3.1.1).

use std::io::{self, BufRead, Read};

use imgasm_block::bytes::byte_len;
use imgasm_block::pool::{self, Workers};

const MAGIC: [u8; 4] = *b"\x28\xb5\x2f\xfd";

/// The largest content of a frame that is decoded in memory.
const FRAME_LIMIT_BYTES: u64 = 16 << 20;

/// How much may be decoded ahead.
const AHEAD_BYTES: u64 = 64 << 20;

/// The longest block (section 3.1.1.2.4).
const BLOCK_LIMIT_BYTES: u64 = 128 << 10;

/// A frame that is to be decoded in memory.
struct Frame {
    packed: Vec<u8>,
    content_len: u64,
}

/// Frames that follow each other and are small enough, decoded on all cores.
pub(super) struct Frames<R> {
    input: R,
    /// What has been read of a frame that is not small enough.
    unfit: Vec<u8>,
    workers: Workers<Frame, io::Result<Vec<u8>>>,
    /// How much the unfinished frames hold.
    ahead_bytes: u64,
    current: io::Cursor<Vec<u8>>,
}

/// The beginning of a frame.
pub(super) struct FrameHeader {
    /// Its bytes, with the magic number.
    pub(super) bytes: Vec<u8>,
    /// How much the frame holds, if it says so and that is small enough.
    content_len: Option<u64>,
    has_checksum: bool,
}

impl FrameHeader {
    /// Reads as much of `input` as the header of a frame has.
    pub(super) fn read(input: &mut impl BufRead) -> io::Result<Self> {
        let mut bytes = Vec::new();
        more(input, &mut bytes, MAGIC.len())?;
        if bytes != MAGIC {
            return Ok(Self {
                bytes,
                content_len: None,
                has_checksum: false,
            });
        }
        more(input, &mut bytes, 1)?;
        let descriptor = bytes[MAGIC.len()];
        let single_segment = descriptor & 0x20 != 0;
        let dictionary_len = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size_len = match descriptor >> 6 {
            0 => usize::from(single_segment),
            1 => 2,
            2 => 4,
            _ => 8,
        };
        more(
            input,
            &mut bytes,
            usize::from(!single_segment) + dictionary_len,
        )?;
        let mut size = [0; 8];
        let size_at = bytes.len();
        more(input, &mut bytes, size_len)?;
        size[..size_len].copy_from_slice(&bytes[size_at..]);
        // A field of two bytes counts from 256.
        let content_len =
            u64::from_le_bytes(size).saturating_add(if size_len == 2 { 256 } else { 0 });
        let told = size_len > 0 && dictionary_len == 0 && content_len <= FRAME_LIMIT_BYTES;
        Ok(Self {
            bytes,
            content_len: told.then_some(content_len),
            has_checksum: descriptor & 4 != 0,
        })
    }

    /// Whether the frame can be decoded by itself in memory.
    pub(super) fn is_fit(&self) -> bool {
        self.content_len.is_some()
    }

    /// Reads the rest of a fit frame.
    fn rest(self, input: &mut impl BufRead) -> io::Result<Frame> {
        let mut packed = self.bytes;
        let content_len = self.content_len.unwrap_or(0);
        // No encoder makes a frame that much larger than its content.
        let limit = content_len + content_len / 8 + BLOCK_LIMIT_BYTES;
        loop {
            let at = packed.len();
            more(input, &mut packed, 3)?;
            let [a, b, c] = [packed[at], packed[at + 1], packed[at + 2]];
            let block = u32::from_le_bytes([a, b, c, 0]);
            let (is_last, kind, size) = (block & 1 != 0, block >> 1 & 3, u64::from(block >> 3));
            // A run has one byte, however long it is.
            let stored = if kind == 1 { 1 } else { size };
            if byte_len(&packed) + stored > limit {
                return Err(io::ErrorKind::InvalidData.into());
            }
            more(
                input,
                &mut packed,
                usize::try_from(stored).expect("at most 2 MiB"),
            )?;
            if is_last {
                break;
            }
        }
        more(input, &mut packed, if self.has_checksum { 4 } else { 0 })?;
        Ok(Frame {
            packed,
            content_len,
        })
    }
}

/// Reads just `len` bytes more.
fn more(input: &mut impl BufRead, bytes: &mut Vec<u8>, len: usize) -> io::Result<()> {
    let wanted = u64::try_from(len).expect("a length fits 64 bits");
    if input.take(wanted).read_to_end(bytes)? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

impl<R: BufRead> Frames<R> {
    /// Begins with a fit frame whose header has been read.
    pub(super) fn begin(header: FrameHeader, mut input: R) -> io::Result<Self> {
        let first = header.rest(&mut input)?;
        let mut frames = Self {
            input,
            unfit: Vec::new(),
            workers: Workers::start(decode),
            ahead_bytes: 0,
            current: io::Cursor::default(),
        };
        frames.submit(first);
        Ok(frames)
    }

    /// The input after the frames, and what has been read of it.
    pub(super) fn into_input(self) -> (Vec<u8>, R) {
        (self.unfit, self.input)
    }

    fn submit(&mut self, frame: Frame) {
        self.ahead_bytes += frame.content_len;
        self.workers.submit(frame);
    }

    /// Gives the workers frames until they have enough or no fit one is left.
    fn fill(&mut self) -> io::Result<()> {
        while self.unfit.is_empty()
            && self.workers.under_way() < 4 * pool::size()
            && self.ahead_bytes < AHEAD_BYTES
        {
            let next = self.input.fill_buf()?;
            if next.first() != Some(&MAGIC[0]) {
                return Ok(());
            }
            let header = FrameHeader::read(&mut self.input)?;
            if header.is_fit() {
                let frame = header.rest(&mut self.input)?;
                self.submit(frame);
            } else {
                self.unfit = header.bytes;
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.current.read(buf)?;
            if len > 0 || buf.is_empty() {
                return Ok(len);
            }
            self.fill()?;
            let Some(content) = self.workers.take() else {
                return Ok(0);
            };
            let content = content?;
            self.ahead_bytes -= byte_len(&content);
            self.current = io::Cursor::new(content);
        }
    }
}

/// Decodes one frame, which must hold what it says.
#[allow(clippy::needless_pass_by_value, reason = "a worker is given its job")]
fn decode(frame: Frame) -> io::Result<Vec<u8>> {
    let len = usize::try_from(frame.content_len).expect("at most 16 MiB");
    let content = zstd::bulk::decompress(&frame.packed, len)?;
    if content.len() == len {
        Ok(content)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}
