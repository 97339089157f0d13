//! Writing: changes are kept in memory, by inode, and become blocks with the flush.
//!
//! - here: the inodes that have changed.
//! - [`namespace`]: names and nodes.
//! - [`content`]: contents of regular files, which go to the device at once.
//! - [`metadata`]: owners, times, attributes.
//! - [`flush`]: from memory to the device.
//! - [`recovery`]: finishing what was begun before.
//! - [`settle`]: the forks of an inode, laid out for the disk; [`extents`], their extents.

mod content;
mod extents;
mod flush;
mod metadata;
mod namespace;
mod recovery;
mod settle;

pub(crate) use namespace::check_kind;

use std::collections::BTreeMap;
use std::sync::Arc;

use imgasm_fs::{Error, FileType, Location, Result, WriteOptions};

use crate::alloc::{Allocator, Purpose, Wish};
use crate::dir::Directory;
use crate::extent_map::ExtentMap;
use crate::format::attr::key::Attributes;
use crate::format::btree::records::FreeRecord;
use crate::format::extent::Extent;
use crate::format::inode::{Core, Time};
use crate::format::numbers::{FileBlock, FsBlock, GroupNumber, InodeNumber};
use crate::format::superblock::Superblock;
use crate::inode::{Fork, Inode};
use crate::problem::{FS, corrupt, incompatible, not_writable};
use crate::volume::Volume;
use crate::{attr, dir};

/// An inode that has changed.
pub(crate) struct Staged {
    pub(crate) inode: Arc<Inode>,
    /// Its names, if they have changed.
    pub(crate) directory: Option<Arc<Directory>>,
    /// Its attributes, if they have changed.
    pub(crate) attributes: Option<Attributes>,
}

/// Blocks that a fork is to get.
struct Want {
    /// The first of them in the fork.
    file_block: FileBlock,
    blocks: u64,
    /// How many there should be room for in one run.
    room: u64,
    purpose: Purpose,
}

/// The state of a filesystem that is being written.
pub(crate) struct Writer {
    options: WriteOptions,
    pub(crate) allocator: Allocator,
    staged: BTreeMap<InodeNumber, Staged>,
    /// Inodes that are free now, with what is left of them.
    freed: BTreeMap<InodeNumber, Core>,
    /// Whether a change or a flush has failed: what is staged and on the device is useless then.
    failed: bool,
}

impl Writer {
    /// Starts writing to a filesystem whose features allow it and whose log is empty.
    pub(crate) fn new(
        volume: &Volume,
        superblock: &Superblock,
        options: WriteOptions,
    ) -> Result<Self> {
        Ok(Self {
            options,
            allocator: Allocator::new(volume, superblock)?,
            staged: BTreeMap::new(),
            freed: BTreeMap::new(),
            failed: false,
        })
    }

    /// Refuses to continue after a failed change or flush.
    pub(crate) fn check_usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::Spoilt { fs: FS });
        }
        Ok(())
    }

    /// Makes a change or a flush, and remembers if it fails.
    pub(crate) fn watch<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = change(self);
        self.failed |= result.is_err();
        result
    }

    /// Free blocks of all groups.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.allocator.free_blocks()
    }

    /// The free runs of a group, if it has been looked at.
    pub(crate) fn free_runs(&self, group: GroupNumber) -> Option<Vec<FreeRecord>> {
        self.allocator.free_runs(group)
    }

    /// The state of an inode, if it has changed; an error if it is free now.
    pub(crate) fn changed_inode(&self, number: InodeNumber) -> Result<Option<&Staged>> {
        if self.freed.contains_key(&number) {
            return Err(corrupt(
                Location::Inode(number.0),
                "it is not in use any more",
            ));
        }
        Ok(self.staged.get(&number))
    }

    /// An inode to be changed.
    fn stage(&mut self, volume: &Volume, number: InodeNumber) -> Result<&mut Staged> {
        if self.changed_inode(number)?.is_none() {
            let inode = Inode::read(volume, number)?;
            self.staged.insert(number, Staged::new(inode));
        }
        Ok(self.staged.get_mut(&number).expect("just staged"))
    }

    /// A directory whose names are to be read or changed.
    fn directory(&mut self, volume: &Volume, number: InodeNumber) -> Result<&mut Directory> {
        let staged = self.stage(volume, number)?;
        if staged.directory.is_none() {
            let directory = dir::load::load(volume, &staged.inode)?;
            staged.directory = Some(Arc::new(directory));
        }
        Ok(Arc::make_mut(
            staged.directory.as_mut().expect("just loaded"),
        ))
    }

    /// An inode's attributes, to be changed.
    fn attributes(&mut self, volume: &Volume, number: InodeNumber) -> Result<&mut Attributes> {
        let staged = self.stage(volume, number)?;
        if staged.attributes.is_none() {
            staged.attributes = Some(attr::load::load(volume, &staged.inode)?);
        }
        Ok(staged.attributes.as_mut().expect("just loaded"))
    }

    /// Sets times of an inode that is staged to now, and counts the change.
    fn stamp(&mut self, volume: &Volume, number: InodeNumber, times: &[Time]) -> Result<()> {
        let now = self.options.now;
        let staged = self.stage(volume, number)?;
        let core = &mut staged.inode_mut().core;
        if volume.geometry.features.bigtime {
            core.use_bigtime();
        }
        for time in times {
            core.set_time(*time, now);
        }
        core.di_changecount = core.di_changecount.get().wrapping_add(1).into();
        Ok(())
    }

    /// The block of an inode, near which its contents are put.
    fn home(volume: &Volume, number: InodeNumber) -> FsBlock {
        let geometry = &volume.geometry;
        geometry
            .split_inode(number)
            .map_or(FsBlock(0), |(group, inode)| {
                geometry.fs_block(group, geometry.inode_block(inode))
            })
    }

    /// Allocates one run of blocks for a fork, near the blocks before them in the fork; gives as
    /// many of the wanted blocks as fit one run.
    fn allocate_for(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        map: &ExtentMap,
        want: &Want,
    ) -> Result<Extent> {
        let before = want.file_block.0.checked_sub(1);
        let before = before.and_then(|block| map.find(FileBlock(block)));
        let near = before.map_or_else(
            || Self::home(volume, number),
            |extent| extent.start.plus(extent.blocks),
        );
        let wish = Wish {
            near,
            blocks: want.blocks,
            room: want.room,
            purpose: want.purpose,
        };
        let (start, blocks) = self.allocator.allocate(volume, &wish)?;
        Ok(Extent {
            file_block: want.file_block,
            start,
            blocks,
            unwritten: false,
        })
    }

    /// Frees all blocks of a fork.
    fn free_fork(&mut self, volume: &Volume, fork: &Fork, file_type: FileType) -> Result<()> {
        let Some(map) = fork.map() else {
            return Ok(());
        };
        for extent in map.extents() {
            if file_type == FileType::Regular {
                self.allocator
                    .free_content(volume, extent.start, extent.blocks)?;
            } else {
                self.allocator.free(volume, extent.start, extent.blocks)?;
            }
        }
        for block in &map.tree_blocks {
            self.allocator.free(volume, *block, 1)?;
        }
        Ok(())
    }
}

impl Staged {
    fn new(inode: Inode) -> Self {
        Self {
            inode: Arc::new(inode),
            directory: None,
            attributes: None,
        }
    }

    fn inode_mut(&mut self) -> &mut Inode {
        Arc::make_mut(&mut self.inode)
    }
}

/// Refuses a filesystem that cannot be written, or must not be in its present state.
pub(crate) fn check_features(superblock: &Superblock) -> Result<()> {
    let features = &superblock.features;
    if !features.crc {
        return Err(not_writable("version 4 is read only"));
    }
    if features.needs_repair {
        return Err(not_writable("it is marked as damaged: run xfs_repair"));
    }
    let unknown = superblock.unknown_ro_features();
    if unknown != 0 {
        return Err(incompatible(format!("writing with feature {unknown:#x}")));
    }
    if features.ascii_ci {
        return Err(incompatible("writing with feature ascii-ci"));
    }
    if features.parent {
        return Err(incompatible("writing with feature parent"));
    }
    if !features.ftype {
        return Err(incompatible("writing without feature ftype"));
    }
    Ok(())
}
