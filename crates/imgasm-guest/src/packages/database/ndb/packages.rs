//! `Packages.db`: pages of slots, each of which says where the header of one package lies.

use std::collections::{BTreeMap, BTreeSet};

use super::blob::{self, Blob};
use super::{Pieces, failure, get32, mark, words};
use crate::packages::Error;
use crate::packages::header::Header;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::Editor;

/// The unit of places, in bytes.
pub(super) const BLOCK_LEN: usize = 16;
/// How the file begins.
const MAGIC: u32 = mark(*b"RpmP");
/// How each slot begins.
const SLOT: u32 = mark(*b"Slot");
/// Bytes of a slot: the mark, the package's number, the first block, how many blocks.
const SLOT_LEN: usize = 16;
/// Bytes of the file's own header, which takes the place of two slots: the magic, the version, the
/// generation, the pages of slots, the number of the next package.
const HEADER_LEN: usize = 32;
/// Bytes of a page of slots.
const PAGE_LEN: usize = 4096;
/// Blocks of a page of slots.
const PAGE_BLOCKS: u32 = 256;
/// The most pages of slots: a quarter of a million packages.
const MAX_PAGES: u32 = 1024;

/// Where a header lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The slot that says so.
    slot: usize,
    /// The first block.
    block: u32,
    /// How many blocks.
    pub(super) blocks: u32,
}

impl Place {
    /// The byte that it begins at.
    pub(super) fn offset(self) -> u64 {
        u64::from(self.block) * BLOCK_LEN as u64
    }

    /// The first block behind it.
    fn end(self) -> u32 {
        self.block.saturating_add(self.blocks)
    }
}

/// What the slots say.
pub(super) struct Packages {
    /// Goes up with each change.
    generation: u32,
    pages: u32,
    /// The number of the next package.
    next: u32,
    /// Where the headers lie, by the numbers of the packages. No two places have a block in common.
    pub(super) places: BTreeMap<u32, Place>,
}

/// What a change came to.
pub(super) struct Changed {
    /// The number of the first package that was added.
    pub(super) first: u32,
    /// The generation that the indexes must have, too.
    pub(super) generation: u32,
}

impl Packages {
    /// Reads the slots.
    pub(super) fn read(pieces: &Pieces<'_>) -> Result<Self, Error> {
        let unsound = |problem: &str| failure(&pieces.path, problem);
        let mut header = [0; HEADER_LEN];
        pieces.read(0, &mut header)?;
        if get32(&header, 0) != MAGIC || get32(&header, 4) != 0 {
            return Err(unsound("it is not a package database of the known version"));
        }
        let mut packages = Self {
            generation: get32(&header, 8),
            pages: get32(&header, 12),
            next: get32(&header, 16),
            places: BTreeMap::new(),
        };
        if packages.pages == 0 || packages.pages > MAX_PAGES {
            return Err(unsound(
                "it has more slots than there can be packages, or none",
            ));
        }
        let blocks = u32::try_from(pieces.len / BLOCK_LEN as u64).ok();
        let blocks = blocks.filter(|_| pieces.len.is_multiple_of(BLOCK_LEN as u64));
        let blocks = blocks.ok_or_else(|| unsound("it has no length that RPM gives it"))?;
        let mut slots = vec![0; packages.pages as usize * PAGE_LEN];
        pieces.read(0, &mut slots)?;
        let all = slots.chunks_exact(SLOT_LEN).enumerate();
        for (slot, bytes) in all.skip(HEADER_LEN / SLOT_LEN) {
            if get32(bytes, 0) != SLOT {
                return Err(unsound("there is no slot where one must be"));
            }
            let [number, block, count] = [4, 8, 12].map(|at| get32(bytes, at));
            if block == 0 {
                continue;
            }
            let is_within = block >= packages.pages * PAGE_BLOCKS
                && block.checked_add(count).is_some_and(|end| end <= blocks);
            if number == 0 || count == 0 || !is_within {
                return Err(unsound("a slot leads to where no package can be"));
            }
            let place = Place {
                slot,
                block,
                blocks: count,
            };
            if packages.places.insert(number, place).is_some() {
                return Err(unsound(&format!("it has two records {number}")));
            }
        }
        let in_order = packages.in_order();
        if in_order
            .windows(2)
            .any(|pair| pair[0].end() > pair[1].block)
        {
            return Err(unsound("two of its records lie at one place"));
        }
        Ok(packages)
    }

    /// The places in the order of the file.
    fn in_order(&self) -> Vec<Place> {
        let mut places: Vec<_> = self.places.values().copied().collect();
        places.sort_unstable_by_key(|place| place.block);
        places
    }

    /// The first block behind the slots.
    fn start(&self) -> u32 {
        self.pages * PAGE_BLOCKS
    }

    /// Room for so many blocks: in the smallest gap that has it, or else at the end.
    fn room(&self, blocks: u32) -> Result<u32, String> {
        let mut best: Option<(u32, u32)> = None;
        let mut end = self.start();
        for place in self.in_order() {
            let gap = place.block.saturating_sub(end);
            if gap >= blocks && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, end));
            }
            end = place.end();
        }
        let block = best.map_or(end, |(_, block)| block);
        let fits = block.checked_add(blocks).is_some_and(|end| end < u32::MAX);
        let block = Some(block).filter(|_| fits);
        block.ok_or_else(|| "it would have more blocks than can be numbered".to_owned())
    }

    /// The first slots that nothing uses, as many as are asked for.
    fn free_slots(&self, count: usize) -> Vec<usize> {
        let used: BTreeSet<_> = self.places.values().map(|place| place.slot).collect();
        let all = HEADER_LEN / SLOT_LEN..self.pages as usize * PAGE_LEN / SLOT_LEN;
        all.filter(|slot| !used.contains(slot))
            .take(count)
            .collect()
    }

    /// One more page of slots; what lies there moves. Gives the numbers of the packages that do.
    fn add_page(&mut self) -> Result<Vec<u32>, String> {
        if self.pages == MAX_PAGES {
            return Err("it has no slots left".to_owned());
        }
        self.pages += 1;
        let in_the_way: Vec<_> = self
            .places
            .iter()
            .filter(|(_, place)| place.block < self.start())
            .map(|(number, place)| (*number, *place))
            .collect();
        for (number, _) in &in_the_way {
            self.places.remove(number);
        }
        for (number, place) in &in_the_way {
            let block = self.room(place.blocks)?;
            self.places.insert(*number, Place { block, ..*place });
        }
        Ok(in_the_way.into_iter().map(|(number, _)| number).collect())
    }

    /// The pages of slots as bytes.
    fn slots(&self) -> Vec<u8> {
        let empty = words([SLOT, 0, 0, 0]);
        let mut bytes = empty.repeat(self.pages as usize * PAGE_LEN / SLOT_LEN);
        bytes[..HEADER_LEN].fill(0);
        let header = words([MAGIC, 0, self.generation, self.pages, self.next]);
        bytes[..header.len()].copy_from_slice(&header);
        for (number, place) in &self.places {
            let slot = words([SLOT, *number, place.block, place.blocks]);
            bytes[place.slot * SLOT_LEN..][..SLOT_LEN].copy_from_slice(&slot);
        }
        bytes
    }
}

/// Takes the records with these numbers out, and puts those with these headers in.
pub(super) fn change(
    editor: &mut Editor<'_>,
    path: &ImagePath,
    removed: &BTreeSet<i64>,
    added: &[&Header],
) -> Result<Changed, Error> {
    let unsound = |problem: String| failure(path, problem);
    let pieces = Pieces::open(editor.fs(), path)?;
    let mut packages = Packages::read(&pieces)?;
    let before = packages.places.clone();
    packages
        .places
        .retain(|number, _| !removed.contains(&i64::from(*number)));
    let gone = before.len() - packages.places.len();
    let mut moved = BTreeSet::new();
    while packages.free_slots(added.len()).len() < added.len() {
        moved.extend(packages.add_page().map_err(unsound)?);
    }
    let last = before.last_key_value().map_or(0, |(number, _)| *number);
    let first = packages.next.max(1).max(last.saturating_add(1));
    let count = u32::try_from(added.len()).ok();
    let next = count.and_then(|count| first.checked_add(count));
    packages.next = next.ok_or_else(|| unsound("it has no numbers left".to_owned()))?;
    let changes = u32::try_from(gone + moved.len()).unwrap_or(u32::MAX);
    packages.generation = packages.generation.wrapping_add(changes);

    // What moves, or goes, must be what it says it is.
    let mut written: BTreeMap<u32, Blob> = BTreeMap::new();
    let mut left = Vec::new();
    for (number, place) in &before {
        let stays = packages.places.contains_key(number);
        if stays && !moved.contains(number) {
            continue;
        }
        let old = blob::read(&pieces, *number, *place)?;
        if !old.is_sound() {
            let problem = format!("the checksum of its record {number} is wrong");
            return Err(unsound(problem));
        }
        left.push(*place);
        if stays {
            written.insert(*number, old);
        }
    }
    let slots = packages.free_slots(added.len());
    for ((number, header), slot) in (first..).zip(added).zip(slots) {
        let blob = Blob::new(number, packages.generation, header.bytes()).map_err(unsound)?;
        let place = Place {
            slot,
            block: packages.room(blob.blocks()).map_err(unsound)?,
            blocks: blob.blocks(),
        };
        packages.places.insert(number, place);
        written.insert(number, blob);
        packages.generation = packages.generation.wrapping_add(1);
    }

    let places = packages.in_order();
    let end = places.last().map_or(packages.start(), |place| place.end());
    let zeros = zeros(&left, &places, packages.start());
    let offset = |block: u32| u64::from(block) * BLOCK_LEN as u64;
    let zeros = zeros
        .iter()
        .map(|(block, zeros)| (offset(*block), zeros.as_slice()));
    let blobs = written
        .iter()
        .map(|(number, blob)| (packages.places[number].offset(), blob.bytes()));
    let slots = packages.slots();
    let slots = std::iter::once((0, slots.as_slice()));
    editor.patch(path, offset(end), slots.chain(blobs).chain(zeros))?;
    Ok(Changed {
        first,
        generation: packages.generation,
    })
}

/// What becomes of places that were left: zeros wherever nothing else lies now, each by its first
/// block. RPM expects that of gaps. `places` are all, in the order of the file.
fn zeros(left: &[Place], places: &[Place], start: u32) -> Vec<(u32, Vec<u8>)> {
    let mut zeros = Vec::new();
    let mut end = start;
    for place in places {
        for old in left {
            let (from, to) = (old.block.max(end), old.end().min(place.block));
            if from < to {
                zeros.push((from, vec![0; (to - from) as usize * BLOCK_LEN]));
            }
        }
        end = place.end();
    }
    zeros
}
