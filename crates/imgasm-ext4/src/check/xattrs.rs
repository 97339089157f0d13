//! Extended attributes, and the blocks of them that inodes share.

use std::collections::BTreeMap;

use super::Check;
use crate::at_inode;
use crate::format::features::Incompat;
use crate::format::inode::Inode;
use crate::format::numbers::{BlockNumber, InodeNumber};
use crate::format::xattr::{self, Attribute, Value};
use crate::stage::Kind;
use imgasm_fs::error::{Location, Result};

/// Blocks of attributes.
#[derive(Default)]
pub(super) struct SharedBlocks {
    blocks: BTreeMap<u64, SharedBlock>,
}

struct SharedBlock {
    /// Inodes that refer to it.
    counted: u32,
    /// How many it says, where it can be read.
    stated: Option<u32>,
}

impl Check<'_> {
    /// Looks at the attributes of an inode; gives the number of blocks that they take.
    pub(super) fn attributes(&mut self, number: InodeNumber, inode: &Inode) -> Result<u64> {
        let within = xattr::decode_inode_area(inode.xattr_area());
        let within = self.note_refused(within.map_err(|problem| problem.at(at_inode(number))))?;
        for attribute in within.iter().flatten() {
            if let Some(problem) = self.value_problem(attribute) {
                self.note(at_inode(number), problem);
            }
        }
        let Some(block) = inode.xattr_block() else {
            return Ok(0);
        };
        if let Some(known) = self.shared.blocks.get_mut(&block.0) {
            known.counted += 1;
            return Ok(1);
        }
        let inside = self.fs.check_file_blocks(number, block, 1);
        if self.note_refused(inside)?.is_none() {
            return Ok(1);
        }
        self.claim(number, block.0, block.0 + 1);
        let stated = self.attribute_block(block)?;
        self.shared
            .blocks
            .insert(block.0, SharedBlock { counted: 1, stated });
        Ok(1)
    }

    /// Looks at a block of attributes; gives the number of references that it states.
    fn attribute_block(&mut self, block: BlockNumber) -> Result<Option<u32>> {
        let place = || Location::Block(block.0);
        let bytes = self.fs.stage.get(block, Kind::Xattrs);
        let Some(bytes) = self.note_refused(bytes)? else {
            return Ok(None);
        };
        let header = xattr::decode_block_header(&bytes).map_err(|problem| problem.at(place()));
        let Some(header) = self.note_refused(header)? else {
            return Ok(None);
        };
        let attributes = xattr::decode_block(&bytes).map_err(|problem| problem.at(place()));
        if let Some(attributes) = self.note_refused(attributes)? {
            for attribute in &attributes {
                let problem = self.value_problem(attribute);
                if let Some(problem) = problem.or_else(|| hash_problem(attribute)) {
                    self.note(place(), problem);
                }
            }
            let expected = xattr::block_hash(&attributes);
            if header.hash != 0 && header.hash != expected {
                self.note(
                    place(),
                    format!(
                        "hash of the attributes is {:#010x}, computed {expected:#010x}",
                        header.hash
                    ),
                );
            }
        }
        Ok(Some(header.references))
    }

    /// What is wrong with the inode that holds the value of an attribute, if one does.
    fn value_problem(&self, attribute: &Attribute) -> Option<String> {
        let Value::InInode { inode, .. } = attribute.value else {
            return None;
        };
        let features = self.fs.geometry.features();
        let can_be = features.incompat.contains(Incompat::EA_INODE) && self.fs.is_file_inode(inode);
        (!can_be).then(|| {
            format!(
                "the value of attribute {:?} is said to be in {inode}",
                String::from_utf8_lossy(&attribute.name)
            )
        })
    }

    /// Compares how many inodes refer to each block with what it says.
    pub(super) fn shared_blocks(&mut self) {
        let shared = std::mem::take(&mut self.shared.blocks);
        for (block, SharedBlock { counted, stated }) in shared {
            if let Some(stated) = stated
                && stated != counted
            {
                self.note(
                    Location::Block(block),
                    format!(
                        "attribute block says {stated} references, {counted} inodes refer to it"
                    ),
                );
            }
        }
    }
}

/// What is wrong with the hash of an attribute in a block, as far as its value is there.
fn hash_problem(attribute: &Attribute) -> Option<String> {
    let Value::Here(value) = &attribute.value else {
        return None;
    };
    let expected = xattr::entry_hash(&attribute.name, value);
    let signed = xattr::entry_hash_signed(&attribute.name, value);
    let is_right = [0, expected, signed].contains(&attribute.hash);
    (!is_right).then(|| {
        format!(
            "hash of attribute {:?} is {:#010x}, computed {expected:#010x}",
            String::from_utf8_lossy(&attribute.name),
            attribute.hash
        )
    })
}
