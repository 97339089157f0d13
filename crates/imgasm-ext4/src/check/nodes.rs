//! What is known about each inode in use: from the inode itself, and from the names that lead to
//! it.

use crate::format::geometry::Geometry;
use crate::format::numbers::{InodeNumber, to_usize};
use imgasm_fs::types::FileType;

/// An inode in use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    /// What it is; `None` if its mode does not say.
    pub(super) file_type: Option<FileType>,
    /// `i_links_count`.
    pub(super) links: u16,
    /// Whether it is a directory with an index.
    pub(super) is_indexed: bool,
    /// Whether its flags say that it holds the value of an attribute.
    pub(super) is_value: bool,
    /// Whether it is one of those that no directory names: the journal, quotas, …
    pub(super) hidden: bool,
    /// Names that lead to it, including `.` and `..`.
    pub(super) names: u32,
    /// Of a directory: the one that has a name for it.
    pub(super) named_in: Option<InodeNumber>,
    /// Of a directory: what its `..` says.
    pub(super) dot_dot: Option<InodeNumber>,
}

/// All inodes in use.
pub(super) struct Nodes {
    inodes_per_group: u32,
    /// By group; empty for a group that was not looked at.
    groups: Vec<Vec<Option<Node>>>,
}

impl Nodes {
    /// All inodes, none in use.
    pub(super) fn new(geometry: &Geometry) -> Self {
        Self {
            inodes_per_group: geometry.inodes_per_group,
            groups: vec![Vec::new(); to_usize(geometry.group_count)],
        }
    }

    fn place(&self, number: InodeNumber) -> Option<(usize, usize)> {
        let index = number.0.checked_sub(1)?;
        Some((
            to_usize(index / self.inodes_per_group),
            to_usize(index % self.inodes_per_group),
        ))
    }

    /// Marks an inode as in use.
    pub(super) fn insert(&mut self, number: InodeNumber, node: Node) {
        let (group, index) = self.place(number).expect("inodes are counted from 1");
        let group = &mut self.groups[group];
        if group.len() <= index {
            group.resize(index + 1, None);
        }
        group[index] = Some(node);
    }

    /// An inode, if it is in use.
    pub(super) fn get(&self, number: InodeNumber) -> Option<&Node> {
        let (group, index) = self.place(number)?;
        self.groups.get(group)?.get(index)?.as_ref()
    }

    /// An inode, if it is in use, to be changed.
    pub(super) fn get_mut(&mut self, number: InodeNumber) -> Option<&mut Node> {
        let (group, index) = self.place(number)?;
        self.groups.get_mut(group)?.get_mut(index)?.as_mut()
    }

    /// The inode in use that comes after `number`.
    pub(super) fn next(&self, number: InodeNumber) -> Option<InodeNumber> {
        // The number after `number`, counted from 0.
        let from = number.0;
        let mut group = from / self.inodes_per_group;
        let mut index = to_usize(from % self.inodes_per_group);
        while let Some(nodes) = self.groups.get(to_usize(group)) {
            if let Some(found) = (index..nodes.len()).find(|&index| nodes[index].is_some()) {
                let found = u32::try_from(found).expect("below the inodes of a group");
                return Some(InodeNumber(group * self.inodes_per_group + found + 1));
            }
            group += 1;
            index = 0;
        }
        None
    }
}
