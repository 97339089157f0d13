//! Names and nodes, after the rules that all filesystems share.

use std::sync::Arc;

use imgasm_fs::{Error, FileType, Location, NewNode, NodeKind, Rename, Result};

use crate::alloc::chunk_blocks::first_generation;
use crate::dir::Directory;
use crate::extent_map::ExtentMap;
use crate::format::device_number::encode_device;
use crate::format::inode::{Core, Time, decode_core, flags2};
use crate::format::numbers::InodeNumber;
use crate::format::symlink::MAX_TARGET;
use crate::inode;
use crate::inode::{Fork, Inode};
use crate::problem::{corrupt, unstorable};
use crate::volume::Volume;
use crate::write::{Staged, Writer};

/// The most names that a node can have.
const MAX_LINKS: u32 = i32::MAX.cast_unsigned();

impl Writer {
    /// Adds a name that must be new.
    fn add_name(
        &mut self,
        volume: &Volume,
        directory: InodeNumber,
        name: &[u8],
        inode: InodeNumber,
        file_type: FileType,
    ) -> Result<()> {
        let names = self.directory(volume, directory)?;
        if names.insert(&volume.geometry, name, inode, file_type) {
            self.stamp(volume, directory, &[Time::Modified, Time::Changed])
        } else {
            Err(Error::NoSpace {
                unit: "blocks of the directory",
                needed: 1,
                free: 0,
            })
        }
    }

    /// Increases or decreases a node's number of names.
    fn add_links(&mut self, volume: &Volume, number: InodeNumber, more: i32) -> Result<u32> {
        let core = &mut self.stage(volume, number)?.inode_mut().core;
        let links = core
            .di_nlink
            .get()
            .checked_add_signed(more)
            .filter(|links| *links <= MAX_LINKS)
            .ok_or_else(|| unstorable(format!("inode {number}"), "its number of names"))?;
        core.di_nlink = links.into();
        Ok(links)
    }

    /// Makes a new node.
    pub(crate) fn create(
        &mut self,
        volume: &Volume,
        directory: InodeNumber,
        name: &[u8],
        new: &NewNode<'_>,
    ) -> Result<InodeNumber> {
        let data = new_data(&new.kind)?;
        let number = self.allocator.allocate_inode(volume, directory)?;
        let file_type = new.kind.file_type();
        let parent = self.stage(volume, directory)?.inode.core;
        let mut core = self.new_core(volume, number)?;
        core.di_mode = (file_type.mode_bits() | new.permissions & 0o7777).into();
        core.di_uid = new.uid.into();
        core.di_gid = new.gid.into();
        core.di_nlink = if file_type == FileType::Directory {
            2
        } else {
            1
        }
        .into();
        core.inherit(&parent, file_type);
        if let Fork::Local(content) = &data {
            core.di_size = (content.len() as u64).into();
        }
        let mut staged = Staged::new(Inode {
            number,
            core,
            file_type,
            data,
            attributes: None,
        });
        if file_type == FileType::Directory {
            staged.directory = Some(Arc::new(Directory::new(directory)));
        }
        self.freed.remove(&number);
        self.staged.insert(number, staged);
        self.add_name(volume, directory, name, number, file_type)?;
        if file_type == FileType::Directory {
            self.add_links(volume, directory, 1)?;
        }
        Ok(number)
    }

    /// The core of a newly allocated inode; its generation differs from that of the file that had
    /// the number before.
    fn new_core(&mut self, volume: &Volume, number: InodeNumber) -> Result<Core> {
        let geometry = &volume.geometry;
        let generation = match self.freed.get(&number) {
            Some(core) => core.di_gen.get(),
            None if self.allocator.is_new(volume, number) => {
                first_generation(self.options.seed, number)
            }
            None => {
                let bytes = inode::read_bytes(volume, number)?;
                let core = decode_core(geometry, number, &bytes)
                    .map_err(|problem| corrupt(Location::Inode(number.0), problem))?;
                if core.di_mode.get() != 0 {
                    return Err(corrupt(
                        Location::Inode(number.0),
                        "the group has it as free, but it is in use",
                    ));
                }
                core.di_gen.get()
            }
        };
        let mut core = Core::empty(geometry, number);
        core.di_gen = generation.wrapping_add(1).into();
        core.di_flags2 = flags2::of_new(geometry.features).into();
        for time in [Time::Accessed, Time::Modified, Time::Changed, Time::Created] {
            core.set_time(time, self.options.now);
        }
        core.di_changecount = 1.into();
        Ok(core)
    }

    /// Gives a node a further name.
    pub(crate) fn link(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        directory: InodeNumber,
        name: &[u8],
    ) -> Result<()> {
        let file_type = self.stage(volume, number)?.inode.file_type;
        self.add_links(volume, number, 1)?;
        self.stamp(volume, number, &[Time::Changed])?;
        self.add_name(volume, directory, name, number, file_type)
    }

    /// Removes a name of the node `number`.
    pub(crate) fn remove(
        &mut self,
        volume: &Volume,
        directory: InodeNumber,
        name: &[u8],
        number: InodeNumber,
    ) -> Result<()> {
        self.directory(volume, directory)?.remove(name);
        self.stamp(volume, directory, &[Time::Modified, Time::Changed])?;
        self.drop_name(volume, directory, number)
    }

    /// Takes one of its names from a node; the name was in `directory`.
    fn drop_name(
        &mut self,
        volume: &Volume,
        directory: InodeNumber,
        number: InodeNumber,
    ) -> Result<()> {
        let file_type = self.stage(volume, number)?.inode.file_type;
        if file_type == FileType::Directory {
            self.add_links(volume, directory, -1)?;
            return self.free_node(volume, number);
        }
        if self.add_links(volume, number, -1)? == 0 {
            self.free_node(volume, number)
        } else {
            self.stamp(volume, number, &[Time::Changed])
        }
    }

    /// Frees a node with all that it has.
    pub(super) fn free_node(&mut self, volume: &Volume, number: InodeNumber) -> Result<()> {
        self.stage(volume, number)?;
        let inode = self.staged.remove(&number).expect("just staged").inode;
        self.free_fork(volume, &inode.data, inode.file_type)?;
        if let Some(attributes) = &inode.attributes {
            self.free_fork(volume, attributes, FileType::Directory)?;
        }
        self.allocator.free_inode(volume, number)?;
        let mut core = Core::empty(&volume.geometry, number);
        core.di_gen = inode.core.di_gen.get().wrapping_add(1).into();
        core.di_lsn = inode.core.di_lsn;
        self.freed.insert(number, core);
        Ok(())
    }

    /// Moves a name, in the place of the one that it replaces.
    pub(crate) fn move_name(&mut self, volume: &Volume, rename: &Rename<'_>) -> Result<()> {
        let &Rename {
            node,
            is_directory,
            from,
            from_name,
            to,
            to_name,
            replaced,
        } = rename;
        let [moved, from, to] = [node, from, to].map(InodeNumber::from);
        let file_type = self.stage(volume, moved)?.inode.file_type;
        if let Some(replaced) = replaced {
            self.directory(volume, to)?
                .replace(to_name, moved, file_type);
            self.stamp(volume, to, &[Time::Modified, Time::Changed])?;
            self.drop_name(volume, to, replaced.into())?;
        } else {
            self.add_name(volume, to, to_name, moved, file_type)?;
        }
        self.directory(volume, from)?.remove(from_name);
        self.stamp(volume, from, &[Time::Modified, Time::Changed])?;
        self.stamp(volume, moved, &[Time::Changed])?;
        if is_directory && from != to {
            self.directory(volume, moved)?.set_parent(to);
            self.add_links(volume, from, -1)?;
            self.add_links(volume, to, 1)?;
        }
        Ok(())
    }
}

/// Checks that a new file of a kind can be stored.
pub(crate) fn check_kind(kind: &NodeKind<'_>) -> Result<()> {
    new_data(kind).map(drop)
}

/// The data fork of a new node.
fn new_data(kind: &NodeKind<'_>) -> Result<Fork> {
    Ok(match kind {
        NodeKind::Regular | NodeKind::Directory => Fork::Extents(ExtentMap::default()),
        NodeKind::Symlink(target) => {
            if target.len() >= MAX_TARGET {
                return Err(unstorable(
                    "the target of a symbolic link",
                    format!(
                        "it has {} bytes, at most {} are possible",
                        target.len(),
                        MAX_TARGET - 1
                    ),
                ));
            }
            Fork::Local(target.to_vec())
        }
        NodeKind::CharDevice(number) | NodeKind::BlockDevice(number) => {
            Fork::Device(encode_device(*number).ok_or_else(|| {
                unstorable(
                    format!("device {}:{}", number.major, number.minor),
                    "on XFS, major numbers have 9 bits and minor numbers 18",
                )
            })?)
        }
        NodeKind::Fifo | NodeKind::Socket => Fork::Device(0),
    })
}
