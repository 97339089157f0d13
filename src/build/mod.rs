//! The pipeline: recipe → base → delta → overlays → volumes → commit → manifest.
//!
//! [`Build::prepare`] does everything except the commit, in memory: a plan is a build that is only
//! looked at.
//!
//! - `base`: the bases of builds.
//! - `packages`: the packages that the recipe itself names.
//! - `record`: what it writes to the manifest.

mod base;
mod packages;
mod record;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::config::Diagnostic;
use crate::config::given::forms;
use crate::inspect::table_description;
use crate::lock::{self, Lock};
use crate::manifest::{self, Manifest};
use crate::origin;
use crate::overlay::{self, ChangedPath};
use crate::recipe::volume::{Content, Filesystem};
use crate::recipe::{Recipe, Volume};
use crate::session::{self, Edited, Finish, Session};
use crate::volume::{self, FormattedVolume};
use imgasm_block::{BlockDevice, Change, ChunkMap, Delta, Output};
use imgasm_container::{Cache, Progress, Written};
use imgasm_disk::Disk;
use imgasm_fs::{FileSystem, Timestamp};
use imgasm_guest::packages::Script;

pub use base::Bases;
pub use record::change;

/// Namespace of the identities that imgasm gives to what it makes.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_6a7e_6f38_5d0a_9a51_c4b3_0f2d_7e11);

/// Why a build could not be done. Nothing was written under a final name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base could not be opened.
    #[error("{place}")]
    Base {
        /// What is wrong with it, with the place where the recipe names it.
        place: Box<Diagnostic>,
        /// Why, for programs: the message has it already.
        reason: Box<imgasm_container::Error>,
    },
    /// The base could not be assembled.
    #[error("cannot assemble the base from {}", rootfs.display())]
    Assemble {
        /// The folder on the host.
        rootfs: PathBuf,
        /// Why not.
        source: crate::base::Error,
    },
    /// The folder that the base is assembled from could not be read.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// The image could not be edited.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The table of the disk could not be read back.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The lock could not be used.
    #[error("{reason}{}", overlay::hint_line(reason.hint()))]
    Lock {
        /// Why.
        reason: Box<lock::Error>,
    },
    /// A volume could not be made.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// A device or an output failed.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
    /// The record of where the base came from could not be read.
    #[error(transparent)]
    Origin(#[from] origin::Error),
    /// A value that nobody else may see would stand in the manifest.
    #[error(
        "the variable `{variable}` is sensitive, and {place} holds its value, which everybody who \
         has the manifest could read there"
    )]
    Revealed {
        /// The variable.
        variable: String,
        /// What holds it.
        place: &'static str,
    },
    /// The disk would become smaller.
    #[error(
        "the base disk has {base} bytes, and `disk_size` asks for {asked}: a disk can only grow"
    )]
    Shrink {
        /// Bytes of the base.
        base: u64,
        /// Bytes asked for.
        asked: u64,
    },
    /// An output could not be made.
    #[error("cannot write {}", path.display())]
    Output {
        /// The file or folder.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

impl From<lock::Error> for Error {
    fn from(error: lock::Error) -> Self {
        Self::Lock {
            reason: Box::new(error),
        }
    }
}

impl From<overlay::Error> for Error {
    fn from(error: overlay::Error) -> Self {
        Self::Session(error.into())
    }
}

/// What builds return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An image with its volumes, in memory.
pub struct Build {
    /// The image: the base with the changes.
    pub delta: Arc<Delta>,
    /// What differs from the base.
    pub changes: Vec<Change>,
    /// The chunks of the base.
    pub base_map: Arc<ChunkMap>,
    /// The chunks of the image.
    pub chunk_map: ChunkMap,
    /// Every path that an overlay changed.
    pub changed_paths: Vec<ChangedPath>,
    /// The volumes that are formatted, by the names of their files.
    pub volumes: Vec<(String, FormattedVolume)>,
    /// What will be recorded.
    pub manifest: Manifest,
    /// What was done about an interrupted change of the base, to be reported to the user.
    pub recovery: Option<imgasm_block::Recovery>,
    /// The mode bits that the image may have: it is as private as its base.
    mask: u32,
}

/// An identity for something that a recipe makes. It depends on the recipe's name alone, so that
/// other changes of the recipe change nothing else in the image.
fn identity(recipe: &Recipe, what: &str) -> Uuid {
    Uuid::new_v5(
        &Uuid::new_v5(&NAMESPACE, recipe.name.as_bytes()),
        what.as_bytes(),
    )
}

fn volume_seed(recipe: &Recipe, volume: &Volume) -> Uuid {
    identity(
        recipe,
        &format!("volume {}", volume.settings.device_name.as_str()),
    )
}

/// The UUID of the filesystem that a build makes on a volume.
pub fn volume_uuid(recipe: &Recipe, volume: &Volume) -> Uuid {
    volume::uuid(volume_seed(recipe, volume))
}

/// The name of the file that a build makes for a volume with this filesystem.
pub fn volume_file(recipe: &Recipe, filesystem: &Filesystem) -> String {
    format!("{}-{}.raw", recipe.name, filesystem.label.as_str())
}

/// The time given to everything.
fn now(recipe: &Recipe) -> Timestamp {
    Timestamp {
        seconds: recipe.source_date_epoch,
        nanoseconds: 0,
    }
}

impl Build {
    /// Builds the image of a recipe in memory.
    pub fn prepare(recipe: &Recipe, bases: &Bases, progress: &Progress<'_>) -> Result<Self> {
        let base = base::open(recipe, bases, progress)?;
        let mut session = session(recipe, base.device, base.partition)?;
        let formatted = recipe
            .volumes
            .iter()
            .filter_map(|volume| match &volume.content {
                Content::Filesystem(filesystem) => Some((volume, filesystem)),
                _ => None,
            });
        session.edit(|applier| {
            let locked = packages::fitting_lock(recipe, applier.facts(), applier.fs())?;
            let scripts = packages::install(applier, recipe, locked.as_ref(), bases.cache())?;
            let verdicts = lock::file::verdicts(&scripts);
            if locked.is_some_and(|locked| locked.lock.scripts != verdicts) {
                let what = "what becomes of the scripts of packages";
                return Err(lock::store::stale(recipe, what).into());
            }
            for overlay in &recipe.overlays {
                applier.apply(overlay)?;
            }
            for (volume, filesystem) in formatted.clone() {
                let origin = format!("volume {}", volume.settings.device_name.as_str());
                applier.edit(&origin, "mount", |editor, _| {
                    volume::mount(filesystem, editor)
                })?;
            }
            Ok::<_, Error>(())
        })?;
        let Edited {
            delta,
            disk,
            report,
            changed_paths,
        } = session.finish(Finish {
            sparsify: recipe.sparsify,
            with_digests: true,
        })?;
        for overlay in &recipe.overlays {
            overlay.check_readings(&*recipe.folders.contents(overlay.folder())?)?;
        }
        let changes = delta.changes()?;
        let ranges = changes.iter().map(|change| change.range.clone());
        let chunk_map = base.chunk_map.updated(&*delta, ranges)?;
        let mut volumes = Vec::new();
        for (volume, filesystem) in formatted {
            let seed = volume_seed(recipe, volume);
            let file = volume_file(recipe, filesystem);
            let readings = Arc::default();
            let made = volume::format(filesystem, now(recipe), seed, &readings)?;
            if let Some(files) = &filesystem.files {
                readings.check(&files.path, &*recipe.folders.contents(&files.path)?)?;
            }
            volumes.push((file, made));
        }
        let image = manifest::Image {
            file: format!("{}.raw", recipe.name),
            size: delta.len(),
            digest: chunk_map.digest(),
            partition_table: disk.table()?.map(|table| table_description(&table)),
        };
        let manifest = record::manifest(
            recipe,
            base.record,
            image,
            &volumes,
            &report,
            &changed_paths,
        );
        check_revealed(recipe, &manifest)?;
        Ok(Self {
            delta,
            changes,
            base_map: base.chunk_map,
            chunk_map,
            changed_paths,
            volumes,
            manifest,
            recovery: base.recovery,
            mask: base.mask,
        })
    }

    /// Writes the image, the volumes and the manifest into the folder `dir`, each appearing when
    /// all of them are whole, the manifest last. Gives their paths in that order. The cache remembers
    /// the chunks of the disks.
    pub fn commit(&self, dir: &Path, cache: &Cache) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(dir).map_err(|source| Error::Output {
            path: dir.to_owned(),
            source,
        })?;
        let mut outputs = Vec::with_capacity(self.volumes.len() + 2);
        let image = Output::create(&dir.join(&self.manifest.image.file))?;
        image.as_private_as(self.mask)?;
        image.write_delta(&self.delta, &self.changes)?;
        outputs.push(image);
        for (file, volume) in &self.volumes {
            let output = Output::create(&dir.join(file))?;
            output.as_private_as(self.mask & volume.mask)?;
            output.write_delta(&volume.delta, &volume.changes)?;
            outputs.push(output);
        }
        let path = dir.join(manifest::FILE_NAME);
        let output = Output::create(&path)?;
        let written = output.file().write_all(self.manifest.to_json().as_bytes());
        written.map_err(|source| Error::Output { path, source })?;
        outputs.push(output);
        let paths: Vec<PathBuf> = outputs
            .iter()
            .map(|output| output.path().to_owned())
            .collect();
        let written: Vec<_> = outputs
            .iter()
            .map(|output| Written::new(output.file()).ok().flatten())
            .collect();
        outputs.into_iter().try_for_each(Output::commit)?;
        let volumes = self.volumes.iter().map(|(_, volume)| &volume.chunk_map);
        let maps = std::iter::once(&self.chunk_map).chain(volumes);
        for ((path, written), map) in paths.iter().zip(&written).zip(maps) {
            if let Some(written) = written {
                cache.keep_chunks(path, written, map);
            }
        }
        Ok(paths)
    }
}

/// Makes sure that the manifest holds no value that nobody else may see.
fn check_revealed(recipe: &Recipe, manifest: &Manifest) -> Result<()> {
    for (variable, value) in recipe.secrets() {
        let mut texts = manifest.chosen_texts();
        let forms = forms(&value);
        let holds = |text: &String| forms.iter().any(|form| text.contains(form));
        if let Some((place, _)) = texts.find(|(_, text)| holds(text)) {
            return Err(Error::Revealed {
                variable: variable.to_owned(),
                place,
            });
        }
    }
    Ok(())
}

/// The root filesystem of a recipe's base.
pub fn base_root(
    recipe: &Recipe,
    bases: &Bases,
    progress: &Progress<'_>,
) -> Result<Box<dyn FileSystem>> {
    let base = base::open(recipe, bases, progress)?;
    let disk = Disk::open(base.device)?;
    Ok(disk.open_filesystem(disk.root(base.partition)?)?)
}

/// Opens the base of a recipe to be edited, as large as the recipe says.
fn session(recipe: &Recipe, base: Arc<dyn BlockDevice>, partition: Option<u32>) -> Result<Session> {
    let len = recipe.disk_size.map_or(base.len(), |size| size.0);
    if len < base.len() {
        return Err(Error::Shrink {
            base: base.len(),
            asked: len,
        });
    }
    let options = session::Options {
        partition,
        now: now(recipe),
        seed: identity(recipe, "root filesystem").into_bytes(),
    };
    Ok(Session::open(base, len, options)?)
}

/// Installs a recipe's packages, as this lock has them, and throws the result away; gives what
/// became of their scripts.
pub fn rehearse(
    recipe: &Recipe,
    lock: &Lock,
    bases: &Bases,
    progress: &Progress<'_>,
) -> Result<Vec<Script>> {
    let base = base::open(recipe, bases, progress)?;
    let mut session = session(recipe, base.device, base.partition)?;
    let mut scripts = Vec::new();
    session.edit(|applier| {
        let locked = packages::Locked::new(lock.clone(), recipe, applier.fs())?;
        scripts = packages::install(applier, recipe, Some(&locked), bases.cache())?;
        Ok::<_, Error>(())
    })?;
    Ok(scripts)
}
