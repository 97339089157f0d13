//! Creating, linking, renaming and removing files.

use zerocopy::little_endian::{U16, U32};

use super::dir::{Found, NewEntry};
use super::format::checksum::{INITIAL, crc32c};
use super::format::device_number;
use super::format::features::{Incompat, RoCompat};
use super::format::inode::{EXTRA_LEN, Inode, TimeField, flags};
use super::format::numbers::InodeNumber;
use super::metadata::PERMISSIONS;
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};
use imgasm_fs::types::{FileType, NewNode, NodeId, NodeKind};

/// The most links that an inode counts.
const MOST_LINKS: u16 = 65_000;

/// An inode as the trait names it.
pub fn node(number: InodeNumber) -> NodeId {
    NodeId(u64::from(number.0))
}

fn not_found(directory: InodeNumber, name: &[u8]) -> Error {
    Error::NotFound {
        directory: node(directory),
        name: name.to_vec(),
    }
}

impl Ext4 {
    /// Makes a new file with a name.
    pub(super) fn create_node(
        &mut self,
        directory: InodeNumber,
        name: &[u8],
        new: &NewNode<'_>,
    ) -> Result<InodeNumber> {
        Self::check_name(name)?;
        let mut parent = self.directory(directory)?;
        self.check_free_name(directory, &parent, name)?;
        let file_type = new.kind.file_type();
        let is_directory = file_type == FileType::Directory;
        let number = self.allocate_inode(directory, is_directory)?;
        let mut inode = self.new_inode(number, new)?;
        match new.kind {
            NodeKind::Directory => {
                self.init_directory(number, &mut inode, directory)?;
                inode.head.i_links_count = U16::new(2);
                self.add_link(directory, &mut parent)?;
            }
            NodeKind::Symlink(target) => {
                self.check_target(target)?;
                self.store_target(number, &mut inode, target)?;
            }
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                inode.head.i_block =
                    device_number::encode(device).ok_or_else(|| Error::Unstorable {
                        what: format!("device {}:{}", device.major, device.minor),
                        problem: "the numbers have more than 12 and 20 bits".to_owned(),
                    })?;
            }
            NodeKind::Regular | NodeKind::Fifo | NodeKind::Socket => {}
        }
        self.write_inode(number, &mut inode)?;
        let entry = NewEntry {
            inode: number,
            file_type: self.type_code(file_type),
            name,
        };
        self.insert(directory, &mut parent, &entry)?;
        self.write_changed_directory(directory, &mut parent)?;
        Ok(number)
    }

    /// A new inode, with one link and nothing in it.
    fn new_inode(&self, number: InodeNumber, new: &NewNode<'_>) -> Result<Inode> {
        let options = self.options()?;
        let file_type = new.kind.file_type();
        let mut inode = Inode::new(self.geometry.inode_size);
        inode.set_extra_isize(self.new_extra_isize());
        inode.head.i_mode = U16::new(file_type.mode_bits() | new.permissions & PERMISSIONS);
        inode.set_uid(new.uid);
        inode.set_gid(new.gid);
        inode.head.i_links_count = U16::new(1);
        let generation = crc32c(crc32c(INITIAL, &options.seed), &number.0.to_le_bytes());
        inode.head.i_generation = U32::new(generation);
        let all = [TimeField::Accessed, TimeField::Modified, TimeField::Changed];
        self.touch(&mut inode, &all)?;
        inode.set_created(options.now);
        let has_blocks = matches!(
            file_type,
            FileType::Regular | FileType::Directory | FileType::Symlink
        );
        let incompat = self.geometry.features().incompat;
        if has_blocks && incompat.contains(Incompat::EXTENT) {
            inode.set_flag(flags::EXTENTS);
            Self::init_extent_root(&mut inode);
        }
        Ok(inode)
    }

    /// Bytes of fields behind the first 128 of a new inode: as many as we know, or as the
    /// superblock wants.
    fn new_extra_isize(&self) -> u16 {
        let room = self.geometry.inode_size.saturating_sub(128);
        let wanted = if self.has_ro(RoCompat::EXTRA_ISIZE) {
            self.superblock.s_want_extra_isize.get()
        } else {
            0
        };
        let wanted = wanted.max(EXTRA_LEN);
        if wanted <= room && wanted.is_multiple_of(4) {
            wanted
        } else {
            EXTRA_LEN.min(room)
        }
    }

    fn check_free_name(&self, directory: InodeNumber, inode: &Inode, name: &[u8]) -> Result<()> {
        if self.find(directory, inode, name)?.is_some() {
            return Err(Error::AlreadyExists {
                directory: node(directory),
                name: name.to_vec(),
            });
        }
        Ok(())
    }

    /// Stages a directory whose entries were changed.
    fn write_changed_directory(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        self.touch(inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, inode)
    }

    /// Counts a link more. Directories with an index may have more than can be counted
    /// (`dir_nlink`): they say 1 from then on.
    fn add_link(&self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        let links = inode.head.i_links_count.get();
        let uncounted = self.has_ro(RoCompat::DIR_NLINK) && inode.has_flag(flags::INDEX);
        let links = match links {
            1 if is_directory(inode) => 1,
            0..MOST_LINKS => links + 1,
            _ if uncounted => 1,
            _ => {
                return Err(Error::Unstorable {
                    what: format!("one more link to {number}"),
                    problem: format!("it has {links} already, the most that there can be"),
                });
            }
        };
        inode.head.i_links_count = U16::new(links);
        Ok(())
    }

    /// Gives a file a further name.
    pub(super) fn link_node(
        &mut self,
        number: InodeNumber,
        directory: InodeNumber,
        name: &[u8],
    ) -> Result<()> {
        Self::check_name(name)?;
        let mut inode = self.read_inode(number)?;
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        if file_type == FileType::Directory {
            return Err(Error::WrongType {
                node: node(number),
                expected: "something other than a directory",
            });
        }
        let mut parent = self.directory(directory)?;
        self.check_free_name(directory, &parent, name)?;
        self.add_link(number, &mut inode)?;
        self.touch(&mut inode, &[TimeField::Changed])?;
        self.write_inode(number, &mut inode)?;
        let entry = NewEntry {
            inode: number,
            file_type: self.type_code(file_type),
            name,
        };
        self.insert(directory, &mut parent, &entry)?;
        self.write_changed_directory(directory, &mut parent)
    }

    /// Removes a name.
    pub(super) fn remove_name(&mut self, directory: InodeNumber, name: &[u8]) -> Result<()> {
        Self::check_name(name)?;
        let mut parent = self.directory(directory)?;
        let found = self.find_existing(directory, &parent, name)?;
        let number = found.position.inode;
        self.check_removable(number)?;
        self.remove_entry(directory, &parent, found, name)?;
        if self.unlink(number)? {
            drop_subdirectory(&mut parent);
        }
        self.write_changed_directory(directory, &mut parent)
    }

    fn find_existing(&self, directory: InodeNumber, inode: &Inode, name: &[u8]) -> Result<Found> {
        let found = self
            .find(directory, inode, name)?
            .ok_or_else(|| not_found(directory, name))?;
        // Checks the inode's number, too.
        self.inode_number(node(found.position.inode))?;
        Ok(found)
    }

    /// Checks that a file's name can go: directories must be empty.
    fn check_removable(&self, number: InodeNumber) -> Result<()> {
        let inode = self.read_inode(number)?;
        if is_directory(&inode) && !self.is_empty(number, &inode)? {
            return Err(Error::NotEmpty(node(number)));
        }
        if number == InodeNumber::ROOT {
            return Err(corrupt(
                at_inode(number),
                "the root has a name in a directory",
            ));
        }
        Ok(())
    }

    /// Takes a link away from a file whose entry is gone, and frees it with its last; gives
    /// whether it was a directory.
    fn unlink(&mut self, number: InodeNumber) -> Result<bool> {
        let mut inode = self.read_inode(number)?;
        let is_directory = is_directory(&inode);
        let links = inode.head.i_links_count.get();
        if is_directory || links == 1 {
            self.release_inode(number, &mut inode)?;
        } else {
            inode.head.i_links_count = U16::new(links - 1);
            self.touch(&mut inode, &[TimeField::Changed])?;
            self.write_inode(number, &mut inode)?;
        }
        Ok(is_directory)
    }

    /// Frees an inode with all that it holds.
    pub(super) fn release_inode(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        let has_blocks = match file_type {
            FileType::Regular | FileType::Directory => true,
            FileType::Symlink => !self.is_target_in_inode(inode),
            _ => false,
        };
        if has_blocks {
            self.free_content(number, inode)?;
        }
        self.release_xattr_block(number, inode)?;
        let is_directory = file_type == FileType::Directory;
        if is_directory {
            self.names.get_mut().forget(number);
        }
        self.free_inode(number, is_directory)?;
        let mut freed = Inode::new(self.geometry.inode_size);
        let extra = u16::try_from(inode.extra_isize()).expect("read from 16 bits");
        freed.set_extra_isize(extra);
        freed.head.i_mode = inode.head.i_mode;
        freed.head.i_generation = inode.head.i_generation;
        freed.head.i_flags = U32::new(inode.head.i_flags.get() & flags::EXTENTS);
        if freed.has_flag(flags::EXTENTS) {
            Self::init_extent_root(&mut freed);
        }
        // A time of deletion of 0 would stand for an inode that was not deleted.
        let now = u32::try_from(self.options()?.now.seconds).unwrap_or(u32::MAX);
        freed.head.i_dtime = U32::new(now.max(1));
        self.touch(&mut freed, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, &mut freed)
    }

    /// Moves a name, replacing what bears the new one.
    pub(super) fn rename_node(
        &mut self,
        from: InodeNumber,
        from_name: &[u8],
        to: InodeNumber,
        to_name: &[u8],
    ) -> Result<()> {
        Self::check_name(from_name)?;
        Self::check_name(to_name)?;
        let source = self.directory(from)?;
        let found = self.find_existing(from, &source, from_name)?;
        let number = found.position.inode;
        let mut inode = self.read_inode(number)?;
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        let moves_directory = file_type == FileType::Directory;
        let mut target = self.directory(to)?;
        let replaced = self.find(to, &target, to_name)?;
        if replaced.is_some_and(|replaced| replaced.position.inode == number) {
            return Ok(());
        }
        if moves_directory && from != to {
            self.check_not_below(to, number)?;
        }
        let code = self.type_code(file_type);
        if let Some(replaced) = replaced {
            let old = self.inode_number(node(replaced.position.inode))?;
            self.check_replaceable(old, moves_directory)?;
            self.set_entry(to, &target, replaced, number, code)?;
            if self.unlink(old)? {
                drop_subdirectory(&mut target);
            }
        } else {
            let entry = NewEntry {
                inode: number,
                file_type: code,
                name: to_name,
            };
            self.insert(to, &mut target, &entry)?;
        }
        if moves_directory && from != to {
            self.add_link(to, &mut target)?;
            self.set_parent(number, &inode, to)?;
        }
        self.write_changed_directory(to, &mut target)?;

        // Where both are the same directory, it has changed since it was read first.
        let mut source = self.directory(from)?;
        let found = self.find_existing(from, &source, from_name)?;
        self.remove_entry(from, &source, found, from_name)?;
        if moves_directory && from != to {
            drop_subdirectory(&mut source);
        }
        self.write_changed_directory(from, &mut source)?;
        self.touch(&mut inode, &[TimeField::Changed])?;
        self.write_inode(number, &mut inode)
    }

    /// Checks that a file may take another one's name: a directory that of an empty directory,
    /// anything else that of anything else.
    fn check_replaceable(&self, old: InodeNumber, by_directory: bool) -> Result<()> {
        let inode = self.read_inode(old)?;
        if is_directory(&inode) != by_directory {
            return Err(Error::WrongType {
                node: node(old),
                expected: if by_directory {
                    "a directory"
                } else {
                    "something other than a directory"
                },
            });
        }
        self.check_removable(old)
    }

    /// Checks that a directory is neither another one nor somewhere below it.
    fn check_not_below(&self, directory: InodeNumber, other: InodeNumber) -> Result<()> {
        let mut at = directory;
        for _ in 0..self.geometry.inodes_count {
            if at == other {
                return Err(Error::Unstorable {
                    what: format!("{other} as an entry of {directory}"),
                    problem: "a directory cannot be moved into itself".to_owned(),
                });
            }
            if at == InodeNumber::ROOT {
                return Ok(());
            }
            let inode = self.directory(at)?;
            at = self.parent(at, &inode)?;
        }
        Err(corrupt(at_inode(directory), "its parents form a circle"))
    }
}

/// Counts a link less, of a directory that loses a subdirectory.
fn drop_subdirectory(inode: &mut Inode) {
    let links = inode.head.i_links_count.get();
    if links > 2 {
        inode.head.i_links_count = U16::new(links - 1);
    }
}

fn is_directory(inode: &Inode) -> bool {
    matches!(inode.file_type(), Ok(FileType::Directory))
}
