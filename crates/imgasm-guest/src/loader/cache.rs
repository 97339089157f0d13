//! The file (glibc, `dl-cache.h`: `struct cache_file_new`), in the form that every loader of glibc
//! since 2.2 reads.

use std::cmp::Ordering;
use std::collections::BTreeMap;

const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
/// `cache_file_new_flags_endian_little`
const LITTLE_ENDIAN: u8 = 2;
const HEADER_LEN: usize = 48;
const ENTRY_LEN: usize = 24;

/// A library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// How programs call it.
    pub(super) soname: Vec<u8>,
    /// Where it is.
    pub(super) path: Vec<u8>,
    /// What it is for.
    pub(super) flags: u32,
}

/// The file with these entries, and with further strings that nothing refers to.
pub(super) fn encode(mut entries: Vec<Entry>, further: &[Vec<u8>]) -> Vec<u8> {
    // The loader looks for a name by halves. Of equal entries the first counts.
    entries.sort_by(|one, other| {
        let by_name = compare(&other.soname, &one.soname);
        by_name.then(other.flags.cmp(&one.flags))
    });
    let own = entries
        .iter()
        .flat_map(|entry| [&entry.soname, &entry.path]);
    let (strings, places) = table(own.chain(further));
    let start = HEADER_LEN + entries.len() * ENTRY_LEN;
    let mut bytes = MAGIC.to_vec();
    let put = |bytes: &mut Vec<u8>, number: usize| {
        // There are far fewer libraries, with shorter names.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        bytes.extend(number.to_le_bytes());
    };
    put(&mut bytes, entries.len());
    put(&mut bytes, strings.len());
    bytes.push(LITTLE_ENDIAN);
    bytes.resize(HEADER_LEN, 0);
    for entry in &entries {
        bytes.extend(entry.flags.to_le_bytes());
        for string in [&entry.soname, &entry.path] {
            let place = places.get(string.as_slice()).copied().unwrap_or_default();
            put(&mut bytes, start + place);
        }
        bytes.resize(bytes.len() + 12, 0);
    }
    bytes.extend(strings);
    bytes
}

/// The strings, one after the other, with where each is: one that another ends with is not repeated.
fn table<'s>(strings: impl Iterator<Item = &'s Vec<u8>>) -> (Vec<u8>, BTreeMap<&'s [u8], usize>) {
    let mut reversed: Vec<(Vec<u8>, &[u8])> = strings
        .map(|string| {
            let backwards = string.iter().rev().copied();
            (backwards.collect(), string.as_slice())
        })
        .collect();
    reversed.sort_unstable_by(|one, other| other.cmp(one));
    reversed.dedup();
    let mut bytes: Vec<u8> = Vec::new();
    let mut places = BTreeMap::new();
    let mut previous: Option<(&[u8], usize)> = None;
    for (_, string) in &reversed {
        let place = match previous {
            Some((before, place)) if before.ends_with(string) => {
                place + before.len() - string.len()
            }
            _ => {
                let place = bytes.len();
                bytes.extend_from_slice(string);
                bytes.push(0);
                place
            }
        };
        places.insert(*string, place);
        previous = Some((string, place));
    }
    (bytes, places)
}

/// Compares names of libraries as the loader does (`_dl_cache_libcmp`): numbers by their values, in
/// 32 bits, and above all else.
pub(super) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        match (one.first(), other.first()) {
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (a, b) = (number(&mut one), number(&mut other));
                match a.wrapping_sub(b).cmp(&0) {
                    Ordering::Equal => {}
                    differs => return differs,
                }
            }
            (Some(a), _) if a.is_ascii_digit() => return Ordering::Greater,
            (Some(_), Some(b)) if b.is_ascii_digit() => return Ordering::Less,
            (Some(a), Some(b)) if a == b => (one, other) = (&one[1..], &other[1..]),
            (Some(a), b) => return a.cmp(b.unwrap_or(&0)),
            (None, b) => return 0.cmp(b.unwrap_or(&0)),
        }
    }
}

/// Takes the number that a text begins with.
fn number(text: &mut &[u8]) -> i32 {
    let mut value = 0_i32;
    while let Some(digit) = text.first().filter(|byte| byte.is_ascii_digit()) {
        value = value
            .wrapping_mul(10)
            .wrapping_add(i32::from(*digit - b'0'));
        *text = &text[1..];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_their_numbers() {
        for (less, more) in [
            ("liba.so.1", "liba.so.2"),
            ("liba.so.9", "liba.so.10"),
            ("liba.so", "liba.so.1"),
            ("liba.so", "libb.so"),
            ("liba.so", "liba1.so"),
        ] {
            assert_eq!(compare(less.as_bytes(), more.as_bytes()), Ordering::Less);
            assert_eq!(compare(more.as_bytes(), less.as_bytes()), Ordering::Greater);
        }
        assert_eq!(compare(b"liba.so.01", b"liba.so.1"), Ordering::Equal);
    }

    #[test]
    fn what_another_string_ends_with_is_not_repeated() {
        let strings = [
            "/lib/libb.so",
            "libb.so",
            "liba.so",
            "/lib/liba.so",
            "liba.so",
        ];
        let strings = strings.map(|string| string.as_bytes().to_vec());
        let (bytes, places) = table(strings.iter());
        assert_eq!(bytes.len(), 2 * "/lib/liba.so\0".len());
        for string in &strings {
            let place = places[string.as_slice()];
            assert!(bytes[place..].starts_with(string) && bytes[place + string.len()] == 0);
        }
    }
}
