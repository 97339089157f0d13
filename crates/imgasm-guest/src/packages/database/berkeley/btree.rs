//! Writing trees.
//!
//! A tree is written from the leaves up: the pairs fill leaves in the order of their keys; each level
//! of inner pages has, for each page below, a key that separates it from the page before. The root is
//! page 1.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, Pages};
use super::meta::Meta;
use super::page::{Filling, HEADER_LEN, Head, Layout, kind};

/// An item that lies in the page.
const IN_PAGE: u8 = 1;
/// An item that lies in overflow pages.
const OFF_PAGE: u8 = 3;
/// Bytes of an item before a key or value.
const ITEM_HEAD: usize = 3;
/// Bytes of an item on an inner page before its key.
const INNER_HEAD: usize = 12;
/// Keys that each page can hold at least.
const MIN_KEYS: u32 = 2;
/// Offsets in the first page.
const MIN_KEYS_AT: usize = 76;
const PAD_AT: usize = 84;
const ROOT_AT: usize = 88;

/// The number of the root.
const ROOT: u32 = 1;

/// A page whose number is not known yet.
struct Loose {
    /// What separates it from the one before: greater than all keys there, and no greater than the
    /// first one here.
    separator: Vec<u8>,
    filling: Filling,
}

/// All pages of a tree with these pairs, in the place of the one that `meta` describes.
pub fn write(meta: &Meta, pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Pages, String> {
    let layout = meta.layout;
    if layout.get32(&meta.bytes, MIN_KEYS_AT) != MIN_KEYS {
        return Err("its pages hold more keys at least than RPM's do".to_owned());
    }
    let mut draft = Draft::new(layout, ROOT, BTreeSet::new());
    let mut level = leaves(&mut draft, pairs)?;
    let mut height = 1;
    loop {
        let is_root = level.len() == 1;
        let number = |_| if is_root { Ok(ROOT) } else { draft.take() };
        let numbers = level.iter().map(number).collect::<Result<Vec<_>, _>>()?;
        let children: Vec<_> = numbers
            .iter()
            .zip(&level)
            .map(|(number, page)| (*number, page.separator.clone()))
            .collect();
        let is_leaf = height == 1;
        for (index, page) in level.into_iter().enumerate() {
            // Inner pages do not know their neighbours.
            let before = index.checked_sub(1).filter(|_| is_leaf);
            let after = numbers.get(index + 1).filter(|_| is_leaf);
            let head = Head {
                number: numbers[index],
                previous: before.map(|index| numbers[index]).unwrap_or_default(),
                next: after.copied().unwrap_or_default(),
                entries: 0,
                high_free: 0,
                level: height,
                kind: if is_leaf {
                    kind::TREE_LEAF
                } else {
                    kind::TREE_INNER
                },
            };
            draft.put(numbers[index], page.filling.finish(head));
        }
        if is_root {
            break;
        }
        level = inner(&mut draft, children)?;
        height = height.checked_add(1).ok_or("it would be too high")?;
    }
    let mut page = meta.page();
    layout.put32(&mut page, PAD_AT, u32::from(b' '));
    layout.put32(&mut page, ROOT_AT, ROOT);
    Ok(draft.finish(page))
}

/// The leaves, at least one.
fn leaves(draft: &mut Draft, pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<Loose>, String> {
    let mut leaves = Vec::new();
    let mut filling = Filling::new(draft.layout());
    let (mut separator, mut last): (_, &[u8]) = (Vec::new(), &[]);
    for (key, value) in pairs {
        let pair = [item(draft, key)?, item(draft, value)?];
        if !filling.fits(&[pair[0].len(), pair[1].len()]) {
            let next = Filling::new(draft.layout());
            let filling = std::mem::replace(&mut filling, next);
            leaves.push(Loose { separator, filling });
            separator = between(last, key);
        }
        for item in &pair {
            filling.push(item);
        }
        last = key;
    }
    leaves.push(Loose { separator, filling });
    Ok(leaves)
}

/// A level of inner pages above pages with these numbers and separators.
fn inner(draft: &mut Draft, children: Vec<(u32, Vec<u8>)>) -> Result<Vec<Loose>, String> {
    let mut pages: Vec<Loose> = Vec::new();
    for (number, separator) in children {
        let item = inner_item(draft, number, &separator)?;
        match pages.last_mut() {
            Some(page) if page.filling.fits(&[item.len()]) => page.filling.push(&item),
            _ => {
                let mut filling = Filling::new(draft.layout());
                filling.push(&item);
                pages.push(Loose { separator, filling });
            }
        }
    }
    Ok(pages)
}

/// The shortest beginning of `key` that is greater than `before`, which is less than `key`.
fn between(before: &[u8], key: &[u8]) -> Vec<u8> {
    let common = before.iter().zip(key).take_while(|(a, b)| a == b).count();
    key[..key.len().min(common + 1)].to_vec()
}

/// The longest key or value that lies in the page.
fn longest(layout: Layout) -> usize {
    let share = (layout.page_size - HEADER_LEN) / 4;
    share - (ITEM_HEAD + 1 + 2 + 4)
}

/// A key or value on a leaf.
fn item(draft: &mut Draft, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let layout = draft.layout();
    if bytes.len() > longest(layout) {
        return overflow(draft, bytes);
    }
    let mut item = vec![0; ITEM_HEAD];
    layout.put16(&mut item, 0, bytes.len());
    item[2] = IN_PAGE;
    item.extend_from_slice(bytes);
    item.resize(item.len().next_multiple_of(4), 0);
    Ok(item)
}

/// A key or value in overflow pages.
fn overflow(draft: &mut Draft, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let layout = draft.layout();
    let len = u32::try_from(bytes.len()).map_err(|_| "a value is too long")?;
    let mut item = vec![0; 12];
    item[2] = OFF_PAGE;
    layout.put32(&mut item, 4, draft.put_chain(bytes)?);
    layout.put32(&mut item, 8, len);
    Ok(item)
}

/// What stands on an inner page for a page below.
fn inner_item(draft: &mut Draft, number: u32, separator: &[u8]) -> Result<Vec<u8>, String> {
    let layout = draft.layout();
    let (kind, key) = if separator.len() > longest(layout) {
        (OFF_PAGE, overflow(draft, separator)?)
    } else {
        (IN_PAGE, separator.to_vec())
    };
    let mut item = vec![0; INNER_HEAD];
    layout.put16(&mut item, 0, key.len());
    item[2] = kind;
    layout.put32(&mut item, 4, number);
    item.extend_from_slice(&key);
    item.resize(item.len().next_multiple_of(4), 0);
    Ok(item)
}
