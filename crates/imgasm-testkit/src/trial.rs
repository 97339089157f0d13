//! One comparison of an engine with the kernel, from an empty image to the last check.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imgasm_block::{BlockDevice, Delta, InPlace};
use imgasm_fs::{FileSystem, Timestamp};

use crate::apply::{by_engine, by_kernel};
use crate::command::copy_sparse;
use crate::edits::{Budget, Edit, generate};
use crate::engine;
use crate::image::{Kind, Set};
use crate::judge;
use crate::kernel::{Access, Mount};
use crate::model::Model;
use crate::populate::{Amount, populate};
use crate::tree::{Comparison, Times, Tree};

/// What failed, and everything that was said.
#[derive(Debug)]
pub struct Failure {
    pub stage: &'static str,
    pub details: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.details)
    }
}

fn at(stage: &'static str) -> impl Fn(String) -> Failure {
    move |details| Failure { stage, details }
}

/// A populated image, which no longer changes, and what the kernel shows of it.
pub struct Base {
    set: &'static Set,
    seed: u64,
    image: PathBuf,
    tree: Tree,
    budget: Budget,
}

impl Base {
    /// Makes an image of a set in `folder` and fills it.
    pub fn new(set: &'static Set, seed: u64, amount: Amount, folder: &Path) -> Self {
        let image = folder.join("base.img");
        set.make(&image);
        let mount = Mount::new(&image, set.kind, Access::ReadWrite);
        populate(mount.path(), set, seed, amount);
        finish(mount, "populating");
        judge::check(&image, set.kind).unwrap_or_else(|e| panic!("after populating: {e}"));
        let mount = Mount::new(&image, set.kind, Access::ReadOnly);
        let tree = Tree::of_mount(mount.path());
        let budget = budget(mount.path());
        finish(mount, "reading");
        Self {
            set,
            seed,
            image,
            tree,
            budget,
        }
    }

    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Random edits that are valid on this image.
    pub fn edits(&self, count: usize) -> Vec<Edit> {
        let model = Model::new(&self.tree);
        generate(model, self.seed, count, self.set.limits, self.budget)
    }

    /// Those of the edits that are still valid after some were left out.
    fn valid(&self, edits: &[Edit]) -> Vec<Edit> {
        let mut model = Model::new(&self.tree);
        edits
            .iter()
            .filter(|edit| model.apply(edit))
            .cloned()
            .collect()
    }

    /// The engine shows what the kernel shows.
    pub fn check_reader(&self) -> Result<(), Failure> {
        let fs = imgasm_disk::open(engine::image(&self.image))
            .map_err(|e| at("opening the image")(e.to_string()))?;
        same_view(&*fs, &self.tree).map_err(at("reading the kernel's image"))?;
        check_room(&*fs, &self.image, self.set.kind).map_err(at("room in the kernel's image"))
    }

    /// The engine's edits of this image have the same result as the kernel's, and the format's
    /// checker, the kernel and a further kernel workload find nothing wrong with it. Leaves its
    /// images in `folder`.
    pub fn check_edits(&self, edits: &[Edit], folder: &Path) -> Result<(), Failure> {
        let kind = self.set.kind;
        let ours = folder.join("engine.img");
        copy_sparse(&self.image, &ours);
        let in_place = InPlace::open(&ours).expect("the copy can be opened");
        let delta = Delta::new(in_place.device().clone());
        let delta = edit_by_engine(edits, Arc::new(delta))?;
        in_place.commit(&delta).expect("the copy can be written");
        judge::check(&ours, kind).map_err(at("checking the engine's image"))?;

        // Before it is mounted: XFS writes its log even on a read-only mount.
        let again = Delta::new(engine::image(&self.image));
        let again = edit_by_engine(edits, Arc::new(again))?;
        same_bytes(&*engine::image(&ours), &*again).map_err(at("making the same edits twice"))?;

        let theirs = folder.join("kernel.img");
        copy_sparse(&self.image, &theirs);
        let (expected, window) = self.edit_by_kernel(edits, &theirs);

        let mount = Mount::try_new(&ours, kind, Access::ReadOnly)
            .map_err(at("mounting the engine's image"))?;
        let seen = Tree::of_mount(mount.path());
        mount.finish().map_err(at("mounting the engine's image"))?;
        let comparison = Comparison {
            directory_sizes: false,
            times: Times::Stamped {
                window,
                now: engine::OPTIONS.now,
            },
        };
        seen.compare(&expected, &comparison)
            .map_err(at("comparing the engine's image with the kernel's"))?;

        let fs = imgasm_disk::open(engine::image(&ours))
            .map_err(|e| at("opening the engine's image")(e.to_string()))?;
        same_view(&*fs, &seen).map_err(at("reading the engine's image"))?;
        check_room(&*fs, &ours, kind).map_err(at("room in the engine's image"))?;
        drop(fs);

        self.use_further(&ours, &seen)
    }

    /// The tree that the kernel makes, and the time within which it made it.
    fn edit_by_kernel(&self, edits: &[Edit], image: &Path) -> (Tree, std::ops::Range<Timestamp>) {
        let start = self.unstamped_since();
        let mount = Mount::new(image, self.set.kind, Access::ReadWrite);
        for edit in edits {
            by_kernel(mount.path(), edit).unwrap_or_else(|e| panic!("{e}"));
        }
        finish(mount, "editing by the kernel");
        let end = now();
        let mount = Mount::new(image, self.set.kind, Access::ReadOnly);
        let tree = Tree::of_mount(mount.path());
        finish(mount, "reading the kernel's image");
        let mut model = Model::new(&self.tree);
        assert!(
            edits.iter().all(|edit| model.apply(edit)),
            "all edits are valid"
        );
        model.check(&tree).unwrap_or_else(|e| panic!("{e}"));
        (tree, start..end)
    }

    /// Waits until what the kernel stamps from now on differs from every time that the base has,
    /// as the format shows it, and gives the moment.
    fn unstamped_since(&self) -> Timestamp {
        // The kernel stamps with a clock that is some milliseconds behind.
        let pause = Duration::from_millis(30);
        std::thread::sleep(pause);
        let mut start = now();
        if !self.set.limits.nanoseconds {
            start = Timestamp {
                seconds: start.seconds + 1,
                nanoseconds: 0,
            };
            while now() < start {
                std::thread::sleep(pause);
            }
        }
        std::thread::sleep(pause);
        start
    }

    /// Lets the kernel work on the engine's image, and checks it once more.
    fn use_further(&self, image: &Path, tree: &Tree) -> Result<(), Failure> {
        let stage = "using the engine's image further";
        let kind = self.set.kind;
        let mount = Mount::try_new(image, kind, Access::ReadWrite).map_err(at(stage))?;
        let budget = budget(mount.path());
        let edits = generate(Model::new(tree), !self.seed, 200, self.set.limits, budget);
        for edit in &edits {
            by_kernel(mount.path(), edit).map_err(at(stage))?;
        }
        mount.finish().map_err(at(stage))?;
        judge::check(image, kind).map_err(at("checking the engine's image after further use"))
    }

    /// Leaves out edits as long as the rest still fails, and gives the remaining edits with their
    /// failure.
    pub fn minimise(&self, edits: &[Edit], first: Failure, folder: &Path) -> (Vec<Edit>, Failure) {
        let (mut edits, mut failure) = (edits.to_vec(), first);
        let mut piece = edits.len().div_ceil(2);
        while piece > 0 {
            // From the end: later edits build on earlier ones.
            let mut end = edits.len();
            while end > 0 {
                let start = end.saturating_sub(piece);
                let fewer = self.valid(&[&edits[..start], &edits[end..]].concat());
                let stage = failure.stage;
                if let Err(again) = self.check_edits(&fewer, folder)
                    && again.stage == stage
                {
                    (edits, failure) = (fewer, again);
                }
                end = start.min(edits.len());
            }
            piece /= 2;
        }
        (edits, failure)
    }
}

fn edit_by_engine(edits: &[Edit], delta: Arc<Delta>) -> Result<Arc<Delta>, Failure> {
    let said = |e: imgasm_fs::Error| at("editing")(e.to_string());
    let mut fs = imgasm_disk::open_writable(delta.clone(), engine::OPTIONS).map_err(said)?;
    for (number, edit) in edits.iter().enumerate() {
        by_engine(&mut *fs, edit).map_err(|e| at("editing")(format!("edit {number}: {e}")))?;
    }
    fs.flush().map_err(said)?;
    Ok(delta)
}

fn finish(mount: Mount, what: &str) {
    mount.finish().unwrap_or_else(|e| panic!("{what}: {e}"));
}

fn now() -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    Timestamp {
        seconds: i64::try_from(now.as_secs()).expect("before the year 292 billion"),
        nanoseconds: now.subsec_nanos(),
    }
}

/// A third of the room that a mounted filesystem has left.
fn budget(mount: &Path) -> Budget {
    let stat = rustix::fs::statvfs(mount).expect("a mounted filesystem has statistics");
    Budget {
        bytes: stat.f_bavail * stat.f_frsize / 3,
        nodes: stat.f_favail / 3,
    }
}

fn same_view(fs: &dyn FileSystem, tree: &Tree) -> Result<(), String> {
    Tree::of_engine(fs)?.compare(tree, &Comparison::SAME_IMAGE)?;
    let mut findings = Vec::new();
    fs.check(&mut |finding| {
        if finding.is_error() {
            findings.push(format!("{}: {}", finding.at, finding.problem));
        }
    })
    .map_err(|e| format!("checking by the engine: {e}"))?;
    if findings.is_empty() {
        Ok(())
    } else {
        findings.truncate(12);
        Err(format!("the engine finds faults:\n{}", findings.join("\n")))
    }
}

/// The engine's count of free space is the kernel's, and agrees with the extents that it reports as
/// used.
fn check_room(fs: &dyn FileSystem, image: &Path, kind: Kind) -> Result<(), String> {
    let info = fs.info().map_err(|e| e.to_string())?;
    let used = fs.used_extents().map_err(|e| e.to_string())?;
    if let Some(pair) = used.windows(2).find(|pair| pair[0].end >= pair[1].start) {
        return Err(format!(
            "used extents are not in order or not merged: {pair:?}"
        ));
    }
    let used: u64 = used.iter().map(|range| range.end - range.start).sum();
    if used + info.free_bytes != info.total_bytes {
        return Err(format!(
            "{used} bytes used and {} free, of {}",
            info.free_bytes, info.total_bytes
        ));
    }
    if kind == Kind::Ext {
        let mount = Mount::try_new(image, kind, Access::ReadOnly)?;
        let stat = rustix::fs::statvfs(mount.path()).map_err(|e| e.to_string())?;
        mount.finish()?;
        let kernel = (
            stat.f_bfree * stat.f_frsize,
            Some((stat.f_files, stat.f_ffree)),
        );
        if kernel != (info.free_bytes, info.inodes) {
            return Err(format!(
                "free bytes and inodes are {:?}, by the kernel {kernel:?}",
                (info.free_bytes, info.inodes)
            ));
        }
    }
    Ok(())
}

/// Whether two images are equal, with holes read as zeros.
fn same_bytes(one: &dyn BlockDevice, other: &dyn BlockDevice) -> Result<(), String> {
    const STEP: u64 = 1 << 20;
    if one.len() != other.len() {
        return Err(format!("{} bytes and {}", one.len(), other.len()));
    }
    let next = |device: &dyn BlockDevice, from| match device.next_data(from) {
        Ok(data) => data.map_or(device.len(), |range| range.start),
        Err(e) => panic!("{e}"),
    };
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut offset = 0;
    while offset < one.len() {
        offset = next(one, offset).min(next(other, offset)) / STEP * STEP;
        let len = usize::try_from((one.len() - offset).min(STEP)).expect("at most a step");
        one.read_at(offset, &mut a[..len])
            .map_err(|e| e.to_string())?;
        other
            .read_at(offset, &mut b[..len])
            .map_err(|e| e.to_string())?;
        if let Some(at) = (0..len).find(|&at| a[at] != b[at]) {
            return Err(format!("the images differ at byte {}", offset + at as u64));
        }
        offset += STEP;
    }
    Ok(())
}
