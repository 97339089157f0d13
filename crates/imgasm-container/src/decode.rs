//! Decoding a compressed stream.

use std::io::{self, BufRead, Chain, Cursor, Read};

use liblzma::stream::MtStreamBuilder;

use super::Codec;
use super::bzip2_blocks::Blocks;
use super::frames::{FrameHeader, Frames};
use imgasm_block::pool;

/// Memory for decoding the blocks of an .xz file on several cores. A file whose blocks are larger
/// is decoded on one.
const XZ_PARALLEL_BYTES: u64 = 160 << 20;

/// Memory for decoding an .xz file at all: the dictionary of preset 9, and some.
const XZ_LIMIT_BYTES: u64 = 200 << 20;

/// What libzstd gives to a window, in MiB, and what it says of a larger one.
const ZSTD_LIMIT_MIB: u64 = 128;
const ZSTD_TOO_MUCH: &str = "Frame requires too much memory for decoding";

/// The limit, in MiB, if an error says that decoding would take more memory than is allowed.
pub(super) fn needs_memory(error: &io::Error) -> Option<u64> {
    let inner = error.get_ref()?;
    if let Some(liblzma::stream::Error::MemLimit) = inner.downcast_ref() {
        return Some(XZ_LIMIT_BYTES >> 20);
    }
    (inner.to_string() == ZSTD_TOO_MUCH).then_some(ZSTD_LIMIT_MIB)
}

/// What a compressed stream holds. Streams that follow each other in one file count as one, as for
/// their own tools, and zeros may follow the last.
pub(super) struct Decoder<R: BufRead> {
    codec: Codec,
    state: State<R>,
}

enum State<R: BufRead> {
    Gzip(flate2::bufread::GzDecoder<R>),
    Xz(liblzma::bufread::XzDecoder<R>),
    Zstd(Box<zstd::Decoder<'static, Chain<Cursor<Vec<u8>>, R>>>),
    ZstdFrames(Frames<R>),
    Bzip2(Blocks<R>),
    /// After the last, or after an error.
    Finished,
}

impl<R: BufRead> Decoder<R> {
    /// Decodes what `input` holds.
    pub(super) fn new(codec: Codec, input: R) -> io::Result<Self> {
        let state = State::begin(codec, input)?;
        Ok(Self { codec, state })
    }

    /// Goes on to the next stream in `input`, or finishes.
    fn next_stream(&mut self, mut input: R) -> io::Result<()> {
        loop {
            let buf = input.fill_buf()?;
            if buf.is_empty() {
                return Ok(());
            }
            let zeros = buf.iter().take_while(|&&byte| byte == 0).count();
            if zeros > 0 {
                input.consume(zeros);
                continue;
            }
            let magic = self.codec.magic();
            let shown = magic.len().min(buf.len());
            let skippable = self.codec == Codec::Zstd && buf[0] & 0xf0 == 0x50;
            if buf[..shown] == magic[..shown] || skippable {
                self.state = State::begin(self.codec, input)?;
                return Ok(());
            }
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something that is not compressed follows the compressed data",
            ));
        }
    }
}

impl<R: BufRead> State<R> {
    fn begin(codec: Codec, input: R) -> io::Result<Self> {
        Ok(match codec {
            Codec::Gzip => Self::Gzip(flate2::bufread::GzDecoder::new(input)),
            Codec::Xz => {
                let stream = MtStreamBuilder::new()
                    .threads(u32::try_from(pool::size()).unwrap_or(1))
                    .memlimit_threading(XZ_PARALLEL_BYTES)
                    .memlimit_stop(XZ_LIMIT_BYTES)
                    .decoder()?;
                Self::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Codec::Zstd => {
                let mut input = input;
                let header = FrameHeader::read(&mut input)?;
                if header.is_fit() {
                    Self::ZstdFrames(Frames::begin(header, input)?)
                } else {
                    Self::zstd_frame(header.bytes, input)?
                }
            }
            Codec::Bzip2 => Self::Bzip2(Blocks::begin(input)?),
        })
    }

    /// Decodes one frame, of which `begun` has been read.
    fn zstd_frame(begun: Vec<u8>, input: R) -> io::Result<Self> {
        let decoder = zstd::Decoder::with_buffer(Cursor::new(begun).chain(input))?;
        Ok(Self::Zstd(Box::new(decoder.single_frame())))
    }

    /// The input after the stream, with what has been read of the next one.
    fn into_input(self) -> Option<(Vec<u8>, R)> {
        let input = match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish().into_inner().1,
            Self::ZstdFrames(frames) => return Some(frames.into_input()),
            Self::Bzip2(blocks) => blocks.into_input(),
            Self::Finished => return None,
        };
        Some((Vec::new(), input))
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let len = match &mut self.state {
                State::Gzip(decoder) => decoder.read(buf)?,
                State::Xz(decoder) => decoder.read(buf)?,
                State::Zstd(decoder) => decoder.read(buf)?,
                State::ZstdFrames(frames) => frames.read(buf)?,
                State::Bzip2(blocks) => blocks.read(buf)?,
                State::Finished => return Ok(0),
            };
            if len > 0 {
                return Ok(len);
            }
            let ended = std::mem::replace(&mut self.state, State::Finished);
            match ended.into_input() {
                None => {}
                Some((begun, input)) if begun.is_empty() => self.next_stream(input)?,
                Some((begun, input)) => self.state = State::zstd_frame(begun, input)?,
            }
        }
    }
}
