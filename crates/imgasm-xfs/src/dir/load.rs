//! Reading a directory from the disk.

use imgasm_fs::{Location, Result};

use crate::dir::{Directory, Form, shortform};
use crate::extent_map::ExtentMap;
use crate::fork::read_blocks;
use crate::format::dir::data;
use crate::format::dir::data::BlockKind;
use crate::format::dir::index::index_start;
use crate::format::numbers::{DirectoryBlock, FileBlock, InodeNumber};
use crate::inode::{Fork, Inode};
use crate::problem::{corrupt, in_file};
use crate::volume::Volume;

/// Reads all of a directory. The index is not needed for that; the checker checks it.
pub(crate) fn load(volume: &Volume, inode: &Inode) -> Result<Directory> {
    inode.expect_directory()?;
    match &inode.data {
        Fork::Local(bytes) => shortform::decode(bytes, &volume.geometry)
            .map_err(|problem| corrupt(Location::Inode(inode.number.0), problem)),
        Fork::Extents(map) => load_blocks(volume, inode.number, map),
        Fork::Device(_) => Err(corrupt(
            Location::Inode(inode.number.0),
            "a directory with a device number",
        )),
    }
}

/// The numbers of the data blocks that a directory has.
pub(crate) fn data_block_numbers(volume: &Volume, map: &ExtentMap) -> Vec<DirectoryBlock> {
    let geometry = &volume.geometry;
    let mut numbers = Vec::new();
    for extent in map.range(FileBlock::FIRST, index_start(geometry).into()) {
        let first = geometry.directory_block(extent.file_block);
        let last = geometry.directory_block(FileBlock(extent.end().0 - 1));
        for number in (first.0..=last.0).map(DirectoryBlock) {
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
    }
    numbers
}

fn load_blocks(volume: &Volume, inode: InodeNumber, map: &ExtentMap) -> Result<Directory> {
    let geometry = &volume.geometry;
    let bad = |problem: &str| corrupt(Location::Inode(inode.0), problem.to_owned());
    let per_block = geometry.directory_block_blocks;
    let mut directory = Directory::new(InodeNumber(0));
    let mut parent = None;
    let mut itself = None;
    let numbers = data_block_numbers(volume, map);
    for &number in &numbers {
        let file_block = geometry.directory_file_block(number);
        let bad_block = |problem: String| corrupt(in_file(inode, file_block), problem);
        let blocks = read_blocks(volume, inode, map, file_block, per_block)?;
        let kind = data::check_identity(&blocks.bytes, geometry, blocks.daddr, inode)
            .map_err(bad_block)?;
        if kind == BlockKind::Whole && numbers.len() > 1 {
            return Err(bad_block(
                "a block for a whole directory among others".to_owned(),
            ));
        }
        directory.form = match kind {
            BlockKind::Whole => Form::Whole,
            BlockKind::Part => Form::Parts,
        };
        directory.blocks.entry(number).or_default();
        for (offset, entry) in data::decode(&blocks.bytes, geometry, kind).map_err(bad_block)? {
            let slot = match entry.name.as_slice() {
                b"." => &mut itself,
                b".." => &mut parent,
                _ => {
                    let name = entry.name.clone();
                    if !directory.place(number, offset, entry) {
                        return Err(bad_block(format!(
                            "{:?} is there twice",
                            String::from_utf8_lossy(&name)
                        )));
                    }
                    continue;
                }
            };
            let place = if entry.name.len() == 1 {
                data::header_len(geometry)
            } else {
                data::header_len(geometry) + data::entry_len(geometry, 1)
            };
            if number != DirectoryBlock::FIRST
                || offset != place
                || slot.replace(entry.inode).is_some()
            {
                return Err(bad_block("a dot entry in the wrong place".to_owned()));
            }
        }
    }
    if itself != Some(inode) {
        return Err(bad("`.` does not name the directory"));
    }
    directory.parent = parent.ok_or_else(|| bad("there is no `..`"))?;
    Ok(directory)
}
