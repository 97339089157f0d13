//! A FAT volume, read: directories and chains on a device.

use std::ops::Range;
use std::sync::Arc;

use super::format::boot::{BOOT_LEN, ENTRY_LEN, Geometry, Root};
use super::format::directory::{self, Entry, Listing, RawEntry};
use super::problem::corrupt;
use super::table::Table;
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Location, Result};
use zerocopy::{FromBytes, IntoBytes};

/// Largest directory in bytes: the format allows 65,536 entries.
const MAX_DIRECTORY: u64 = 65_536 * 32;

/// Where a directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// It is the root directory.
    Root,
    /// In the chain that begins with this cluster.
    Chain(u32),
}

impl Place {
    /// The cluster with which a `..` entry names the directory: 0 for the root, whatever the width.
    pub fn parent_cluster(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Chain(cluster) => cluster,
        }
    }
}

/// A FAT volume.
pub struct Volume {
    /// The device that it lies on.
    pub device: Arc<dyn BlockDevice>,
    /// Where everything lies.
    pub geometry: Geometry,
    /// The file allocation table.
    pub table: Table,
}

impl Volume {
    /// Reads the boot sector of `device`.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let mut sector = [0; BOOT_LEN];
        device.read_at(0, &mut sector)?;
        let geometry = Geometry::decode(&sector, device.len())
            .map_err(|problem| corrupt(Location::Superblock, problem))?;
        Ok(Self {
            table: Table::new(Arc::clone(&device), &geometry),
            device,
            geometry,
        })
    }

    /// The place of a directory, by the first cluster that its entry names.
    pub fn place(&self, cluster: u32) -> Place {
        if cluster == 0 || self.geometry.root == Root::Chain(cluster) {
            Place::Root
        } else {
            Place::Chain(cluster)
        }
    }

    /// The number of clusters for `len` bytes.
    pub fn clusters_for(&self, len: u64) -> u64 {
        len.div_ceil(self.geometry.cluster_size.into())
    }

    /// The clusters of a directory; none for a root that has its own area.
    pub fn directory_chain(&self, place: Place) -> Result<Vec<u32>> {
        let first = match (place, self.geometry.root) {
            (Place::Root, Root::Area { .. }) => return Ok(Vec::new()),
            (Place::Root, Root::Chain(cluster)) | (Place::Chain(cluster), _) => cluster,
        };
        let limit = self.clusters_for(MAX_DIRECTORY);
        self.table.chain(first, limit)
    }

    /// The bytes of the device on which a directory lies, in its order.
    fn directory_ranges(&self, place: Place) -> Result<Vec<Range<u64>>> {
        if let (Place::Root, Root::Area { offset, len }) = (place, self.geometry.root) {
            let area = offset..offset + len;
            return Ok([area].into());
        }
        let size = u64::from(self.geometry.cluster_size);
        let chain = self.directory_chain(place)?;
        Ok(chain
            .into_iter()
            .map(|cluster| self.geometry.offset(cluster))
            .map(|offset| offset..offset + size)
            .collect())
    }

    /// The bytes of a directory.
    pub fn directory_bytes(&self, place: Place) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for range in self.directory_ranges(place)? {
            let len = usize::try_from(range.end - range.start).expect("a cluster or a root area");
            let at = bytes.len();
            bytes.resize(at + len, 0);
            self.device.read_at(range.start, &mut bytes[at..])?;
        }
        Ok(bytes)
    }

    /// What a directory holds.
    pub fn list(&self, place: Place) -> Result<Listing> {
        let bytes = self.directory_bytes(place)?;
        Ok(directory::decode(&bytes, self.geometry.width))
    }

    /// The clusters of a file's content, as many as its size needs.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the chain is shorter.
    pub fn file_chain(&self, entry: &Entry) -> Result<Vec<u32>> {
        let needed = self.clusters_for(entry.size.into());
        if needed == 0 {
            return Ok(Vec::new());
        }
        let chain = self.table.chain(entry.cluster, needed)?;
        if u64::try_from(chain.len()).is_ok_and(|len| len < needed) {
            return Err(corrupt(
                Location::Block(entry.cluster.into()),
                format!(
                    "file {:?} of {} bytes has only {} clusters",
                    entry.name,
                    entry.size,
                    chain.len()
                ),
            ));
        }
        Ok(chain)
    }

    /// Changes the short entry in `slot` of a directory, in place.
    pub fn patch(
        &self,
        place: Place,
        slot: usize,
        change: impl FnOnce(&mut RawEntry),
    ) -> Result<()> {
        let mut at = u64::try_from(slot).unwrap_or(u64::MAX) * u64::from(ENTRY_LEN);
        for range in self.directory_ranges(place)? {
            let len = range.end - range.start;
            if at < len {
                let mut bytes = [0; 32];
                self.device.read_at(range.start + at, &mut bytes)?;
                let raw = RawEntry::mut_from_bytes(&mut bytes).expect("an entry has 32 bytes");
                change(raw);
                self.device.write_at(range.start + at, raw.as_bytes())?;
                return Ok(());
            }
            at -= len;
        }
        Err(corrupt(
            Location::Superblock,
            format!("a directory ends before its entry {slot}"),
        ))
    }

    /// The number of free clusters, as an error that says how many are missing if `needed` are more
    /// than that.
    pub fn require(&self, needed: u64) -> Result<()> {
        let free = self.table.count_free()?.into();
        if needed > free {
            return Err(Error::NoSpace {
                unit: "clusters",
                needed,
                free,
            });
        }
        Ok(())
    }
}
