//! The texts that packages have in common, each kept once.

use std::collections::HashMap;
use std::sync::Arc;

/// The number of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// All texts. A repository of 60,000 packages has some millions of names in it, most of them many
/// times over.
#[derive(Debug)]
pub struct Names {
    numbers: HashMap<Arc<str>, Id>,
    texts: Vec<Arc<str>>,
}

impl Id {
    /// The number of the empty text.
    pub const EMPTY: Self = Self(0);
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self {
            numbers: HashMap::new(),
            texts: Vec::new(),
        };
        names.intern("");
        names
    }
}

impl Names {
    /// The number of a text, a new one where it is new.
    pub fn intern(&mut self, text: &str) -> Id {
        if let Some(id) = self.numbers.get(text) {
            return *id;
        }
        // Metadata is bounded to less than 2^32 bytes.
        let id = Id(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, id);
        id
    }

    /// The number of a text that is known.
    pub fn find(&self, text: &str) -> Option<Id> {
        self.numbers.get(text).copied()
    }

    /// The text of a number.
    pub fn text(&self, id: Id) -> &str {
        self.texts.get(id.0 as usize).map_or("", |text| text)
    }
}
