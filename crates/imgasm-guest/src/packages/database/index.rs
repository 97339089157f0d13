//! The indexes of RPM's database: which packages have which value of a tag.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::packages::boolean::Expression;
use crate::packages::header::Header;
use crate::packages::tags::{self, Tag};
use crate::packages::version::{Dependency, sense};

/// The indexes: the name of each, and the tag of its keys.
pub const INDEXES: [(&str, Tag); 18] = [
    ("Name", tags::NAME),
    ("Basenames", tags::BASE_NAMES),
    ("Group", tags::GROUP),
    ("Requirename", tags::REQUIRE_NAME),
    ("Providename", tags::PROVIDE_NAME),
    ("Conflictname", tags::CONFLICT_NAME),
    ("Obsoletename", tags::OBSOLETE_NAME),
    ("Triggername", tags::TRIGGER_NAME),
    ("Dirnames", tags::DIR_NAMES),
    ("Installtid", tags::INSTALL_TID),
    ("Sigmd5", tags::SIG_MD5),
    ("Sha1header", tags::SHA1_HEADER),
    ("Filetriggername", tags::FILE_TRIGGER_NAME),
    ("Transfiletriggername", tags::TRANS_FILE_TRIGGER_NAME),
    ("Recommendname", tags::RECOMMEND_NAME),
    ("Suggestname", tags::SUGGEST_NAME),
    ("Supplementname", tags::SUPPLEMENT_NAME),
    ("Enhancename", tags::ENHANCE_NAME),
];

/// The tags whose values may be boolean expressions, whose parts are keys too.
const RICH: [Tag; 6] = [
    tags::REQUIRE_NAME,
    tags::CONFLICT_NAME,
    tags::RECOMMEND_NAME,
    tags::SUGGEST_NAME,
    tags::SUPPLEMENT_NAME,
    tags::ENHANCE_NAME,
];
/// The group of a package that names none.
const NO_GROUP: &[u8] = b"Unknown";

/// A key of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<'h> {
    /// A text.
    Text(Cow<'h, [u8]>),
    /// Bytes.
    Bytes(&'h [u8]),
    /// A number.
    Number(u32),
}

impl Key<'_> {
    /// Its bytes in a file, of which there must be one at least; `number` lays out a number.
    pub fn bytes(&self, number: impl Fn(u32) -> [u8; 4]) -> Vec<u8> {
        let bytes = match self {
            Self::Text(text) => text.to_vec(),
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Number(value) => number(*value).to_vec(),
        };
        if bytes.is_empty() { vec![0] } else { bytes }
    }
}

/// The keys that a package has in the index of a tag, each with what is recorded beside the package's
/// number: the key's position among the tag's values, or, for triggers on files, which trigger it
/// belongs to (RPM's `tag2index`).
pub fn keys(header: &Header, tag: Tag) -> Vec<(Key<'_>, u32)> {
    if tag == tags::INSTALL_TID {
        let number = header.number(tag).and_then(|n| u32::try_from(n).ok());
        return number.map(|n| (Key::Number(n), 0)).into_iter().collect();
    }
    if tag == tags::SIG_MD5 {
        let digest = header.binary(tag);
        return digest.map(|d| (Key::Bytes(d), 0)).into_iter().collect();
    }
    let mut texts = header.texts(tag);
    if tag == tags::GROUP {
        // The others are its translations.
        texts.truncate(1);
        if texts.is_empty() {
            texts.push(NO_GROUP);
        }
    }
    let flags = header.numbers(tags::REQUIRE_FLAGS);
    let triggers = match tag {
        tags::FILE_TRIGGER_NAME => header.numbers(tags::FILE_TRIGGER_INDEX),
        tags::TRANS_FILE_TRIGGER_NAME => header.numbers(tags::TRANS_FILE_TRIGGER_INDEX),
        _ => Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let mut keys = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        if tag == tags::REQUIRE_NAME {
            let flags = flags.get(index).copied().unwrap_or_default();
            // What only the installation needed is of no interest any more.
            if sense::is_transient(flags) {
                continue;
            }
        }
        if tag == tags::TRIGGER_NAME && !seen.insert(text) {
            continue;
        }
        let trigger = triggers.get(index).and_then(|n| u32::try_from(*n).ok());
        let beside = trigger.unwrap_or(u32::try_from(index).unwrap_or(u32::MAX));
        keys.push((Key::Text(Cow::Borrowed(text)), beside));
        if RICH.contains(&tag) && text.starts_with(b"(") {
            let dependency = Dependency::any(&String::from_utf8_lossy(text));
            let names = Expression::parse(&dependency).map(|parsed| parsed.index_names());
            for name in names.unwrap_or_default() {
                keys.push((Key::Text(Cow::Owned(name.into_bytes())), beside));
            }
        }
    }
    keys
}
