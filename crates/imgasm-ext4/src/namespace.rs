//! Creating, linking, moving and removing files, after the rules that all filesystems share.

use zerocopy::little_endian::{U16, U32};

use super::dir::{Found, NewEntry};
use super::format::checksum::{INITIAL, crc32c};
use super::format::device_number;
use super::format::features::{Incompat, RoCompat};
use super::format::inode::{EXTRA_LEN, Extra, I_BLOCK_LEN, Inode, TimeField, flags};
use super::format::numbers::InodeNumber;
use super::metadata::PERMISSIONS;
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};
use imgasm_fs::types::{DeviceNumber, FileType, NewNode, NodeId, NodeKind, Rename};

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
        let mut parent = self.directory_to_change(directory)?;
        let file_type = new.kind.file_type();
        let is_directory = file_type == FileType::Directory;
        let number = self.allocate_inode(directory, is_directory)?;
        let mut inode = self.new_inode(number, new)?;
        inherit(&parent, &mut inode, file_type);
        if self.has_ro(RoCompat::PROJECT) && parent.has_flag(flags::PROJINHERIT) {
            inode.set_extra(Extra::Project, parent.project());
        }
        match new.kind {
            NodeKind::Directory => {
                self.init_directory(number, &mut inode, directory)?;
                inode.head.i_links_count = U16::new(2);
                self.add_link(directory, &mut parent)?;
            }
            NodeKind::Symlink(target) => self.store_target(number, &mut inode, target)?,
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                inode.head.i_block = encode_device(device)?;
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

    /// Checks that a new file of a kind can be stored.
    pub(super) fn check_kind(&self, kind: &NodeKind<'_>) -> Result<()> {
        match *kind {
            NodeKind::Symlink(target) => self.check_target(target),
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                encode_device(device).map(drop)
            }
            NodeKind::Regular | NodeKind::Directory | NodeKind::Fifo | NodeKind::Socket => Ok(()),
        }
    }

    /// Stages a directory whose entries were changed.
    fn write_changed_directory(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        self.touch(inode, &[TimeField::Modified, TimeField::Changed])?;
        self.write_inode(number, inode)
    }

    /// Counts one more link. A directory with an index may have more than can be counted
    /// (`dir_nlink`): it says 1 from then on.
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
        let mut inode = self.read_inode(number)?;
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        let mut parent = self.directory_to_change(directory)?;
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
    pub(super) fn remove_link(&mut self, directory: InodeNumber, name: &[u8]) -> Result<()> {
        let mut parent = self.directory_to_change(directory)?;
        let found = self.find_existing(directory, &parent, name)?;
        let number = found.position.inode;
        expect_no_root(number)?;
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

    /// Removes a link from a file whose entry is gone, and frees the file with its last one; gives
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
        self.refuse_values_elsewhere(number, inode)?;
        let has_blocks = match file_type {
            _ if inode.has_flag(flags::INLINE_DATA) => false,
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

    /// Moves an entry, in the place of the one that it replaces.
    pub(super) fn move_entry(&mut self, rename: &Rename<'_>) -> Result<()> {
        let &Rename {
            is_directory,
            from_name,
            to_name,
            ..
        } = rename;
        let (from, to) = (
            self.inode_number(rename.from)?,
            self.inode_number(rename.to)?,
        );
        let number = self.inode_number(rename.node)?;
        expect_no_root(number)?;
        let mut inode = if is_directory && from != to {
            self.directory_to_change(number)?
        } else {
            self.read_inode(number)?
        };
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        let code = self.type_code(file_type);
        // This comes first, because it may move their names to blocks.
        self.directory_to_change(from)?;
        let mut target = self.directory_to_change(to)?;
        if let Some(replaced) = rename.replaced {
            let old = self.inode_number(replaced)?;
            expect_no_root(old)?;
            let found = self.find_existing(to, &target, to_name)?;
            self.set_entry(to, &target, found, number, code)?;
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
        if is_directory && from != to {
            self.add_link(to, &mut target)?;
            self.set_parent(number, &inode, to)?;
        }
        self.write_changed_directory(to, &mut target)?;

        // If both are the same directory, it has changed in the meantime.
        let mut source = self.directory(from)?;
        let found = self.find_existing(from, &source, from_name)?;
        self.remove_entry(from, &source, found, from_name)?;
        if is_directory && from != to {
            drop_subdirectory(&mut source);
        }
        self.write_changed_directory(from, &mut source)?;
        self.touch(&mut inode, &[TimeField::Changed])?;
        self.write_inode(number, &mut inode)
    }
}

/// Gives a new inode the flags that its directory passes on.
fn inherit(parent: &Inode, inode: &mut Inode, file_type: FileType) {
    let kept = match file_type {
        FileType::Directory => flags::INHERITED,
        FileType::Regular => flags::INHERITED & !flags::OF_DIRECTORIES,
        _ => flags::INHERITED & flags::OF_OTHERS,
    };
    inode.set_flag(parent.head.i_flags.get() & kept);
}

/// Refuses to remove a name of the root, which has none unless the image is corrupt.
fn expect_no_root(number: InodeNumber) -> Result<()> {
    if number == InodeNumber::ROOT {
        return Err(corrupt(
            at_inode(number),
            "the root has a name in a directory",
        ));
    }
    Ok(())
}

/// The form of a device's number in an inode.
fn encode_device(device: DeviceNumber) -> Result<[u8; I_BLOCK_LEN]> {
    device_number::encode(device).ok_or_else(|| Error::Unstorable {
        what: format!("device {}:{}", device.major, device.minor),
        problem: "the numbers have more than 12 and 20 bits".to_owned(),
    })
}

/// Counts one link less for a directory that loses a subdirectory.
fn drop_subdirectory(inode: &mut Inode) {
    let links = inode.head.i_links_count.get();
    if links > 2 {
        inode.head.i_links_count = U16::new(links - 1);
    }
}

fn is_directory(inode: &Inode) -> bool {
    matches!(inode.file_type(), Ok(FileType::Directory))
}
