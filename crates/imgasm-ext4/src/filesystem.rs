//! ext4 as a [`FileSystem`]: each change is an operation that is done in full or not at all.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use super::format::inode::Inode;
use super::format::numbers::InodeNumber;
use super::namespace::node;
use crate::problem::at_inode;
use crate::volume::Ext4;
use imgasm_fs::FileSystem;
use imgasm_fs::error::{Error, Result};
use imgasm_fs::types::{
    DirEntry, FileExtent, FileSystemInfo, FileType, Finding, Metadata, MetadataChange, NewNode,
    NodeId,
};

impl Ext4 {
    /// An inode that must be of a type.
    fn inode_of_type(
        &self,
        id: NodeId,
        wanted: FileType,
        expected: &'static str,
    ) -> Result<(InodeNumber, Inode)> {
        let number = self.inode_number(id)?;
        let inode = self.read_inode(number)?;
        if inode.file_type().map_err(|p| p.at(at_inode(number)))? != wanted {
            return Err(Error::WrongType { node: id, expected });
        }
        Ok((number, inode))
    }
}

impl FileSystem for Ext4 {
    fn info(&self) -> Result<FileSystemInfo> {
        Ok(self.describe())
    }

    fn root(&self) -> NodeId {
        node(InodeNumber::ROOT)
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let number = self.inode_number(directory)?;
        let inode = self.directory(number)?;
        if name == b"." || name == b".." {
            return Ok(None);
        }
        Ok(self.target_of(number, &inode, name)?.map(node))
    }

    fn metadata(&self, id: NodeId) -> Result<Metadata> {
        self.stat(self.inode_number(id)?)
    }

    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>> {
        let number = self.inode_number(directory)?;
        let inode = self.directory(number)?;
        self.list(number, &inode)
    }

    fn read_at(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (number, inode) = self.inode_of_type(id, FileType::Regular, "a regular file")?;
        self.read_content(number, &inode, offset, buf)
    }

    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        let (number, inode) = self.inode_of_type(id, FileType::Regular, "a regular file")?;
        self.content_extents(number, &inode)
    }

    fn read_link(&self, id: NodeId) -> Result<Vec<u8>> {
        let (number, inode) = self.inode_of_type(id, FileType::Symlink, "a symbolic link")?;
        self.symlink_target(number, &inode)
    }

    fn xattrs(&self, id: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let number = self.inode_number(id)?;
        let inode = self.read_inode(number)?;
        self.all_xattrs(number, &inode)
    }

    fn used_extents(&self) -> Result<Vec<Range<u64>>> {
        self.used_ranges()
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        self.check_all(report)
    }

    fn create(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        let directory = self.inode_number(directory)?;
        self.transact(|fs| fs.create_node(directory, name, new))
            .map(node)
    }

    fn write_content(&mut self, id: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        let number = self.inode_number(id)?;
        self.transact(|fs| fs.write_whole(number, size, content))
    }

    fn write_at(&mut self, id: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        let number = self.inode_number(id)?;
        self.transact(|fs| fs.write_part(number, offset, data))
    }

    fn set_size(&mut self, id: NodeId, size: u64) -> Result<()> {
        let number = self.inode_number(id)?;
        self.transact(|fs| fs.resize(number, size))
    }

    fn link(&mut self, id: NodeId, directory: NodeId, name: &[u8]) -> Result<()> {
        let number = self.inode_number(id)?;
        let directory = self.inode_number(directory)?;
        self.transact(|fs| fs.link_node(number, directory, name))
    }

    fn rename(&mut self, from: NodeId, from_name: &[u8], to: NodeId, to_name: &[u8]) -> Result<()> {
        let (from, to) = (self.inode_number(from)?, self.inode_number(to)?);
        self.transact(|fs| fs.rename_node(from, from_name, to, to_name))
    }

    fn remove(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        let directory = self.inode_number(directory)?;
        self.transact(|fs| fs.remove_name(directory, name))
    }

    fn set_metadata(&mut self, id: NodeId, change: &MetadataChange) -> Result<()> {
        let number = self.inode_number(id)?;
        self.transact(|fs| fs.change_metadata(number, change))
    }

    fn set_xattr(&mut self, id: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        let number = self.inode_number(id)?;
        self.transact(|fs| fs.change_xattr(number, name, value))
    }

    fn flush(&mut self) -> Result<()> {
        self.write_staged()
    }
}
