//! Attributes in blocks: each must be found by the hash of its name.

use imgasm_fs::Result;

use crate::check::hash_trees::{Block, Content, walk};
use crate::check::report::{Report, finding};
use crate::fork::read_blocks;
use crate::format::attr::leaf;
use crate::format::dir::hash::name_hash;
use crate::format::hash_tree::{self, Node};
use crate::format::numbers::HashTreeBlock;
use crate::inode::{Fork, Inode};
use crate::problem::{corrupt, in_file};
use crate::volume::Volume;

/// Checks the tree above the attributes of an inode, whose attributes themselves have been read.
pub(super) fn check(volume: &Volume, inode: &Inode, report: Report<'_>) -> Result<()> {
    let Some(Fork::Extents(map)) = &inode.attributes else {
        return Ok(());
    };
    if map.extents().is_empty() {
        return Ok(());
    }
    let geometry = &volume.geometry;
    let number = inode.number;
    let mut wrong = Vec::new();
    let read = |block: HashTreeBlock| -> Result<Block> {
        let at = in_file(number, block);
        let blocks = read_blocks(volume, number, map, block.into(), 1)?;
        let bad = |problem: String| corrupt(at.clone(), problem);
        let header = hash_tree::check_identity(&blocks.bytes, geometry, blocks.daddr, number)
            .map_err(bad)?;
        let content = if leaf::is_leaf(header.magic, geometry) {
            let attributes = leaf::decode(&blocks.bytes, geometry).map_err(bad)?;
            if let Err(problem) = leaf::check_room(&blocks.bytes, geometry) {
                wrong.push((at.clone(), problem));
            }
            if leaf::has_incomplete(&blocks.bytes, geometry).map_err(bad)? {
                wrong.push((at.clone(), "an attribute is incomplete".to_owned()));
            }
            for attribute in &attributes {
                if attribute.hash != name_hash(&attribute.key.name) {
                    let name = String::from_utf8_lossy(&attribute.key.name).into_owned();
                    wrong.push((at.clone(), format!("attribute {name:?} has another hash")));
                }
            }
            Content::Leaf(leaf::hashes(&blocks.bytes, geometry).map_err(bad)?)
        } else {
            Content::Node(Node::decode(&blocks.bytes, geometry).map_err(bad)?)
        };
        Ok(Block {
            backward: header.backward,
            forward: header.forward,
            content,
        })
    };
    walk(number, HashTreeBlock::ATTRIBUTES, read, report)?;
    for (at, problem) in wrong {
        finding(report, at, problem);
    }
    Ok(())
}
