//! One index: a hash table from keys to the packages that have them.
//!
//! Behind its header come slots, of which 8 bytes lie in one list and 4 in a second one, and behind
//! these the keys, each with its length before it. A slot is one key of one package: it has the place
//! of the key, with bits of the key's hash above it, and the package's number with a position.

use std::collections::BTreeMap;

use super::{mark, words};

/// How it begins.
const MAGIC: u32 = mark(*b"RpmI");
/// Bytes before the slots.
const HEADER_LEN: usize = 64;
/// The fewest slots.
const MIN_SLOTS: usize = 256;
/// The least room for keys that there is, and that is left behind them when there is much.
const KEY_CHUNK: usize = 4096;
/// The room for further keys with which the bits of the hash are still above all places of keys.
const KEY_RESERVE: usize = 8192;
/// The distance to the slot that is tried next; it grows by one each time.
const FIRST_STEP: usize = 7;

/// The table with these pairs, as long as pages of this length: each key's packages, with the position
/// of the key in them.
pub(super) fn table(
    pairs: &BTreeMap<Vec<u8>, Vec<(u32, u32)>>,
    page_len: usize,
) -> Result<Vec<u8>, String> {
    let too_large = || "an index would become too large".to_owned();
    let used: usize = pairs.values().map(Vec::len).sum();
    // A power of two that is more than twice as many.
    let slots = 1_usize << used.max(MIN_SLOTS).ilog2() << 2;
    // No key lies at 0, which stands for no key.
    let mut keys = vec![0];
    let mut places = Vec::with_capacity(pairs.len());
    for key in pairs.keys() {
        places.push(keys.len());
        encode_len(&mut keys, key.len());
        keys.extend(key);
    }
    let key_end = keys.len();
    let len = HEADER_LEN + slots * 12 + key_end.max(KEY_CHUNK);
    let len = len.next_multiple_of(page_len);
    let reserved = key_end.max(KEY_CHUNK) + page_len + KEY_RESERVE;
    let mask = (16..31)
        .map(|bits| 1_usize << bits)
        .find(|one| *one >= reserved);
    let mask = mask.and_then(|above| u32::try_from(above).ok());
    let mask = !(mask.ok_or_else(too_large)? - 1);
    let number = |count: usize| u32::try_from(count).map_err(|_| too_large());

    let mut table = words([
        MAGIC,
        0,
        // Its generation: how often it was changed.
        1,
        number(slots)?,
        number(used)?,
        // None was used and is not any more.
        0,
        mask,
        number(key_end)?,
        // No bytes of keys are unused.
        0,
    ]);
    table.resize(len, 0);
    let second = HEADER_LEN + slots * 8;
    for ((key, packages), place) in pairs.iter().zip(places) {
        let hash = murmur(key);
        let place = number(place)? | hash & mask;
        let (mut slot, mut step) = (hash as usize & (slots - 1), FIRST_STEP);
        for (package, position) in packages {
            while table[HEADER_LEN + slot * 8..][..4] != [0; 4] {
                slot = (slot + step) & (slots - 1);
                step += 1;
            }
            let (value, rest) = encode(*package, *position)?;
            table[HEADER_LEN + slot * 8..][..8].copy_from_slice(&words([place, value]));
            table[second + slot * 4..][..4].copy_from_slice(&rest.to_le_bytes());
        }
    }
    table[HEADER_LEN + slots * 12..][..key_end].copy_from_slice(&keys);
    Ok(table)
}

/// A package and a position in the 4 bytes of a slot's first part and those of its second, which is
/// seldom needed.
fn encode(package: u32, position: u32) -> Result<(u32, u32), String> {
    if package < 1 << 20 && position < 1 << 10 {
        Ok((package | position << 20, 0))
    } else if package < 1 << 24 && position < 1 << 6 {
        Ok((package | position << 24 | 1 << 30, 0))
    } else if position < 1 << 31 {
        Ok((position | 1 << 31, package))
    } else {
        Err("a package has more values of a tag than an index can have".to_owned())
    }
}

/// The length of a key, in 1, 3 or 7 bytes.
fn encode_len(keys: &mut Vec<u8>, len: usize) {
    // A key has less than 2^31 bytes: it comes from a header.
    let bytes = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    match len {
        1..255 => keys.push(bytes[0]),
        0 | 255..65535 => keys.extend([255, bytes[0], bytes[1]]),
        _ => {
            keys.extend([255; 3]);
            keys.extend(bytes);
        }
    }
}

/// The hash of a key (RPM's `murmurhash` in `rpmidx.c`).
fn murmur(key: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let mix = |hash: u32, shift: u32| {
        let hash = hash.wrapping_mul(FACTOR);
        hash ^ hash >> shift
    };
    let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let start = len.wrapping_mul(FACTOR);
    let hash = key.chunks(4).fold(start, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash.wrapping_add(u32::from_le_bytes(word)), 16)
    });
    mix(mix(hash, 10), 17)
}
