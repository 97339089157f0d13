//! Extended attributes, and the blocks of them that inodes share.

use std::collections::BTreeMap;

use super::Check;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::{BlockNumber, InodeNumber};
use crate::format::xattr::{self, Attribute, Value};
use crate::problem::at_inode;
use crate::stage::Kind;
use imgasm_fs::error::{Location, Result};

/// The blocks of attributes, by number.
#[derive(Default)]
pub(super) struct SharedBlocks {
    blocks: BTreeMap<u64, SharedBlock>,
}

struct SharedBlock {
    /// Inodes that refer to it.
    counted: u32,
    /// The number that the block states, if it can be read.
    stated: Option<u32>,
    /// Clusters in other inodes that hold values of its attributes.
    value_clusters: u64,
}

impl Check<'_> {
    /// Looks at the attributes of an inode; gives the number of clusters that count as its own: that
    /// of its block, and those that other inodes hold values in.
    pub(super) fn attributes(&mut self, number: InodeNumber, inode: &Inode) -> Result<u64> {
        let area = inode.xattr_area();
        let within = xattr::decode_inode_area(area);
        let within = self.note_refused(within.map_err(|problem| problem.at(at_inode(number))))?;
        let mut clusters = 0;
        if let Some(within) = within {
            if let Some(problem) = xattr::inode_layout_problem(area) {
                self.note(at_inode(number), problem);
            }
            for attribute in &within {
                let problem = if attribute.hash == 0 {
                    // In an inode, a hash is not needed.
                    None
                } else {
                    hash_problem(attribute)
                };
                if let Some(problem) = problem {
                    self.note(at_inode(number), problem);
                }
                clusters += self.value(number, inode, &at_inode(number), attribute)?;
            }
        }
        let Some(block) = inode.xattr_block() else {
            return Ok(clusters);
        };
        clusters += 1;
        if let Some(known) = self.shared.blocks.get_mut(&block.0) {
            known.counted += 1;
            return Ok(clusters + known.value_clusters);
        }
        let inside = self.fs.check_file_blocks(number, block, 1);
        if self.note_refused(inside)?.is_none() {
            return Ok(clusters);
        }
        self.claim(number, block.0, block.0 + 1);
        let mut value_clusters = 0;
        let stated = self.attribute_block(number, inode, block, &mut value_clusters)?;
        let shared = SharedBlock {
            counted: 1,
            stated,
            value_clusters,
        };
        self.shared.blocks.insert(block.0, shared);
        Ok(clusters + value_clusters)
    }

    /// Looks at a block of attributes; gives the number of references that it states.
    fn attribute_block(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        block: BlockNumber,
        value_clusters: &mut u64,
    ) -> Result<Option<u32>> {
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
        let Some(attributes) = self.note_refused(attributes)? else {
            return Ok(Some(header.references));
        };
        if let Some(problem) = xattr::block_layout_problem(&bytes) {
            self.note(place(), problem);
        }
        for attribute in &attributes {
            if attribute.index == 0 {
                let name = String::from_utf8_lossy(&attribute.name);
                self.note(place(), format!("attribute {name:?} has no prefix"));
            }
            if let Some(problem) = hash_problem(attribute) {
                self.note(place(), problem);
            }
            *value_clusters += self.value(number, inode, &place(), attribute)?;
        }
        let expected = xattr::block_hash(&attributes);
        if header.hash != 0 && header.hash != expected {
            // It only matters to the search for a block to share.
            self.warn(
                place(),
                format!(
                    "hash of the attributes is {:#010x}, computed {expected:#010x}",
                    header.hash
                ),
            );
        }
        Ok(Some(header.references))
    }

    /// Looks at the inode that holds the value of an attribute, if there is one; gives the clusters
    /// of the value.
    fn value(
        &mut self,
        number: InodeNumber,
        inode: &Inode,
        place: &Location,
        attribute: &Attribute,
    ) -> Result<u64> {
        let Value::InInode { inode: holder, len } = attribute.value else {
            return Ok(0);
        };
        let name = String::from_utf8_lossy(&attribute.name).into_owned();
        if holder == InodeNumber::ROOT || !self.fs.is_file_inode(holder) {
            self.note(
                place.clone(),
                format!("the value of attribute {name:?} is said to be in {holder}"),
            );
            return Ok(0);
        }
        let value = self.fs.read_inode_unchecked(holder);
        let Some(value) = self.note_refused(value)? else {
            return Ok(0);
        };
        let hash = xattr::entry_hash_of_inode(&attribute.name, value.head.i_atime.get());
        // Lustre's form: the inode points back to its owner.
        let points_back = value.head.i_mtime.get() == number.0
            && value.head.i_generation == inode.head.i_generation;
        let problem = if attribute.hash != hash && !points_back {
            format!(
                "hash of attribute {name:?} is {:#010x}, computed {hash:#010x}",
                attribute.hash
            )
        } else if !value.has_flag(flags::EA_INODE) {
            format!("{holder} holds the value of attribute {name:?}, but its flag is not set")
        } else {
            *self.value_references.entry(holder).or_default() += 1;
            // Lustre's clusters are accounted for in the inode that holds the value.
            let is_counted = attribute.hash == hash;
            return Ok(u64::from(is_counted) * self.clusters_for(len));
        };
        self.note(place.clone(), problem);
        Ok(0)
    }

    fn clusters_for(&self, len: u32) -> u64 {
        let geometry = &self.fs.geometry;
        let cluster = geometry.block_size.bytes64() * u64::from(geometry.cluster_blocks);
        u64::from(len).div_ceil(cluster)
    }

    /// Looks at an inode to which only attributes refer, and which counts them itself.
    pub(super) fn value_holder(&mut self, number: InodeNumber, references: u64) -> Result<()> {
        let inode = self.fs.read_inode_unchecked(number);
        let Some(inode) = self.note_refused(inode)? else {
            return Ok(());
        };
        let head = &inode.head;
        let stated = u64::from(head.i_ctime.get()) << 32 | u64::from(head.i_version.get());
        // Lustre's inodes do not count them.
        if stated != references && head.i_ctime != head.i_atime {
            self.note(
                at_inode(number),
                format!("it says {stated} attributes refer to it, {references} do"),
            );
        }
        if head.i_links_count.get() != 1 {
            self.note(
                at_inode(number),
                format!(
                    "it holds an attribute's value and has {} links, expected 1",
                    head.i_links_count.get()
                ),
            );
        }
        Ok(())
    }

    /// Compares the number of inodes that refer to each block with the number that it states.
    pub(super) fn shared_blocks(&mut self) {
        let shared = std::mem::take(&mut self.shared.blocks);
        for (
            block,
            SharedBlock {
                counted, stated, ..
            },
        ) in shared
        {
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

/// What is wrong with the hash of an attribute whose value is in the block.
fn hash_problem(attribute: &Attribute) -> Option<String> {
    let Value::Here(value) = &attribute.value else {
        return None;
    };
    let expected = xattr::entry_hash(&attribute.name, value);
    let signed = xattr::entry_hash_signed(&attribute.name, value);
    let is_right = [expected, signed].contains(&attribute.hash);
    (!is_right).then(|| {
        format!(
            "hash of attribute {:?} is {:#010x}, computed {expected:#010x}",
            String::from_utf8_lossy(&attribute.name),
            attribute.hash
        )
    })
}
