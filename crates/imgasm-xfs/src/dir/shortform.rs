//! Directories in the inode (`xfs_dir2_sf_hdr`, `xfs_dir2_sf_entry`).

use crate::dir::Directory;
use crate::format::bytes::{as_u16, u16_at, u32_at, u64_at};
use crate::format::dir::data;
use crate::format::dir::entry::{Entry, code_of_type, type_from_code};
use crate::format::geometry::Geometry;
use crate::format::numbers::{DirectoryBlock, InodeNumber};

/// Decodes a directory in the inode.
pub(crate) fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Directory, String> {
    let cut = || "the directory is cut off".to_owned();
    let [count, big_count, ..] = *bytes else {
        return Err(cut());
    };
    let inode_len = if big_count == 0 { 4 } else { 8 };
    let inode_at = |at: usize| -> Result<InodeNumber, String> {
        let bytes = bytes.get(at..at + inode_len).ok_or_else(cut)?;
        Ok(InodeNumber(if big_count == 0 {
            u64::from(u32_at(bytes, 0))
        } else {
            u64_at(bytes, 0)
        }))
    };
    let mut directory = Directory::new(inode_at(2)?);
    let type_len = usize::from(geometry.features.ftype);
    let mut at = 2 + inode_len;
    let mut end = data::first_offset(geometry);
    for _ in 0..count {
        let name_len = usize::from(*bytes.get(at).ok_or_else(cut)?);
        let header = bytes.get(at..at + 3).ok_or_else(cut)?;
        let offset = u32::from(u16_at(header, 1));
        let name = bytes.get(at + 3..at + 3 + name_len).ok_or_else(cut)?;
        let file_type = if type_len == 1 {
            type_from_code(*bytes.get(at + 3 + name_len).ok_or_else(cut)?)
        } else {
            None
        };
        let inode = inode_at(at + 3 + name_len + type_len)?;
        if !imgasm_fs::is_name(name) {
            return Err(format!("name {:?}", String::from_utf8_lossy(name)));
        }
        if offset < end || offset % 8 != 0 {
            return Err(format!("name at offset {offset}, before {end}"));
        }
        end = offset + data::entry_len(geometry, name_len);
        if end > geometry.directory_block_size {
            return Err(format!("name at offset {offset}, behind the block"));
        }
        let entry = Entry {
            name: name.to_vec(),
            inode,
            file_type,
        };
        if !directory.place(DirectoryBlock::FIRST, offset, entry) {
            return Err(format!(
                "{:?} is there twice",
                String::from_utf8_lossy(name)
            ));
        }
        at += 3 + name_len + type_len + inode_len;
    }
    Ok(directory)
}

/// Whether an inode's number needs eight bytes.
fn is_big(inode: InodeNumber) -> bool {
    inode.0 > u64::from(u32::MAX)
}

/// Bytes of an inode number in a directory in the inode: all are as long as the longest.
fn inode_len(directory: &Directory) -> usize {
    let any = is_big(directory.parent) || directory.entries().any(|entry| is_big(entry.inode));
    if any { 8 } else { 4 }
}

/// Bytes that a directory would have in the inode.
pub(crate) fn encoded_len(directory: &Directory, geometry: &Geometry) -> usize {
    let inode_len = inode_len(directory);
    let fixed = 3 + usize::from(geometry.features.ftype) + inode_len;
    let names: usize = directory
        .entries()
        .map(|entry| fixed + entry.name.len())
        .sum();
    2 + inode_len + names
}

/// Encodes a directory all of whose names are in the first block.
pub(crate) fn encode(directory: &Directory, geometry: &Geometry) -> Vec<u8> {
    let inode_len = inode_len(directory);
    let mut bytes = Vec::new();
    let push_inode = |bytes: &mut Vec<u8>, inode: InodeNumber| {
        bytes.extend_from_slice(&inode.0.to_be_bytes()[8 - inode_len..]);
    };
    let count = u8::try_from(directory.len()).expect("an inode has room for fewer names");
    let big = directory
        .entries()
        .map(|entry| entry.inode)
        .chain([directory.parent])
        .filter(|inode| is_big(*inode))
        .count();
    bytes.push(count);
    bytes.push(u8::try_from(big).expect("no more than there are names"));
    push_inode(&mut bytes, directory.parent);
    for (offset, entry) in directory.blocks.values().flat_map(|block| &block.entries) {
        bytes.push(u8::try_from(entry.name.len()).expect("names have 255 bytes at most"));
        bytes.extend_from_slice(&as_u16(*offset as usize).to_be_bytes());
        bytes.extend_from_slice(&entry.name);
        if geometry.features.ftype {
            bytes.push(entry.file_type.map_or(0, code_of_type));
        }
        push_inode(&mut bytes, entry.inode);
    }
    bytes
}
