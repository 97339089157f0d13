//! What was touched, by which overlay and step.

use std::collections::BTreeMap;
use std::thread;

use imgasm_block::Digest;
use imgasm_fs::digest::Hashers;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink, Touch};
use imgasm_fs::{FileSystem, FileType, NodeId};
use imgasm_guest::packages::Outcome;

/// What a run of overlays did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each overlay, in the order in which they were applied.
    pub overlays: Vec<OverlayReport>,
    /// One for each package that was to be installed, in order.
    pub packages: Vec<Outcome>,
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
    /// What is there now; `None` where nothing is.
    pub file_type: Option<FileType>,
    /// The SHA-256 of a regular file's content, where it was asked for.
    pub sha256: Option<Digest>,
}

impl Report {
    /// Whether anything differs from before.
    pub fn has_changed(&self) -> bool {
        let mut steps = self.overlays.iter().flat_map(|overlay| &overlay.steps);
        steps.any(StepReport::has_changed)
    }

    /// Every path that was changed, in the order of the paths' bytes, as it is in `fs` now; with the
    /// digests of the files if these are to be read.
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
            let mut hashers = Hashers::start(scope);
            let mut changed = Vec::with_capacity(last.len());
            let mut files = Vec::new();
            for (path, (overlay, step)) in last {
                let state = state(fs, path)?;
                if let Some((node, FileType::Regular, size)) = state
                    && with_digests
                {
                    let number = hashers.add(fs, node, size);
                    files.push((number.map_err(failed_to_read(path))?, changed.len()));
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
            let digests: BTreeMap<_, _> = hashers.finish().collect();
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

/// What is at a path, and its size.
fn state(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Option<(NodeId, FileType, u64)>> {
    let node = match tree::locate(fs, path, LastLink::Keep) {
        Ok(place) => place.node,
        // What led to it may be gone too, or have become something else.
        Err(tree::Error::NotFound { .. } | tree::Error::WrongType { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(node) = node else {
        return Ok(None);
    };
    let metadata = fs.metadata(node).map_err(failed_to_read(path))?;
    Ok(Some((node, metadata.file_type, metadata.size)))
}
