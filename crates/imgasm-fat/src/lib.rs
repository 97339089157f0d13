//! FAT12, FAT16 and FAT32: the EFI system partition of an image.
//!
//! - `boot`: the boot sector, and where everything lies.
//! - `table`: the file allocation table.
//! - `directory`: the bytes of a directory.
//! - `time`: FAT's dates and times.
//! - `volume`: directories and chains, read from a device.
//! - `nodes`: the numbers by which files are known while the volume is open.
//! - `check`: checking a volume against itself.
//! - `edit`: changes through the `fatfs` crate.
//! - `filesystem`: the trait, for a volume.
//! - `format`: making a volume.
//!
//! FAT has no owners, permissions, links, device nodes or attributes. Everything belongs to root;
//! directories show as 0755, files as 0644, or 0444 where they are marked read-only. Times are
//! taken as UTC. Changes are written at once; there is nothing to flush.

mod boot;
mod check;
mod directory;
mod edit;
mod filesystem;
mod format;
mod nodes;
mod table;
mod time;
mod volume;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use format::{FormatOptions, format};

use self::boot::{BOOT_LEN, Geometry, Width};
use self::directory::{Entry, Listing};
use self::edit::{Engine, failed};
use self::nodes::Nodes;
use self::volume::{Place, Volume};
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, FileSystem, Finding, Location, NodeId, Result, Timestamp, WriteOptions};

/// What `blkid` and the kernel call the format.
const KIND: &str = "vfat";

/// Whether `device` begins with the boot sector of a FAT volume.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut sector = [0; BOOT_LEN];
    if device.len() < 512 {
        return Ok(false);
    }
    device.read_at(0, &mut sector)?;
    Ok(Geometry::decode(&sector, device.len()).is_ok())
}

fn corrupt(at: Location, problem: String) -> Error {
    Error::Corrupt {
        fs: KIND,
        at,
        problem,
    }
}

fn unstorable(what: impl Into<String>, problem: &str) -> Error {
    Error::Unstorable {
        what: what.into(),
        problem: format!("{KIND}: {problem}"),
    }
}

/// A FAT volume, opened.
pub struct Fat {
    volume: Volume,
    options: Option<WriteOptions>,
    nodes: RefCell<Nodes>,
    listings: RefCell<BTreeMap<Place, Arc<Listing>>>,
}

impl Fat {
    /// Opens the volume on `device` for reading.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where there is none.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        Ok(Self {
            volume: Volume::open(device)?,
            options: None,
            nodes: RefCell::new(Nodes::new()),
            listings: RefCell::default(),
        })
    }

    /// Opens the volume on `device` for reading and writing.
    ///
    /// # Errors
    /// [`Error::NotWritable`] where a check finds anything wrong with it.
    pub fn open_writable(device: Arc<dyn BlockDevice>, options: WriteOptions) -> Result<Self> {
        let mut fat = Self::open(device)?;
        let mut first = None;
        fat.check(&mut |finding| {
            if finding.is_error() {
                first.get_or_insert(finding);
            }
        })?;
        if let Some(Finding { at, problem, .. }) = first {
            return Err(Error::NotWritable {
                fs: KIND,
                reason: format!("{at}: {problem}; repair it with fsck.vfat first"),
            });
        }
        // The crate that writes goes by the number of clusters alone, as the format's text does.
        if fat.volume.geometry.width == Width::Fat32 && fat.volume.geometry.clusters < 65525 {
            return Err(Error::NotWritable {
                fs: KIND,
                reason: format!(
                    "FAT32 with {} clusters, fewer than 65525; format it as FAT16",
                    fat.volume.geometry.clusters
                ),
            });
        }
        fat.options = Some(options);
        Ok(fat)
    }

    fn now(&self) -> Result<Timestamp> {
        self.options
            .map(|options| options.now)
            .ok_or_else(|| Error::NotWritable {
                fs: KIND,
                reason: "it was opened for reading only".to_owned(),
            })
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
        // From the root down, because a place is another's entry.
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

    /// The entry that bears `name` in a directory.
    fn find(&self, place: Place, name: &[u8]) -> Result<Option<Entry>> {
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(None);
        };
        let listing = self.listing(place)?;
        let mut entries = listing.entries.iter().filter(|entry| !entry.is_dots());
        Ok(entries.find(|entry| entry.is_called(name)).cloned())
    }

    /// Makes a change with the crate, and forgets what was read before it.
    fn edit(&mut self, change: impl FnOnce(&Engine) -> Result<()>) -> Result<()> {
        let now = self.now()?;
        let outcome = edit::with_engine(&mut self.volume, now, change);
        self.forget();
        outcome
    }

    fn forget(&mut self) {
        self.volume.table.forget();
        self.listings.borrow_mut().clear();
    }

    /// Notes in a directory's own entry that it has changed.
    fn touch(&mut self, directory: NodeId) -> Result<()> {
        let now = self.now()?;
        if let Some((place, entry)) = self.entry(directory)? {
            self.volume
                .patch(place, entry.slot, |raw| raw.set_modified(now))?;
            self.forget();
        }
        Ok(())
    }

    /// The path of a name, as the crate takes it.
    fn path(&self, directory: NodeId, name: &str) -> Result<String> {
        let mut path = String::new();
        for (_, part) in self.nodes.borrow().ancestry(directory)? {
            path.push_str(&part);
            path.push('/');
        }
        Ok(path + name)
    }

    /// The path of a regular file, after a check that `end` bytes of it can be stored.
    fn writable_file(&self, node: NodeId, end: u64, kept: u64) -> Result<String> {
        self.now()?;
        let (_, entry) = self.file(node)?;
        if u32::try_from(end).is_err() {
            return Err(unstorable(
                format!("file {:?} of {end} bytes", entry.name),
                "a file has at most 4 GiB less one byte",
            ));
        }
        let has = self.volume.clusters_for(entry.size.into());
        let needed = self.volume.clusters_for(end.max(kept));
        self.volume.require(needed.saturating_sub(has))?;
        let parent = self.nodes.borrow().get(node)?;
        match parent {
            Some((parent, name)) => self.path(parent, &name),
            None => Ok(String::new()),
        }
    }

    /// What a directory that gets a new entry must be put right in.
    fn after_insertion(
        &mut self,
        directory: NodeId,
        place: Place,
        clusters_before: usize,
        name: &str,
    ) -> Result<Entry> {
        let entry = self
            .find(place, name.as_bytes())?
            .ok_or_else(|| corrupt(Location::Superblock, format!("{name:?} was not written")))?;
        edit::clear_growth(&self.volume, place, clusters_before, entry.slot)?;
        self.forget();
        self.touch(directory)?;
        Ok(entry)
    }

    /// Moves a name that nothing stands in the way of.
    fn move_name(&mut self, from: (NodeId, &str), to: (NodeId, &str), entry: &Entry) -> Result<()> {
        let now = self.now()?;
        let (from_place, to_place) = (self.place(from.0)?, self.place(to.0)?);
        edit::require_room(&self.volume, to_place, to.1, 0)?;
        let before = self.volume.directory_chain(to_place)?.len();
        let (old, new) = (self.path(from.0, from.1)?, self.path(to.0, to.1)?);
        self.edit(|engine| {
            let root = engine.root_dir();
            root.rename(&old, &root, &new).map_err(failed)
        })?;
        self.nodes.get_mut().rename(from.0, &entry.name, to.0, to.1);
        self.after_insertion(to.0, to_place, before, to.1)?;
        if from_place != to_place {
            if entry.is_directory() {
                self.volume.patch(Place::Chain(entry.cluster), 1, |raw| {
                    raw.set_cluster(to_place.parent_cluster());
                    raw.set_modified(now);
                })?;
                self.forget();
            }
            self.touch(from.0)?;
        }
        Ok(())
    }
}
