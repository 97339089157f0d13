//! The hash index of a directory: that it leads to each leaf once, and which hashes to which.

use std::collections::BTreeMap;
use std::collections::btree_map;

use super::Check;
use super::directories::Directory;
use crate::fs::error::Result;
use crate::fs::ext4::format::htree::{self, CONTINUED, IndexEntry, Place};
use crate::fs::ext4::format::numbers::{FileBlock, to_u32};
use crate::fs::ext4::stage::Kind;

/// What the index says of a block of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Whether it is the root, which holds `.` and `..` only.
    pub(super) is_root: bool,
    /// How names are hashed.
    pub(super) hash_version: u8,
    /// The smallest major hash that belongs here.
    pub(super) first_hash: u32,
    /// The largest major hash that belongs here.
    pub(super) last_hash: u32,
}

impl Leaf {
    pub(super) fn contains(&self, hash: u32) -> bool {
        (self.first_hash..=self.last_hash).contains(&hash)
    }
}

/// An index block that is yet to be looked at.
struct Pending {
    block: FileBlock,
    place: Place,
    /// Levels of nodes below it.
    levels: u8,
    first_hash: u32,
    last_hash: u32,
}

impl Check<'_> {
    /// Looks at the index of a directory. Gives the blocks that hold entries with what the index
    /// says of them; `None` where the index cannot be read.
    #[allow(
        clippy::too_many_lines,
        reason = "one walk, each step of which needs what is known so far"
    )]
    pub(super) fn index(
        &mut self,
        directory: &Directory,
    ) -> Result<Option<BTreeMap<u32, Option<Leaf>>>> {
        let seed = self.fs.inode_seed(directory.number, &directory.inode);
        let has_checksum = self.fs.geometry.features().metadata_csum();
        let root_place = directory.at(FileBlock(0));
        let Some(&Some(root)) = directory.blocks.first() else {
            return Ok(None);
        };
        let bytes = self.fs.stage.get(root, Kind::Index(Place::Root, seed));
        let Some(bytes) = self.note_refused(bytes)? else {
            return Ok(None);
        };
        let info = htree::root_info(&bytes).map_err(|problem| problem.at(root_place.clone()));
        let Some(info) = self.note_refused(info)? else {
            return Ok(None);
        };
        if info.indirect_levels > self.fs.most_levels() {
            self.note(
                root_place,
                format!("the index has {} levels of nodes", info.indirect_levels),
            );
            return Ok(None);
        }
        // Version 6 is keyed by what an encrypted directory's key gives.
        if info.hash_version > 6 {
            self.note(
                root_place,
                format!("the index has hash version {}", info.hash_version),
            );
            return Ok(None);
        }

        let mut seen: BTreeMap<u32, Option<Leaf>> = BTreeMap::new();
        let root_leaf = Leaf {
            is_root: true,
            hash_version: info.hash_version,
            first_hash: 0,
            last_hash: u32::MAX,
        };
        seen.insert(0, Some(root_leaf));
        let mut nodes = Vec::new();
        let mut pending = vec![Pending {
            block: FileBlock(0),
            place: Place::Root,
            levels: info.indirect_levels,
            first_hash: 0,
            last_hash: u32::MAX,
        }];
        while let Some(node) = pending.pop() {
            let index = usize::try_from(node.block.0).unwrap_or(usize::MAX);
            let Some(&Some(block)) = directory.blocks.get(index) else {
                continue;
            };
            let at = directory.at(node.block);
            let bytes = self.fs.stage.get(block, Kind::Index(node.place, seed));
            let Some(bytes) = self.note_refused(bytes)? else {
                continue;
            };
            let entries = htree::entries(&bytes, node.place, has_checksum);
            let Some(entries) = self.note_refused(entries.map_err(|problem| problem.at(at)))?
            else {
                continue;
            };
            for (entry, first_hash, last_hash) in ranges(&entries, &node) {
                if u64::from(entry.block.0) >= u64::from(to_u32(directory.blocks.len())) {
                    self.note(
                        directory.at(node.block),
                        format!("the index leads to {}, past the end", entry.block),
                    );
                    continue;
                }
                if first_hash < node.first_hash || last_hash > node.last_hash {
                    self.note(
                        directory.at(node.block),
                        format!(
                            "the index leads from hashes {:#010x} to {:#010x} to those from \
                             {first_hash:#010x} to {last_hash:#010x}",
                            node.first_hash, node.last_hash
                        ),
                    );
                }
                let leaf = Leaf {
                    is_root: false,
                    hash_version: info.hash_version,
                    first_hash,
                    last_hash,
                };
                let is_new = match seen.entry(entry.block.0) {
                    btree_map::Entry::Vacant(place) => {
                        place.insert(Some(leaf));
                        true
                    }
                    btree_map::Entry::Occupied(_) => false,
                };
                if !is_new {
                    self.note(
                        directory.at(node.block),
                        format!("the index leads to {} twice", entry.block),
                    );
                } else if node.levels > 0 {
                    nodes.push(entry.block.0);
                    pending.push(Pending {
                        block: entry.block,
                        place: Place::Node,
                        levels: node.levels - 1,
                        first_hash,
                        last_hash,
                    });
                }
            }
        }
        for block in nodes {
            seen.remove(&block);
        }
        self.unreached(directory, &seen)?;
        Ok(Some(seen))
    }

    /// Reports blocks with names that the index does not lead to.
    fn unreached(
        &mut self,
        directory: &Directory,
        seen: &BTreeMap<u32, Option<Leaf>>,
    ) -> Result<()> {
        for (index, block) in (0..).zip(&directory.blocks) {
            let Some(block) = block else { continue };
            if seen.contains_key(&index) {
                continue;
            }
            let bytes = self.fs.stage.peek(*block)?;
            if !htree::looks_like_node(&bytes) {
                self.note(
                    directory.at(FileBlock(index)),
                    "the index does not lead to this block",
                );
            }
        }
        Ok(())
    }
}

/// The entries of an index block, each with the hashes below it.
fn ranges<'a>(
    entries: &'a [IndexEntry],
    node: &Pending,
) -> impl Iterator<Item = (&'a IndexEntry, u32, u32)> {
    let (node_first, node_last) = (node.first_hash, node.last_hash);
    entries.iter().enumerate().map(move |(index, entry)| {
        let first = if index == 0 {
            node_first
        } else {
            entry.hash & !CONTINUED
        };
        let last = match entries.get(index + 1) {
            // Names of that hash begin in this block already.
            Some(next) if next.hash & CONTINUED != 0 => next.hash,
            Some(next) => next.hash.saturating_sub(1),
            None => node_last,
        };
        (entry, first, last)
    })
}
