//! ext4 as a [`FileSystem`].

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use super::format::features::RoCompat;
use super::format::inode::{Inode, flags};
use super::format::numbers::InodeNumber;
use super::namespace::node;
use crate::problem::at_inode;
use crate::volume::Ext4;
use imgasm_fs::FileSystem;
use imgasm_fs::error::{Error, Result};
use imgasm_fs::types::{
    DirEntry, FileExtent, FileSystemInfo, FileType, Finding, Metadata, MetadataChange, NewNode,
    NodeFlags, NodeId, Rename,
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

    fn check_writable(&self) -> Result<()> {
        self.options().map(drop)
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

    fn parent(&self, directory: NodeId) -> Result<NodeId> {
        let number = self.inode_number(directory)?;
        let inode = self.directory(number)?;
        self.parent_of(number, &inode).map(node)
    }

    fn metadata(&self, id: NodeId) -> Result<Metadata> {
        self.stat(self.inode_number(id)?)
    }

    fn flags(&self, id: NodeId) -> Result<NodeFlags> {
        let inode = self.read_inode(self.inode_number(id)?)?;
        let has_projects = self.has_ro(RoCompat::PROJECT);
        Ok(NodeFlags {
            immutable: inode.has_flag(flags::IMMUTABLE),
            append_only: inode.has_flag(flags::APPEND),
            project: if has_projects { inode.project() } else { 0 },
            inherits_project: has_projects && inode.has_flag(flags::PROJINHERIT),
        })
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

    fn write_content(&mut self, id: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        let number = self.inode_number(id)?;
        self.change(|fs| fs.write_whole(number, size, content))
    }

    fn write_at(&mut self, id: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        let number = self.inode_number(id)?;
        self.change(|fs| fs.write_part(number, offset, data))
    }

    fn set_size(&mut self, id: NodeId, size: u64) -> Result<()> {
        let number = self.inode_number(id)?;
        self.change(|fs| fs.resize(number, size))
    }

    fn check_storable(&self, _name: &[u8], new: Option<&NewNode<'_>>) -> Result<()> {
        new.map_or(Ok(()), |new| self.check_kind(&new.kind))
    }

    fn insert_node(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        let directory = self.inode_number(directory)?;
        self.change(|fs| fs.create_node(directory, name, new))
            .map(node)
    }

    fn insert_name(&mut self, id: NodeId, directory: NodeId, name: &[u8]) -> Result<()> {
        let number = self.inode_number(id)?;
        let directory = self.inode_number(directory)?;
        self.change(|fs| fs.link_node(number, directory, name))
    }

    fn move_name(&mut self, rename: &Rename<'_>) -> Result<()> {
        self.change(|fs| fs.move_entry(rename))
    }

    fn remove_name(&mut self, directory: NodeId, name: &[u8], _node: NodeId) -> Result<()> {
        let directory = self.inode_number(directory)?;
        self.change(|fs| fs.remove_link(directory, name))
    }

    fn store_metadata(&mut self, id: NodeId, change: &MetadataChange) -> Result<()> {
        let number = self.inode_number(id)?;
        self.change(|fs| fs.change_metadata(number, change))
    }

    fn store_xattr(&mut self, id: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        let number = self.inode_number(id)?;
        self.change(|fs| fs.change_xattr(number, name, value))
    }

    fn grow(&mut self, len: u64) -> Result<u64> {
        self.grow_within(len)
    }

    fn flush(&mut self) -> Result<()> {
        self.write_staged()
    }
}
