//! The disk: partition table, and a filesystem in each partition that has one.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::fill::fill;
use super::layout::{Filesystem, Layout, Partition};
use super::tree::{self, Content, Item, Tree};
use super::{Error, Result, grub};
use crate::filesystem::{self, FilesystemKind, Identity};
use imgasm_block::{BlockDevice, Slice};
use imgasm_disk::{Gpt, NewPartition, SectorSize};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_fs::{FileSystem, Timestamp, WriteOptions};
use imgasm_guest::files::read_optional;
use imgasm_guest::fstab::{self, Entry, Field, MountPoint};
use imgasm_guest::known_path;

const MIB: u64 = 1 << 20;
/// Unit in which contents are counted: the usual block of a filesystem.
const BLOCK: u64 = 4096;

/// How a disk is to be assembled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssembleOptions {
    /// The time given to everything.
    pub now: Timestamp,
    /// The source of the GUIDs, the filesystems' identities and their seeds.
    pub seed: [u8; 16],
}

impl AssembleOptions {
    /// An identity of its own for each thing that needs one.
    fn derive(&self, what: &str) -> Uuid {
        Uuid::new_v5(&Uuid::from_bytes(self.seed), what.as_bytes())
    }

    /// What makes the filesystem in a partition one of its own.
    fn identity(&self, partition: &Partition) -> Identity {
        let is_root = partition.mount().is_some_and(ImagePath::is_root);
        let seed = if is_root {
            self.derive("hash seed")
        } else {
            self.derive(&format!("hash seed of partition {}", partition.number))
        };
        Identity {
            uuid: self.derive(&partition.purpose()),
            hash_seed: seed.into_bytes(),
        }
    }
}

/// A root filesystem that has been read and divided, ready to become a disk.
#[derive(Debug)]
pub struct Assembly<'a> {
    layout: &'a Layout,
    /// What each partition is to hold.
    trees: Vec<Tree>,
    loader: Option<grub::Loader>,
}

impl<'a> Assembly<'a> {
    /// Divides a tree. A directory at which a partition is mounted is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Meta`] if something else is there; as [`grub::Loader::find`].
    pub fn new(mut tree: Tree, layout: &'a Layout) -> Result<Self> {
        for mount in layout.partitions().iter().filter_map(Partition::mount) {
            tree::add_directories(&mut tree, mount).map_err(Error::Layout)?;
        }
        let loader = grub::Loader::find(&tree, layout)?;
        let mut trees = vec![Tree::new(); layout.partitions().len()];
        for (path, item) in tree {
            let mounts = layout.partitions().iter().map(Partition::mount).enumerate();
            let above = mounts.filter_map(|(index, mount)| Some((index, mount?)));
            let mut above: Vec<_> = above.filter(|(_, mount)| path.starts_with(mount)).collect();
            above.sort_by_key(|(_, mount)| mount.as_bytes().len());
            let Some((index, mount)) = above.pop() else {
                continue;
            };
            // A directory at which something is mounted is there twice: below, and as its root.
            if let (true, Some((below, outer))) = (path == *mount, above.pop()) {
                trees[below].insert(inside(&path, outer), item.clone());
            }
            let holder = layout.partitions()[index].filesystem.as_ref();
            let is_fat = holder.is_some_and(|holder| holder.kind == FilesystemKind::Vfat);
            let item = if is_fat { as_on_fat(item) } else { item };
            trees[index].insert(inside(&path, mount), item);
        }
        Ok(Self {
            layout,
            trees,
            loader,
        })
    }

    /// The smallest number of bytes that is sure to hold the disk.
    pub fn required_size(&self) -> u64 {
        let partitions = self.layout.partitions().iter().zip(&self.trees);
        let required = partitions.map(|(partition, tree)| match &partition.filesystem {
            Some(filesystem) => required(filesystem.kind, tree),
            None => 0,
        });
        self.layout.disk_size(&required.collect::<Vec<_>>())
    }

    /// Puts the disk onto all of `device`, which reads as zeros. The same tree, options and length
    /// give the same bytes.
    ///
    /// # Errors
    /// [`Error::TooSmall`], and those of reading the files and making the filesystems.
    pub fn write(&self, device: &Arc<dyn BlockDevice>, options: &AssembleOptions) -> Result<()> {
        let required = self.required_size();
        if device.len() < required {
            return Err(Error::TooSmall {
                what: "a disk",
                len: device.len(),
                required,
            });
        }
        self.write_table(device, options)?;
        let places = self.layout.places(device.len());
        if let Some(loader) = &self.loader {
            loader.write(device, self.layout, &places)?;
        }
        let partitions = self.layout.partitions().iter().zip(&self.trees);
        for ((partition, tree), place) in partitions.zip(places) {
            let Some(filesystem) = &partition.filesystem else {
                continue;
            };
            let slice: Arc<dyn BlockDevice> = Arc::new(Slice::new(Arc::clone(device), place)?);
            let purpose = partition.purpose();
            let failed = |source| Error::Format {
                what: purpose.clone(),
                source,
            };
            let identity = options.identity(partition);
            let kind = filesystem.kind;
            let how = (kind, &filesystem.xfs);
            filesystem::make(&slice, how, &filesystem.label, identity, options.now)
                .map_err(failed)?;
            if kind == FilesystemKind::Swap {
                continue;
            }
            let write = WriteOptions {
                now: options.now,
                seed: options.seed,
            };
            let mut fs = imgasm_disk::open_writable(slice, write).map_err(failed)?;
            fill(fs.as_mut(), tree)?;
            if partition.mount().is_some_and(ImagePath::is_root) {
                self.list(fs.as_mut(), options)?;
            }
        }
        Ok(())
    }

    fn write_table(&self, device: &Arc<dyn BlockDevice>, options: &AssembleOptions) -> Result<()> {
        let sector = SectorSize::B512.bytes();
        let places = self.layout.places(device.len());
        let partitions = self.layout.partitions().iter().zip(places);
        let partitions = partitions.map(|(partition, bytes)| NewPartition {
            number: partition.number,
            kind: partition.kind,
            guid: options.derive(&format!("partition {}", partition.number)),
            name: partition.name.clone(),
            attributes: 0,
            first_lba: bytes.start / sector,
            last_lba: bytes.end / sector - 1,
        });
        let mut partitions: Vec<_> = partitions.collect();
        partitions.sort_by_key(|partition| partition.number);
        let guid = options.derive("disk");
        let gpt = Gpt::new(device.len(), SectorSize::B512, guid, &partitions)?;
        Ok(gpt.write(device)?)
    }

    /// Has the root's `/etc/fstab` list the partitions that are to be listed and are not.
    fn list(&self, root: &mut dyn FileSystem, options: &AssembleOptions) -> Result<()> {
        let path = known_path("/etc/fstab");
        let failed = |source| Error::List { source };
        let mut editor = Editor::new(root);
        let before = read_optional(editor.fs(), &path).map_err(failed)?;
        let mut content = before.clone().unwrap_or_default();
        for partition in self.layout.partitions() {
            let Some(filesystem) = &partition.filesystem else {
                continue;
            };
            let entry = entry(filesystem, options.identity(partition).uuid);
            let is_listed = |entry: &Entry| {
                let is_swap = filesystem.kind == FilesystemKind::Swap;
                let lines = fstab::lines(&content);
                lines.iter().any(|line| match line.fields.as_slice() {
                    [device, ..] if is_swap => device == entry.device.as_str(),
                    [_, mount, ..] => mount == entry.mount.as_str(),
                    _ => false,
                })
            };
            if let Some(entry) = entry.filter(|entry| !is_listed(entry)) {
                content = fstab::set(&content, &entry);
            }
        }
        if before.unwrap_or_default() != content {
            let attributes = Attributes::default();
            let parent = known_path("/etc");
            editor.mkdir_all(&parent, attributes).map_err(failed)?;
            editor
                .write(&path, LastLink::Follow, &content, attributes)
                .map_err(failed)?;
            let flushed = root.flush();
            flushed.map_err(|source| Error::Fill { path, source })?;
        }
        Ok(())
    }
}

/// The line about a filesystem in `/etc/fstab`, if it is to have one.
fn entry(filesystem: &Filesystem, uuid: Uuid) -> Option<Entry> {
    let options = filesystem.options.clone()?;
    let device = if filesystem.label.is_empty() {
        format!("UUID={}", filesystem.kind.fstab_uuid(uuid))
    } else {
        format!("LABEL={}", filesystem.label)
    };
    let mount = match &filesystem.mount {
        Some(mount) => MountPoint::new(&mount.to_string()),
        None if filesystem.kind == FilesystemKind::Swap => MountPoint::new("none"),
        None => None,
    }?;
    let pass = match (filesystem.kind, mount.as_str()) {
        (FilesystemKind::Ext4, "/") => 1,
        (FilesystemKind::Ext4 | FilesystemKind::Vfat, _) => 2,
        (FilesystemKind::Xfs | FilesystemKind::Swap, _) => 0,
    };
    Some(Entry {
        device: Field::new(&device)?,
        mount,
        kind: Field::new(filesystem.kind.name())?,
        options,
        dump: 0,
        pass,
    })
}

/// What FAT keeps of an item: it has no owners, modes or attributes.
fn as_on_fat(item: Item) -> Item {
    let is_read_only = item.mode & 0o200 == 0 && !matches!(item.content, Content::Directory);
    Item {
        mode: if is_read_only { 0o555 } else { 0o755 },
        uid: 0,
        gid: 0,
        xattrs: BTreeMap::new(),
        content: item.content,
    }
}

/// A path as it is in the filesystem that is mounted above it.
fn inside(path: &ImagePath, mount: &ImagePath) -> ImagePath {
    if mount.is_root() {
        return path.clone();
    }
    let below = &path.as_bytes()[mount.as_bytes().len()..];
    if below.is_empty() {
        return ImagePath::root();
    }
    ImagePath::parse(below).expect("what follows the mount point begins with a slash")
}

/// Bytes in which a filesystem is sure to have room for a tree.
fn required(kind: FilesystemKind, tree: &Tree) -> u64 {
    let blocks = |content: &Content| match content {
        Content::File { size, .. } => size.div_ceil(BLOCK),
        Content::Directory | Content::Symlink(_) => 1,
        Content::Special(_) | Content::HardLink(_) => 0,
    };
    let blocks: u64 = tree.values().map(|item| blocks(&item.content)).sum();
    let inodes = u64::try_from(tree.len()).unwrap_or(u64::MAX);
    // ext4 has an inode for every four blocks, and keeps 5 % for root. Beside the contents there is
    // room for journal or log, and bitmaps.
    let content = blocks
        .saturating_mul(BLOCK)
        .max(inodes.saturating_mul(4 * BLOCK));
    let content = content.saturating_add(content / 8);
    match kind {
        FilesystemKind::Ext4 => content.saturating_add(16 * MIB),
        // What `mkfs.xfs` makes is no smaller.
        FilesystemKind::Xfs => content.saturating_add(80 * MIB).max(300 * MIB),
        FilesystemKind::Vfat => content.saturating_add(MIB),
        FilesystemKind::Swap => MIB,
    }
}
