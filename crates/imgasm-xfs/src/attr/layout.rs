//! From attributes in memory to the blocks of an attribute fork.

use crate::format::attr::key::Attributes;
use crate::format::attr::leaf::{LeafAttribute, Value};
use crate::format::attr::{leaf, remote};
use crate::format::bytes::as_u32;
use crate::format::dir::hash::name_hash;
use crate::format::geometry::Geometry;
use crate::format::hash_tree::{Child, build_nodes, neighbours};
use crate::format::numbers::HashTreeBlock;
use crate::format::stamp::{HASH_TREE, REMOTE, Stamp};

/// A block of an attribute fork: how it is sealed, and its bytes.
pub(crate) type LaidBlock = (Stamp, Vec<u8>);

/// Lays attributes out in consecutive blocks from the fork's first on: the root of the tree or the
/// only leaf, the leaves, the nodes between, the values that have blocks of their own.
pub(crate) fn layout(geometry: &Geometry, attributes: &Attributes) -> Vec<LaidBlock> {
    // The number of blocks before the values depends on the leaves only, whose lengths do not
    // depend on the values' places.
    let mut leaves = leaf_attributes(geometry, attributes, 0);
    let tree = build_tree(geometry, &leaves);
    let first_value = tree.len();
    leaves = leaf_attributes(geometry, attributes, first_value);
    let mut blocks: Vec<LaidBlock> = build_tree(geometry, &leaves)
        .into_iter()
        .map(|bytes| (HASH_TREE, bytes))
        .collect();
    for (key, value) in attributes {
        if !leaf::is_local(geometry, key.name.len(), value.len()) {
            let values = remote::encode(geometry, value);
            blocks.extend(values.into_iter().map(|bytes| (REMOTE, bytes)));
        }
    }
    blocks
}

/// The attributes as leaves have them, in the order of their hashes.
fn leaf_attributes(
    geometry: &Geometry,
    attributes: &Attributes,
    first_value: usize,
) -> Vec<LeafAttribute> {
    let mut next = first_value;
    let mut leaves: Vec<_> = attributes
        .iter()
        .map(|(key, value)| LeafAttribute {
            hash: name_hash(&key.name),
            key: key.clone(),
            value: if leaf::is_local(geometry, key.name.len(), value.len()) {
                Value::Local(value.clone())
            } else {
                let file_block = HashTreeBlock(as_u32(next));
                next += remote::block_count(geometry, value.len());
                Value::Remote {
                    file_block,
                    len: as_u32(value.len()),
                }
            },
        })
        .collect();
    leaves.sort_by_key(|attribute| attribute.hash);
    leaves
}

/// The leaf, or the root with the leaves and the nodes between, in the order of their numbers.
fn build_tree(geometry: &Geometry, attributes: &[LeafAttribute]) -> Vec<Vec<u8>> {
    let runs = leaf::split(geometry, attributes);
    if let [only] = runs.as_slice() {
        let none = HashTreeBlock::NONE;
        return vec![leaf::encode(geometry, only, none, none)];
    }
    let number = |index: usize| HashTreeBlock(as_u32(index + 1));
    let mut children: Vec<Child> = Vec::with_capacity(runs.len());
    let mut blocks = Vec::with_capacity(runs.len() + 1);
    for (index, run) in runs.iter().enumerate() {
        let (backward, forward) = neighbours(index, runs.len(), number);
        let highest = run.last().expect("a run has attributes").hash;
        children.push((highest, number(index)));
        blocks.push((
            number(index),
            leaf::encode(geometry, run, forward, backward),
        ));
    }
    let len = geometry.block_len();
    let (root, next) = (HashTreeBlock::ATTRIBUTES, number(runs.len()));
    let nodes = build_nodes(geometry, len, &children, root, next, 1);
    blocks.extend(nodes.blocks);
    blocks.sort_by_key(|(number, _)| *number);
    blocks.into_iter().map(|(_, bytes)| bytes).collect()
}
