//! RPM's database in files of Berkeley DB, as RPM before 4.16 keeps it.
//!
//! `Packages` is a hash table from the numbers of packages to their headers; beside it lies a file for
//! each index, a tree or (of old) a hash table, from the values of a tag to the packages that have them.
//!
//! - [`page`], [`meta`]: the pages of both kinds of files, and the first one.
//! - [`hash`]: reading hash tables; [`buckets`]: writing them.
//! - [`btree`]: writing trees.
//! - [`draft`]: the pages that a change writes.
//!
//! A change of `Packages` fills its buckets anew, but leaves the headers that stay where they lie, so
//! that it costs what comes and goes. Indexes are small: each is written as a whole from the headers,
//! as `rpm --rebuilddb` does it. Page layouts are those of Berkeley DB's `db_page.h`.

mod btree;
mod buckets;
mod draft;
mod hash;
mod meta;
mod page;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::index::{INDEXES, keys};
use super::{Database, Pieces, RawRecord, add, failure};
use crate::packages::Error;
use crate::packages::header::Header;
use crate::packages::tags::Tag;
use buckets::Value;
use draft::{Draft, Pages};
use hash::{Buckets, Item, Table};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};
use meta::{LAST_AT, Meta, Method};
use page::Layout;

/// The key under which RPM keeps the last number that it gave to a package.
const COUNTER: u32 = 0;
/// Indexes that RPM kept before 4.9 and does not use since.
const OLD_INDEXES: [&str; 4] = ["Filedigests", "Provideversion", "Pubkeys", "Requireversion"];
/// The most bytes of pages with keys and of unused pages, which are all written anew.
const MAX_REWRITTEN: usize = 128 << 20;
/// What the names of the files begin with in which Berkeley DB keeps pages that it has read.
const ENVIRONMENT: &[u8] = b"__db.";

/// Whether this is a database of RPM before 4.9, which can be read only.
pub(super) fn is_old(fs: &dyn FileSystem, path: &ImagePath) -> Result<bool, Error> {
    let meta = Meta::read(&Pieces::open(fs, path)?)?;
    if meta.check_version().is_err() {
        return Ok(true);
    }
    for name in OLD_INDEXES {
        if tree::exists(fs, &beside(path, name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where an index of the database in this file lies.
fn beside(path: &ImagePath, name: &str) -> ImagePath {
    let folder = path.parent().unwrap_or_else(ImagePath::root);
    folder.child(name.as_bytes())
}

/// The records of the database in this file.
pub(super) fn read(fs: &dyn FileSystem, path: &ImagePath) -> Result<Vec<RawRecord>, Error> {
    let mut table = Table::open(fs, path)?;
    let (mut records, mut total) = (Vec::new(), 0);
    for (number, value) in numbered(&mut table, path)? {
        if number == COUNTER {
            continue;
        }
        let record = (i64::from(number), table.value(value)?);
        add(&mut records, &mut total, record).map_err(|problem| failure(path, problem))?;
    }
    Ok(records)
}

/// Takes the records with these numbers out of the database, and puts those with these headers in.
pub fn update(
    editor: &mut Editor<'_>,
    database: &Database,
    removed: &BTreeSet<i64>,
    added: &[&Header],
) -> Result<(), Error> {
    let path = &database.path;
    let first = update_packages(editor, path, removed, added)?;
    let rows = database.rows(removed, first, added);
    for (name, tag) in INDEXES {
        let path = beside(path, name);
        // RPM makes the indexes that are missing when it opens the database.
        if tree::is_file(editor.fs(), &path)? {
            write_index(editor, &path, tag, &rows)?;
        }
    }
    forget_pages(editor, path)
}

/// Changes the table of packages; gives the number of the first one that is added.
fn update_packages(
    editor: &mut Editor<'_>,
    path: &ImagePath,
    removed: &BTreeSet<i64>,
    added: &[&Header],
) -> Result<u32, Error> {
    let unsound = |problem: String| failure(path, problem);
    let mut table = Table::open(editor.fs(), path)?;
    let layout = table.meta.layout;
    let mut pairs = BTreeMap::new();
    let mut last = 0;
    let mut small = Vec::new();
    for (number, value) in numbered(&mut table, path)? {
        last = last.max(number);
        if number == COUNTER {
            let counter = table.value(value)?;
            if counter.len() != 4 {
                return Err(unsound("its counter is not a number".to_owned()));
            }
            last = last.max(layout.get32(&counter, 0));
        } else if !removed.contains(&i64::from(number)) {
            match value {
                Item::Chain(chain) => {
                    table.keep(chain)?;
                    pairs.insert(layout.bytes32(number).to_vec(), Value::There(chain));
                }
                Item::Bytes(bytes) => small.push((number, bytes)),
            }
        }
    }
    let first = last
        .checked_add(1)
        .filter(|first| u32::MAX - first > u32::try_from(added.len()).unwrap_or(u32::MAX));
    let first = first.ok_or_else(|| unsound("it has no numbers left".to_owned()))?;
    for (number, bytes) in &small {
        pairs.insert(layout.bytes32(*number).to_vec(), Value::New(bytes));
    }
    let mut counter = last;
    for header in added {
        counter += 1;
        let value = Value::New(header.bytes());
        pairs.insert(layout.bytes32(counter).to_vec(), value);
    }
    let counter = layout.bytes32(counter);
    pairs.insert(layout.bytes32(COUNTER).to_vec(), Value::New(&counter));
    let pages = refill(&table, &pairs).map_err(unsound)?;
    put_pages(editor, path, layout, &pages)?;
    Ok(first)
}

/// The pages of a table that change so that it has these pairs and no others.
fn refill(table: &Table<'_>, pairs: &BTreeMap<Vec<u8>, Value<'_>>) -> Result<Pages, String> {
    let layout = table.meta.layout;
    let unused = table.unused();
    let rewritten = unused.len() + table.buckets.last as usize + 1;
    if rewritten.saturating_mul(layout.page_size) > MAX_REWRITTEN {
        return Err(format!(
            "{rewritten} of its pages are in no use or have keys only, which is no database that is \
             in order: `rpm --rebuilddb` makes one"
        ));
    }
    let draft = Draft::new(layout, table.meta.last, unused);
    buckets::write(&table.meta, table.buckets.clone(), draft, pairs)
}

/// Puts pages into a file, the first one among them, which says which is the last.
fn put_pages(
    editor: &mut Editor<'_>,
    path: &ImagePath,
    layout: Layout,
    pages: &Pages,
) -> Result<(), Error> {
    let at = |number: u32| u64::from(number) * layout.page_size as u64;
    let end = at(layout.get32(&pages[&0], LAST_AT)) + layout.page_size as u64;
    let pieces = pages
        .iter()
        .map(|(number, page)| (at(*number), page.as_slice()));
    Ok(editor.patch(path, end, pieces)?)
}

/// The table's values by the numbers that are their keys.
fn numbered(table: &mut Table<'_>, path: &ImagePath) -> Result<BTreeMap<u32, Item>, Error> {
    let mut values = BTreeMap::new();
    for [key, value] in table.pairs()? {
        let number = match key {
            Item::Bytes(key) if key.len() == 4 => table.meta.layout.get32(&key, 0),
            _ => return Err(failure(path, "it has a key that is no number")),
        };
        if values.insert(number, value).is_some() {
            return Err(failure(path, format!("it has two records {number}")));
        }
    }
    Ok(values)
}

/// Writes an index of these packages.
fn write_index(
    editor: &mut Editor<'_>,
    path: &ImagePath,
    tag: Tag,
    rows: &[(u32, &Header)],
) -> Result<(), Error> {
    let unsound = |problem: String| failure(path, problem);
    let meta = Meta::read(&Pieces::open(editor.fs(), path)?)?;
    meta.check_version().map_err(unsound)?;
    let layout = meta.layout;
    let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (number, header) in rows {
        for (key, beside) in keys(header, tag) {
            let value = pairs.entry(key.bytes(|n| layout.bytes32(n))).or_default();
            value.extend_from_slice(&layout.bytes32(*number));
            value.extend_from_slice(&layout.bytes32(beside));
        }
    }
    let content = whole(&meta, &pairs).map_err(unsound)?;
    let plain = Attributes::default();
    Ok(editor.write(path, LastLink::Follow, &content, plain)?)
}

/// The whole file with these pairs, in the place of the one that `meta` describes.
fn whole(meta: &Meta, pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<u8>, String> {
    let pages = match meta.method {
        Method::Tree => btree::write(meta, pairs)?,
        Method::Hash => {
            let buckets = Buckets::new();
            let draft = Draft::new(meta.layout, buckets.last + 1, BTreeSet::new());
            let pairs = pairs
                .iter()
                .map(|(key, value)| (key.clone(), Value::New(value)));
            buckets::write(meta, buckets, draft, &pairs.collect())?
        }
    };
    // All of its pages are new ones.
    Ok(pages.into_values().flatten().collect())
}

/// Removes the files in which Berkeley DB keeps pages: what they hold is not what the database holds
/// any more. RPM makes them anew.
fn forget_pages(editor: &mut Editor<'_>, path: &ImagePath) -> Result<(), Error> {
    let folder = path.parent().unwrap_or_else(ImagePath::root);
    let (node, real) = tree::resolve(editor.fs(), &folder, LastLink::Follow)?;
    let entries = editor.fs().read_dir(node);
    let entries = entries.map_err(|error| failure(&real, error.to_string()))?;
    for entry in entries {
        if entry.name.starts_with(ENVIRONMENT) {
            editor.remove_tree(&real.child(&entry.name))?;
        }
    }
    Ok(())
}
