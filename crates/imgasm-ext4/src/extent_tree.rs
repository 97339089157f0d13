//! Extent trees: reading the part of one that covers a range, and storing a list of extents as a
//! tree.

use std::ops::Range;

use super::format::extent::{Child, Extent, MAX_DEPTH, Node, ROOT_ENTRIES, block_entries};
use super::format::inode::Inode;
use super::format::numbers::{BlockNumber, FileBlock, InodeNumber};
use super::mapping::{Mapping, NodePool};
use super::stage::Kind;
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Location, Result};

/// A walk through a tree.
struct Walk {
    number: InodeNumber,
    range: Range<u64>,
    kind: Kind,
    mapping: Mapping,
    /// Nodes by their depth, so that leaves come first in [`Mapping::nodes`].
    nodes: Vec<(u16, BlockNumber)>,
    /// The blocks of the file that may lie below the last leaf.
    below_leaf: Range<u64>,
    mapped: u64,
    previous_end: u64,
}

impl Ext4 {
    /// The extents of a file that lie in a range and those in the same leaves, with the nodes of the
    /// tree that lead to them: leaves first.
    pub(super) fn read_extent_tree(
        &self,
        number: InodeNumber,
        inode: &Inode,
        range: Range<u64>,
    ) -> Result<Mapping> {
        let mut walk = self.walk_range(number, inode, range)?;
        walk.nodes.sort_by_key(|&(depth, _)| depth);
        walk.mapping.nodes = walk.nodes.into_iter().map(|(_, block)| block).collect();
        Ok(walk.mapping)
    }

    /// The extents of the leaf that covers a range, if a single one does.
    pub(super) fn read_extent_leaf(
        &self,
        number: InodeNumber,
        inode: &Inode,
        range: Range<u64>,
    ) -> Result<Option<Mapping>> {
        let walk = self.walk_range(number, inode, range.clone())?;
        let mut leaves = walk.nodes.iter().filter(|&&(depth, _)| depth == 0);
        let (Some(&(_, leaf)), None) = (leaves.next(), leaves.next()) else {
            return Ok(None);
        };
        let below = walk.below_leaf;
        let covered = below.start <= range.start && range.end <= below.end;
        Ok(covered.then(|| Mapping {
            extents: walk.mapping.extents,
            nodes: vec![leaf],
            window: Some(below),
        }))
    }

    /// Stores the extents of one leaf; false if they do not fit.
    pub(super) fn write_extent_leaf(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        before: &Mapping,
        after: &Mapping,
    ) -> Result<bool> {
        let [leaf] = before.nodes[..] else {
            return Ok(false);
        };
        // The parents say where the leaf begins.
        let first = |mapping: &Mapping| mapping.extents.first().map(|extent| extent.first);
        if after.extents.is_empty()
            || first(after) != first(before)
            || after.extents.len() > block_entries(self.geometry.block_size)
        {
            return Ok(false);
        }
        let kind = Kind::Extents(self.inode_seed(number, inode));
        Node::Leaf(after.extents.clone()).encode_into(self.stage.change(leaf, kind)?);
        Ok(true)
    }

    /// Walks the part of a tree that covers a range.
    fn walk_range(&self, number: InodeNumber, inode: &Inode, range: Range<u64>) -> Result<Walk> {
        let mut walk = Walk {
            number,
            range,
            kind: Kind::Extents(self.inode_seed(number, inode)),
            mapping: Mapping::default(),
            nodes: Vec::new(),
            below_leaf: 0..0,
            mapped: 0,
            previous_end: 0,
        };
        let root = Node::decode(&inode.head.i_block).map_err(|p| p.at(at_inode(number)))?;
        self.walk_node(&mut walk, root, 0..1 << 32, None)?;
        Ok(walk)
    }

    /// Walks a node that may hold the blocks `within` of the file, at the depth that its parent
    /// expects. The depth decreases with every level, so this ends.
    fn walk_node(
        &self,
        walk: &mut Walk,
        node: Node,
        within: Range<u64>,
        at: Option<BlockNumber>,
    ) -> Result<()> {
        let place = at.map_or(at_inode(walk.number), |block| Location::Block(block.0));
        match node {
            Node::Leaf(extents) => {
                for extent in extents {
                    self.visit_extent(walk, extent, &within, &place)?;
                }
            }
            Node::Index { depth, children } => {
                let ends = children
                    .iter()
                    .skip(1)
                    .map(|child| u64::from(child.first.0));
                let ends: Vec<u64> = ends.chain([within.end]).collect();
                for (child, end) in children.iter().zip(ends) {
                    let below = u64::from(child.first.0)..end;
                    if below.start < within.start || below.end > within.end {
                        return Err(corrupt(
                            place,
                            format!(
                                "extent node for file blocks {within:?} has a child for {below:?}"
                            ),
                        ));
                    }
                    if below.start < walk.range.end && below.end > walk.range.start {
                        self.walk_child(walk, *child, below, depth)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn walk_child(
        &self,
        walk: &mut Walk,
        child: Child,
        below: Range<u64>,
        depth: u16,
    ) -> Result<()> {
        self.check_file_blocks(walk.number, child.block, 1)?;
        let place = Location::Block(child.block.0);
        let bytes = self.stage.get(child.block, walk.kind)?;
        let node = Node::decode(&bytes).map_err(|p| p.at(place.clone()))?;
        let (seen, empty) = match &node {
            Node::Leaf(extents) => (0, extents.is_empty()),
            Node::Index { depth, children } => (*depth, children.is_empty()),
        };
        if seen + 1 != depth || empty {
            return Err(corrupt(
                place,
                format!(
                    "extent node of {} is at depth {seen} and {}, expected entries at depth {}",
                    walk.number,
                    if empty { "empty" } else { "not empty" },
                    depth - 1
                ),
            ));
        }
        let first = match &node {
            Node::Leaf(extents) => extents.first().map(|extent| extent.first),
            Node::Index { children, .. } => children.first().map(|child| child.first),
        };
        if first != Some(child.first) {
            return Err(corrupt(
                place,
                format!(
                    "extent node of {} begins with {}, its parent says {}",
                    walk.number,
                    first.unwrap_or(child.first),
                    child.first
                ),
            ));
        }
        walk.nodes.push((seen, child.block));
        if seen == 0 {
            walk.below_leaf = below.clone();
        }
        self.walk_node(walk, node, below, Some(child.block))
    }

    fn visit_extent(
        &self,
        walk: &mut Walk,
        extent: Extent,
        within: &Range<u64>,
        place: &Location,
    ) -> Result<()> {
        let first = u64::from(extent.first.0);
        if first < within.start.max(walk.previous_end) || extent.end() > within.end {
            return Err(corrupt(
                place.clone(),
                format!(
                    "extent for file blocks {first} to {} of {} lies outside {within:?} or \
                     overlaps the one before",
                    extent.end(),
                    walk.number
                ),
            ));
        }
        self.check_file_blocks(walk.number, extent.start, u64::from(extent.len))?;
        walk.previous_end = extent.end();
        walk.mapped += u64::from(extent.len);
        self.count_mapped(walk.number, walk.mapped)?;
        walk.mapping.extents.push(extent);
        Ok(())
    }

    /// Stores a list of extents as a tree that is as full and as flat as possible.
    pub(super) fn write_extent_tree(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        extents: &[Extent],
        pool: &mut NodePool,
    ) -> Result<()> {
        let kind = Kind::Extents(self.inode_seed(number, inode));
        let root_room = usize::from(ROOT_ENTRIES);
        let block_room = block_entries(self.geometry.block_size);
        let root = if extents.len() <= root_room {
            Node::Leaf(extents.to_vec())
        } else {
            let mut children = Vec::new();
            for chunk in extents.chunks(block_room) {
                let block = self.put_node(&Node::Leaf(chunk.to_vec()), kind, pool)?;
                let first = chunk[0].first;
                children.push(Child { first, block });
            }
            let mut depth = 1;
            while children.len() > root_room {
                let mut parents = Vec::new();
                for chunk in children.chunks(block_room) {
                    let first = chunk[0].first;
                    let children = chunk.to_vec();
                    let block = self.put_node(&Node::Index { depth, children }, kind, pool)?;
                    parents.push(Child { first, block });
                }
                children = parents;
                depth += 1;
            }
            if depth > MAX_DEPTH {
                return Err(Error::Unstorable {
                    what: number.to_string(),
                    problem: format!(
                        "{} extents need a tree of depth {depth}, at most {MAX_DEPTH} is possible",
                        extents.len()
                    ),
                });
            }
            Node::Index { depth, children }
        };
        root.encode_into(&mut inode.head.i_block);
        Ok(())
    }

    /// Writes a node to a block, unless the block already holds it.
    fn put_node(&mut self, node: &Node, kind: Kind, pool: &mut NodePool) -> Result<BlockNumber> {
        let (block, was_node) = pool.take(self, u64::MAX)?;
        if !was_node {
            node.encode_into(self.stage.create(block, kind));
            return Ok(block);
        }
        let now = self.stage.get(block, kind)?;
        let mut wanted = now.to_vec();
        node.encode_into(&mut wanted);
        if wanted != *now {
            *self.stage.change(block, kind)? = wanted;
        }
        Ok(block)
    }

    /// An empty tree, in a new inode.
    pub(super) fn init_extent_root(inode: &mut Inode) {
        Node::Leaf(Vec::new()).encode_into(&mut inode.head.i_block);
    }

    /// A block of a file as 32 bits, which all of its blocks must fit.
    pub(super) fn file_block_number(number: InodeNumber, block: u64) -> Result<FileBlock> {
        u32::try_from(block)
            .map(FileBlock)
            .map_err(|_| Error::Unstorable {
                what: number.to_string(),
                problem: format!("it cannot have a block number {block}"),
            })
    }
}
