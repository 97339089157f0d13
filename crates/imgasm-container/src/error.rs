//! Why an image's container could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

use super::Codec;
use super::budget::Budget;
use super::decode;
use imgasm_block::Digest;

/// Why an image's container could not be read or written.
///
/// *Corrupt* means that the file contradicts its format, *unsupported* that it is sound as far as
/// we can tell but uses something that we do not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened or read as a whole.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The container contradicts its format.
    #[error("{}: {format}: {problem}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The container's format.
        format: &'static str,
        /// What was seen, at which byte, and what was expected.
        problem: String,
    },
    /// The container uses something that is not supported.
    #[error("{}: {what} is not supported: {advice}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is or has.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// Decoding takes more memory than is given to it.
    #[error(
        "{}: the {codec} data needs more memory to be decoded than the {limit} MiB that are given to it",
        path.display()
    )]
    Window {
        /// The file.
        path: PathBuf,
        /// How it is compressed.
        codec: Codec,
        /// MiB that may be used.
        limit: u64,
    },
    /// Compressed data could not be decoded.
    #[error(
        "{}: the {codec} data cannot be decoded past byte {output_offset} of its content: \
         the file is damaged",
        path.display()
    )]
    Decode {
        /// The file.
        path: PathBuf,
        /// How it is compressed.
        codec: Codec,
        /// How many bytes had been decoded before.
        output_offset: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// Compressed data ends in the middle.
    #[error(
        "{}: the {codec} data ends in the middle, after {output_offset} bytes of its content: \
         the file is cut off; fetch it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How it is compressed.
        codec: Codec,
        /// How many bytes had been decoded before.
        output_offset: u64,
    },
    /// More comes out of a file than is allowed.
    #[error(
        "{}: unpacks to more than {limit} bytes, the limit for a file of this length; \
         `imgasm convert --max-size` allows more of a disk",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that may come out of it.
        limit: u64,
    },
    /// The file is nothing that we know.
    #[error(
        "{}: this is neither a container that can be read nor a disk or filesystem; if it is a raw \
         disk all the same, `imgasm convert --input-format raw` takes it as one",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The file holds nothing.
    #[error("{}: there is nothing in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A tar file holds no disk image.
    #[error(
        "{}: none of the {count} files in this tar file is a disk image: {names}",
        path.display()
    )]
    NoDisk {
        /// The tar file.
        path: PathBuf,
        /// Number of regular files in it.
        count: u64,
        /// The first of their names.
        names: String,
    },
    /// A tar file holds several disk images.
    #[error(
        "{}: this tar file holds several disk images, unpack the one you want: {}",
        path.display(),
        names.join(", ")
    )]
    SeveralDisks {
        /// The tar file.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// Compressed or tar data is wrapped more often than is sensible.
    #[error("{}: wrapped more than {limit} times", path.display())]
    TooDeep {
        /// The file.
        path: PathBuf,
        /// The most that is unwrapped.
        limit: u32,
    },
    /// Others may have put files into the cache's folder.
    #[error(
        "{} cannot be the cache: {problem}; set IMGASM_CACHE to a folder of your own",
        dir.display()
    )]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is not the one that was asked for.
    #[error("{}: its SHA-256 is {found}, but {expected} was expected", path.display())]
    DigestMismatch {
        /// The file.
        path: PathBuf,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// A disk cannot be written in a format.
    #[error("a disk of {len} bytes cannot be written as {format}: {problem}")]
    Unwritable {
        /// The format.
        format: &'static str,
        /// Bytes in the disk.
        len: u64,
        /// Why.
        problem: &'static str,
    },
    /// What is written could not be passed on.
    #[error("cannot write the {format} image")]
    Write {
        /// The format.
        format: &'static str,
        /// What the receiver said.
        source: io::Error,
    },
    /// A device or file of the host failed.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

impl Error {
    /// Why a file could not be read on, of which `output_offset` bytes have come out; `codec` is what it
    /// is packed with, if anything.
    pub(super) fn reading(
        path: &Path,
        codec: Option<Codec>,
        output_offset: u64,
        source: io::Error,
    ) -> Self {
        let path = path.to_owned();
        if let (Some(codec), Some(limit)) = (codec, decode::needs_memory(&source)) {
            return Self::Window { path, codec, limit };
        }
        match (Budget::exceeded(&source), codec) {
            (Some(limit), _) => Self::TooLarge { path, limit },
            (None, None) => Self::Read { path, source },
            (None, Some(codec)) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Truncated {
                    path,
                    codec,
                    output_offset,
                }
            }
            (None, Some(codec)) => Self::Decode {
                path,
                codec,
                output_offset,
                source,
            },
        }
    }
}

/// What containers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
