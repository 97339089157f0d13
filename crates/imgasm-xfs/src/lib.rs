//! XFS: read and written without the help of a kernel.
//!
//! From the bytes up:
//! - [`bytes`], [`stamp`]: numbers, and the identity that every metadata block bears.
//! - [`superblock`], [`geometry`], [`volume`]: what the filesystem is and where its blocks are.
//! - [`btree`], [`ag`]: the trees, and the allocation groups that they describe.
//! - [`inode`], [`bmap`], [`fork`], [`hash_tree`]: inodes and what hangs from them.
//! - [`dir`], [`attr`], [`symlink`], [`read`]: the contents of inodes by their kind.
//! - [`owners`]: who has which blocks.
//! - [`log`]: the log and its replay; [`recovery`]: opening what was not unmounted.
//! - [`check`]: all of it against itself.
//! - [`alloc`]: free blocks and inodes while writing.
//! - [`mod@write`], [`writes`]: changes in memory, and how they come to the device.
//!
//! Format facts come from the kernel documentation, "XFS Filesystem Disk Structures".

mod ag;
mod alloc;
mod attr;
mod bmap;
mod btree;
mod bytes;
mod check;
mod dir;
mod fork;
mod geometry;
mod hash_tree;
mod inode;
mod log;
mod owners;
mod read;
mod recovery;
mod stamp;
mod superblock;
mod symlink;
mod volume;
mod write;
mod writes;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use ag::agf::Agf;
use ag::contents::read_free_space;
use dir::Directory;
use imgasm_block::BlockDevice;
use imgasm_fs::{
    DeviceNumber, DirEntry, Error, FileExtent, FileSystem, FileSystemInfo, FileType, Finding,
    Location, Metadata, MetadataChange, NewNode, NodeId, Result, WriteOptions,
};
use inode::{Fork, Inode, Time};
use superblock::Superblock;
use volume::Volume;
use write::{Staged, Writer, check_features};

/// What the filesystem is called in errors.
const FS: &str = "xfs";

/// The largest sector that the format knows, in bytes.
const MAX_SECTOR: u64 = 32768;

/// An error for an image that contradicts its format.
fn corrupt(at: Location, problem: impl Into<String>) -> Error {
    Error::Corrupt {
        fs: FS,
        at,
        problem: problem.into(),
    }
}

/// Whether a device seems to hold an XFS filesystem.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut magic = [0; 4];
    if device.len() < MAX_SECTOR {
        return Ok(false);
    }
    device.read_at(0, &mut magic)?;
    Ok(u32::from_be_bytes(magic) == superblock::MAGIC)
}

/// An XFS filesystem on a device.
pub struct Xfs {
    volume: Volume,
    superblock: Superblock,
    log: log::State,
    cache: RefCell<Cache>,
    /// Present where the filesystem is opened for writing.
    writer: Option<Writer>,
}

/// What was read last, because callers ask several things of an inode in a row.
#[derive(Default)]
struct Cache {
    inode: Option<Arc<Inode>>,
    directories: BTreeMap<u64, Arc<Directory>>,
    /// Names in all of the directories.
    names: usize,
}

/// How many names the cached directories may have before all are dropped.
const CACHED_NAMES: usize = 1 << 18;

impl Xfs {
    /// Opens the filesystem for reading. One that was not unmounted is read as it is after its
    /// recovery, which is done in memory; [`FileSystemInfo::needs_recovery`] tells. Of version 4
    /// what is read then is what the disk says without it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the superblock or the log is damaged, [`Error::Incompatible`]
    /// where the filesystem uses what is not supported: a realtime section, directories of the
    /// first form, features that are not known, items of the log that are not known.
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
        let superblock = Superblock::read(&device)?;
        let volume = Volume::new(device, superblock.geometry())?;
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
    /// Those of [`Self::open`]; [`Error::NotWritable`] where its log is elsewhere, its counters
    /// contradict each other or it is of version 4; [`Error::Incompatible`] where it uses what can
    /// only be read: quotas, parent pointers, names without regard to case, features that are not
    /// known.
    pub fn open_writable(device: Arc<dyn BlockDevice>, options: WriteOptions) -> Result<Self> {
        let mut xfs = Self::as_it_is(Arc::clone(&device))?;
        check_features(&xfs.superblock)?;
        match xfs.log {
            log::State::Clean => {}
            log::State::Dirty => {
                recovery::on_device(&xfs.volume, &xfs.superblock)?;
                xfs = Self::as_it_is(device)?;
            }
            log::State::External => {
                return Err(inode::not_writable("its log is on another device"));
            }
        }
        let writer = Writer::new(&xfs.volume, &xfs.superblock, options)?;
        xfs.writer = Some(writer);
        Ok(xfs)
    }

    /// What is needed to change anything.
    fn writer(&mut self) -> Result<(&Volume, &mut Writer)> {
        match &mut self.writer {
            Some(writer) => {
                writer.check_usable()?;
                Ok((&self.volume, writer))
            }
            None => Err(inode::not_writable(
                "the filesystem is opened for reading only",
            )),
        }
    }

    /// An inode that has changed since the last flush.
    fn changed(&self, node: NodeId) -> Result<Option<&Staged>> {
        match &self.writer {
            Some(writer) => writer.changed_inode(node.0),
            None => Ok(None),
        }
    }

    /// An inode that is in use.
    fn inode(&self, node: NodeId) -> Result<Arc<Inode>> {
        if let Some(staged) = self.changed(node)? {
            return Ok(Arc::clone(&staged.inode));
        }
        let mut cache = self.cache.borrow_mut();
        if let Some(inode) = &cache.inode
            && inode.number == node.0
        {
            return Ok(Arc::clone(inode));
        }
        let inode = Arc::new(Inode::read(&self.volume, node.0)?);
        cache.inode = Some(Arc::clone(&inode));
        Ok(inode)
    }

    /// The contents of a directory.
    fn directory(&self, node: NodeId) -> Result<Arc<Directory>> {
        if let Some(directory) = self
            .changed(node)?
            .and_then(|staged| staged.directory.as_ref())
        {
            return Ok(Arc::clone(directory));
        }
        if let Some(directory) = self.cache.borrow().directories.get(&node.0) {
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
        cache.directories.insert(node.0, Arc::clone(&directory));
        Ok(directory)
    }

    /// Blocks in the groups' trees of free space. The superblock counts too the blocks that the
    /// trees themselves and their free lists hold, which are in use as far as anyone else can tell.
    fn free_blocks(&self) -> Result<u64> {
        if let Some(writer) = &self.writer {
            return Ok(writer.free_blocks());
        }
        (0..self.volume.geometry.groups)
            .map(|group| Ok(u64::from(Agf::read(&self.volume, group)?.free_blocks.get())))
            .sum()
    }

    /// What a name's inode is; filesystems without `ftype` keep that in the inode only.
    fn entry_type(&self, entry: &dir::Entry) -> Result<FileType> {
        match entry.file_type {
            Some(file_type) => Ok(file_type),
            None => Ok(self.inode(NodeId(entry.inode))?.file_type),
        }
    }
}

/// The number of a device in the form that the disk has: 14 bits above 18.
fn decode_device(raw: u32) -> DeviceNumber {
    DeviceNumber {
        major: raw >> 18 & 0x3fff,
        minor: raw & 0x3_ffff,
    }
}

/// The form that the disk has of a device's number, where it can store it.
fn encode_device(number: DeviceNumber) -> Option<u32> {
    (number.major <= 0x3fff && number.minor <= 0x3_ffff)
        .then_some(number.major << 18 | number.minor)
}

impl FileSystem for Xfs {
    fn info(&self) -> Result<FileSystemInfo> {
        let raw = &self.superblock.raw;
        let geometry = &self.volume.geometry;
        let label = raw
            .fname
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        Ok(FileSystemInfo {
            kind: FS,
            label: label.to_vec(),
            uuid: uuid::Uuid::from_bytes(raw.uuid).to_string(),
            features: self.superblock.features.names(),
            block_size: geometry.block_size,
            total_bytes: geometry.total_blocks * u64::from(geometry.block_size),
            free_bytes: self.free_blocks()? * u64::from(geometry.block_size),
            inodes: Some((raw.icount.get(), raw.ifree.get())),
            needs_recovery: self.log == log::State::Dirty,
            parameters: vec![
                ("isize", geometry.inode_size.to_string()),
                ("agcount", geometry.groups.to_string()),
                ("agsize", geometry.group_blocks.to_string()),
                ("sectsz", geometry.sector_size.to_string()),
                ("naming bsize", geometry.directory_block_size.to_string()),
                ("sunit", raw.unit.to_string()),
                ("swidth", raw.width.to_string()),
                ("imaxpct", raw.imax_pct.to_string()),
                ("log blocks", raw.logblocks.to_string()),
                ("log sectsz", raw.logsectsize.to_string()),
                ("log sunit", raw.logsunit.to_string()),
            ],
        })
    }

    fn root(&self) -> NodeId {
        NodeId(self.superblock.raw.rootino.get())
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let directory = self.directory(directory)?;
        Ok(directory.get(name).map(|entry| NodeId(entry.inode)))
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        let inode = self.inode(node)?;
        let core = &inode.core;
        let device = match (&inode.data, inode.file_type) {
            (Fork::Device(raw), FileType::CharDevice | FileType::BlockDevice) => {
                Some(decode_device(*raw))
            }
            _ => None,
        };
        Ok(Metadata {
            file_type: inode.file_type,
            permissions: core.mode.get() & 0o7777,
            uid: core.uid.get(),
            gid: core.gid.get(),
            size: core.size.get(),
            links: core.link_count(),
            device,
            accessed: core.time(Time::Accessed),
            modified: core.time(Time::Modified),
            changed: core.time(Time::Changed),
            created: (core.version >= 3).then(|| core.time(Time::Created)),
        })
    }

    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>> {
        self.directory(directory)?
            .entries()
            .map(|entry| {
                Ok(DirEntry {
                    name: entry.name.clone(),
                    node: NodeId(entry.inode),
                    file_type: self.entry_type(entry)?,
                })
            })
            .collect()
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        read::read_at(&self.volume, &*self.inode(node)?, offset, buf)
    }

    fn extents(&self, node: NodeId) -> Result<Vec<FileExtent>> {
        read::extents(&self.volume, &*self.inode(node)?)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        symlink::read(&self.volume, &*self.inode(node)?)
    }

    fn xattrs(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let staged = self
            .changed(node)?
            .and_then(|staged| staged.attributes.as_ref());
        let shown = match staged {
            Some(attributes) => attr::shown(attributes),
            None => attr::shown(&attr::load::load(&self.volume, &*self.inode(node)?)?),
        };
        shown.map_err(|problem| corrupt(Location::Inode(node.0), problem))
    }

    fn used_extents(&self) -> Result<Vec<Range<u64>>> {
        let geometry = &self.volume.geometry;
        let mut used: Vec<Range<u64>> = Vec::new();
        let mut from = 0;
        for group in 0..geometry.groups {
            let known = self
                .writer
                .as_ref()
                .and_then(|writer| writer.free_runs(group));
            let runs = match known {
                Some(runs) => runs,
                None => read_free_space(&self.volume, group)?.runs,
            };
            for run in runs {
                let free = geometry.byte_offset(group, run.start);
                if from < free {
                    used.push(from..free);
                }
                from = free + u64::from(run.len) * u64::from(geometry.block_size);
            }
        }
        let end = geometry.total_blocks * u64::from(geometry.block_size);
        if from < end {
            used.push(from..end);
        }
        Ok(used)
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        check::run(&self.volume, &self.superblock, report)
    }

    fn create(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        let (volume, writer) = self.writer()?;
        writer.create(volume, directory.0, name, new).map(NodeId)
    }

    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.write_content(volume, node.0, size, content)
    }

    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.write_at(volume, node.0, offset, data)
    }

    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.set_size(volume, node.0, size)
    }

    fn link(&mut self, node: NodeId, directory: NodeId, name: &[u8]) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.link(volume, node.0, directory.0, name)
    }

    fn rename(&mut self, from: NodeId, from_name: &[u8], to: NodeId, to_name: &[u8]) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.rename(volume, from.0, from_name, to.0, to_name)
    }

    fn remove(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.remove(volume, directory.0, name)
    }

    fn set_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.set_metadata(volume, node.0, change)
    }

    fn set_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        let (volume, writer) = self.writer()?;
        writer.set_xattr(volume, node.0, name, value)
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.check_usable()?;
            writer.flush(&self.volume, &mut self.superblock)?;
            self.cache = RefCell::default();
        }
        Ok(())
    }
}
