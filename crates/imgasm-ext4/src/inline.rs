//! Content that is small enough to lie in the inode: the first 60 bytes in `i_block`, the rest in the
//! attribute `system.data` (`inline_data`). Content that is to be changed moves to blocks, as the kernel
//! does it when content grows.

use super::format::features::Incompat;
use super::format::inode::{HEAD_LEN, I_BLOCK_LEN, Inode, flags};
use super::format::numbers::{InodeNumber, to_u64};
use super::format::xattr::{self, Value};
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::types::FileExtent;

/// Where `i_block` lies in an inode.
const I_BLOCK_AT: usize = 0x28;
/// The attribute's name behind `system.`.
const DATA_NAME: &[u8] = b"data";

/// The content of an inode that holds it itself: as many bytes as its size says.
pub fn content(number: InodeNumber, inode: &Inode) -> Result<Vec<u8>> {
    let mut content = inode.head.i_block.to_vec();
    let attributes =
        xattr::decode_inode_area(inode.xattr_area()).map_err(|p| p.at(at_inode(number)))?;
    for attribute in attributes {
        if let (xattr::INDEX_SYSTEM, DATA_NAME, Value::Here(rest)) =
            (attribute.index, attribute.name.as_slice(), &attribute.value)
        {
            content.extend_from_slice(rest);
        }
    }
    let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
    if size > content.len() {
        return Err(corrupt(
            at_inode(number),
            format!(
                "its size is {size}, the inode holds {} bytes",
                content.len()
            ),
        ));
    }
    content.truncate(size);
    Ok(content)
}

/// Bytes that an inode holds itself: `i_block` and what the attribute has; `None` if the attribute
/// is not there.
pub fn room(number: InodeNumber, inode: &Inode) -> Result<Option<u64>> {
    let attributes =
        xattr::decode_inode_area(inode.xattr_area()).map_err(|p| p.at(at_inode(number)))?;
    let data = attributes
        .iter()
        .find(|attribute| attribute.index == xattr::INDEX_SYSTEM && attribute.name == DATA_NAME);
    Ok(data.and_then(|attribute| match &attribute.value {
        Value::Here(rest) => Some(to_u64(I_BLOCK_LEN + rest.len())),
        Value::InInode { .. } => None,
    }))
}

impl Ext4 {
    /// Makes a file that holds its content in the inode hold it in blocks.
    pub(super) fn move_out_of_inode(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
    ) -> Result<()> {
        if !inode.has_flag(flags::INLINE_DATA) {
            return Ok(());
        }
        let content = content(number, inode)?;
        self.empty_inline(number, inode)?;
        self.replace_content(
            number,
            inode,
            to_u64(content.len()),
            &mut content.as_slice(),
        )
    }

    /// Turns an inode that holds its content into one of the usual form, without content.
    pub(super) fn empty_inline(&self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        if !inode.has_flag(flags::INLINE_DATA) {
            return Ok(());
        }
        let mut attributes =
            xattr::decode_inode_area(inode.xattr_area()).map_err(|p| p.at(at_inode(number)))?;
        attributes.retain(|attribute| {
            (attribute.index, attribute.name.as_slice()) != (xattr::INDEX_SYSTEM, DATA_NAME)
        });
        if !xattr::encode_inode_area(inode.xattr_area_mut(), &attributes) {
            return Err(corrupt(
                at_inode(number),
                "the attributes in the inode overlap one another",
            ));
        }
        inode.clear_flag(flags::INLINE_DATA);
        inode.head.i_block = [0; I_BLOCK_LEN];
        inode.set_size(0);
        if self.geometry.features().incompat.contains(Incompat::EXTENT) {
            inode.set_flag(flags::EXTENTS);
            Self::init_extent_root(inode);
        }
        Ok(())
    }

    /// Where such content lies: the part in `i_block`, and the rest after it.
    pub(super) fn inline_extents(
        &self,
        number: InodeNumber,
        inode: &Inode,
    ) -> Result<Vec<FileExtent>> {
        let (block, at) = self.inode_place(number)?;
        let start = self.geometry.block_size.offset_of(block) + to_u64(at);
        let size = inode.size();
        let first = size.min(to_u64(I_BLOCK_LEN));
        let mut extents = vec![FileExtent {
            file_offset: 0,
            device_offset: start + to_u64(I_BLOCK_AT),
            len: first,
        }];
        let area = inode.xattr_area();
        if let Some(range) = xattr::value_in_inode_area(area, xattr::INDEX_SYSTEM, DATA_NAME) {
            extents.push(FileExtent {
                file_offset: first,
                device_offset: start + to_u64(HEAD_LEN + inode.extra_isize() + range.start),
                len: (size - first).min(to_u64(range.len())),
            });
        }
        extents.retain(|extent| extent.len > 0);
        Ok(extents)
    }
}
