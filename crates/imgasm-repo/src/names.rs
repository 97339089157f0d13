//! The texts that packages have in common, each kept once.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// The number of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// All texts. A repository of 60,000 packages has some millions of names in it, most of them many
/// times over; so they lie one behind the other.
#[derive(Debug)]
pub struct Names {
    texts: Texts,
    /// Each with its text's hash, so that nothing is hashed again when there is more to hold.
    numbers: HashTable<(u64, Id)>,
    /// How they are hashed: the texts come from outside.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Texts {
    /// All of them, in the order of their numbers.
    all: String,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Texts {
    fn get(&self, id: Id) -> &str {
        let index = id.0 as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends
            .get(index)
            .map_or("", |end| &self.all[start..*end])
    }
}

impl Id {
    /// The empty text's.
    pub const EMPTY: Self = Self(0);
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self {
            texts: Texts::default(),
            numbers: HashTable::new(),
            hasher: RandomState::new(),
        };
        names.intern("");
        names
    }
}

impl Names {
    /// The number of a text, a new one if it is new.
    pub fn intern(&mut self, text: &str) -> Id {
        let (hash, texts) = (self.hasher.hash_one(text), &self.texts);
        let is_it = |(other, id): &(u64, Id)| *other == hash && texts.get(*id) == text;
        match self.numbers.entry(hash, is_it, |(hash, _)| *hash) {
            Entry::Occupied(known) => known.get().1,
            Entry::Vacant(vacant) => {
                // Metadata is bounded to less than 2^32 bytes.
                let id = Id(u32::try_from(texts.ends.len()).unwrap_or(u32::MAX));
                vacant.insert((hash, id));
                self.texts.all.push_str(text);
                self.texts.ends.push(self.texts.all.len());
                id
            }
        }
    }

    /// The number of a text that is known.
    pub fn find(&self, text: &str) -> Option<Id> {
        let hash = self.hasher.hash_one(text);
        let is_it = |(other, id): &(u64, Id)| *other == hash && self.texts.get(*id) == text;
        self.numbers.find(hash, is_it).map(|(_, id)| *id)
    }

    /// The text of a number.
    pub fn text(&self, id: Id) -> &str {
        self.texts.get(id)
    }
}
