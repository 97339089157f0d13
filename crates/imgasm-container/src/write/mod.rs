//! Writing a disk in the formats that others read.
//!
//! - [`write_file`]: into a new file, any format.
//! - [`write_stream`]: into anything that takes bytes in order, for formats that can be written in
//!   order: then an upload needs no file.
//! - `packed`, `vmdk`, `vhd`, `qcow2`: one format each. `pieces`: what they are
//!   written from, all cores at work.
//!
//! The same disk gives the same bytes in every format, whatever holes its file has on the host and
//! however many cores there are: nothing records a time, a name or a random number.

mod packed;
mod pieces;
mod qcow2;
mod vhd;
mod vmdk;

use std::fmt;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use super::{Codec, Error, Progress, Result, budget};
use imgasm_block::bytes::byte_len;
use imgasm_block::{BlockDevice, CHUNK_BYTES, ChunkMap, Output};

/// A format that a disk can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// As it is; a file of it is sparse.
    Raw,
    /// Raw, compressed.
    Packed(Codec),
    /// QEMU's format.
    Qcow2,
    /// VMDK as EC2 imports it and as in OVA files.
    StreamOptimizedVmdk,
    /// VHD in which zeros take no room.
    DynamicVhd,
    /// VHD as Azure accepts it.
    FixedVhd,
}

/// The formats by their names on a command line.
const NAMES: [(&str, OutputFormat); 8] = [
    ("raw", OutputFormat::Raw),
    ("raw.gz", OutputFormat::Packed(Codec::Gzip)),
    ("raw.zst", OutputFormat::Packed(Codec::Zstd)),
    ("raw.xz", OutputFormat::Packed(Codec::Xz)),
    ("qcow2", OutputFormat::Qcow2),
    ("vmdk", OutputFormat::StreamOptimizedVmdk),
    ("vhd", OutputFormat::DynamicVhd),
    ("vhd-fixed", OutputFormat::FixedVhd),
];

/// The text names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a format that can be written: use raw, raw.gz, raw.zst, raw.xz, qcow2, vmdk, vhd \
     or vhd-fixed"
)]
pub struct UnknownFormat(String);

impl OutputFormat {
    /// The names of the formats, as given on a command line.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().map(|(name, _)| name)
    }

    /// Its name.
    fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, format)| *format == self);
        found.map_or("raw.bz2", |(name, _)| name)
    }

    /// The format that a file's name asks for by its extension; `None` if it does not.
    pub fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match &extension[..] {
            "raw" | "img" | "bin" => Some(Self::Raw),
            "gz" => Some(Self::Packed(Codec::Gzip)),
            "zst" => Some(Self::Packed(Codec::Zstd)),
            "xz" => Some(Self::Packed(Codec::Xz)),
            other => other.parse().ok(),
        }
    }
}

impl FromStr for OutputFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, format)| *format)
            .ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Writes a disk into a new file, which then gets its name. `chunk_map` is that of the disk.
pub fn write_file(
    device: &dyn BlockDevice,
    chunk_map: &ChunkMap,
    format: OutputFormat,
    output: Output,
    progress: &Progress<'_>,
) -> Result<()> {
    let target = output.path().to_owned();
    let target = &target;
    let len = device.len();
    match format {
        OutputFormat::Raw => output.write_device(device)?,
        OutputFormat::FixedVhd => {
            let footer = vhd::fixed_footer(len, chunk_map.digest())?;
            output.write_device(device)?;
            let written = output.file().write_all_at(&footer, len);
            written
                .map_err(|e| imgasm_block::Error::io(target, "write", len, byte_len(&footer), e))?;
        }
        OutputFormat::Qcow2 => qcow2::write(device, &output, progress)?,
        OutputFormat::Packed(_) | OutputFormat::StreamOptimizedVmdk | OutputFormat::DynamicVhd => {
            let mut out = BufWriter::with_capacity(1 << 20, output.file());
            let written =
                write_stream(device, chunk_map, format, &mut out, progress).and_then(|()| {
                    out.flush().map_err(|source| Error::Write {
                        format: "image",
                        source,
                    })
                });
            written.map_err(|error| match error {
                Error::Write { source, .. } => {
                    imgasm_block::Error::file(target, "write", source).into()
                }
                other => other,
            })?;
        }
    }
    Ok(output.commit()?)
}

/// Writes a disk as a stream of bytes. `chunk_map` is that of the disk.
///
/// # Errors
/// [`Error::Unwritable`] for qcow2, whose beginning is known only at its end, and for disks that a
/// format cannot hold; [`Error::Write`] if `out` fails.
pub fn write_stream(
    device: &dyn BlockDevice,
    chunk_map: &ChunkMap,
    format: OutputFormat,
    out: &mut dyn Write,
    progress: &Progress<'_>,
) -> Result<()> {
    let len = device.len();
    match format {
        OutputFormat::Raw => packed::raw(device, out, progress),
        OutputFormat::Packed(codec) => {
            check_zeros(len, chunk_map, codec)?;
            packed::write(device, codec, out, progress)
        }
        OutputFormat::StreamOptimizedVmdk => vmdk::write(device, chunk_map.digest(), out, progress),
        OutputFormat::DynamicVhd => vhd::write_dynamic(device, chunk_map, out, progress),
        OutputFormat::FixedVhd => {
            let footer = vhd::fixed_footer(len, chunk_map.digest())?;
            packed::raw(device, out, progress)?;
            Sink::new(out, "vhd").write(&footer)
        }
        OutputFormat::Qcow2 => Err(Error::Unwritable {
            format: "qcow2",
            len,
            problem: "this format cannot be made as a stream",
        }),
    }
}

/// The longest disk of which the zeros are packed, too, if there is next to nothing else in it.
const FREE_BYTES: u64 = 64 << 30;

/// Makes sure that a disk is not nothing but zeros, each of which would be packed: a small file can name
/// any number of them.
fn check_zeros(len: u64, chunk_map: &ChunkMap, codec: Codec) -> Result<()> {
    let data = u64::try_from(chunk_map.chunks().len()).unwrap_or(u64::MAX);
    let usual = budget::usual_limit(data.saturating_mul(CHUNK_BYTES));
    if len <= usual.max(FREE_BYTES) {
        return Ok(());
    }
    Err(Error::Unwritable {
        format: OutputFormat::Packed(codec).name(),
        len,
        problem: "it is zeros for the most part; `raw`, `qcow2` and `vmdk` have no room for them",
    })
}

/// The receiver of the bytes, with their count.
struct Sink<'a> {
    out: &'a mut dyn Write,
    format: &'static str,
    written: u64,
}

impl<'a> Sink<'a> {
    fn new(out: &'a mut dyn Write, format: &'static str) -> Self {
        Self {
            out,
            format,
            written: 0,
        }
    }

    fn written(&self) -> u64 {
        self.written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let format = self.format;
        self.out
            .write_all(bytes)
            .map_err(|source| Error::Write { format, source })?;
        self.written += byte_len(bytes);
        Ok(())
    }

    /// Writes zeros up to the next multiple of `bytes`.
    fn pad(&mut self, bytes: u64) -> Result<()> {
        self.pad_to(self.written.next_multiple_of(bytes))
    }

    /// Writes zeros up to an offset not far from here.
    fn pad_to(&mut self, offset: u64) -> Result<()> {
        let len = offset.saturating_sub(self.written);
        self.write(&vec![0; usize::try_from(len).expect("a small gap")])
    }
}
