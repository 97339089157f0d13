//! An image that is being edited: `build`, `plan` and `apply` all change an image through one.
//!
//! A session opens the root filesystem of a disk on a delta, hands out an [`Applier`] to edit it, and
//! gives back the result. Its base is never written: a session that fails, or that is dropped, leaves
//! nothing behind.

use std::sync::Arc;

use crate::overlay::{self, Applier, ChangedPath, Report};
use imgasm_block::{BlockDevice, Delta};
use imgasm_disk::{Disk, Place};
use imgasm_fs::{self as filesystem, FileSystem, Timestamp, WriteOptions, tree};

/// Why an image could not be edited.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk could not be understood or grown.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The edited root filesystem could not be written.
    #[error("the root filesystem in {place} cannot be written")]
    FileSystem {
        /// Where it lies.
        place: Place,
        /// What it said.
        source: filesystem::Error,
    },
    /// What was changed could not be read back.
    #[error(transparent)]
    ReadBack(#[from] tree::Error),
    /// An overlay could not be applied.
    #[error(transparent)]
    Overlay(#[from] overlay::Error),
}

/// How an image is opened to be edited.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of the root partition; `None` looks for the root.
    pub partition: Option<u32>,
    /// The time given to everything that is made or changed.
    pub now: Timestamp,
    /// The seed of new identifiers.
    pub seed: [u8; 16],
}

/// An image that is being edited.
pub struct Session {
    delta: Arc<Delta>,
    disk: Disk,
    place: Place,
    root: Box<dyn FileSystem>,
    options: Options,
    report: Report,
}

/// An image that was edited.
pub struct Edited {
    /// The image: the base with the changes.
    pub delta: Arc<Delta>,
    /// The disk in it.
    pub disk: Disk,
    /// What each overlay and step did.
    pub report: Report,
    /// Every path that now differs from the base.
    pub changed_paths: Vec<ChangedPath>,
}

/// What is done after the edits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finish {
    /// Whether what the root filesystem does not use becomes holes.
    pub sparsify: bool,
    /// Whether the changed files are read for their digests.
    pub with_digests: bool,
}

impl Session {
    /// Opens an image of `len` bytes above `base`. If that is more than the base has, the disk
    /// grows, with its last partition and the filesystem in it.
    pub fn open(base: Arc<dyn BlockDevice>, len: u64, options: Options) -> Result<Self, Error> {
        let grows = len > base.len();
        let delta = Arc::new(Delta::grown(base, len));
        let mut disk = Disk::open(delta.clone())?;
        let place = disk.root(options.partition)?;
        let write_options = WriteOptions {
            now: options.now,
            seed: options.seed,
        };
        if grows && let Some(last) = disk.grow(None)? {
            disk.grow_filesystem(last, write_options)?;
        }
        let root = disk.open_filesystem_writable(place, write_options)?;
        Ok(Self {
            delta,
            disk,
            place,
            root,
            options,
            report: Report::default(),
        })
    }

    /// Edits the root filesystem. After an error the session is useless.
    pub fn edit<E: From<overlay::Error>>(
        &mut self,
        edit: impl FnOnce(&mut Applier<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut applier = Applier::new(self.root.as_mut(), self.options.now)?;
        edit(&mut applier)?;
        let Report {
            overlays,
            packages,
            removed_packages,
        } = applier.finish();
        self.report.overlays.extend(overlays);
        self.report.packages.extend(packages);
        self.report.removed_packages.extend(removed_packages);
        Ok(())
    }

    /// Writes the edits into the delta. Paths that end up as they were in the base count as not
    /// changed; if that holds for all of them, the image is the base.
    pub fn finish(self, finish: Finish) -> Result<Edited, Error> {
        let Self {
            delta,
            disk,
            place,
            mut root,
            options,
            mut report,
        } = self;
        let failed = |source| Error::FileSystem { place, source };
        root.flush().map_err(failed)?;
        let is_grown = delta.len() > delta.base().len();
        if report.has_changed() {
            // The table of a disk that grew has changed, but the root has the same place in both.
            let base = Disk::open(delta.base().clone())?;
            let before = base.open_filesystem(place)?;
            report.retain_net_changes(before.as_ref(), root.as_ref(), options.now)?;
        }
        if !report.has_changed() && !is_grown && !finish.sparsify {
            let delta = Arc::new(Delta::new(delta.base().clone()));
            return Ok(Edited {
                disk: Disk::open(delta.clone())?,
                delta,
                report,
                changed_paths: Vec::new(),
            });
        }
        if finish.sparsify {
            filesystem::sparsify(root.as_ref(), &disk.slice(place)?).map_err(failed)?;
        }
        let changed_paths = report.changed_paths(root.as_ref(), finish.with_digests)?;
        Ok(Edited {
            delta,
            disk,
            report,
            changed_paths,
        })
    }
}
