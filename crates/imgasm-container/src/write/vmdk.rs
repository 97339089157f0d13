//! Writing a stream-optimized VMDK ("Virtual Disk Format 5.0", section "Stream-Optimized
//! Compressed Sparse Extents"): header, descriptor, compressed grains with a grain table after
//! those that it covers, grain directory, footer.

use std::fmt::Write as _;
use std::io::Write;

use libdeflater::{CompressionLvl, Compressor};

use super::Sink;
use super::pieces::{data_pieces, read_piece};
use crate::{Error, Progress, Result};
use imgasm_block::bytes::is_zero;
use imgasm_block::pool::in_order;
use imgasm_block::{BlockDevice, Digest};

const FORMAT: &str = "vmdk";

const SECTOR_BYTES: u64 = 512;
const SECTOR_LEN: usize = 512;

/// The sizes that all tools use and importers expect.
const GRAIN_SECTORS: u64 = 128;
const GRAIN_LEN: usize = 64 << 10;
const TABLE_ENTRIES: usize = 512;

/// What one worker reads at a time: a grain table covers 32 pieces.
const PIECE_LEN: usize = 1 << 20;
const PIECE_BYTES: u64 = 1 << 20;
const TABLE_SPAN_BYTES: u64 = 32 << 20;

/// Where the descriptor lies, in sectors, and how many it has room for.
const DESCRIPTOR_AT: u64 = 1;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Where the first grain may lie: importers expect the first 64 KiB for the header.
const OVERHEAD_SECTORS: u64 = 128;

/// The newline test is valid, there are markers, and grains are compressed.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
const COMPRESS_DEFLATE: u16 = 1;

/// In the header: the footer names the place of the grain directory.
const DIRECTORY_AT_END: u64 = u64::MAX;

/// Kinds of marker.
const MARKER_END: u32 = 0;
const MARKER_TABLE: u32 = 1;
const MARKER_DIRECTORY: u32 = 2;
const MARKER_FOOTER: u32 = 3;

/// The largest disk that sector numbers of 32 bits can hold in the worst case.
const DISK_LIMIT_BYTES: u64 = 2040 << 30;

/// The level at which libdeflate gives about the size of zlib's default, in a third of its time.
const LEVEL: i32 = 4;

/// A compressed grain: its number on the disk, and the bytes.
type Grain = (u64, Vec<u8>);

/// Writes a disk whose content has this digest; the same disk gives the same bytes.
pub(super) fn write(
    device: &dyn BlockDevice,
    digest: Digest,
    out: &mut dyn Write,
    progress: &Progress<'_>,
) -> Result<()> {
    let disk_len = device.len();
    if disk_len > DISK_LIMIT_BYTES {
        return Err(Error::Unwritable {
            format: FORMAT,
            len: disk_len,
            problem: "the format holds up to 2040 GiB",
        });
    }
    let capacity = disk_len.div_ceil(SECTOR_BYTES);
    let mut writer = Writer {
        out: Sink::new(out, FORMAT),
        directory: vec![0; count(capacity.div_ceil(TABLE_SPAN_BYTES / SECTOR_BYTES))],
        table: Vec::new(),
        table_index: 0,
    };
    writer.out.write(&header(capacity, DIRECTORY_AT_END))?;
    writer.out.write(&descriptor(capacity, digest))?;
    writer.out.pad_to(OVERHEAD_SECTORS * SECTOR_BYTES)?;
    in_order(
        data_pieces(device, PIECE_BYTES),
        |offset| {
            Ok((
                offset,
                compress(&read_piece(device, offset, PIECE_LEN)?, offset),
            ))
        },
        |(offset, grains)| {
            for (number, grain) in grains {
                writer.grain(number, &grain)?;
            }
            progress(offset, disk_len);
            Ok(())
        },
    )?;
    writer.finish(capacity)?;
    progress(disk_len, disk_len);
    Ok(())
}

/// The grains of a piece that are not zeros.
fn compress(piece: &[u8], offset: u64) -> Vec<Grain> {
    let first = offset / (GRAIN_SECTORS * SECTOR_BYTES);
    let level = CompressionLvl::new(LEVEL).expect("one of libdeflate's levels");
    let mut compressor = Compressor::new(level);
    let mut grains = Vec::new();
    for (number, grain) in (first..).zip(piece.chunks(GRAIN_LEN)) {
        if is_zero(grain) {
            continue;
        }
        let mut packed = vec![0; compressor.zlib_compress_bound(grain.len())];
        let len = compressor.zlib_compress(grain, &mut packed);
        packed.truncate(len.expect("the bound is room enough for any grain"));
        grains.push((number, packed));
    }
    grains
}

struct Writer<'a> {
    out: Sink<'a>,
    /// Where each grain table lies, in sectors; 0 if there is none.
    directory: Vec<u32>,
    /// The unfinished grain table, empty if it has no grain yet, and its number.
    table: Vec<u32>,
    table_index: usize,
}

impl Writer<'_> {
    fn grain(&mut self, number: u64, packed: &[u8]) -> Result<()> {
        let index = count(number) / TABLE_ENTRIES;
        if index != self.table_index {
            self.end_table()?;
            self.table_index = index;
        }
        self.table.resize(TABLE_ENTRIES, 0);
        self.table[count(number) % TABLE_ENTRIES] = self.sector();
        self.out.write(&(number * GRAIN_SECTORS).to_le_bytes())?;
        let len = u32::try_from(packed.len()).expect("about 64 KiB");
        self.out.write(&len.to_le_bytes())?;
        self.out.write(packed)?;
        self.out.pad(SECTOR_BYTES)
    }

    /// Writes the unfinished grain table, if it has a grain.
    fn end_table(&mut self) -> Result<()> {
        if self.table.is_empty() {
            return Ok(());
        }
        let bytes = le_bytes(&self.table);
        self.marker(&bytes, MARKER_TABLE)?;
        self.directory[self.table_index] = self.sector();
        self.table.clear();
        self.out.write(&bytes)
    }

    fn finish(mut self, capacity: u64) -> Result<()> {
        self.end_table()?;
        let mut bytes = le_bytes(&self.directory);
        bytes.resize(bytes.len().next_multiple_of(SECTOR_LEN), 0);
        self.marker(&bytes, MARKER_DIRECTORY)?;
        let directory_at = u64::from(self.sector());
        self.out.write(&bytes)?;
        let footer = header(capacity, directory_at);
        self.marker(&footer, MARKER_FOOTER)?;
        self.out.write(&footer)?;
        self.marker(&[], MARKER_END)
    }

    /// A sector that says what follows: the number of its sectors, no size, and its kind.
    fn marker(&mut self, following: &[u8], kind: u32) -> Result<()> {
        let sectors = u64::try_from(following.len() / SECTOR_LEN).expect("a length");
        self.out.write(&sectors.to_le_bytes())?;
        self.out.write(&0_u32.to_le_bytes())?;
        self.out.write(&kind.to_le_bytes())?;
        self.out.pad(SECTOR_BYTES)
    }

    /// Where the next sector is written.
    fn sector(&self) -> u32 {
        u32::try_from(self.out.written() / SECTOR_BYTES)
            .expect("a disk of the limit, padded and with tables, stays below 2 TiB")
    }
}

/// A number of grains or tables of a disk of at most 2 TiB, as an index.
fn count(number: u64) -> usize {
    usize::try_from(number).expect("below 2^25")
}

fn le_bytes(numbers: &[u32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// The header, and with the place of the directory, the footer.
fn header(capacity: u64, directory_at: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(SECTOR_LEN);
    out.extend(b"KDMV");
    out.extend(3_u32.to_le_bytes());
    out.extend(FLAGS.to_le_bytes());
    for number in [capacity, GRAIN_SECTORS, DESCRIPTOR_AT, DESCRIPTOR_SECTORS] {
        out.extend(number.to_le_bytes());
    }
    out.extend(u32::try_from(TABLE_ENTRIES).expect("512").to_le_bytes());
    // No second directory.
    for number in [0, directory_at, OVERHEAD_SECTORS] {
        out.extend(number.to_le_bytes());
    }
    // Cleanly closed; then characters that a transfer as text would spoil.
    out.extend(b"\0\n \r\n");
    out.extend(COMPRESS_DEFLATE.to_le_bytes());
    out.resize(SECTOR_LEN, 0);
    out
}

/// The text about the disk, padded to its room: line by line what `qemu-img convert -O vmdk -o
/// adapter_type=lsilogic,subformat=streamOptimized,compat6` writes, which EC2 is known to import.
fn descriptor(capacity: u64, digest: Digest) -> Vec<u8> {
    // The usual geometry of a SCSI disk.
    let cylinders = capacity / (255 * 63);
    let [a, b, c, d, ..] = *digest.as_bytes();
    // All ones marks a disk without a parent, so no disk may have it as its id.
    let id = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
    let mut text = String::new();
    write!(
        text,
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\n# Extent description\n\
         RW {capacity} SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"6\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
         ddb.adapterType = \"lsilogic\"\nddb.toolsVersion = \"2147483647\"\n"
    )
    .expect("a text can always be written to");
    let mut bytes = text.into_bytes();
    bytes.resize(count(DESCRIPTOR_SECTORS) * SECTOR_LEN, 0);
    bytes
}
