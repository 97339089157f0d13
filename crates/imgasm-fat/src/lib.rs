//! FAT12, FAT16 and FAT32: the EFI system partition of an image.
//!
//! From the disk upwards:
//!
//! - `format`: the on-disk structures as bytes and values; no I/O.
//! - `problem`: makes the errors that lie in a volume.
//! - `table`: the file allocation table.
//! - `volume`: directories and chains, read from a device.
//! - `nodes`: the numbers by which files are known while the volume is open.
//! - `edit`: changes through the `fatfs` crate, and which parts are ours and why; `write`: the
//!   primitives of the trait, made from them.
//! - `check`: checking a volume against itself.
//! - `filesystem`: the trait, for a volume.
//! - `mkfs`: making a volume.
//!
//! FAT has no owners, permissions, links, device nodes or attributes. Everything belongs to root;
//! directories show as 0755, files as 0644, or 0444 if they are marked read-only. Times are taken
//! as UTC. Changes are written at once; there is nothing to flush.

#![warn(missing_debug_implementations)]

mod check;
mod edit;
mod filesystem;
mod format;
mod mkfs;
mod nodes;
mod problem;
mod table;
mod volume;
mod write;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use mkfs::{FormatOptions, format};

use self::format::boot::{BOOT_LEN, Geometry, Width};
use self::format::directory::{Entry, Listing};
use self::nodes::Nodes;
use self::problem::{KIND, corrupt, not_writable};
use self::volume::{Place, Volume};
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Finding, Location, NodeId, Result, Timestamp, WriteOptions};

/// Whether `device` begins with the boot sector of a FAT volume.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut sector = [0; BOOT_LEN];
    if device.len() < 512 {
        return Ok(false);
    }
    device.read_at(0, &mut sector)?;
    Ok(Geometry::decode(&sector, device.len()).is_ok())
}

/// A FAT volume, opened.
pub struct Fat {
    volume: Volume,
    options: Option<WriteOptions>,
    /// Whether a change has failed: what is on the device is useless then.
    failed: bool,
    nodes: RefCell<Nodes>,
    listings: RefCell<BTreeMap<Place, Arc<Listing>>>,
}

impl fmt::Debug for Fat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fat")
            .field("width", &self.volume.geometry.width)
            .field("is_writable", &self.options.is_some())
            .finish_non_exhaustive()
    }
}

impl Fat {
    /// Opens the volume on `device` for reading.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is none.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        Ok(Self {
            volume: Volume::open(device)?,
            options: None,
            failed: false,
            nodes: RefCell::new(Nodes::new()),
            listings: RefCell::default(),
        })
    }

    /// Opens the volume on `device` for reading and writing.
    ///
    /// # Errors
    /// [`Error::NotWritable`] if a check finds anything wrong with its structures.
    pub fn open_writable(device: Arc<dyn BlockDevice>, options: WriteOptions) -> Result<Self> {
        let mut fat = Self::open(device)?;
        let mut first = None;
        check::structures(&fat.volume, &mut |finding| {
            if finding.is_error() {
                first.get_or_insert(finding);
            }
        })?;
        if let Some(Finding { at, problem, .. }) = first {
            let reason = format!("{at}: {problem}; repair it with fsck.vfat first");
            return Err(not_writable(reason));
        }
        // The crate decides the width by the number of clusters alone, as the specification does.
        if fat.volume.geometry.width == Width::Fat32 && fat.volume.geometry.clusters < 65525 {
            return Err(not_writable(format!(
                "FAT32 with {} clusters, fewer than 65525; format it as FAT16",
                fat.volume.geometry.clusters
            )));
        }
        fat.options = Some(options);
        Ok(fat)
    }

    /// The time of changes, if the volume may be changed.
    fn now(&self) -> Result<Timestamp> {
        if self.failed {
            return Err(Error::Spoilt { fs: KIND });
        }
        self.options
            .map(|options| options.now)
            .ok_or_else(|| not_writable("it was opened for reading only"))
    }

    /// What a directory holds, read once.
    fn listing(&self, place: Place) -> Result<Arc<Listing>> {
        if let Some(listing) = self.listings.borrow().get(&place) {
            return Ok(Arc::clone(listing));
        }
        let listing = Arc::new(self.volume.list(place)?);
        self.listings
            .borrow_mut()
            .insert(place, Arc::clone(&listing));
        Ok(listing)
    }

    /// The entry of a node; `None` for the root, which has none.
    fn entry(&self, node: NodeId) -> Result<Option<(Place, Entry)>> {
        let Some((parent, name)) = self.nodes.borrow().get(node)? else {
            return Ok(None);
        };
        let place = self.place(parent)?;
        let listing = self.listing(place)?;
        let entry = listing.entries.iter().find(|entry| entry.name == name);
        entry
            .map(|entry| Some((place, entry.clone())))
            .ok_or_else(|| Error::NotFound {
                directory: parent,
                name: name.into_bytes(),
            })
    }

    /// The place of a directory.
    fn place(&self, node: NodeId) -> Result<Place> {
        // From the root down, because a directory's place is in its parent's entry.
        let mut place = Place::Root;
        for (node, name) in self.nodes.borrow().ancestry(node)? {
            let listing = self.listing(place)?;
            let entry = listing.entries.iter().find(|entry| entry.name == name);
            let Some(entry) = entry.filter(|entry| entry.is_directory()) else {
                return Err(Error::WrongType {
                    node,
                    expected: "a directory",
                });
            };
            place = self.volume.place(entry.cluster);
            if !self.nodes.borrow().may_own(place, node) {
                return Err(corrupt(
                    Location::Block(entry.cluster.into()),
                    format!("directory {name:?} shares the cluster with another directory"),
                ));
            }
        }
        Ok(place)
    }

    /// The entry of a regular file.
    fn file(&self, node: NodeId) -> Result<(Place, Entry)> {
        self.entry(node)?
            .filter(|(_, entry)| !entry.is_directory())
            .ok_or(Error::WrongType {
                node,
                expected: "a regular file",
            })
    }

    /// The entry called `name` in a directory.
    fn find(&self, place: Place, name: &[u8]) -> Result<Option<Entry>> {
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(None);
        };
        let listing = self.listing(place)?;
        let mut entries = listing.entries.iter().filter(|entry| !entry.is_dots());
        Ok(entries.find(|entry| entry.is_called(name)).cloned())
    }

    /// The entry called `name` in a directory, which must have one.
    fn named(&self, directory: NodeId, name: &[u8]) -> Result<Entry> {
        self.find(self.place(directory)?, name)?
            .ok_or_else(|| Error::NotFound {
                directory,
                name: name.to_vec(),
            })
    }

    fn forget(&mut self) {
        self.volume.table.forget();
        self.listings.borrow_mut().clear();
    }
}
