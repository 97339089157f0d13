//! A stream of bytes cut into the parts of a multipart upload.

use std::io::{self, Write};

use crate::plan::{Disk, DiskFormat};
use imgasm_block::{BlockDevice, CHUNK_BYTES, Digest};

/// The least that S3 takes for a part that is not the last is 5 MiB; this is twice as much, so that
/// a few of them in memory keep a fast line busy.
const PART_BYTES: u64 = 10 << 20;

/// The most parts that an upload has (S3 user guide, "Multipart upload limits").
const PARTS_LIMIT: u64 = 10_000;

/// The most bytes that a disk has in a format: those of its chunks that hold data, and a sixteenth
/// for what the format and noise add.
pub fn stream_limit(disk: &Disk, format: DiskFormat) -> u64 {
    let chunks = disk.built.chunk_map.chunks().len();
    let held = u64::try_from(chunks).expect("a length fits 64 bits") * CHUNK_BYTES;
    let len = disk.built.device.len();
    match format {
        DiskFormat::Raw => len,
        // A block of a VHD holds four chunks.
        DiskFormat::Vhd => (4 * held).min(len) + len / 1024 + (1 << 20),
        DiskFormat::Vmdk => held + held / 16 + len / 1024 + (1 << 20),
    }
}

/// Bytes in each part but the last of a stream that has at most `stream_limit` bytes. The same disk
/// always has the same, so that an interrupted upload can go on.
pub fn part_bytes(stream_limit: u64) -> u64 {
    let least = stream_limit.div_ceil(PARTS_LIMIT - 1);
    least.next_multiple_of(1 << 20).max(PART_BYTES)
}

/// A part of an upload.
#[derive(Debug)]
pub struct Part {
    /// From 1.
    pub number: i32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their SHA-256.
    pub digest: Digest,
}

/// Collects what is written into parts, and gives each whole one away.
pub struct PartWriter<F> {
    part_len: usize,
    number: i32,
    bytes: Vec<u8>,
    give: F,
}

impl<F: FnMut(Part) -> io::Result<()>> PartWriter<F> {
    /// Gives parts of so many bytes, but for the last, to `give`.
    pub fn new(part_bytes: u64, give: F) -> Self {
        Self {
            part_len: usize::try_from(part_bytes).unwrap_or(usize::MAX),
            number: 0,
            bytes: Vec::new(),
            give,
        }
    }

    /// Gives away the last part. An upload has one part at the least.
    pub fn finish(mut self) -> io::Result<()> {
        if self.bytes.is_empty() && self.number > 0 {
            return Ok(());
        }
        self.end_part()
    }

    fn end_part(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        self.number += 1;
        (self.give)(Part {
            number: self.number,
            digest: Digest::of(&bytes),
            bytes,
        })
    }
}

impl<F: FnMut(Part) -> io::Result<()>> Write for PartWriter<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes.capacity() == 0 {
            self.bytes
                .reserve_exact(self.part_len.min(PART_LEN_AT_ONCE));
        }
        let len = buf.len().min(self.part_len - self.bytes.len());
        self.bytes.extend_from_slice(&buf[..len]);
        if self.bytes.len() == self.part_len {
            self.end_part()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Room that is made before a part is known to be so long.
const PART_LEN_AT_ONCE: usize = 10 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_enough_and_large_enough() {
        assert_eq!(part_bytes(0), 10 << 20);
        assert_eq!(part_bytes(90 << 30), 10 << 20);
        for disk in [98_u64 << 30, 2 << 40, 16 << 40] {
            let part = part_bytes(disk);
            assert!(disk.div_ceil(part) <= 10_000 && part.is_multiple_of(1 << 20));
        }
    }

    #[test]
    fn a_stream_is_cut_where_it_should() {
        for len in [0, 1, 9, 10, 11, 20, 25] {
            let mut parts = Vec::new();
            let mut writer = PartWriter::new(10, |part| {
                parts.push(part);
                Ok(())
            });
            let stream: Vec<u8> = (0..len).collect();
            for piece in stream.chunks(3) {
                writer.write_all(piece).unwrap();
            }
            writer.finish().unwrap();
            assert!((1..).zip(&parts).all(|(n, part)| part.number == n));
            assert_eq!(parts.len(), stream.len().div_ceil(10).max(1), "{len}");
            let back: Vec<u8> = parts.iter().flat_map(|part| part.bytes.clone()).collect();
            assert_eq!(back, stream);
        }
    }
}
