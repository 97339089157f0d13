//! The pages of a file that are to be written, and where there is room for more.

use std::collections::{BTreeMap, BTreeSet};

use super::meta::{FREE_AT, LAST_AT};
use super::page::{Filling, HEADER_LEN, Head, Layout, kind};

/// Pages by their numbers.
pub type Pages = BTreeMap<u32, Vec<u8>>;

/// Pages that are new or change.
pub struct Draft {
    layout: Layout,
    pages: Pages,
    /// Pages of the file that nothing uses.
    free: BTreeSet<u32>,
    /// The number of the last page.
    last: u32,
}

impl Draft {
    /// Changes of a file whose last page is this one, and of whose pages these are used by nothing.
    pub fn new(layout: Layout, last: u32, free: BTreeSet<u32>) -> Self {
        Self {
            layout,
            pages: Pages::new(),
            free,
            last,
        }
    }

    /// How its pages are laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The number of a page that nothing uses, the first in the file.
    pub fn take(&mut self) -> Result<u32, String> {
        match self.free.pop_first() {
            Some(number) => Ok(number),
            None => self.take_run(1),
        }
    }

    /// The number of the first of so many pages in a row, behind the last.
    pub fn take_run(&mut self, count: u32) -> Result<u32, String> {
        let last = self.last.checked_add(count);
        let last = last.ok_or("it would have more pages than can be numbered")?;
        let first = self.last + 1;
        self.last = last;
        Ok(first)
    }

    /// Sets a page.
    pub fn put(&mut self, number: u32, page: Vec<u8>) {
        self.pages.insert(number, page);
    }

    /// Writes a large key or value to a chain of pages; gives the first.
    pub fn put_chain(&mut self, value: &[u8]) -> Result<u32, String> {
        let pieces = value.chunks(self.layout.page_size - HEADER_LEN);
        let numbers = pieces.clone().map(|_| self.take());
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        for (index, piece) in pieces.enumerate() {
            let mut page = vec![0; self.layout.page_size];
            let before = index.checked_sub(1).map(|index| numbers[index]);
            let head = Head {
                number: numbers[index],
                previous: before.unwrap_or_default(),
                next: numbers.get(index + 1).copied().unwrap_or_default(),
                // How many keys and values lie there.
                entries: 1,
                high_free: piece.len(),
                level: 0,
                kind: kind::OVERFLOW,
            };
            head.encode(self.layout, &mut page);
            page[HEADER_LEN..HEADER_LEN + piece.len()].copy_from_slice(piece);
            self.put(numbers[index], page);
        }
        Ok(numbers.first().copied().unwrap_or_default())
    }

    /// Chains what is left unused to the list of free pages, and completes the first page, which
    /// says where that begins and which page is the last. Gives all that is to be written.
    pub fn finish(mut self, mut meta: Vec<u8>) -> Pages {
        let free: Vec<_> = self.free.iter().copied().collect();
        for (index, number) in free.iter().enumerate() {
            let head = Head {
                number: *number,
                previous: 0,
                next: free.get(index + 1).copied().unwrap_or_default(),
                entries: 0,
                high_free: self.layout.page_size,
                level: 0,
                kind: kind::FREE,
            };
            let page = Filling::new(self.layout).finish(head);
            self.put(*number, page);
        }
        let first = free.first().copied().unwrap_or_default();
        self.layout.put32(&mut meta, FREE_AT, first);
        self.layout.put32(&mut meta, LAST_AT, self.last);
        self.put(0, meta);
        self.pages
    }
}
