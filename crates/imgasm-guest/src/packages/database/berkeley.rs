//! RPM's database in a Berkeley DB hash table, as RPM before 4.16 wrote it.
//!
//! Keys are the numbers of packages, values their headers. Values are too large to lie in a page
//! of the table, and so lie in chains of overflow pages. Page layouts are those of Berkeley DB's
//! `db_page.h`; numbers have the byte order of the machine that wrote them, which the magic tells.

use super::{Pieces, RawRecord, add, failure};
use crate::packages::Error;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;

/// The magic of hash tables.
const MAGIC: u32 = 0x0006_1561;
/// Bytes of the first page that say what the file is.
const META_LEN: usize = 72;
/// Bytes of a page before its content.
const PAGE_HEADER_LEN: usize = 26;
/// The type of the first page of a hash table.
const TYPE_HASH_META: u8 = 8;
/// The types of pages with keys and values, which are unsorted in older files.
const TYPE_HASH: [u8; 2] = [2, 13];
/// The type of pages with a piece of a large value.
const TYPE_OVERFLOW: u8 = 7;
/// An item that lies in the page.
const ITEM_IN_PAGE: u8 = 1;
/// An item that lies in overflow pages.
const ITEM_OFF_PAGE: u8 = 3;
/// Bytes of an item that lies in overflow pages.
const OFF_PAGE_LEN: usize = 12;
/// The largest value that is read: RPM's own limit of a header.
const MAX_VALUE: usize = 256 << 20;

/// The records of the database in this file.
pub(super) fn read(fs: &dyn FileSystem, path: &ImagePath) -> Result<Vec<RawRecord>, Error> {
    let pieces = Pieces::open(fs, path)?;
    let mut meta = [0; META_LEN];
    pieces.read(0, &mut meta)?;
    let unsound = |problem: String| failure(path, problem);
    let is_big_endian = match meta[12..16] {
        [0x61, 0x15, 0x06, 0x00] => false,
        [0x00, 0x06, 0x15, 0x61] => true,
        _ => {
            let problem = format!("it is not a Berkeley DB hash table ({MAGIC:#010x} is missing)");
            return Err(unsound(problem));
        }
    };
    let page_size = number(&meta[20..24], is_big_endian);
    let is_size = page_size.is_power_of_two() && (512..=65536).contains(&page_size);
    if !is_size || meta[25] != TYPE_HASH_META || meta[24] != 0 {
        let problem = "its first page is not that of a plain hash table".to_owned();
        return Err(unsound(problem));
    }
    let last_page = number(&meta[32..36], is_big_endian);
    let table = Table {
        pieces,
        page_size,
        last_page,
        is_big_endian,
    };
    table.records()
}

struct Table<'a> {
    pieces: Pieces<'a>,
    page_size: usize,
    last_page: usize,
    is_big_endian: bool,
}

impl Table<'_> {
    fn records(&self) -> Result<Vec<RawRecord>, Error> {
        let unsound = |problem: String| failure(&self.pieces.path, problem);
        let (mut records, mut total) = (Vec::new(), 0);
        for number in 1..=self.last_page {
            let page = self.page(number)?;
            if !TYPE_HASH.contains(&page[25]) {
                continue;
            }
            let items = self.number(&page[20..22]);
            for pair in 0..items / 2 {
                let key = self.item(&page, 2 * pair).map_err(unsound)?;
                let Item::Bytes(key) = key else { continue };
                // RPM's own counter is kept under the number zero.
                let key = match key.len() {
                    4 => self.number(key),
                    _ => continue,
                };
                if key == 0 {
                    continue;
                }
                let value = match self.item(&page, 2 * pair + 1).map_err(unsound)? {
                    Item::Bytes(bytes) => bytes.to_vec(),
                    Item::Overflow { page, len } => self.overflow(page, len)?,
                };
                let key = i64::try_from(key).expect("it was read from 32 bits");
                add(&mut records, &mut total, (key, value)).map_err(unsound)?;
            }
        }
        Ok(records)
    }

    fn page(&self, number: usize) -> Result<Vec<u8>, Error> {
        if number == 0 || number > self.last_page {
            let problem = format!("page {number} is named, and {} is the last", self.last_page);
            return Err(failure(&self.pieces.path, problem));
        }
        let mut page = vec![0; self.page_size];
        let offset = (number as u64).saturating_mul(self.page_size as u64);
        self.pieces.read(offset, &mut page)?;
        Ok(page)
    }

    /// An item of a page by its number. Items are filled in from the page's end, so that each ends
    /// where the one before it begins.
    fn item<'p>(&self, page: &'p [u8], index: usize) -> Result<Item<'p>, String> {
        let offset = |index: usize| {
            let at = PAGE_HEADER_LEN + 2 * index;
            page.get(at..at + 2).map(|bytes| self.number(bytes))
        };
        let end = match index {
            0 => Some(page.len()),
            index => offset(index - 1),
        };
        let bytes = offset(index)
            .zip(end)
            .and_then(|(start, end)| page.get(start..end));
        let outside = || format!("item {index} of a page lies outside it");
        let bytes = bytes.ok_or_else(outside)?;
        match bytes.split_first() {
            Some((&ITEM_IN_PAGE, bytes)) => Ok(Item::Bytes(bytes)),
            Some((&ITEM_OFF_PAGE, _)) if bytes.len() >= OFF_PAGE_LEN => Ok(Item::Overflow {
                page: self.number(&bytes[4..8]),
                len: self.number(&bytes[8..12]),
            }),
            _ => Err(format!(
                "item {index} of a page is of a kind that RPM does not use"
            )),
        }
    }

    fn overflow(&self, first: usize, len: usize) -> Result<Vec<u8>, Error> {
        let unsound = |problem: String| failure(&self.pieces.path, problem);
        if len > MAX_VALUE {
            return Err(unsound(format!("a value of {len} bytes is too large")));
        }
        let mut value = Vec::new();
        let mut next = first;
        while value.len() < len {
            let page = self.page(next)?;
            let piece = self.number(&page[22..24]);
            let piece = page.get(PAGE_HEADER_LEN..PAGE_HEADER_LEN + piece);
            match piece {
                Some(piece) if page[25] == TYPE_OVERFLOW && !piece.is_empty() => {
                    value.extend_from_slice(piece);
                }
                _ => return Err(unsound(format!("page {next} does not go on with a value"))),
            }
            next = self.number(&page[16..20]);
        }
        value.truncate(len);
        Ok(value)
    }

    fn number(&self, bytes: &[u8]) -> usize {
        number(bytes, self.is_big_endian)
    }
}

enum Item<'p> {
    Bytes(&'p [u8]),
    Overflow { page: usize, len: usize },
}

/// A number of up to four bytes.
fn number(bytes: &[u8], is_big_endian: bool) -> usize {
    let fold = |number: u32, &byte: &u8| number << 8 | u32::from(byte);
    let number = if is_big_endian {
        bytes.iter().fold(0, fold)
    } else {
        bytes.iter().rev().fold(0, fold)
    };
    usize::try_from(number).expect("imgasm runs where addresses have 32 bits at least")
}
