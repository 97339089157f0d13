//! Hash tables: reading them, and where their buckets lie.
//!
//! A key's hash says its bucket. The first page of a bucket has a fixed place, and others follow it
//! in a chain. Each time that the number of buckets doubles, the first pages of the new half are laid
//! down in one row; `spares` says where each row lies.

use std::collections::BTreeSet;

use super::super::{Pieces, failure};
use super::meta::{Meta, Method};
use super::page::{HEADER_LEN, Head, Layout, kind};
use crate::packages::Error;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;

/// An item that lies in the page.
pub const IN_PAGE: u8 = 1;
/// An item that lies in overflow pages.
pub const OFF_PAGE: u8 = 3;
/// Bytes of an item that lies in overflow pages.
pub const OFF_PAGE_LEN: usize = 12;
/// The largest value that is read: RPM's own limit of a header.
const MAX_VALUE: u32 = 256 << 20;

/// The text whose hash the first page has, so that a table with another function is known.
const CHECKED_KEY: &[u8] = b"%$sniglet^&\0";

/// The hash of a key: Fowler, Noll and Vo's, from zero.
pub fn hash(key: &[u8]) -> u32 {
    let fold = |hash: u32, byte: &u8| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte);
    key.iter().fold(0, fold)
}

/// Which buckets there are, and where their first pages lie.
#[derive(Debug, Clone)]
pub struct Buckets {
    /// The number of the last one.
    pub last: u32,
    /// For each doubling, what is added to the number of a bucket; zero if it was not done yet.
    pub spares: [u32; 32],
}

impl Buckets {
    /// Those of a new table: two, behind the first page.
    pub fn new() -> Self {
        let mut spares = [0; 32];
        spares[..2].fill(1);
        Self { last: 1, spares }
    }

    /// Those that the first page of a file describes.
    pub fn of(meta: &Meta) -> Result<Self, String> {
        let number = |at| meta.layout.get32(&meta.bytes, at);
        if number(92) != hash(CHECKED_KEY) {
            return Err("its keys have another hash than RPM's".to_owned());
        }
        let last = number(72);
        if last > meta.last {
            return Err("it is said to have more buckets than pages".to_owned());
        }
        let spares = std::array::from_fn(|index| number(96 + 4 * index));
        let buckets = Self { last, spares };
        let mask = buckets.mask();
        if (number(76), number(80)) != (mask, mask >> 1) {
            return Err("its number of buckets and its masks are at odds".to_owned());
        }
        Ok(buckets)
    }

    /// Writes them to the first page, with the number of keys.
    pub fn encode(&self, layout: Layout, keys: u32, page: &mut [u8]) {
        let mask = self.mask();
        for (at, number) in [(72, self.last), (76, mask), (80, mask >> 1), (88, keys)] {
            layout.put32(page, at, number);
        }
        for (index, spare) in self.spares.into_iter().enumerate() {
            layout.put32(page, 96 + 4 * index, spare);
        }
    }

    /// The doubling that brought a bucket: none for the first.
    pub fn doubling(bucket: u32) -> usize {
        usize::try_from(u32::BITS - bucket.leading_zeros()).unwrap_or_default()
    }

    /// The bucket of a key.
    pub fn bucket(&self, key: &[u8]) -> u32 {
        let bucket = hash(key) & self.mask();
        if bucket > self.last {
            bucket & self.mask() >> 1
        } else {
            bucket
        }
    }

    /// The first page of a bucket; none where its doubling was not done.
    pub fn page(&self, bucket: u32) -> Option<u32> {
        let spare = *self.spares.get(Self::doubling(bucket))?;
        spare.checked_add(bucket).filter(|_| spare > 0)
    }

    /// The bits of a hash that count.
    fn mask(&self) -> u32 {
        u32::MAX.checked_shr(self.last.leading_zeros()).unwrap_or(0)
    }
}

/// A key or value where it lies.
pub enum Item {
    /// In the page.
    Bytes(Vec<u8>),
    /// In a chain of overflow pages.
    Chain(Chain),
}

/// A chain of overflow pages.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    /// Its first page.
    pub first: u32,
    /// Bytes of the value.
    pub len: u32,
}

/// A table, and which of its pages were met: each is met once in a sound one.
pub struct Table<'a> {
    pieces: Pieces<'a>,
    /// What its first page says.
    pub meta: Meta,
    /// Its buckets.
    pub buckets: Buckets,
    used: BTreeSet<u32>,
}

impl<'a> Table<'a> {
    /// Opens the table in this file.
    pub fn open(fs: &'a dyn FileSystem, path: &ImagePath) -> Result<Self, Error> {
        let pieces = Pieces::open(fs, path)?;
        let meta = Meta::read(&pieces)?;
        if meta.method != Method::Hash {
            let problem = "it is a tree where RPM has a hash table";
            return Err(failure(&pieces.path, problem));
        }
        let buckets = Buckets::of(&meta).map_err(|problem| failure(&pieces.path, problem))?;
        let mut table = Self {
            pieces,
            meta,
            buckets,
            used: BTreeSet::new(),
        };
        // The rows of buckets that are not in use yet are kept for them.
        for bucket in 0.. {
            match table.buckets.page(bucket) {
                Some(page) => table.claim(page)?,
                None if bucket > table.buckets.last => break,
                None => return Err(table.unsound(format!("bucket {bucket} has no page"))),
            }
        }
        Ok(table)
    }

    /// All keys and values.
    pub fn pairs(&mut self) -> Result<Vec<[Item; 2]>, Error> {
        let mut pairs = Vec::new();
        for bucket in 0..=self.buckets.last {
            let mut next = self.buckets.page(bucket).unwrap_or_default();
            loop {
                let page = self.page(next)?;
                let head = Head::decode(self.meta.layout, &page);
                // A page that no key was ever put in may not have been written.
                let kinds = [kind::HASH, kind::HASH_UNSORTED, kind::FREE];
                if !kinds.contains(&head.kind) || (head.kind == kind::FREE && head.entries > 0) {
                    return Err(self.unsound(format!("page {next} is not one of a bucket")));
                }
                for pair in 0..head.entries / 2 {
                    let item = |index| self.item(&page, index);
                    pairs.push([item(2 * pair)?, item(2 * pair + 1)?]);
                }
                next = head.next;
                if next == 0 {
                    break;
                }
                self.claim(next)?;
            }
        }
        Ok(pairs)
    }

    /// The bytes of an item.
    pub fn value(&mut self, item: Item) -> Result<Vec<u8>, Error> {
        let chain = match item {
            Item::Bytes(bytes) => return Ok(bytes),
            Item::Chain(chain) => chain,
        };
        let mut value = Vec::new();
        self.follow(chain, |table, number, len| {
            let page = table.page(number)?;
            value.extend_from_slice(&page[HEADER_LEN..HEADER_LEN + len]);
            Ok(())
        })?;
        Ok(value)
    }

    /// Notes that the pages of a value stay in use.
    pub fn keep(&mut self, chain: Chain) -> Result<(), Error> {
        self.follow(chain, |_, _, _| Ok(()))
    }

    /// The pages that nothing uses that was met.
    pub fn unused(&self) -> BTreeSet<u32> {
        let all = 1..=self.meta.last;
        all.filter(|number| !self.used.contains(number)).collect()
    }

    /// Goes through a chain, with how many bytes each page has of the value.
    fn follow(
        &mut self,
        chain: Chain,
        mut each: impl FnMut(&Self, u32, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let layout = self.meta.layout;
        if chain.len > MAX_VALUE {
            let problem = format!("a value of {} bytes is too large", chain.len);
            return Err(self.unsound(problem));
        }
        let (mut next, mut left) = (chain.first, chain.len as usize);
        while left > 0 {
            self.claim(next)?;
            let mut head = [0; HEADER_LEN];
            self.read(next, &mut head)?;
            let head = Head::decode(layout, &head);
            let len = head.high_free;
            let is_piece = head.kind == kind::OVERFLOW
                && (1..=layout.page_size - HEADER_LEN).contains(&len)
                && len <= left
                && (head.next == 0) == (len == left);
            if !is_piece {
                return Err(self.unsound(format!("page {next} does not go on with a value")));
            }
            each(self, next, len)?;
            left -= len;
            next = head.next;
        }
        Ok(())
    }

    fn claim(&mut self, number: u32) -> Result<(), Error> {
        if number == 0 || number > self.meta.last {
            let problem = format!("page {number} is named, and {} is the last", self.meta.last);
            return Err(self.unsound(problem));
        }
        if !self.used.insert(number) {
            return Err(self.unsound(format!("page {number} is in use twice")));
        }
        Ok(())
    }

    fn page(&self, number: u32) -> Result<Vec<u8>, Error> {
        let mut page = vec![0; self.meta.layout.page_size];
        self.read(number, &mut page)?;
        Ok(page)
    }

    fn read(&self, number: u32, buf: &mut [u8]) -> Result<(), Error> {
        let offset = u64::from(number) * self.meta.layout.page_size as u64;
        self.pieces.read(offset, buf)
    }

    /// An item of a page by its number. Items are filled in from the page's end, so that each ends
    /// where the one before it begins.
    fn item(&self, page: &[u8], index: usize) -> Result<Item, Error> {
        let layout = self.meta.layout;
        let offset = |index: usize| {
            let at = HEADER_LEN + 2 * index;
            (at + 2 <= page.len()).then(|| layout.get16(page, at))
        };
        let end = match index {
            0 => Some(page.len()),
            index => offset(index - 1),
        };
        let bytes = offset(index)
            .zip(end)
            .and_then(|(start, end)| page.get(start..end));
        let outside = || self.unsound(format!("item {index} of a page lies outside it"));
        match bytes.ok_or_else(outside)?.split_first() {
            Some((&IN_PAGE, bytes)) => Ok(Item::Bytes(bytes.to_vec())),
            Some((&OFF_PAGE, bytes)) if bytes.len() + 1 == OFF_PAGE_LEN => Ok(Item::Chain(Chain {
                first: layout.get32(bytes, 3),
                len: layout.get32(bytes, 7),
            })),
            _ => {
                let problem = format!("item {index} of a page is of a kind that RPM does not use");
                Err(self.unsound(problem))
            }
        }
    }

    fn unsound(&self, problem: impl Into<String>) -> Error {
        failure(&self.pieces.path, problem)
    }
}
