//! Writing hash tables: the buckets are filled anew with all pairs; large values that are there stay
//! where they lie.

use std::collections::BTreeMap;

use super::draft::{Draft, Pages};
use super::hash::{Buckets, Chain, IN_PAGE, OFF_PAGE, OFF_PAGE_LEN};
use super::meta::Meta;
use super::page::{Filling, HEADER_LEN, Head, Layout, kind};

/// The version since which the keys of a page are sorted.
const SORTED_SINCE: u32 = 9;
/// The most buckets.
const MAX_BUCKETS: u32 = 1 << 24;

/// What belongs to a key.
pub enum Value<'v> {
    /// These bytes.
    New(&'v [u8]),
    /// What lies in the file already.
    There(Chain),
}

/// Fills the buckets with these pairs, which are all; gives the pages that are to be written.
pub fn write(
    meta: &Meta,
    mut buckets: Buckets,
    mut draft: Draft,
    pairs: &BTreeMap<Vec<u8>, Value<'_>>,
) -> Result<Pages, String> {
    let layout = meta.layout;
    grow(&mut buckets, &mut draft, pairs)?;
    let mut filled: BTreeMap<u32, Vec<[Vec<u8>; 2]>> = BTreeMap::new();
    for (key, value) in pairs {
        let bucket = filled.entry(buckets.bucket(key)).or_default();
        let key = item(&mut draft, key)?;
        let value = match value {
            Value::New(bytes) => item(&mut draft, bytes)?,
            Value::There(chain) => off_page(layout, *chain),
        };
        bucket.push([key, value]);
    }
    let kind = if meta.version < SORTED_SINCE {
        kind::HASH_UNSORTED
    } else {
        kind::HASH
    };
    for bucket in 0..=buckets.last {
        let first = buckets.page(bucket).ok_or("a bucket has no page")?;
        let mut pages = vec![(first, Filling::new(layout))];
        for [key, value] in filled.remove(&bucket).unwrap_or_default() {
            let is_full = pages
                .last()
                .is_some_and(|(_, page)| !page.fits(&[key.len(), value.len()]));
            if is_full {
                pages.push((draft.take()?, Filling::new(layout)));
            }
            if let Some((_, page)) = pages.last_mut() {
                page.push(&key);
                page.push(&value);
            }
        }
        let numbers: Vec<_> = pages.iter().map(|(number, _)| *number).collect();
        for (index, (number, page)) in pages.into_iter().enumerate() {
            let before = index.checked_sub(1).map(|index| numbers[index]);
            let head = Head {
                number,
                previous: before.unwrap_or_default(),
                next: numbers.get(index + 1).copied().unwrap_or_default(),
                entries: 0,
                high_free: 0,
                level: 0,
                kind,
            };
            draft.put(number, page.finish(head));
        }
    }
    let mut page = meta.page();
    let count = u32::try_from(pairs.len()).map_err(|_| "it would have too many keys")?;
    buckets.encode(layout, count, &mut page);
    Ok(draft.finish(page))
}

/// Doubles the number of buckets until the pairs fill three quarters of their first pages at most.
fn grow(
    buckets: &mut Buckets,
    draft: &mut Draft,
    pairs: &BTreeMap<Vec<u8>, Value<'_>>,
) -> Result<(), String> {
    let layout = draft.layout();
    let len = |bytes: usize| {
        2 + if is_large(layout, bytes) {
            OFF_PAGE_LEN
        } else {
            1 + bytes
        }
    };
    let total: usize = pairs
        .iter()
        .map(|(key, value)| match value {
            Value::New(bytes) => len(key.len()) + len(bytes.len()),
            Value::There(_) => len(key.len()) + 2 + OFF_PAGE_LEN,
        })
        .sum();
    let room = layout.page_size - HEADER_LEN;
    while total / 3 > room / 4 * (buckets.last as usize + 1) && buckets.last < MAX_BUCKETS {
        // Its row is there already if some of its buckets are.
        let doubling = Buckets::doubling(buckets.last + 1);
        let half = 1 << (doubling - 1);
        if buckets.spares[doubling] == 0 {
            buckets.spares[doubling] = draft.take_run(half)? - half;
        }
        buckets.last = 2 * half - 1;
    }
    Ok(())
}

/// Whether a key or value does not lie in the page.
fn is_large(layout: Layout, len: usize) -> bool {
    len > layout.page_size / 4
}

/// A key or value.
fn item(draft: &mut Draft, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let layout = draft.layout();
    if is_large(layout, bytes.len()) {
        let len = u32::try_from(bytes.len()).map_err(|_| "a value is too long")?;
        let first = draft.put_chain(bytes)?;
        return Ok(off_page(layout, Chain { first, len }));
    }
    Ok([&[IN_PAGE], bytes].concat())
}

fn off_page(layout: Layout, chain: Chain) -> Vec<u8> {
    let mut item = vec![0; OFF_PAGE_LEN];
    item[0] = OFF_PAGE;
    layout.put32(&mut item, 4, chain.first);
    layout.put32(&mut item, 8, chain.len);
    item
}
