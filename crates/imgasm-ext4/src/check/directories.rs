//! The pass over the names.

use std::collections::HashSet;

use super::Check;
use super::directory::Directory;
use super::index::Leaf;
use crate::format::dirent::{self, Entry};
use crate::format::inode::{I_BLOCK_LEN, flags};
use crate::format::numbers::{FileBlock, InodeNumber};
use crate::inline;
use crate::mapping::Mapping;
use crate::stage::Kind;
use imgasm_fs::error::{Location, Result};
use imgasm_fs::types::FileType;

/// After so many refused blocks a directory is given up: a forged one can be very large.
const MOST_REFUSED: u32 = 1000;

impl Check<'_> {
    /// Looks at every directory in use.
    pub(super) fn directories(&mut self) -> Result<()> {
        let mut number = InodeNumber(0);
        while let Some(next) = self.nodes.next(number) {
            number = next;
            let node = self.nodes.get(number);
            if node.is_some_and(|node| node.file_type == Some(FileType::Directory)) {
                self.directory(number)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, number: InodeNumber) -> Result<()> {
        // What is wrong with the inode itself has been reported already.
        let Ok(inode) = self.fs.read_inode_unchecked(number) else {
            return Ok(());
        };
        let is_inline = inode.has_flag(flags::INLINE_DATA);
        let mapping = if is_inline {
            Ok(Mapping::default())
        } else {
            self.fs.mapping(number, &inode)
        };
        let Ok(mapping) = mapping else {
            return Ok(());
        };
        let mut directory = Directory {
            number,
            inode,
            mapping,
            names: HashSet::new(),
        };
        if is_inline {
            return self.inline_directory(&mut directory);
        }
        let leaves = if self.fs.is_indexed(&directory.inode) {
            self.index(&directory)?
        } else {
            None
        };
        if let Some(leaves) = leaves {
            for (index, leaf) in leaves {
                self.leaf(&mut directory, FileBlock(index), Some(leaf))?;
            }
        } else {
            let mut refused = 0;
            for block in directory.blocks() {
                refused += u32::from(!self.leaf(&mut directory, block, None)?);
                if refused > MOST_REFUSED {
                    self.note(directory.at(block), "this is not a directory");
                    break;
                }
            }
        }
        self.dots_present(&directory);
        Ok(())
    }

    /// Looks at a block of entries; false if it cannot be read to its end.
    fn leaf(
        &mut self,
        directory: &mut Directory,
        file_block: FileBlock,
        leaf: Option<Leaf>,
    ) -> Result<bool> {
        let Some(block) = directory.block(file_block) else {
            // That there is a hole has been reported with the size.
            return Ok(true);
        };
        let seed = self.fs.inode_seed(directory.number, &directory.inode);
        let bytes = if leaf.is_some_and(|leaf| leaf.is_root) {
            self.fs.stage.peek(block)
        } else {
            self.fs.stage.get(block, Kind::Entries(seed))
        };
        let Some(bytes) = self.note_refused(bytes)? else {
            return Ok(false);
        };
        let has_tail =
            self.fs.geometry.features().metadata_csum() && !leaf.is_some_and(|leaf| leaf.is_root);
        let area = &bytes[..dirent::entries_len(bytes.len(), has_tail)];
        for (position, entry) in dirent::entries(area).enumerate() {
            let place = directory.at(file_block);
            let entry = entry.map_err(|problem| problem.at(place.clone()));
            let Some(entry) = self.note_refused(entry)? else {
                return Ok(false);
            };
            if file_block.0 == 0 && position < 2 {
                self.dot(directory, position, &entry);
            } else if entry.inode.is_some() {
                self.name(directory, place.clone(), &entry);
                self.hash(directory, &place, &entry, leaf);
            }
        }
        Ok(true)
    }

    /// Looks at one of the first two entries of a directory.
    fn dot(&mut self, directory: &Directory, position: usize, entry: &Entry<'_>) {
        let (number, place) = (directory.number, directory.at(FileBlock(0)));
        let expected: &[u8] = if position == 0 { b"." } else { b".." };
        let Some(target) = entry.inode.filter(|_| entry.name == expected) else {
            self.note(
                place,
                format!(
                    "entry {position} is {:?}, expected {:?}",
                    String::from_utf8_lossy(entry.name),
                    String::from_utf8_lossy(expected)
                ),
            );
            return;
        };
        if position == 0 {
            if target != number {
                self.note(place.clone(), format!("\".\" names {target}"));
            }
        } else if let Some(node) = self.nodes.get_mut(number) {
            node.dot_dot = Some(target);
        }
        self.count(target, place, entry);
    }

    /// Makes sure that a directory names its parent.
    fn dots_present(&mut self, directory: &Directory) {
        let node = self.nodes.get(directory.number);
        if node.is_some_and(|node| node.dot_dot.is_none()) {
            self.note(directory.at(FileBlock(0)), "there is no \"..\"");
        }
    }

    /// Looks at a name.
    fn name(&mut self, directory: &mut Directory, place: Location, entry: &Entry<'_>) {
        let shown = String::from_utf8_lossy(entry.name);
        let Some(target) = entry.inode else { return };
        if !directory.is_encrypted() {
            let problem = match entry.name {
                b"" => Some("is empty"),
                b"." | b".." => Some("is not at the start of the directory"),
                name if name.contains(&b'/') => Some("has a slash"),
                name if name.contains(&0) => Some("has a zero byte"),
                _ => None,
            };
            if let Some(problem) = problem {
                self.note(place.clone(), format!("the name {shown:?} {problem}"));
            }
        }
        if !directory.names.insert(entry.name.to_vec()) {
            self.note(place.clone(), format!("the name {shown:?} is there twice"));
        }
        if !self.fs.is_file_inode(target) {
            self.note(
                place,
                format!("the name {shown:?} stands for {target}, which is not a file's"),
            );
            return;
        }
        self.count(target, place.clone(), entry);
        if directory.is_encrypted() {
            self.encrypted_entry(directory.number, &place, entry.name, target);
        }
        let Some(node) = self.nodes.get_mut(target) else {
            return;
        };
        if node.file_type != Some(FileType::Directory) {
            return;
        }
        if target == InodeNumber::ROOT {
            self.note(place, format!("the name {shown:?} stands for the root"));
        } else if let Some(other) = node.named_in {
            self.note(
                place,
                format!(
                    "the name {shown:?} stands for the directory {target}, which {other} names"
                ),
            );
        } else {
            node.named_in = Some(directory.number);
        }
    }

    /// Counts a name for an inode and compares the entry's file type with the inode's.
    fn count(&mut self, target: InodeNumber, place: Location, entry: &Entry<'_>) {
        let shown = String::from_utf8_lossy(entry.name).into_owned();
        let Some(node) = self.nodes.get_mut(target) else {
            self.note(
                place,
                format!("the name {shown:?} stands for {target}, which is not in use"),
            );
            return;
        };
        node.names = node.names.saturating_add(1);
        let expected = node.file_type.map(|file_type| self.fs.type_code(file_type));
        if let Some(expected) = expected
            && entry.file_type != expected
            && entry.file_type != 0
        {
            self.note(
                place,
                format!(
                    "the name {shown:?} says file type {}, {target} has {expected}",
                    entry.file_type
                ),
            );
        }
    }

    /// A directory in its inode: the parent's number, then entries in `i_block` and in an
    /// attribute.
    fn inline_directory(&mut self, directory: &mut Directory) -> Result<()> {
        const PARENT_LEN: usize = 4;
        let number = directory.number;
        let content = inline::content(number, &directory.inode);
        let Some(content) = self.note_refused(content)? else {
            return Ok(());
        };
        let (in_block, rest) = content.split_at(content.len().min(I_BLOCK_LEN));
        let place = directory.at(FileBlock(0));
        let Some((parent, in_block)) = in_block.split_first_chunk::<PARENT_LEN>() else {
            self.note(place, "the directory has no room for its parent");
            return Ok(());
        };
        let parent = InodeNumber(u32::from_le_bytes(*parent));
        for target in [number, parent] {
            match self.nodes.get_mut(target) {
                Some(node) => node.names = node.names.saturating_add(1),
                None => self.note(
                    place.clone(),
                    format!("\"..\" names {target}, which is not in use"),
                ),
            }
        }
        if let Some(node) = self.nodes.get_mut(number) {
            node.dot_dot = Some(parent);
        }
        for area in [in_block, rest] {
            for entry in dirent::entries(area) {
                let entry = entry.map_err(|problem| problem.at(place.clone()));
                let Some(entry) = self.note_refused(entry)? else {
                    break;
                };
                if entry.inode.is_some() {
                    self.name(directory, place.clone(), &entry);
                }
            }
        }
        Ok(())
    }

    /// Checks that a name's hash belongs in its leaf.
    fn hash(
        &mut self,
        directory: &Directory,
        place: &Location,
        entry: &Entry<'_>,
        leaf: Option<Leaf>,
    ) {
        // Hashes of encrypted names and of names that ignore case do not depend on the bytes alone.
        let is_plain = !directory.is_encrypted() && !directory.inode.has_flag(flags::CASEFOLD);
        let Some(leaf) = leaf.filter(|leaf| !leaf.is_root && is_plain) else {
            return;
        };
        let hash = self
            .fs
            .index_hash(&directory.inode, leaf.hash_version, entry.name);
        if let Some(hash) = hash
            && !leaf.contains(hash.major)
        {
            self.note(
                place.clone(),
                format!(
                    "the name {:?} has hash {:#010x}, its block those from {:#010x} to {:#010x}",
                    String::from_utf8_lossy(entry.name),
                    hash.major,
                    leaf.first_hash,
                    leaf.last_hash
                ),
            );
        }
    }
}
