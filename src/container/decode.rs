//! Decoding a compressed stream.

use std::io::{self, BufRead, Read};

use liblzma::stream::MtStreamBuilder;

use super::Codec;
use crate::block::cores;

/// Memory for decoding the blocks of an .xz file on several cores. A file whose blocks are larger
/// is decoded on one.
const XZ_PARALLEL_BYTES: u64 = 160 << 20;

/// Memory for decoding an .xz file at all: the dictionary of preset 9, and some.
const XZ_LIMIT_BYTES: u64 = 200 << 20;

/// What a compressed stream holds. Streams that follow each other in one file are one, as their
/// own tools have it, and zeros may follow the last.
pub(super) struct Decoder<R: BufRead> {
    codec: Codec,
    state: State<R>,
}

enum State<R: BufRead> {
    Gzip(flate2::bufread::GzDecoder<R>),
    Xz(liblzma::bufread::XzDecoder<R>),
    Zstd(Box<zstd::Decoder<'static, R>>),
    Bzip2(bzip2::bufread::BzDecoder<R>),
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
                    .threads(u32::try_from(cores()).unwrap_or(1))
                    .memlimit_threading(XZ_PARALLEL_BYTES)
                    .memlimit_stop(XZ_LIMIT_BYTES)
                    .decoder()?;
                Self::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Codec::Zstd => {
                let decoder = zstd::Decoder::with_buffer(input)?;
                Self::Zstd(Box::new(decoder.single_frame()))
            }
            Codec::Bzip2 => Self::Bzip2(bzip2::bufread::BzDecoder::new(input)),
        })
    }

    fn into_input(self) -> Option<R> {
        match self {
            Self::Gzip(decoder) => Some(decoder.into_inner()),
            Self::Xz(decoder) => Some(decoder.into_inner()),
            Self::Zstd(decoder) => Some(decoder.finish()),
            Self::Bzip2(decoder) => Some(decoder.into_inner()),
            Self::Finished => None,
        }
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
                State::Bzip2(decoder) => decoder.read(buf)?,
                State::Finished => return Ok(0),
            };
            if len > 0 {
                return Ok(len);
            }
            let ended = std::mem::replace(&mut self.state, State::Finished);
            if let Some(input) = ended.into_input() {
                self.next_stream(input)?;
            }
        }
    }
}
