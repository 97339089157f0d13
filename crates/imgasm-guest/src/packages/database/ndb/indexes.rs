//! `Index.db`: pages of slots, each of which says where one index lies, and the indexes behind them.
//!
//! The file keeps the indexes that it has: RPM makes those that it misses when it opens it. What imgasm
//! does not know the keys of is left out, so that it is made anew, too.

use std::collections::BTreeMap;

use super::table;
use super::{Pieces, failure, get32, mark, words};
use crate::packages::Error;
use crate::packages::database::index::{INDEXES, keys};
use crate::packages::header::Header;
use crate::packages::tags::Tag;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};

/// The name of the file.
const NAME: &[u8] = b"Index.db";
/// How the file begins.
const MAGIC: u32 = mark(*b"RpmX");
/// How a slot of a finished index begins; the last byte is not 0 while RPM rebuilds one.
const SLOT: u32 = mark(*b"Slo\0");
/// Bytes of a slot: the mark, the tag of the keys, the first page, how many pages.
const SLOT_LEN: usize = 16;
/// Bytes of the file's own header, which takes the place of two slots: the magic, the version, the
/// generation, the pages of slots, the bytes of a page, the generation of the packages.
const HEADER_LEN: usize = 32;
/// The bytes that a page may have.
const PAGE_LENS: std::ops::RangeInclusive<usize> = 0x100..=0x1_0000;
/// The most pages of slots. RPM itself has one.
const MAX_SLOT_PAGES: usize = 256;
/// The most bytes of the file; RPM counts them in 32 bits.
const MAX_LEN: usize = 1 << 30;

/// What is kept of the file that is there.
pub(super) struct Indexes {
    path: ImagePath,
    generation: u32,
    page_len: usize,
    /// The tags of its indexes, in the order of the slots.
    tags: Vec<Tag>,
}

impl Indexes {
    /// Reads the file beside that of the packages, if it is there.
    pub(super) fn read(fs: &dyn FileSystem, packages: &ImagePath) -> Result<Option<Self>, Error> {
        let folder = packages.parent().unwrap_or_else(ImagePath::root);
        let path = folder.child(NAME);
        if !tree::is_file(fs, &path)? {
            return Ok(None);
        }
        let pieces = Pieces::open(fs, &path)?;
        let unsound = |problem: &str| failure(&pieces.path, problem);
        let mut header = [0; HEADER_LEN];
        pieces.read(0, &mut header)?;
        if get32(&header, 0) != MAGIC || get32(&header, 4) != 0 {
            return Err(unsound(
                "it is not a database of indexes of the known version",
            ));
        }
        let [slot_pages, page_len] = [12, 16].map(|at| get32(&header, at) as usize);
        if !page_len.is_power_of_two() || !PAGE_LENS.contains(&page_len) {
            return Err(unsound(&format!("its pages cannot have {page_len} bytes")));
        }
        if slot_pages == 0 || slot_pages > MAX_SLOT_PAGES {
            return Err(unsound(&format!(
                "it cannot have {slot_pages} pages of slots"
            )));
        }
        let pages = pieces.len / page_len as u64;
        if !pieces.len.is_multiple_of(page_len as u64) {
            return Err(unsound("it does not end with a page"));
        }
        let mut slots = vec![0; slot_pages * page_len];
        pieces.read(0, &mut slots)?;
        let mut tags = Vec::new();
        for slot in slots.chunks_exact(SLOT_LEN).skip(HEADER_LEN / SLOT_LEN) {
            let [state, tag, page, count] = [0, 4, 8, 12].map(|at| get32(slot, at));
            if state & 0x00ff_ffff != SLOT {
                return Err(unsound("there is no slot where one must be"));
            }
            if page == 0 {
                continue;
            }
            if u64::from(page) + u64::from(count) > pages {
                return Err(unsound("an index leads beyond its end"));
            }
            // An index that was being rebuilt is not one.
            if state == SLOT {
                if tags.contains(&Tag(tag)) {
                    return Err(unsound(&format!("it has two indexes of the tag {tag}")));
                }
                tags.push(Tag(tag));
            }
        }
        Ok(Some(Self {
            path,
            generation: get32(&header, 8),
            page_len,
            tags,
        }))
    }

    /// Writes the indexes of these packages, whose file has this generation.
    pub(super) fn write(
        &self,
        editor: &mut Editor<'_>,
        generation: u32,
        rows: &[(u32, &Header)],
    ) -> Result<(), Error> {
        let content = whole(self, generation, rows);
        let content = content.map_err(|problem| failure(&self.path, problem))?;
        let plain = Attributes::default();
        editor.write(&self.path, LastLink::Follow, &content, plain)?;
        Ok(())
    }
}

/// The whole file with the indexes of these packages.
fn whole(old: &Indexes, generation: u32, rows: &[(u32, &Header)]) -> Result<Vec<u8>, String> {
    let known = |tag: &&Tag| INDEXES.iter().any(|(_, other)| other == *tag);
    let tags: Vec<_> = old.tags.iter().filter(known).collect();
    let slot_bytes = HEADER_LEN + tags.len() * SLOT_LEN;
    let slot_pages = slot_bytes.div_ceil(old.page_len);
    let mut slots = Vec::new();
    let mut tables = Vec::new();
    for tag in tags {
        let mut pairs: BTreeMap<Vec<u8>, Vec<(u32, u32)>> = BTreeMap::new();
        for (number, header) in rows {
            for (key, beside) in keys(header, *tag) {
                let packages = pairs.entry(key.bytes(u32::to_le_bytes)).or_default();
                if !packages.contains(&(*number, beside)) {
                    packages.push((*number, beside));
                }
            }
        }
        let table = table::table(&pairs, old.page_len)?;
        let start = slot_pages + tables.len() / old.page_len;
        slots.push((*tag, start, table.len() / old.page_len));
        tables.extend(table);
        if tables.len() > MAX_LEN {
            return Err(format!("it would have more than {MAX_LEN} bytes"));
        }
    }
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut bytes = words([
        MAGIC,
        0,
        old.generation.wrapping_add(1),
        number(slot_pages),
        number(old.page_len),
        generation,
    ]);
    bytes.resize(HEADER_LEN, 0);
    for (tag, start, count) in slots {
        bytes.extend(words([SLOT, tag.0, number(start), number(count)]));
    }
    let empty = words([SLOT, 0, 0, 0]);
    bytes.extend(empty.repeat((slot_pages * old.page_len - slot_bytes) / SLOT_LEN));
    bytes.extend(tables);
    Ok(bytes)
}
