//! A disk that lies in scattered clusters of a file, found through a table.
//!
//! A few bytes of tables can name one cluster any number of times. A sound file has each cluster of the
//! disk once, so that what its tables name is never more than it is long: [`Claims`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::budget::Budget;
use imgasm_block::bytes::byte_len;
use imgasm_block::{BlockDevice, check_range};

/// Memory for unpacked clusters.
const UNPACKED_BYTES: u64 = 16 << 20;

/// The longest range of data that is given at once. A caller that continues from its end loses
/// nothing, and one that wants less does not pay for all.
const RANGE_BYTES: u64 = 16 << 20;

/// What a stretch of the disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Zeros, stored nowhere.
    Zeros,
    /// What the disk that this one is based on has there; zeros past its end.
    Below,
    /// Bytes of the file, from this offset.
    Stored(u64),
    /// Part of a compressed cluster.
    Packed {
        /// Where the compressed bytes lie in the file.
        offset: u64,
        /// Their number; the format may have rounded it up.
        len: u64,
        /// Where the stretch begins in the unpacked cluster.
        start: u64,
    },
}

/// A stretch of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Bytes until something else begins; never zero.
    pub(super) len: u64,
    /// What it holds.
    pub(super) mapping: Mapping,
}

/// The table of a format.
pub(super) trait Table: Send + Sync {
    /// Bytes in the disk.
    fn disk_len(&self) -> u64;

    /// What lies at a byte of the disk.
    fn lookup(&self, file: &ClusterFile, offset: u64) -> imgasm_block::Result<Stretch>;

    /// Unpacks one compressed cluster; gives as many bytes as a cluster has, or an error.
    fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, String>;

    /// The most compressed bytes that one cluster can have.
    fn packed_limit(&self) -> u64;
}

/// The file that the clusters lie in.
pub(super) struct ClusterFile {
    device: Arc<dyn BlockDevice>,
    path: PathBuf,
    claims: Mutex<Claims>,
}

/// How much of the disk the tables that were read so far say that the file has.
#[derive(Debug, Default)]
struct Claims {
    /// The offsets of these tables.
    tables: BTreeSet<u64>,
    /// Bytes that lie there as they are.
    stored: u64,
    /// Bytes that come out of compressed clusters.
    unpacked: u64,
}

/// How many clusters a table names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Those that are stored as they are.
    pub(super) stored: usize,
    /// Those that are compressed.
    pub(super) packed: usize,
}

impl ClusterFile {
    pub(super) fn new(device: Arc<dyn BlockDevice>, path: &Path) -> Self {
        Self {
            device,
            path: path.to_owned(),
            claims: Mutex::default(),
        }
    }

    /// Counts the clusters that the table at this offset names, when it is read for the first time.
    ///
    /// # Errors
    /// If all tables so far name more than the file can have.
    pub(super) fn claim(
        &self,
        table: u64,
        cluster_bytes: u64,
        named: Named,
    ) -> imgasm_block::Result<()> {
        let bytes = |count: usize| {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            count.saturating_mul(cluster_bytes)
        };
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if !claims.tables.insert(table) {
            return Ok(());
        }
        claims.stored = claims.stored.saturating_add(bytes(named.stored));
        claims.unpacked = claims.unpacked.saturating_add(bytes(named.packed));
        // The last cluster may be cut off.
        let most_stored = self.len().saturating_add(cluster_bytes);
        let most_unpacked = Budget::usual(self.len()).bytes();
        if claims.stored > most_stored || claims.unpacked > most_unpacked {
            let len = self.len();
            return Err(self.corrupt(format!(
                "its tables name more data than a file of {len} bytes can have: they name parts of it \
                 several times"
            )));
        }
        Ok(())
    }

    pub(super) fn len(&self) -> u64 {
        self.device.len()
    }

    /// Reads `len` bytes of metadata, which must lie inside the file, so that no number in a file
    /// asks for more memory than the file is long.
    pub(super) fn read(&self, what: &str, offset: u64, len: u64) -> imgasm_block::Result<Vec<u8>> {
        if check_range(offset, len, self.len()).is_err() {
            return Err(self.corrupt(format!(
                "{what}: {len} bytes at offset {offset} of a file of {} bytes",
                self.len()
            )));
        }
        let len = usize::try_from(len).map_err(|_| self.corrupt(format!("{what}: too large")))?;
        let mut buf = vec![0; len];
        self.device.read_at(offset, &mut buf)?;
        Ok(buf)
    }

    /// An error that names the file.
    pub(super) fn corrupt(&self, problem: String) -> imgasm_block::Error {
        imgasm_block::Error::Corrupt {
            path: self.path.clone(),
            problem,
        }
    }

    /// The name of the file in messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a cluster. The last one may be cut off where the file ends.
    fn read_stored(&self, offset: u64, buf: &mut [u8]) -> imgasm_block::Result<()> {
        if offset >= self.len() {
            return Err(self.corrupt(format!(
                "data at offset {offset} of a file of {} bytes: the file is cut off",
                self.len()
            )));
        }
        self.device.read_padded(offset, buf)
    }
}

/// A number that comes more than once.
pub(super) fn repeated(numbers: impl Iterator<Item = u64>) -> Option<u64> {
    let mut sorted: Vec<_> = numbers.collect();
    sorted.sort_unstable();
    let mut pairs = sorted.array_windows();
    pairs.find_map(|[one, other]| (one == other).then_some(*one))
}

/// The disk as a device. It cannot be written.
pub(super) struct Clusters<T> {
    file: ClusterFile,
    table: T,
    /// The disk that this one is based on.
    below: Option<Arc<dyn BlockDevice>>,
    unpacked: Mutex<Lru<Vec<u8>>>,
}

impl<T: Table> Clusters<T> {
    pub(super) fn new(file: ClusterFile, table: T) -> Self {
        Self::based_on(file, table, None)
    }

    pub(super) fn based_on(
        file: ClusterFile,
        table: T,
        below: Option<Arc<dyn BlockDevice>>,
    ) -> Self {
        Self {
            file,
            table,
            below,
            unpacked: Mutex::new(Lru::new(UNPACKED_BYTES)),
        }
    }

    /// Where the first data lies in a stretch, if there is any.
    fn data_in(&self, at: u64, stretch: Stretch) -> imgasm_block::Result<Option<Range<u64>>> {
        let end = at.saturating_add(stretch.len).min(self.len());
        match (stretch.mapping, &self.below) {
            (Mapping::Below, Some(below)) if at < below.len() => {
                let found = below.next_data(at)?.filter(|data| data.start < end);
                Ok(found.map(|data| data.start.max(at)..data.end.min(end)))
            }
            (Mapping::Zeros | Mapping::Below, _) => Ok(None),
            (Mapping::Stored(_) | Mapping::Packed { .. }, _) => Ok(Some(at..end)),
        }
    }

    fn unpacked(&self, offset: u64, len: u64) -> imgasm_block::Result<Arc<Vec<u8>>> {
        let cache = || self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = cache().get(offset) {
            return Ok(cluster);
        }
        if offset >= self.file.len() || len > self.table.packed_limit() {
            return Err(self.file.corrupt(format!(
                "a compressed cluster of {len} bytes at offset {offset} of a file of {} bytes",
                self.file.len()
            )));
        }
        // The length may be rounded up past the end of the file.
        let len = len.min(self.file.len() - offset);
        let packed = self.file.read("compressed cluster", offset, len)?;
        let cluster = self.table.unpack(&packed).map_err(|problem| {
            self.file.corrupt(format!(
                "the compressed cluster at offset {offset}: {problem}"
            ))
        })?;
        let cluster = Arc::new(cluster);
        cache().put(offset, cluster.clone(), byte_len(&cluster));
        Ok(cluster)
    }
}

impl<T: Table> BlockDevice for Clusters<T> {
    fn len(&self) -> u64 {
        self.table.disk_len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> imgasm_block::Result<()> {
        check_range(offset, byte_len(buf), self.len())?;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let stretch = self.table.lookup(&self.file, at)?;
            let len = stretch.len.min(byte_len(rest));
            let (piece, following) =
                rest.split_at_mut(usize::try_from(len).expect("within a buffer"));
            match stretch.mapping {
                Mapping::Zeros => piece.fill(0),
                Mapping::Below => match &self.below {
                    Some(below) if at < below.len() => below.read_padded(at, piece)?,
                    _ => piece.fill(0),
                },
                Mapping::Stored(offset) => self.file.read_stored(offset, piece)?,
                Mapping::Packed { offset, len, start } => {
                    let cluster = self.unpacked(offset, len)?;
                    let start = usize::try_from(start).expect("within a cluster");
                    let data = cluster.get(start..start + piece.len()).ok_or_else(|| {
                        let problem = "a compressed cluster holds too little";
                        self.file.corrupt(format!("{problem}, at offset {offset}"))
                    })?;
                    piece.copy_from_slice(data);
                }
            }
            at += len;
            rest = following;
        }
        Ok(())
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> imgasm_block::Result<()> {
        Err(imgasm_block::Error::ReadOnly)
    }

    fn write_zeros(&self, _offset: u64, _len: u64) -> imgasm_block::Result<()> {
        Err(imgasm_block::Error::ReadOnly)
    }

    fn next_data(&self, from: u64) -> imgasm_block::Result<Option<Range<u64>>> {
        let mut at = from;
        let mut start = None;
        while at < self.len() && start.is_none_or(|start| at - start < RANGE_BYTES) {
            let stretch = self.table.lookup(&self.file, at)?;
            let data = self.data_in(at, stretch)?;
            match (data, start) {
                (Some(data), Some(_)) if data.start == at => at = data.end,
                (_, Some(start)) => return Ok(Some(start..at)),
                (Some(data), None) => (start, at) = (Some(data.start), data.end),
                (None, None) => at = at.saturating_add(stretch.len).min(self.len()),
            }
        }
        Ok(start.map(|start| start..at))
    }
}

/// Recently used things by their offset in the file, up to a number of bytes.
pub(super) struct Lru<T> {
    entries: BTreeMap<u64, (u64, u64, Arc<T>)>,
    limit_bytes: u64,
    bytes: u64,
    clock: u64,
}

impl<T> Lru<T> {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            limit_bytes,
            bytes: 0,
            clock: 0,
        }
    }

    pub(super) fn get(&mut self, key: u64) -> Option<Arc<T>> {
        self.clock += 1;
        let (used, _, value) = self.entries.get_mut(&key)?;
        *used = self.clock;
        Some(value.clone())
    }

    pub(super) fn put(&mut self, key: u64, value: Arc<T>, bytes: u64) {
        self.clock += 1;
        self.bytes += bytes;
        if let Some((_, old, _)) = self.entries.insert(key, (self.clock, bytes, value)) {
            self.bytes -= old;
        }
        while self.bytes > self.limit_bytes && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _, _))| *used);
            let oldest = *oldest.expect("there is more than one").0;
            let (_, bytes, _) = self.entries.remove(&oldest).expect("it was just found");
            self.bytes -= bytes;
        }
    }
}
