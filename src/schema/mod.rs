//! JSON Schemas of the recipe and of `overlay.toml`, for editors.
//!
//! They cannot differ from what is read: `ask` asks the decoders themselves which keys and which
//! kinds of values they take. What keys mean is said by the tables of the manual: `meaning`. `json`
//! writes it all down.

mod ask;
mod json;
mod meaning;

pub use ask::ask;
pub use json::document;
pub use meaning::{Manual, explain};

/// What a place in a file takes. Several kinds may be possible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Text; of a choice, the texts that there are.
    pub text: Option<Vec<String>>,
    /// Whether it takes whole numbers.
    pub is_integer: bool,
    /// Whether it takes other numbers.
    pub is_number: bool,
    /// Whether it takes `true` and `false`.
    pub is_boolean: bool,
    /// A list, and what its items are.
    pub list: Option<Box<Schema>>,
    /// A table.
    pub table: Option<Table>,
    /// What the manual says of it.
    pub meaning: Option<String>,
    /// A value that is taken, in TOML; empty if none is known.
    pub example: String,
}

/// The keys of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The known ones.
    pub keys: Vec<(String, Schema)>,
    /// Those that must be there.
    pub required: Vec<String>,
    /// What any other key holds; `None` if there are no others.
    pub others: Option<Box<Schema>>,
    /// Whether exactly one of the keys must be there.
    pub is_choice: bool,
}

impl Schema {
    /// A table with these keys.
    pub fn of_table(table: Table) -> Self {
        Self {
            table: Some(table),
            example: "{}".to_owned(),
            ..Self::default()
        }
    }

    /// A table with names of one's own, which hold this.
    pub fn of_names(value: Self) -> Self {
        Self::of_table(Table {
            others: Some(Box::new(value)),
            ..Table::default()
        })
    }

    /// A list of this.
    pub fn of_list(item: Self) -> Self {
        Self {
            list: Some(Box::new(item)),
            example: "[]".to_owned(),
            ..Self::default()
        }
    }

    /// Text.
    pub fn of_text() -> Self {
        Self {
            text: Some(Vec::new()),
            example: "\"a\"".to_owned(),
            ..Self::default()
        }
    }

    /// Whether it takes every kind of value.
    pub fn anything(&self) -> bool {
        self.text.is_some() && self.is_integer && self.is_boolean && self.list.is_some()
    }

    /// Puts a key into the table; one that is there already is replaced.
    pub fn insert(&mut self, key: &str, value: Self) {
        if let Some(known) = self.key(key) {
            *known = value;
        } else {
            let table = self.table.get_or_insert_default();
            table.keys.push((key.to_owned(), value));
        }
    }

    /// What is at this path of keys; of a list, its items are meant. `*` is any key of one's own.
    pub fn at(&mut self, path: &[&str]) -> Option<&mut Self> {
        let mut schema = self;
        while schema.table.is_none() && schema.list.is_some() && !schema.anything() {
            schema = schema.list.as_deref_mut()?;
        }
        let Some((key, rest)) = path.split_first() else {
            return Some(schema);
        };
        let child = match *key {
            "*" => schema.table.as_mut()?.others.as_deref_mut(),
            key => schema.key(key),
        };
        child?.at(rest)
    }

    /// What a key of this table holds.
    pub fn key(&mut self, key: &str) -> Option<&mut Self> {
        let mut keys = self.table.iter_mut().flat_map(|table| &mut table.keys);
        keys.find(|(known, _)| known == key)
            .map(|(_, schema)| schema)
    }
}
