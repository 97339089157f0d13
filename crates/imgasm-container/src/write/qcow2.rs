//! Writing qcow2, version 3, uncompressed (QEMU documentation, "Qcow2 Image File Format").
//!
//! The file is: header, first-level table, then data clusters with a second-level table after those
//! that it covers, then the reference counts of them all.

use std::os::unix::fs::FileExt;

use super::pieces::{data_pieces, read_piece};
use crate::{Error, Progress, Result};
use imgasm_block::bytes::{byte_len, is_zero};
use imgasm_block::pool::in_order;
use imgasm_block::{BlockDevice, Output};

const FORMAT: &str = "qcow2";

const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
const CLUSTER_LEN: usize = 1 << CLUSTER_BITS;

/// Entries in a second-level table, and the bytes of the disk that it covers.
const L2_ENTRIES: u64 = CLUSTER_BYTES / 8;
const L2_SPAN_BYTES: u64 = L2_ENTRIES * CLUSTER_BYTES;

/// QEMU reads first-level tables of up to 32 MiB.
const DISK_LIMIT_BYTES: u64 = (32 << 20) / 8 * L2_SPAN_BYTES;

/// Reference counts have 16 bits.
const REFCOUNT_ORDER: u32 = 4;
const COUNTS_IN_BLOCK: u64 = CLUSTER_BYTES / 2;

/// The cluster has exactly one reference.
const COPIED: u64 = 1 << 63;

/// What one worker reads at a time.
const PIECE_BYTES: u64 = 1 << 20;
const PIECE_LEN: usize = 1 << 20;

/// Writes a disk; the same disk gives the same bytes.
pub(super) fn write(
    device: &dyn BlockDevice,
    output: &Output,
    progress: &Progress<'_>,
) -> Result<()> {
    let disk_len = device.len();
    if disk_len > DISK_LIMIT_BYTES || !disk_len.is_multiple_of(512) {
        return Err(Error::Unwritable {
            format: FORMAT,
            len: disk_len,
            problem: "the format holds whole sectors of 512 bytes, and up to 2 PiB",
        });
    }
    let l1_entries = disk_len.div_ceil(L2_SPAN_BYTES);
    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER_BYTES);
    let mut writer = Writer {
        output,
        l1: vec![0; usize::try_from(l1_entries).expect("at most 32 MiB of them")],
        l2: Vec::new(),
        l2_index: 0,
        next_cluster: 1 + l1_clusters,
    };
    in_order(
        data_pieces(device, PIECE_BYTES),
        |offset| Ok((offset, read_piece(device, offset, PIECE_LEN)?)),
        |(offset, piece)| {
            let first = offset / CLUSTER_BYTES;
            for (number, cluster) in (first..).zip(piece.chunks(CLUSTER_LEN)) {
                if !is_zero(cluster) {
                    writer.data(number, cluster)?;
                }
            }
            progress(offset, disk_len);
            Ok(())
        },
    )?;
    writer.finish(disk_len, l1_clusters)?;
    progress(disk_len, disk_len);
    Ok(())
}

struct Writer<'a> {
    output: &'a Output,
    l1: Vec<u64>,
    /// The unfinished second-level table, empty if it has no cluster yet, and its number.
    l2: Vec<u64>,
    l2_index: usize,
    /// The next cluster of the file that is free.
    next_cluster: u64,
}

impl Writer<'_> {
    fn data(&mut self, number: u64, cluster: &[u8]) -> Result<()> {
        let index = usize::try_from(number / L2_ENTRIES).expect("an index into a table in memory");
        if index != self.l2_index {
            self.end_l2()?;
            self.l2_index = index;
        }
        let offset = self.append(cluster)?;
        let len = usize::try_from(L2_ENTRIES).expect("8192");
        self.l2.resize(len, 0);
        let at = usize::try_from(number % L2_ENTRIES).expect("below 8192");
        self.l2[at] = offset | COPIED;
        Ok(())
    }

    /// Writes the unfinished second-level table, if it has a cluster.
    fn end_l2(&mut self) -> Result<()> {
        if !self.l2.is_empty() {
            let table = be_bytes(&self.l2);
            self.l2.clear();
            self.l1[self.l2_index] = self.append(&table)? | COPIED;
        }
        Ok(())
    }

    fn finish(mut self, disk_len: u64, l1_clusters: u64) -> Result<()> {
        self.end_l2()?;
        // The counts include their own blocks and table.
        let used = self.next_cluster;
        let (mut blocks, mut table_clusters) = (0_u64, 0_u64);
        loop {
            let all = used + blocks + table_clusters;
            let grown = (
                all.div_ceil(COUNTS_IN_BLOCK),
                (blocks * 8).div_ceil(CLUSTER_BYTES).max(1),
            );
            if grown == (blocks, table_clusters) {
                break;
            }
            (blocks, table_clusters) = grown;
        }
        let table_at = used * CLUSTER_BYTES;
        let first_block = used + table_clusters;
        let table: Vec<u64> = (first_block..first_block + blocks)
            .map(|block| block * CLUSTER_BYTES)
            .collect();
        self.append(&be_bytes(&table))?;
        self.next_cluster = first_block;
        let mut left = first_block + blocks;
        for _ in 0..blocks {
            let counted = usize::try_from(left.min(COUNTS_IN_BLOCK)).expect("at most 32768");
            let mut counts = [0_u8, 1].repeat(counted);
            counts.resize(CLUSTER_LEN, 0);
            self.append(&counts)?;
            left = left.saturating_sub(COUNTS_IN_BLOCK);
        }
        self.write_at(CLUSTER_BYTES, &be_bytes(&self.l1))?;
        let l1_entries = u32::try_from(self.l1.len()).expect("at most 4 million");
        let table_clusters = u32::try_from(table_clusters).expect("a few");
        // A disk of no bytes has no first-level table, but the header names a place all the same.
        let l1_at = if l1_clusters == 0 { 0 } else { CLUSTER_BYTES };
        self.write_at(
            0,
            &header(disk_len, l1_entries, l1_at, table_at, table_clusters),
        )?;
        let len = self.next_cluster * CLUSTER_BYTES;
        let grown = self.output.file().set_len(len);
        Ok(grown.map_err(|e| imgasm_block::Error::io(self.output.path(), "write", 0, len, e))?)
    }

    /// Writes what takes one cluster or more; gives its offset.
    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.next_cluster * CLUSTER_BYTES;
        self.write_at(offset, bytes)?;
        self.next_cluster += byte_len(bytes).div_ceil(CLUSTER_BYTES);
        Ok(offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.output.file().write_all_at(bytes, offset);
        let failed =
            |e| imgasm_block::Error::io(self.output.path(), "write", offset, byte_len(bytes), e);
        Ok(written.map_err(failed)?)
    }
}

fn be_bytes(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn header(
    disk_len: u64,
    l1_entries: u32,
    l1_at: u64,
    refcount_table_at: u64,
    refcount_table_clusters: u32,
) -> Vec<u8> {
    const HEADER_LEN: u32 = 104;
    let mut out = Vec::new();
    out.extend(b"QFI\xfb");
    out.extend(3_u32.to_be_bytes());
    // No backing file.
    out.extend([0; 12]);
    out.extend(CLUSTER_BITS.to_be_bytes());
    out.extend(disk_len.to_be_bytes());
    // No encryption.
    out.extend(0_u32.to_be_bytes());
    out.extend(l1_entries.to_be_bytes());
    out.extend(l1_at.to_be_bytes());
    out.extend(refcount_table_at.to_be_bytes());
    out.extend(refcount_table_clusters.to_be_bytes());
    // No snapshots; no features.
    out.extend([0; 12]);
    out.extend([0; 24]);
    out.extend(REFCOUNT_ORDER.to_be_bytes());
    out.extend(HEADER_LEN.to_be_bytes());
    // The end of the header extensions.
    out.extend([0; 8]);
    out
}
