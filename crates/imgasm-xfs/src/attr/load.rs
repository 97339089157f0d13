//! Reading an inode's attributes from the disk.

use imgasm_fs::{Location, Result};

use crate::extent_map::ExtentMap;
use crate::fork::read_blocks;
use crate::format::attr::key::Attributes;
use crate::format::attr::leaf::Value;
use crate::format::attr::{leaf, remote, shortform};
use crate::format::hash_tree;
use crate::format::hash_tree::Node;
use crate::format::numbers::{FileBlock, HashTreeBlock, InodeNumber};
use crate::inode::{Fork, Inode};
use crate::problem::{corrupt, in_file};
use crate::volume::Volume;

/// Reads all attributes of an inode.
pub(crate) fn load(volume: &Volume, inode: &Inode) -> Result<Attributes> {
    match &inode.attributes {
        None | Some(Fork::Device(_)) => Ok(Attributes::new()),
        Some(Fork::Local(bytes)) => shortform::decode(bytes)
            .map_err(|problem| corrupt(Location::Inode(inode.number.0), problem)),
        Some(Fork::Extents(map)) if map.extents().is_empty() => Ok(Attributes::new()),
        Some(Fork::Extents(map)) => load_blocks(volume, inode.number, map),
    }
}

/// Reads the leaves from the first to the last; in a tree, the nodes above them only lead to the
/// first.
fn load_blocks(volume: &Volume, inode: InodeNumber, map: &ExtentMap) -> Result<Attributes> {
    let geometry = &volume.geometry;
    let mut attributes = Attributes::new();
    let read = |block: HashTreeBlock| -> Result<(Vec<u8>, hash_tree::Header)> {
        let blocks = read_blocks(volume, inode, map, block.into(), 1)?;
        let header = hash_tree::check_identity(&blocks.bytes, geometry, blocks.daddr, inode)
            .map_err(|problem| corrupt(in_file(inode, block), problem))?;
        Ok((blocks.bytes, header))
    };
    let leaves = hash_tree::first_leaf(inode, HashTreeBlock::ATTRIBUTES, |block| {
        let (bytes, header) = read(block)?;
        if leaf::is_leaf(header.magic, geometry) {
            return Ok(None);
        }
        Node::decode(&bytes, geometry)
            .map(Some)
            .map_err(|problem| corrupt(in_file(inode, block), problem))
    })?;
    let mut next = leaves;
    let most = map.data_blocks();
    for _ in 0..most {
        let (bytes, header) = read(next)?;
        let bad = |problem: String| corrupt(in_file(inode, next), problem);
        if !leaf::is_leaf(header.magic, geometry) {
            return Err(bad(format!("magic number {:#06x}", header.magic)));
        }
        for attribute in leaf::decode(&bytes, geometry).map_err(bad)? {
            let value = match attribute.value {
                Value::Local(value) => value,
                Value::Remote { file_block, len } => {
                    read_remote(volume, inode, map, file_block, len)?
                }
            };
            attributes.insert(attribute.key, value);
        }
        if header.forward == HashTreeBlock::NONE {
            return Ok(attributes);
        }
        next = header.forward;
    }
    Err(corrupt(
        Location::Inode(inode.0),
        "the leaves of the attributes form a cycle",
    ))
}

/// Reads a value of `len` bytes from `file_block` of the attribute fork on.
fn read_remote(
    volume: &Volume,
    inode: InodeNumber,
    map: &ExtentMap,
    file_block: HashTreeBlock,
    len: u32,
) -> Result<Vec<u8>> {
    let geometry = &volume.geometry;
    let len = len as usize;
    if len > remote::MAX_VALUE {
        return Err(corrupt(
            Location::Inode(inode.0),
            format!("an attribute's value of {len} bytes"),
        ));
    }
    let mut value = Vec::with_capacity(len);
    for index in 0..remote::block_count(geometry, len) {
        let block = FileBlock::from(file_block).plus(index as u64);
        let blocks = read_blocks(volume, inode, map, block, 1)?;
        let part = remote::decode(
            &blocks.bytes,
            geometry,
            blocks.daddr,
            inode,
            value.len(),
            len,
        )
        .map_err(|problem| corrupt(in_file(inode, block), problem))?;
        value.extend_from_slice(part);
    }
    Ok(value)
}
