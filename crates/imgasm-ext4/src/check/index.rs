//! The hash index of a directory: it must lead to each leaf once; gives the hashes of each leaf.

use std::collections::BTreeMap;

use super::Check;
use super::directory::Directory;
use crate::format::htree::{self, CONTINUED, IndexEntry, Place, RootInfo};
use crate::format::numbers::FileBlock;
use crate::stage::Kind;
use imgasm_fs::error::Result;

/// The hashes that a root can name: legacy, half MD4, TEA, and `SipHash`, which is keyed by an
/// encrypted directory's key.
const HASH_VERSIONS: [u8; 4] = [0, 1, 2, 6];

/// What the index says about a block of entries.
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

/// An index block that has not been checked yet.
struct Pending {
    block: FileBlock,
    place: Place,
    /// Levels of nodes below it.
    levels: u8,
    first_hash: u32,
    last_hash: u32,
}

/// The blocks that an index leads to.
struct Walk {
    hash_version: u8,
    /// Those met so far.
    seen: BTreeMap<u32, Leaf>,
    /// Those of them that are nodes.
    nodes: Vec<u32>,
    pending: Vec<Pending>,
}

impl Check<'_> {
    /// Looks at the index of a directory. Gives the blocks that hold entries, with what the index
    /// says about them; `None` if the index cannot be read.
    pub(super) fn index(&mut self, directory: &Directory) -> Result<Option<BTreeMap<u32, Leaf>>> {
        let Some(info) = self.index_root(directory)? else {
            return Ok(None);
        };
        let root = Leaf {
            is_root: true,
            hash_version: info.hash_version,
            first_hash: 0,
            last_hash: u32::MAX,
        };
        let mut walk = Walk {
            hash_version: info.hash_version,
            seen: BTreeMap::from([(0, root)]),
            nodes: Vec::new(),
            pending: vec![Pending {
                block: FileBlock(0),
                place: Place::Root,
                levels: info.indirect_levels,
                first_hash: 0,
                last_hash: u32::MAX,
            }],
        };
        while let Some(node) = walk.pending.pop() {
            self.index_block(directory, &node, &mut walk)?;
        }
        let Walk {
            mut seen, nodes, ..
        } = walk;
        for block in nodes {
            seen.remove(&block);
        }
        self.unreached(directory, &seen)?;
        Ok(Some(seen))
    }

    /// What the root of an index says; `None` if it cannot be used.
    fn index_root(&mut self, directory: &Directory) -> Result<Option<RootInfo>> {
        let place = directory.at(FileBlock(0));
        let Some(root) = directory.block(FileBlock(0)) else {
            return Ok(None);
        };
        let seed = self.fs.inode_seed(directory.number, &directory.inode);
        let bytes = self.fs.stage.get(root, Kind::Index(Place::Root, seed));
        let Some(bytes) = self.note_refused(bytes)? else {
            return Ok(None);
        };
        let info = htree::root_info(&bytes).map_err(|problem| problem.at(place.clone()));
        let Some(info) = self.note_refused(info)? else {
            return Ok(None);
        };
        let problem = if info.indirect_levels > self.fs.most_levels() {
            format!("the index has {} levels of nodes", info.indirect_levels)
        } else if !HASH_VERSIONS.contains(&info.hash_version) {
            format!("the index has hash version {}", info.hash_version)
        } else {
            return Ok(Some(info));
        };
        self.note(place, problem);
        Ok(None)
    }

    /// Looks at a block of an index.
    fn index_block(
        &mut self,
        directory: &Directory,
        node: &Pending,
        walk: &mut Walk,
    ) -> Result<()> {
        let Some(block) = directory.block(node.block) else {
            return Ok(());
        };
        let at = directory.at(node.block);
        let seed = self.fs.inode_seed(directory.number, &directory.inode);
        let bytes = self.fs.stage.get(block, Kind::Index(node.place, seed));
        let Some(bytes) = self.note_refused(bytes)? else {
            return Ok(());
        };
        let has_checksum = self.fs.geometry.features().metadata_csum();
        let entries = htree::entries(&bytes, node.place, has_checksum);
        let entries = entries.map_err(|problem| problem.at(at.clone()));
        let Some(entries) = self.note_refused(entries)? else {
            return Ok(());
        };
        for (entry, first_hash, last_hash) in ranges(&entries, node) {
            if entry.block.0 >= directory.len() {
                self.note(
                    at.clone(),
                    format!("the index leads to {}, past the end", entry.block),
                );
                continue;
            }
            if first_hash < node.first_hash || last_hash > node.last_hash {
                self.note(
                    at.clone(),
                    format!(
                        "the index leads from hashes {:#010x} to {:#010x} to those from \
                         {first_hash:#010x} to {last_hash:#010x}",
                        node.first_hash, node.last_hash
                    ),
                );
            }
            let leaf = Leaf {
                is_root: false,
                hash_version: walk.hash_version,
                first_hash,
                last_hash,
            };
            if walk.seen.contains_key(&entry.block.0) {
                self.note(
                    at.clone(),
                    format!("the index leads to {} twice", entry.block),
                );
                continue;
            }
            walk.seen.insert(entry.block.0, leaf);
            if node.levels > 0 {
                walk.nodes.push(entry.block.0);
                walk.pending.push(Pending {
                    block: entry.block,
                    place: Place::Node,
                    levels: node.levels - 1,
                    first_hash,
                    last_hash,
                });
            }
        }
        Ok(())
    }

    /// Reports blocks with names that the index does not lead to.
    fn unreached(&mut self, directory: &Directory, seen: &BTreeMap<u32, Leaf>) -> Result<()> {
        for file_block in directory.blocks() {
            if seen.contains_key(&file_block.0) {
                continue;
            }
            let Some(block) = directory.block(file_block) else {
                continue;
            };
            let bytes = self.fs.stage.peek(block)?;
            if !htree::looks_like_node(&bytes) {
                self.note(
                    directory.at(file_block),
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
