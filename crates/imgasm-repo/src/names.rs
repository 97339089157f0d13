//! The texts that packages have in common, each kept once.

use std::hash::{BuildHasher, RandomState};

/// The number of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// All texts. A repository of 60,000 packages has some millions of names in it, most of them many
/// times over; so they lie one behind the other, and are looked up by a table of their numbers.
#[derive(Debug)]
pub struct Names {
    /// All of them, in the order of their numbers.
    all: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Half of a text's hash and its number: in the slot where the hash leads, or the next one that was
    /// free. Their number is a power of two, and half of them are free at least.
    slots: Vec<Option<(u32, Id)>>,
    /// How they are hashed: the texts come from outside.
    hasher: RandomState,
}

impl Id {
    /// The number of the empty text.
    pub const EMPTY: Self = Self(0);
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self {
            all: String::new(),
            ends: Vec::new(),
            slots: vec![None; 64],
            hasher: RandomState::new(),
        };
        names.intern("");
        names
    }
}

impl Names {
    /// The number of a text, a new one where it is new.
    pub fn intern(&mut self, text: &str) -> Id {
        let (hash, slot) = self.slot(text);
        if let Some((_, id)) = self.slots[slot] {
            return id;
        }
        // Metadata is bounded to less than 2^32 bytes.
        let id = Id(u32::try_from(self.ends.len()).unwrap_or(u32::MAX));
        self.all.push_str(text);
        self.ends.push(self.all.len());
        self.slots[slot] = Some((hash, id));
        if self.ends.len() * 2 > self.slots.len() {
            self.grow();
        }
        id
    }

    /// The number of a text that is known.
    pub fn find(&self, text: &str) -> Option<Id> {
        let (_, slot) = self.slot(text);
        self.slots[slot].map(|(_, id)| id)
    }

    /// The text of a number.
    pub fn text(&self, id: Id) -> &str {
        let index = id.0 as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends
            .get(index)
            .map_or("", |end| &self.all[start..*end])
    }

    /// Half of a text's hash, and the slot in which the text is, or would be.
    fn slot(&self, text: &str) -> (u32, usize) {
        let hash = u32::try_from(self.hasher.hash_one(text) >> 32).unwrap_or_default();
        let mut slot = self.first_slot(hash);
        while let Some((other, id)) = self.slots[slot] {
            if other == hash && self.text(id) == text {
                break;
            }
            slot = self.next_slot(slot);
        }
        (hash, slot)
    }

    fn first_slot(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn next_slot(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    /// Twice as many slots.
    fn grow(&mut self) {
        let wider = vec![None; self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, wider);
        for (hash, id) in old.into_iter().flatten() {
            let mut slot = self.first_slot(hash);
            while self.slots[slot].is_some() {
                slot = self.next_slot(slot);
            }
            self.slots[slot] = Some((hash, id));
        }
    }
}
