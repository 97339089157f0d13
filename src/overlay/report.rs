//! What was touched, by which overlay and step.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use imgasm_block::Digest;
use imgasm_block::bytes::byte_len;
use imgasm_fs::digest::Hashers;
use imgasm_fs::holes::has_holes;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, ChangeKind, LastLink, Touch};
use imgasm_fs::{FileSystem, FileType, NodeId, Timestamp};
use imgasm_guest::packages::{Outcome, Removed};

/// Bytes of two files compared at a time.
const COMPARED_BYTES: usize = 128 << 10;

/// What a run of overlays did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each overlay, in the order in which they were applied.
    pub overlays: Vec<OverlayReport>,
    /// One for each package that was to be installed, in order.
    pub packages: Vec<Outcome>,
    /// The packages that went, and that nothing took the place of.
    pub removed_packages: Vec<Removed>,
}

/// What one overlay did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayReport {
    /// Its name.
    pub name: String,
    /// One for each step, in order.
    pub steps: Vec<StepReport>,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// The step's number from 1; 0 is the `files/` tree.
    pub number: usize,
    /// Its kind: `write`, `symlink`, …, and `files` for the tree.
    pub kind: &'static str,
    /// Whether its guard let it be done.
    pub done: bool,
    /// The paths that it was about, with what was changed there.
    pub touched: Vec<Touch>,
}

impl StepReport {
    /// Whether anything differs from before.
    pub fn has_changed(&self) -> bool {
        self.touched.iter().any(|touch| touch.change.is_some())
    }
}

/// A path that overlays changed, as it is after all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedPath {
    /// The path.
    pub path: ImagePath,
    /// The overlay that changed it last.
    pub overlay: String,
    /// The number of the step that did.
    pub step: usize,
    /// The kind of the step.
    pub kind: &'static str,
    /// What is there now; `None` if nothing is.
    pub file_type: Option<FileType>,
    /// The SHA-256 of a regular file's content, if it was asked for.
    pub sha256: Option<Digest>,
}

impl Report {
    /// Whether anything differs from before.
    pub fn has_changed(&self) -> bool {
        let mut steps = self.overlays.iter().flat_map(|overlay| &overlay.steps);
        steps.any(StepReport::has_changed)
    }

    /// Drops the changes of paths that are the same in `after` as in `before`: a file that one step
    /// wrote and another wrote back is not changed. A modification time that became `now` does not
    /// count as a difference by itself.
    pub fn retain_net_changes(
        &mut self,
        before: &dyn FileSystem,
        after: &dyn FileSystem,
        now: Timestamp,
    ) -> tree::Result<()> {
        let steps = self.overlays.iter().flat_map(|overlay| &overlay.steps);
        let touched = steps.flat_map(|step| &step.touched);
        let mut greatest: BTreeMap<&ImagePath, ChangeKind> = BTreeMap::new();
        for Touch { path, change } in touched {
            if let Some(change) = *change {
                let known = greatest.entry(path).or_insert(change);
                *known = change.max(*known);
            }
        }
        let mut same = BTreeSet::new();
        for (path, change) in greatest {
            if is_same(before, after, path, change, now)? {
                same.insert(path.clone());
            }
        }
        let steps = self.overlays.iter_mut();
        let steps = steps.flat_map(|overlay| &mut overlay.steps);
        for touch in steps.flat_map(|step| &mut step.touched) {
            if same.contains(&touch.path) {
                touch.change = None;
            }
        }
        Ok(())
    }

    /// Every path that was changed, in the order of the paths' bytes, as it is in `fs` now, with the
    /// digests of files if they are wanted.
    pub fn changed_paths(
        &self,
        fs: &dyn FileSystem,
        with_digests: bool,
    ) -> tree::Result<Vec<ChangedPath>> {
        let mut last = BTreeMap::new();
        for overlay in &self.overlays {
            for step in &overlay.steps {
                let touched = step.touched.iter();
                for touch in touched.filter(|touch| touch.change.is_some()) {
                    last.insert(&touch.path, (&overlay.name, step));
                }
            }
        }
        thread::scope(|scope| {
            let mut hashers: Option<Hashers> = with_digests.then(|| Hashers::start(scope));
            if let Some(hashers) = &mut hashers {
                let began = hashers.begin(fs);
                began.map_err(failed_to_read(&ImagePath::root()))?;
            }
            let mut changed = Vec::with_capacity(last.len());
            let mut files = Vec::new();
            for (path, (overlay, step)) in last {
                let state = state(fs, path)?;
                if let Some(hashers) = &mut hashers
                    && let Some((node, FileType::Regular, size)) = state
                {
                    let number = hashers.add(fs, node, size);
                    let number = number.map_err(failed_to_read(path))?;
                    files.extend(number.map(|number| (number, changed.len())));
                }
                changed.push(ChangedPath {
                    path: path.clone(),
                    overlay: overlay.clone(),
                    step: step.number,
                    kind: step.kind,
                    file_type: state.map(|(_, file_type, _)| file_type),
                    sha256: None,
                });
            }
            let digests: BTreeMap<_, _> = hashers.into_iter().flat_map(Hashers::finish).collect();
            for (number, index) in files {
                changed[index].sha256 = digests.get(&number).copied();
            }
            Ok(changed)
        })
    }
}

fn failed_to_read(path: &ImagePath) -> impl FnOnce(imgasm_fs::Error) -> tree::Error {
    move |source| tree::Error::FileSystem {
        action: "read",
        path: path.clone(),
        source,
    }
}

/// Whether what is at a path is the same before and after changes of at most this kind.
fn is_same(
    before: &dyn FileSystem,
    after: &dyn FileSystem,
    path: &ImagePath,
    change: ChangeKind,
    now: Timestamp,
) -> tree::Result<bool> {
    let (old, new) = match (state(before, path)?, state(after, path)?) {
        (None, None) => return Ok(true),
        (Some((old, ..)), Some((new, ..))) => (old, new),
        _ => return Ok(false),
    };
    let compare = || -> imgasm_fs::Result<bool> {
        let (was, is) = (before.metadata(old)?, after.metadata(new)?);
        let is_alike = was.file_type == is.file_type
            && was.permissions == is.permissions
            && (was.uid, was.gid) == (is.uid, is.gid)
            && was.device == is.device
            && (was.modified == is.modified || is.modified == now);
        if !is_alike || before.xattrs(old)? != after.xattrs(new)? {
            return Ok(false);
        }
        match is.file_type {
            // Size and links of a directory follow from what is in it, which are paths of their own.
            FileType::Directory => Ok(true),
            _ if was.links != is.links => Ok(false),
            FileType::Symlink => Ok(before.read_link(old)? == after.read_link(new)?),
            FileType::Regular if change == ChangeKind::Metadata => Ok(was.size == is.size),
            FileType::Regular => {
                Ok(was.size == is.size
                    && has_same_content(before, old, after, new)?
                    // The kernel does not swap to holes, though they read as zeros do.
                    && (has_holes(after, new, is.size)? || !has_holes(before, old, was.size)?))
            }
            _ => Ok(true),
        }
    };
    compare().map_err(failed_to_read(path))
}

/// Whether two regular files of the same size hold the same bytes.
fn has_same_content(
    before: &dyn FileSystem,
    old: NodeId,
    after: &dyn FileSystem,
    new: NodeId,
) -> imgasm_fs::Result<bool> {
    let (mut was, mut is) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    let mut offset = 0;
    loop {
        let count = before.read_at(old, offset, &mut was)?;
        if after.read_at(new, offset, &mut is)? != count || was[..count] != is[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
        offset += byte_len(&was[..count]);
    }
}

/// What is at a path, and its size.
fn state(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Option<(NodeId, FileType, u64)>> {
    let node = match tree::locate(fs, path, LastLink::Keep) {
        Ok(place) => place.node,
        // What led to it may be gone, too, or have become something else.
        Err(tree::Error::NotFound { .. } | tree::Error::WrongType { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(node) = node else {
        return Ok(None);
    };
    let metadata = fs.metadata(node).map_err(failed_to_read(path))?;
    Ok(Some((node, metadata.file_type, metadata.size)))
}
