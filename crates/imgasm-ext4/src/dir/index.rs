//! Directories with a hash index: finding the leaf for a name, splitting leaves and nodes, growing
//! the tree.

use crate::format::dirent::{self, record_len};
use crate::format::features::Incompat;
use crate::format::htree::{self, CONTINUED, IndexEntry, Place};
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{BlockNumber, FileBlock, InodeNumber, to_u64, to_usize};
use crate::hash::{HashVersion, NameHash, Signedness, hash_name};
use crate::problem::corrupt;
use crate::stage::Kind;
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};

use super::leaf::{self, NewEntry};
use super::{Found, at_file_block};

/// An index block on the path to a leaf.
#[derive(Debug, Clone)]
struct Frame {
    block: BlockNumber,
    place: Place,
    entries: Vec<IndexEntry>,
    /// The entry that the path goes through.
    at: usize,
}

/// The path to a leaf.
#[derive(Debug, Clone)]
pub(super) struct Path {
    hash: NameHash,
    frames: Vec<Frame>,
}

impl Path {
    /// The leaf that the path leads to.
    fn leaf(&self) -> FileBlock {
        let frame = self.frames.last().expect("a path has a root");
        frame.entries[frame.at].block
    }
}

impl Ext4 {
    /// The hash by which an index is ordered; `None` if it is one that we cannot compute.
    pub(crate) fn index_hash(&self, inode: &Inode, version: u8, name: &[u8]) -> Option<NameHash> {
        if inode.has_flag(flags::CASEFOLD) {
            return None;
        }
        let flags = self.superblock.s_flags.get();
        let version = HashVersion::from_number(version, Signedness::from_superblock_flags(flags))?;
        let seed = self
            .superblock
            .s_hash_seed
            .map(zerocopy::little_endian::U32::get);
        Some(hash_name(name, version, seed))
    }

    /// The most levels of nodes between root and leaves.
    pub(crate) fn most_levels(&self) -> u8 {
        let large = self
            .geometry
            .features()
            .incompat
            .contains(Incompat::LARGE_DIR);
        if large { 2 } else { 1 }
    }

    /// The path to the first leaf that may hold a name; `None` if the index is ordered by a hash
    /// that we cannot compute.
    pub(super) fn probe(
        &self,
        number: InodeNumber,
        inode: &Inode,
        name: &[u8],
    ) -> Result<Option<Path>> {
        let root = FileBlock(0);
        let kind = self.index_kind(number, inode, Place::Root);
        let block = self.directory_block(number, inode, root)?;
        let bytes = self.stage.get(block, kind)?;
        let at_root = at_file_block(number, root);
        let info = htree::root_info(&bytes).map_err(|p| p.at(at_root.clone()))?;
        if info.indirect_levels > self.most_levels() {
            return Err(corrupt(
                at_root,
                format!(
                    "the index has {} levels of nodes, at most {} are possible",
                    info.indirect_levels,
                    self.most_levels()
                ),
            ));
        }
        let Some(hash) = self.index_hash(inode, info.hash_version, name) else {
            return Ok(None);
        };
        let mut path = Path {
            hash,
            frames: Vec::new(),
        };
        let mut next = (root, Place::Root);
        for _ in 0..=info.indirect_levels {
            let frame = self.frame(number, inode, next.0, next.1)?;
            let at = htree::child_for(&frame.entries, hash.major);
            next = (frame.entries[at].block, Place::Node);
            path.frames.push(Frame { at, ..frame });
        }
        Ok(Some(path))
    }

    fn index_kind(&self, number: InodeNumber, inode: &Inode, place: Place) -> Kind {
        Kind::Index(place, self.inode_seed(number, inode))
    }

    /// An index block, at its first entry.
    fn frame(
        &self,
        number: InodeNumber,
        inode: &Inode,
        file_block: FileBlock,
        place: Place,
    ) -> Result<Frame> {
        let block = self.directory_block(number, inode, file_block)?;
        let bytes = self
            .stage
            .get(block, self.index_kind(number, inode, place))?;
        let entries = htree::entries(&bytes, place, self.has_checksums())
            .map_err(|p| p.at(at_file_block(number, file_block)))?;
        Ok(Frame {
            block,
            place,
            entries,
            at: 0,
        })
    }

    /// Moves on to the next leaf if that may hold names with the same hash.
    fn next_with_same_hash(
        &self,
        number: InodeNumber,
        inode: &Inode,
        path: &mut Path,
    ) -> Result<bool> {
        let Some(level) = path
            .frames
            .iter()
            .rposition(|frame| frame.at + 1 < frame.entries.len())
        else {
            return Ok(false);
        };
        let frame = &mut path.frames[level];
        frame.at += 1;
        if frame.entries[frame.at].hash != path.hash.major | CONTINUED {
            return Ok(false);
        }
        for below in level + 1..path.frames.len() {
            let parent = &path.frames[below - 1];
            let child = parent.entries[parent.at].block;
            path.frames[below] = self.frame(number, inode, child, Place::Node)?;
        }
        Ok(true)
    }

    /// Finds a name along the path that [`Ext4::probe`] gave for it.
    pub(super) fn find_along(
        &self,
        number: InodeNumber,
        inode: &Inode,
        mut path: Path,
        name: &[u8],
    ) -> Result<Option<Found>> {
        loop {
            let found = self.find_in_block(number, inode, path.leaf(), name)?;
            if found.is_some() || !self.next_with_same_hash(number, inode, &mut path)? {
                return Ok(found);
            }
        }
    }

    /// Adds an entry through the index.
    pub(super) fn insert_indexed(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        new: &NewEntry<'_>,
    ) -> Result<()> {
        let mut path = self.probe(number, inode, new.name)?.ok_or_else(|| {
            corrupt(
                at_file_block(number, FileBlock(0)),
                "the index is ordered by a hash that is not known",
            )
        })?;
        if self.insert_in_block(number, inode, path.leaf(), new)? {
            return Ok(());
        }
        self.make_index_room(number, inode, &mut path)?;
        let leaf = self.split_leaf(number, inode, &mut path)?;
        if self.insert_in_block(number, inode, leaf, new)? {
            return Ok(());
        }
        Err(corrupt(
            at_file_block(number, leaf),
            "a leaf of the index has no room after it was split",
        ))
    }

    /// Makes room for an entry in the lowest index block of a path: full blocks are split, and a
    /// full root gives its entries to a new node.
    fn make_index_room(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        path: &mut Path,
    ) -> Result<()> {
        let block_len = self.geometry.block_size.len();
        let has_checksums = self.has_checksums();
        let is_full =
            |frame: &Frame| frame.entries.len() >= frame.place.limit(block_len, has_checksums);
        let full = path.frames.iter().rev().take_while(|f| is_full(f)).count();
        let mut level = path.frames.len() - full;
        if level == 0 && full > 0 {
            self.grow_root(number, inode, path)?;
            // The root's entries are in a node now, which has slightly more room than the root.
            level = 2;
        }
        for level in level..path.frames.len() {
            self.split_node(number, inode, path, level)?;
        }
        Ok(())
    }

    /// Adds a level: the root's entries go to a new node, which is the root's only child.
    fn grow_root(&mut self, number: InodeNumber, inode: &mut Inode, path: &mut Path) -> Result<()> {
        let levels = path.frames.len();
        if levels > usize::from(self.most_levels()) {
            return Err(Error::NoSpace {
                unit: "entries in the index of a directory",
                needed: 1,
                free: 0,
            });
        }
        let (file_block, block) = self.append_block(number, inode)?;
        let kind = self.index_kind(number, inode, Place::Node);
        htree::init_node(self.stage.create(block, kind));
        let root = &mut path.frames[0];
        let child = IndexEntry {
            hash: 0,
            block: file_block,
        };
        let node = Frame {
            block,
            place: Place::Node,
            entries: std::mem::replace(&mut root.entries, vec![child]),
            at: std::mem::take(&mut root.at),
        };
        path.frames.insert(1, node);
        let root_block = path.frames[0].block;
        let root_kind = self.index_kind(number, inode, Place::Root);
        let levels = u8::try_from(levels).expect("at most two levels");
        htree::set_indirect_levels(self.stage.change(root_block, root_kind)?, levels);
        self.put_frame(number, inode, &path.frames[0])?;
        self.put_frame(number, inode, &path.frames[1])
    }

    /// Splits a full node: its upper half goes to a new one. The node above has room.
    fn split_node(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        path: &mut Path,
        level: usize,
    ) -> Result<()> {
        let (file_block, block) = self.append_block(number, inode)?;
        let kind = self.index_kind(number, inode, Place::Node);
        htree::init_node(self.stage.create(block, kind));
        let lower = &mut path.frames[level];
        let half = lower.entries.len() / 2;
        let mut upper = Frame {
            block,
            place: Place::Node,
            entries: lower.entries.split_off(half),
            at: lower.at.saturating_sub(half),
        };
        let hash = upper.entries[0].hash;
        upper.entries[0].hash = 0;
        let in_upper = lower.at >= half;
        let parent = &mut path.frames[level - 1];
        let entry = IndexEntry {
            hash,
            block: file_block,
        };
        parent.entries.insert(parent.at + 1, entry);
        if in_upper {
            parent.at += 1;
        }
        self.put_frame(number, inode, &path.frames[level - 1])?;
        self.put_frame(number, inode, &path.frames[level])?;
        self.put_frame(number, inode, &upper)?;
        if in_upper {
            path.frames[level] = upper;
        }
        Ok(())
    }

    /// Writes the entries of an index block.
    fn put_frame(&mut self, number: InodeNumber, inode: &Inode, frame: &Frame) -> Result<()> {
        let kind = self.index_kind(number, inode, frame.place);
        let has_checksums = self.has_checksums();
        let bytes = self.stage.change(frame.block, kind)?;
        htree::put_entries(bytes, frame.place, has_checksums, &frame.entries);
        Ok(())
    }

    /// Splits a full leaf by hash into two of about the same fill; gives the one that the path's
    /// hash belongs in. The index block above has room.
    fn split_leaf(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        path: &mut Path,
    ) -> Result<FileBlock> {
        let lower = path.leaf();
        let kind = self.leaf_kind(number, inode);
        let lower_block = self.directory_block(number, inode, lower)?;
        let bytes = self.stage.get(lower_block, kind)?;
        let version = self.index_version(number, inode)?;
        let mut entries: Vec<(u32, NewEntry<'_>)> = Vec::new();
        for entry in dirent::entries(&bytes[..self.area_len()]) {
            let entry = entry.map_err(|p| p.at(at_file_block(number, lower)))?;
            let (Some(target), Some(hash)) =
                (entry.inode, self.index_hash(inode, version, entry.name))
            else {
                continue;
            };
            let new = NewEntry {
                inode: target,
                file_type: entry.file_type,
                name: entry.name,
            };
            entries.push((hash.major, new));
        }
        entries.sort_by_key(|(hash, _)| *hash);
        let split = split_point(&entries, self.area_len());
        if split == 0 {
            return Err(corrupt(
                at_file_block(number, lower),
                "a full leaf of the index has fewer than two entries",
            ));
        }
        let hash = entries[split].0;
        let continued = if hash == entries[split - 1].0 {
            CONTINUED
        } else {
            0
        };
        let entries: Vec<NewEntry<'_>> = entries.into_iter().map(|(_, entry)| entry).collect();

        let (upper, upper_block) = self.append_block(number, inode)?;
        self.stage.create(upper_block, kind);
        self.fill_block(upper_block, kind, &entries[split..])?;
        self.fill_block(lower_block, kind, &entries[..split])?;
        let frame = path.frames.last_mut().expect("a path has a root");
        let entry = IndexEntry {
            hash: hash | continued,
            block: upper,
        };
        frame.entries.insert(frame.at + 1, entry);
        let frame = frame.clone();
        self.put_frame(number, inode, &frame)?;
        Ok(if path.hash.major >= hash {
            upper
        } else {
            lower
        })
    }

    fn index_version(&self, number: InodeNumber, inode: &Inode) -> Result<u8> {
        let block = self.directory_block(number, inode, FileBlock(0))?;
        let kind = self.index_kind(number, inode, Place::Root);
        let bytes = self.stage.get(block, kind)?;
        htree::root_info(&bytes)
            .map(|info| info.hash_version)
            .map_err(|p| p.at(at_file_block(number, FileBlock(0))))
    }

    /// Gives a directory of one full block an index: the block's entries go to a leaf of their
    /// own, and the block becomes the root.
    pub(super) fn make_index(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        let root = FileBlock(0);
        let kind = self.leaf_kind(number, inode);
        let root_block = self.directory_block(number, inode, root)?;
        let bytes = self.stage.get(root_block, kind)?;
        let dots = super::dots::dots(number, &bytes)?;
        let mut entries = Vec::new();
        for entry in dirent::entries(&bytes[..self.area_len()]).skip(2) {
            let entry = entry.map_err(|p| p.at(at_file_block(number, root)))?;
            entries.extend(entry.inode.map(|target| NewEntry {
                inode: target,
                file_type: entry.file_type,
                name: entry.name,
            }));
        }
        let (leaf, leaf_block) = self.append_block(number, inode)?;
        self.stage.create(leaf_block, kind);
        self.fill_block(leaf_block, kind, &entries)?;

        let version = self.superblock.s_def_hash_version;
        let has_checksums = self.has_checksums();
        let index_kind = self.index_kind(number, inode, Place::Root);
        let file_type = self.type_code(imgasm_fs::types::FileType::Directory);
        let bytes = self.stage.create(root_block, index_kind);
        htree::init_root(bytes, number, dots.parent, file_type, version);
        let child = IndexEntry {
            hash: 0,
            block: leaf,
        };
        htree::put_entries(bytes, Place::Root, has_checksums, &[child]);
        inode.set_flag(flags::INDEX);
        Ok(())
    }

    /// Whether a new index can be ordered by the superblock's hash.
    pub(super) fn can_index(&self, inode: &Inode) -> bool {
        self.index_hash(inode, self.superblock.s_def_hash_version, b"x")
            .is_some()
    }

    /// Fills a block with entries.
    fn fill_block(
        &mut self,
        block: BlockNumber,
        kind: Kind,
        entries: &[NewEntry<'_>],
    ) -> Result<()> {
        let (area, has_checksums) = (self.area_len(), self.has_checksums());
        let bytes = self.stage.change(block, kind)?;
        leaf::fill(&mut bytes[..area], entries);
        if has_checksums {
            dirent::put_tail(bytes);
        }
        Ok(())
    }
}

/// Where to split entries so that the upper part takes at most half of a block; 0 if there is
/// nothing to split.
fn split_point(entries: &[(u32, NewEntry<'_>)], area_len: usize) -> usize {
    let mut upper = 0;
    for (index, (_, entry)) in entries.iter().enumerate().rev() {
        upper += record_len(entry.name.len());
        if upper > area_len / 2 {
            return (index + 1).min(entries.len() - 1);
        }
    }
    entries.len() / 2
}

/// Refuses a block number in a directory that an index cannot hold.
pub(super) fn storable(block: FileBlock) -> Result<()> {
    if htree::storable(block) {
        return Ok(());
    }
    Err(Error::NoSpace {
        unit: "blocks in a directory",
        needed: to_u64(to_usize(block.0)),
        free: 0,
    })
}
