//! An opened filesystem: its parts in memory, changes as units, and flushing.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use zerocopy::little_endian::U32;

use super::format::checksum::FsSeed;
use super::format::geometry::Geometry;
use super::format::group::GroupDescriptor;
use super::format::superblock::{self, Superblock};
use super::format::time;
use super::groups::Groups;
use super::name_cache::NameCache;
use super::stage::Stage;
use super::zone::SystemZone;
use crate::problem::{FS, Problem, corrupt, incompatible, not_writable};
use imgasm_block::BlockDevice;
use imgasm_fs::error::{Error, Location, Result};
use imgasm_fs::types::WriteOptions;

/// An ext2, ext3 or ext4 filesystem.
pub struct Ext4 {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) superblock: Superblock,
    pub(super) geometry: Geometry,
    pub(super) groups: Groups,
    pub(super) stage: Stage,
    /// The seed of the checksums.
    pub(super) seed: FsSeed,
    pub(super) zone: SystemZone,
    /// Names of large directories without an index.
    pub(super) names: RefCell<NameCache>,
    /// `None` if the filesystem was opened for reading.
    pub(super) options: Option<WriteOptions>,
    /// Whether anything was changed since the last flush.
    pub(super) changed: bool,
    /// Whether this was recovered in memory only, so that the disk still needs recovery.
    pub(super) recovered_in_memory: bool,
    /// Why the journal was not replayed although it should be: the filesystem is then read without
    /// it.
    pub(super) journal_unread: Option<String>,
    /// Whether a change or a flush has failed: what is staged and on the device is useless then.
    failed: bool,
}

impl fmt::Debug for Ext4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = self.geometry.blocks_count;
        f.debug_struct("Ext4")
            .field("kind", &self.kind())
            .field(
                "total_bytes",
                &(blocks * self.geometry.block_size.bytes64()),
            )
            .field("is_writable", &self.options.is_some())
            .finish_non_exhaustive()
    }
}

impl Ext4 {
    /// Opens a filesystem for reading: nothing is ever written to the device. One that was not
    /// unmounted is read as it is after its recovery, which is done in memory; if its journal is
    /// damaged, it is read without it, which a check reports.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the superblock, the group descriptors or the journal are not sound,
    /// [`Error::Incompatible`] if they use what we cannot read.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let superblock = read_superblock(&*device)?;
        if !superblock.needs_recovery() {
            return Self::with(device, superblock, None);
        }
        match Self::recover_in_memory(Arc::clone(&device), &superblock) {
            Err(error @ (Error::Corrupt { .. } | Error::NotWritable { .. })) => {
                // As a kernel reads it with `noload`. The check reports it; opening for writing never
                // does this.
                tracing::warn!(%error, "the journal cannot be replayed; reading without it");
                let mut fs = Self::with(device, superblock, None)?;
                fs.journal_unread = Some(error.to_string());
                Ok(fs)
            }
            recovered => recovered,
        }
    }

    /// Opens a filesystem for reading and writing. One that was not unmounted is recovered first,
    /// on the device.
    ///
    /// # Errors
    /// As [`Ext4::open`]; and [`Error::Incompatible`] if it has a feature that we do not write,
    /// [`Error::NotWritable`] if it is in a state in which it must not be written.
    pub fn open_writable(device: Arc<dyn BlockDevice>, options: WriteOptions) -> Result<Self> {
        let superblock = read_superblock(&*device)?;
        check_writable(&superblock)?;
        if superblock.needs_recovery() || superblock.has_orphans() {
            return Self::recover(device, superblock, options);
        }
        Self::with(device, superblock, Some(options))
    }

    /// Takes the filesystem as it is on the device; `options` are `None` for reading only.
    pub(super) fn with(
        device: Arc<dyn BlockDevice>,
        superblock: Superblock,
        options: Option<WriteOptions>,
    ) -> Result<Self> {
        let features = superblock.features();
        let unreadable = features.unreadable();
        if !unreadable.is_empty() {
            return Err(incompatible(format!("feature {}", unreadable.join(", "))));
        }
        let at_superblock = |problem: Problem| problem.at(Location::Superblock);
        let geometry = Geometry::new(&superblock).map_err(at_superblock)?;
        let bytes = geometry
            .blocks_count
            .saturating_mul(geometry.block_size.bytes64());
        if bytes > device.len() {
            return Err(corrupt(
                Location::Superblock,
                format!(
                    "the filesystem has {bytes} bytes, its device only {}",
                    device.len()
                ),
            ));
        }
        let seed = superblock.checksum_seed();
        let groups = Groups::load(&*device, &geometry, seed, &superblock.s_uuid)?;
        if options.is_some()
            && let Some((group, problem)) = groups.doubtful().first()
        {
            return Err(problem.clone().at(Location::Group(group.0)));
        }
        let zone = SystemZone::new(&geometry, groups.iter());
        let stage = Stage::new(
            Arc::clone(&device),
            geometry.block_size,
            features.metadata_csum().then_some(seed),
        );
        Ok(Self {
            device,
            superblock,
            geometry,
            groups,
            stage,
            seed,
            zone,
            names: RefCell::default(),
            options,
            changed: false,
            recovered_in_memory: false,
            journal_unread: None,
            failed: false,
        })
    }

    /// The options for changes.
    pub(super) fn options(&self) -> Result<&WriteOptions> {
        self.check_usable()?;
        self.options
            .as_ref()
            .ok_or_else(|| not_writable("it is opened for reading only"))
    }

    /// Refuses to continue after a failed change or flush.
    fn check_usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::Spoilt { fs: FS });
        }
        Ok(())
    }

    /// Makes a change. If it fails, what is staged is useless.
    pub(super) fn change<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.options()?;
        self.changed = true;
        let result = operation(self).and_then(|value| {
            self.stage.relieve()?;
            Ok(value)
        });
        self.failed |= result.is_err();
        result
    }

    /// Writes all that is staged: blocks, descriptors, and the superblock last. Copies of the
    /// superblock and of the descriptors elsewhere stay as they are, as a kernel leaves them.
    ///
    /// If that fails, nothing more can be changed.
    pub(super) fn write_staged(&mut self) -> Result<()> {
        self.check_usable()?;
        if !self.changed {
            return Ok(());
        }
        let written = self.write_all();
        self.failed |= written.is_err();
        written
    }

    pub(super) fn write_all(&mut self) -> Result<()> {
        let now = self.options()?.now;
        self.recount_quotas()?;
        self.flush_groups()?;
        self.stage.flush()?;
        let sum = |count: fn(&GroupDescriptor) -> u32| -> u64 {
            self.groups
                .iter()
                .map(|group| u64::from(count(group)))
                .sum()
        };
        let free_blocks =
            sum(GroupDescriptor::free_blocks_count) * u64::from(self.geometry.cluster_blocks);
        let free_inodes = u32::try_from(sum(GroupDescriptor::free_inodes_count))
            .expect("each group has at most as many as it says, all together 32 bits");
        let superblock = &mut self.superblock;
        superblock.set_free_blocks_count(free_blocks);
        superblock.s_free_inodes_count = U32::new(free_inodes);
        let (seconds, more) = time::encode(now, true);
        superblock.s_wtime = U32::new(seconds);
        let [epoch, ..] = (more & 3).to_le_bytes();
        superblock.s_wtime_hi = epoch;
        self.device
            .write_at(superblock::OFFSET_BYTES, &superblock.encode())?;
        self.changed = false;
        Ok(())
    }
}

/// Whether a device holds an ext2, ext3 or ext4 filesystem, by its magic number.
///
/// # Errors
/// Those of reading the device.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    const MAGIC_AT: u64 = superblock::OFFSET_BYTES + 0x38;
    if device.len() < MAGIC_AT + 2 {
        return Ok(false);
    }
    let mut magic = [0; 2];
    device.read_at(MAGIC_AT, &mut magic)?;
    Ok(u16::from_le_bytes(magic) == superblock::MAGIC)
}

/// Reads and checks the superblock.
pub(super) fn read_superblock(device: &dyn BlockDevice) -> Result<Superblock> {
    let mut bytes = [0; superblock::LEN];
    device.read_at(superblock::OFFSET_BYTES, &mut bytes)?;
    Superblock::decode(&bytes).map_err(|problem| problem.at(Location::Superblock))
}

/// Refuses what we cannot write safely.
fn check_writable(superblock: &Superblock) -> Result<()> {
    let unwritable = superblock.features().unwritable();
    if !unwritable.is_empty() {
        return Err(incompatible(format!(
            "writing with feature {}",
            unwritable.join(", ")
        )));
    }
    let state = superblock.s_state.get();
    let reason = if state & superblock::STATE_ERROR != 0 {
        "errors are flagged in the superblock: run `e2fsck -f` on it"
    } else if state & superblock::STATE_VALID == 0 {
        "it was not unmounted cleanly: run `e2fsck -f` on it"
    } else {
        return Ok(());
    };
    Err(not_writable(reason))
}
