//! An opened filesystem, and a cache of what was read last.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imgasm_block::BlockDevice;
#[cfg(doc)]
use imgasm_fs::{Error, FileSystemInfo};
use imgasm_fs::{FileType, NodeId, Result, WriteOptions};

use crate::ag::read_agf;
use crate::dir::{self, Directory};
use crate::format::dir::entry::Entry;
use crate::format::geometry::Geometry;
use crate::format::superblock::{self, Superblock};
use crate::inode::Inode;
use crate::problem::{not_writable, unknown_in_log};
use crate::volume::{Volume, read_superblock};
use crate::write::{Staged, Writer, check_features};
use crate::{log, recovery};

/// Whether a device seems to hold an XFS filesystem.
///
/// # Errors
/// [`Error::Block`] if the device cannot be read.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut magic = [0; 4];
    if device.len() < superblock::MAX_SECTOR {
        return Ok(false);
    }
    device.read_at(0, &mut magic)?;
    Ok(u32::from_be_bytes(magic) == superblock::MAGIC)
}

/// An XFS filesystem on a device.
pub struct Xfs {
    pub(crate) volume: Volume,
    pub(crate) superblock: Superblock,
    pub(crate) log: log::State,
    pub(crate) cache: RefCell<Cache>,
    /// Present if the filesystem is opened for writing.
    pub(crate) writer: Option<Writer>,
}

impl fmt::Debug for Xfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let geometry = &self.volume.geometry;
        let total_bytes = geometry.total_blocks * u64::from(geometry.block_size);
        f.debug_struct("Xfs")
            .field("total_bytes", &total_bytes)
            .field("is_writable", &self.writer.is_some())
            .finish_non_exhaustive()
    }
}

/// What was read last: callers often ask several things about one inode in a row.
#[derive(Default)]
pub(crate) struct Cache {
    inode: Option<Arc<Inode>>,
    directories: BTreeMap<NodeId, Arc<Directory>>,
    /// Names in all of the directories.
    names: usize,
}

/// How many names the cached directories may have before all are dropped.
const CACHED_NAMES: usize = 1 << 18;

impl Xfs {
    /// Opens the filesystem for reading. One that was not unmounted is read as it is after its
    /// recovery, which is done in memory; [`FileSystemInfo::needs_recovery`] says so. A filesystem
    /// of version 4 is read as it is on the disk, without recovery.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the superblock or the log is damaged, [`Error::Incompatible`] if the
    /// filesystem uses what is not supported: a realtime section, directories of the first form,
    /// unknown features, unknown items of the log.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let mut xfs = Self::as_it_is(device)?;
        if xfs.log == log::State::Dirty && xfs.superblock.features.crc {
            let recovered = recovery::in_memory(&xfs.volume, &xfs.superblock)?;
            xfs = Self::as_it_is(recovered)?;
            xfs.log = log::State::Dirty;
        }
        Ok(xfs)
    }

    /// Takes the filesystem as it is on the device.
    fn as_it_is(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let superblock = read_superblock(&device)?;
        let volume = Volume::new(device, Geometry::of(&superblock))?;
        let log = log::state(&volume)?;
        Ok(Self {
            volume,
            superblock,
            log,
            cache: RefCell::default(),
            writer: None,
        })
    }

    /// Opens the filesystem for reading and writing. One that was not unmounted is recovered first,
    /// on the device.
    ///
    /// # Errors
    /// Those of [`Self::open`]; [`Error::NotWritable`] if its log is elsewhere, its counters
    /// contradict each other or it is of version 4; [`Error::Incompatible`] if it uses what can
    /// only be read: parent pointers, case-insensitive names, unknown features.
    pub fn open_writable(device: Arc<dyn BlockDevice>, options: WriteOptions) -> Result<Self> {
        let mut xfs = Self::as_it_is(Arc::clone(&device))?;
        check_features(&xfs.superblock)?;
        match xfs.log {
            log::State::Clean => {}
            log::State::Dirty if xfs.superblock.raw.sb_qflags.get() != 0 => {
                // Limits that were set last may be in the log only.
                return Err(unknown_in_log("quotas"));
            }
            log::State::Dirty => {
                recovery::on_device(&xfs.volume, &xfs.superblock)?;
                xfs = Self::as_it_is(device)?;
            }
            log::State::External => {
                return Err(not_writable("its log is on another device"));
            }
        }
        let writer = Writer::new(&xfs.volume, &xfs.superblock, options)?;
        xfs.writer = Some(writer);
        Ok(xfs)
    }

    /// Refuses to change what is opened for reading only, or what a failed change has left.
    pub(crate) fn check_writer(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => writer.check_usable(),
            None => Err(not_writable("the filesystem is opened for reading only")),
        }
    }

    /// Makes a change. If it fails, what is staged is useless.
    pub(crate) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Writer, &Volume) -> Result<T>,
    ) -> Result<T> {
        self.check_writer()?;
        match &mut self.writer {
            Some(writer) => writer.watch(|writer| change(writer, &self.volume)),
            None => Err(not_writable("the filesystem is opened for reading only")),
        }
    }

    /// An inode that has changed since the last flush.
    pub(crate) fn changed(&self, node: NodeId) -> Result<Option<&Staged>> {
        match &self.writer {
            Some(writer) => writer.changed_inode(node.into()),
            None => Ok(None),
        }
    }

    /// An inode that is in use.
    pub(crate) fn inode(&self, node: NodeId) -> Result<Arc<Inode>> {
        if let Some(staged) = self.changed(node)? {
            return Ok(Arc::clone(&staged.inode));
        }
        let mut cache = self.cache.borrow_mut();
        if let Some(inode) = &cache.inode
            && inode.number == node.into()
        {
            return Ok(Arc::clone(inode));
        }
        let inode = Arc::new(Inode::read(&self.volume, node.into())?);
        cache.inode = Some(Arc::clone(&inode));
        Ok(inode)
    }

    /// The contents of a directory.
    pub(crate) fn directory(&self, node: NodeId) -> Result<Arc<Directory>> {
        if let Some(directory) = self
            .changed(node)?
            .and_then(|staged| staged.directory.as_ref())
        {
            return Ok(Arc::clone(directory));
        }
        if let Some(directory) = self.cache.borrow().directories.get(&node) {
            return Ok(Arc::clone(directory));
        }
        let inode = self.inode(node)?;
        let directory = Arc::new(dir::load::load(&self.volume, &inode)?);
        let mut cache = self.cache.borrow_mut();
        cache.names += directory.len();
        if cache.names > CACHED_NAMES {
            cache.directories.clear();
            cache.names = directory.len();
        }
        cache.directories.insert(node, Arc::clone(&directory));
        Ok(directory)
    }

    /// Blocks in the groups' trees of free space. The superblock also counts the blocks of the
    /// trees themselves and of their free lists, which everybody else counts as used.
    pub(crate) fn free_blocks(&self) -> Result<u64> {
        if let Some(writer) = &self.writer {
            return Ok(writer.free_blocks());
        }
        self.volume
            .geometry
            .group_numbers()
            .map(|group| Ok(u64::from(read_agf(&self.volume, group)?.agf_freeblks.get())))
            .sum()
    }

    /// The file type of a name's inode; filesystems without `ftype` store it in the inode only.
    pub(crate) fn entry_type(&self, entry: &Entry) -> Result<FileType> {
        match entry.file_type {
            Some(file_type) => Ok(file_type),
            None => Ok(self.inode(entry.inode.into())?.file_type),
        }
    }
}
