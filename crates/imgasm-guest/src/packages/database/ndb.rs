//! RPM's own database format, `Packages.db`.
//!
//! Pages of slots come first, each of which says where the header of one package lies; the headers
//! lie behind them in blocks of 16 bytes, between marks. All numbers are least byte first. (RPM,
//! `lib/backend/ndb/rpmpkg.c`.)

use super::{Pieces, RawRecord, add, failure};
use crate::packages::Error;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;

/// Bytes of the file's own header, which takes the place of two slots.
const HEADER_LEN: usize = 32;
/// Bytes of a slot.
const SLOT_LEN: usize = 16;
/// Bytes of a page of slots.
const PAGE_LEN: usize = 4096;
/// The unit of offsets.
const BLOCK_LEN: u64 = 16;
/// The most pages of slots: a quarter of a million packages.
const MAX_PAGES: usize = 1024;
/// The largest header that RPM writes.
const MAX_BLOB: usize = 256 << 20;

/// The records of the database in this file.
pub(super) fn read(fs: &dyn FileSystem, path: &ImagePath) -> Result<Vec<RawRecord>, Error> {
    let pieces = Pieces::open(fs, path)?;
    let unsound = |problem: &str| failure(path, problem);
    let mut header = [0; HEADER_LEN];
    pieces.read(0, &mut header)?;
    if &header[..4] != b"RpmP" || number(&header[4..8]) != 0 {
        return Err(unsound("it is not a package database of the known version"));
    }
    let pages = number(&header[12..16]);
    if pages > MAX_PAGES {
        return Err(unsound("it has more slots than there can be packages"));
    }
    let (mut records, mut total) = (Vec::new(), 0);
    for page in 0..pages {
        let mut slots = vec![0; PAGE_LEN];
        pieces.read((page * PAGE_LEN) as u64, &mut slots)?;
        let skipped = if page == 0 { HEADER_LEN } else { 0 };
        for slot in slots[skipped..].chunks_exact(SLOT_LEN) {
            if &slot[..4] != b"Slot" {
                return Err(unsound("there is no slot where one must be"));
            }
            let block = number(&slot[8..12]);
            if block == 0 {
                continue;
            }
            let mut blob = [0; 16];
            let offset = (block as u64).saturating_mul(BLOCK_LEN);
            pieces.read(offset, &mut blob)?;
            let len = number(&blob[12..16]);
            if &blob[..4] != b"BlbS" || blob[4..8] != slot[4..8] || len > MAX_BLOB {
                return Err(unsound("a slot leads to what is not its package"));
            }
            if len as u64 > pieces.len {
                return Err(unsound("a package is longer than the whole database"));
            }
            let mut bytes = vec![0; len];
            pieces.read(offset + blob.len() as u64, &mut bytes)?;
            let number = i64::try_from(number(&slot[4..8])).expect("it was read from 32 bits");
            let added = add(&mut records, &mut total, (number, bytes));
            added.map_err(|problem| unsound(&problem))?;
        }
    }
    Ok(records)
}

fn number(bytes: &[u8]) -> usize {
    let fold = |number: u32, &byte: &u8| number << 8 | u32::from(byte);
    let number = bytes.iter().rev().fold(0, fold);
    usize::try_from(number).expect("imgasm runs where addresses have 32 bits at least")
}
