//! Writing a raw disk compressed.
//!
//! Pieces of the disk are compressed by themselves, on all cores, so that they can be decompressed
//! on all cores, too: gzip members, zstd frames, blocks of one .xz stream. Pieces have a fixed size
//! and nothing records a time, so the same disk gives the same bytes.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use liblzma::stream::{Check, MtStreamBuilder};

use super::Sink;
use super::pieces::read_piece;
use crate::{Codec, Error, Progress, Result};
use imgasm_block::BlockDevice;
use imgasm_block::bytes::{byte_len, is_zero};
use imgasm_block::pool::{self, in_order};

/// Bytes of the disk in a gzip member or zstd frame.
const PIECE_BYTES: u64 = 4 << 20;
const PIECE_LEN: usize = 4 << 20;

/// The tools' own defaults.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// An .xz encoder with preset 6 takes 94 MiB per thread, one with preset 4 half of that.
const XZ_PRESET: u32 = 4;
const XZ_BLOCK_BYTES: u64 = 12 << 20;
const XZ_THREADS_LIMIT: usize = 4;

/// Writes a disk, compressed.
pub(super) fn write(
    device: &dyn BlockDevice,
    codec: Codec,
    out: &mut dyn Write,
    progress: &Progress<'_>,
) -> Result<()> {
    match codec {
        Codec::Gzip => pieces(device, "gzip", gzip, out, progress),
        Codec::Zstd => pieces(device, "zstd", zstd_frame, out, progress),
        Codec::Xz => xz(device, out, progress),
        Codec::Bzip2 => Err(Error::Unwritable {
            format: "bzip2",
            len: device.len(),
            problem: "it is only read: xz is smaller and zstd faster",
        }),
    }
}

fn gzip(piece: &[u8]) -> io::Result<Vec<u8>> {
    let level = Compression::new(GZIP_LEVEL);
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), level);
    encoder.write_all(piece)?;
    encoder.finish()
}

fn zstd_frame(piece: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(byte_len(piece)))?;
    encoder.write_all(piece)?;
    encoder.finish()
}

/// Compresses piece by piece. A whole piece of zeros is compressed only once.
fn pieces(
    device: &dyn BlockDevice,
    format: &'static str,
    compress: fn(&[u8]) -> io::Result<Vec<u8>>,
    out: &mut dyn Write,
    progress: &Progress<'_>,
) -> Result<()> {
    let failed = |source| Error::Write { format, source };
    let disk_len = device.len();
    let zeros = compress(&vec![0; PIECE_LEN]).map_err(failed)?;
    let mut out = Sink::new(out, format);
    let count = disk_len.div_ceil(PIECE_BYTES).max(1);
    in_order(
        (0..count).map(|index| Ok(index * PIECE_BYTES)),
        |offset| {
            let len = (disk_len - offset).min(PIECE_BYTES);
            let data = device.next_data(offset)?;
            let is_hole = data.is_none_or(|data| data.start >= offset + len);
            if is_hole && len == PIECE_BYTES {
                return Ok((offset, None));
            }
            let len = usize::try_from(len).expect("at most 4 MiB");
            let piece = read_piece(device, offset, len)?;
            if len == PIECE_LEN && is_zero(&piece) {
                return Ok((offset, None));
            }
            Ok((offset, Some(compress(&piece).map_err(failed)?)))
        },
        |(offset, packed)| {
            progress(offset, disk_len);
            out.write(packed.as_ref().unwrap_or(&zeros))
        },
    )?;
    progress(disk_len, disk_len);
    Ok(())
}

/// One .xz stream of many blocks, as its own tool makes it with `-T`.
fn xz(device: &dyn BlockDevice, out: &mut dyn Write, progress: &Progress<'_>) -> Result<()> {
    let format = "xz";
    let failed = |source: io::Error| Error::Write { format, source };
    let threads = pool::size().clamp(2, XZ_THREADS_LIMIT);
    let stream = MtStreamBuilder::new()
        .threads(u32::try_from(threads).expect("a few"))
        .preset(XZ_PRESET)
        .block_size(XZ_BLOCK_BYTES)
        .check(Check::Crc64)
        .encoder()
        .map_err(|e| failed(e.into()))?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(out, stream);
    let disk_len = device.len();
    let mut offset = 0;
    while offset < disk_len {
        let len = (disk_len - offset).min(PIECE_BYTES);
        let piece = read_piece(device, offset, usize::try_from(len).expect("at most 4 MiB"))?;
        encoder.write_all(&piece).map_err(failed)?;
        offset += len;
        progress(offset, disk_len);
    }
    encoder.finish().map_err(failed)?;
    Ok(())
}

/// The bytes of a device one after the other, holes as zeros.
pub(super) fn raw(
    device: &dyn BlockDevice,
    out: &mut dyn Write,
    progress: &Progress<'_>,
) -> Result<()> {
    let disk_len = device.len();
    let mut out = Sink::new(out, "raw");
    in_order(
        (0..disk_len.div_ceil(PIECE_BYTES)).map(|index| Ok(index * PIECE_BYTES)),
        |offset| {
            let len = (disk_len - offset).min(PIECE_BYTES);
            let len = usize::try_from(len).expect("at most 4 MiB");
            Ok((offset, read_piece(device, offset, len)?))
        },
        |(offset, piece)| {
            progress(offset, disk_len);
            out.write(&piece)
        },
    )
}
