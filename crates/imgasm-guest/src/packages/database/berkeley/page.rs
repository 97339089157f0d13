//! Pages: how numbers lie in them, what stands at their beginning, and how items fill them.

/// Bytes of a page before its content.
pub const HEADER_LEN: usize = 26;
/// The types of pages.
pub mod kind {
    /// In no use.
    pub const FREE: u8 = 0;
    /// Keys and values of a hash table, unsorted: before version 9.
    pub const HASH_UNSORTED: u8 = 2;
    /// The inner pages of a tree.
    pub const TREE_INNER: u8 = 3;
    /// Keys and values of a tree.
    pub const TREE_LEAF: u8 = 5;
    /// A piece of a large key or value.
    pub const OVERFLOW: u8 = 7;
    /// The first page of a hash table.
    pub const HASH_META: u8 = 8;
    /// The first page of a tree.
    pub const TREE_META: u8 = 9;
    /// Keys and values of a hash table, in the order of the keys.
    pub const HASH: u8 = 13;
}

/// How long the pages of a file are, and in which order its numbers have their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a page: a power of two from 512 to 65536.
    pub page_size: usize,
    /// Whether the most significant byte comes first.
    pub is_big_endian: bool,
}

impl Layout {
    /// The number of 16 bits at this offset, which must lie in `bytes`.
    pub fn get16(self, bytes: &[u8], at: usize) -> usize {
        let bytes = [bytes[at], bytes[at + 1]];
        usize::from(if self.is_big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    /// The number of 32 bits at this offset, which must lie in `bytes`.
    pub fn get32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    /// Puts a number of 16 bits there. The end of a page of 64 KiB wraps to zero, as in Berkeley DB.
    pub fn put16(self, bytes: &mut [u8], at: usize, number: usize) {
        let number = u16::try_from(number).unwrap_or_default();
        bytes[at..at + 2].copy_from_slice(&if self.is_big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        });
    }

    /// Puts a number of 32 bits there.
    pub fn put32(self, bytes: &mut [u8], at: usize, number: u32) {
        bytes[at..at + 4].copy_from_slice(&self.bytes32(number));
    }

    /// The bytes of a number of 32 bits.
    pub fn bytes32(self, number: u32) -> [u8; 4] {
        if self.is_big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }
}

/// What stands at the beginning of a page. (Berkeley DB's `PAGE` also has the place of its last
/// change in a log: RPM keeps none.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The page's own number.
    pub number: u32,
    /// The page before it in a chain, or zero.
    pub previous: u32,
    /// The page behind it, or zero.
    pub next: u32,
    /// How many items it has.
    pub entries: usize,
    /// Where its items begin; of an overflow page, how many bytes of the value it has.
    pub high_free: usize,
    /// The level in a tree, from 1 for leaves; zero outside trees.
    pub level: u8,
    /// One of [`kind`].
    pub kind: u8,
}

impl Head {
    /// Reads it from a page or its beginning.
    pub fn decode(layout: Layout, page: &[u8]) -> Self {
        Self {
            number: layout.get32(page, 8),
            previous: layout.get32(page, 12),
            next: layout.get32(page, 16),
            entries: layout.get16(page, 20),
            high_free: layout.get16(page, 22),
            level: page[24],
            kind: page[25],
        }
    }

    /// Writes it to a page, with the mark of a page that no log knows.
    pub fn encode(&self, layout: Layout, page: &mut [u8]) {
        layout.put32(page, 0, 0);
        layout.put32(page, 4, 1);
        layout.put32(page, 8, self.number);
        layout.put32(page, 12, self.previous);
        layout.put32(page, 16, self.next);
        layout.put16(page, 20, self.entries);
        layout.put16(page, 22, self.high_free);
        page[24] = self.level;
        page[25] = self.kind;
    }
}

/// A page that is filled: the offsets of the items grow behind the head, the items themselves grow
/// from the page's end towards it.
pub struct Filling {
    layout: Layout,
    bytes: Vec<u8>,
    entries: usize,
    start: usize,
}

impl Filling {
    /// A page without items.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            bytes: vec![0; layout.page_size],
            entries: 0,
            start: layout.page_size,
        }
    }

    /// Whether there is room for items of these lengths.
    pub fn fits(&self, lens: &[usize]) -> bool {
        let offsets = HEADER_LEN + 2 * (self.entries + lens.len());
        let items: usize = lens.iter().sum();
        offsets + items <= self.start
    }

    /// Adds an item, for which there must be room.
    pub fn push(&mut self, item: &[u8]) {
        let end = self.start;
        self.start -= item.len();
        self.bytes[self.start..end].copy_from_slice(item);
        let at = HEADER_LEN + 2 * self.entries;
        self.layout.put16(&mut self.bytes, at, self.start);
        self.entries += 1;
    }

    /// The page, with this head but for the items.
    pub fn finish(mut self, head: Head) -> Vec<u8> {
        let head = Head {
            entries: self.entries,
            high_free: self.start,
            ..head
        };
        head.encode(self.layout, &mut self.bytes);
        self.bytes
    }
}
