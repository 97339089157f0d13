//! RPM's own database format, as SUSE has it.
//!
//! - [`packages`]: `Packages.db`, which has the headers: reading and changing it.
//! - [`blob`]: a header as it lies there.
//! - [`indexes`]: `Index.db`, which has all indexes: writing it.
//! - [`table`]: one index: a hash table from the values of a tag to the packages that have them.
//!
//! In both files pages of slots come first, each of which says where something lies behind them. A
//! change leaves the headers that stay where they lie, unless more slots need their room; indexes are
//! small, and all are written as a whole from the headers. All numbers are least byte first. (RPM,
//! `lib/backend/ndb`.)

mod blob;
mod indexes;
mod packages;
mod table;

use std::collections::BTreeSet;

use super::{Database, Pieces, RawRecord, add, failure};
use crate::packages::Error;
use crate::packages::header::Header;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::Editor;
use indexes::Indexes;
use packages::Packages;

/// The records of the database in this file.
pub(super) fn read(fs: &dyn FileSystem, path: &ImagePath) -> Result<Vec<RawRecord>, Error> {
    let pieces = Pieces::open(fs, path)?;
    let packages = Packages::read(&pieces)?;
    let (mut records, mut total) = (Vec::new(), 0);
    for (number, place) in &packages.places {
        let header = blob::read(&pieces, *number, *place)?.header().to_vec();
        let added = add(&mut records, &mut total, (i64::from(*number), header));
        added.map_err(|problem| failure(path, problem))?;
    }
    Ok(records)
}

/// Takes the records with these numbers out of the database, and puts those with these headers in.
pub(super) fn update(
    editor: &mut Editor<'_>,
    database: &Database,
    removed: &BTreeSet<i64>,
    added: &[&Header],
) -> Result<(), Error> {
    let path = &database.path;
    let indexes = Indexes::read(editor.fs(), path)?;
    let changed = packages::change(editor, path, removed, added)?;
    let rows = database.rows(removed, changed.first, added);
    match indexes {
        Some(indexes) => indexes.write(editor, changed.generation, &rows),
        // RPM makes them when it opens the database.
        None => Ok(()),
    }
}

/// The number at a place of some bytes that are long enough.
fn get32(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..].first_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(bytes)
}

/// Numbers one after the other.
fn words<const N: usize>(numbers: [u32; N]) -> Vec<u8> {
    numbers.iter().flat_map(|one| one.to_le_bytes()).collect()
}

/// A mark, as the number that its four letters are.
const fn mark(letters: [u8; 4]) -> u32 {
    u32::from_le_bytes(letters)
}
