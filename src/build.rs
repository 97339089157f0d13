//! The pipeline: recipe → base → delta → overlays → volumes → commit → manifest.
//!
//! [`Build::prepare`] does all but the commit, in memory: a plan is a build that is only looked
//! at.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::base::{self, AssembleOptions, Assembly, tree};
use crate::block::{self, BlockDevice, Change, ChunkMap, Delta, Digest, Hole, Output};
use crate::config::digest;
use crate::container::{self, Cache, Progress, Written};
use crate::disk::{self, Disk, Place};
use crate::fs::{self as filesystem, Timestamp, WriteOptions};
use crate::guest::packages::Outcome;
use crate::inspect::table_description;
use crate::manifest::{self, Manifest};
use crate::origin::{self, Origin};
use crate::overlay::steps::package::PackageFile;
use crate::overlay::{self, Applier, ChangedPath};
use crate::recipe::volume::{Content, Filesystem};
use crate::recipe::{Base, Recipe, Volume};
use crate::volume::{self, FormattedVolume};

/// Namespace of the identities that imgasm gives to what it makes.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_6a7e_6f38_5d0a_9a51_c4b3_0f2d_7e11);

/// Why a build could not be done. Nothing was written under a final name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base could not be opened.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// The base could not be assembled.
    #[error("cannot assemble the base from {}", rootfs.display())]
    Assemble {
        /// The folder on the host.
        rootfs: PathBuf,
        /// Why not.
        source: base::Error,
    },
    /// The folder that the base is assembled from could not be read.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// The disk could not be understood or grown.
    #[error(transparent)]
    Disk(#[from] disk::Error),
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
    ReadBack(#[from] filesystem::tree::Error),
    /// An overlay could not be applied.
    #[error(transparent)]
    Overlay(#[from] overlay::Error),
    /// A volume could not be made.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// A device or an output failed.
    #[error(transparent)]
    Block(#[from] block::Error),
    /// What is known of where the base came from could not be read.
    #[error(transparent)]
    Origin(#[from] origin::Error),
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

/// What builds return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An image with its volumes, in memory.
pub struct Build {
    /// The image: the base with what differs.
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
    /// What was done about an interrupted change of the base; to be told to the user.
    pub recovery: Option<block::Recovery>,
}

/// A base disk that is ready to be built upon.
struct OpenedBase {
    device: Arc<dyn BlockDevice>,
    chunk_map: Arc<ChunkMap>,
    record: manifest::Base,
    partition: Option<u32>,
    recovery: Option<block::Recovery>,
}

/// An identity for something that a recipe makes. It depends on the recipe's name alone, so that
/// other changes of the recipe change no more of the image than they say.
fn identity(recipe: &Recipe, what: &str) -> Uuid {
    Uuid::new_v5(
        &Uuid::new_v5(&NAMESPACE, recipe.name.as_bytes()),
        what.as_bytes(),
    )
}

fn volume_seed(recipe: &Recipe, volume: &Volume) -> Uuid {
    identity(recipe, &format!("volume {}", volume.device_name.as_str()))
}

/// The UUID of the filesystem that a build makes on a volume.
pub fn volume_uuid(recipe: &Recipe, volume: &Volume) -> Uuid {
    volume::uuid(volume_seed(recipe, volume))
}

/// The name of the file that a build leaves for a volume with this filesystem.
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
    pub fn prepare(recipe: &Recipe, cache: &Cache, progress: &Progress<'_>) -> Result<Self> {
        let base = open_base(recipe, cache, progress)?;
        let len = recipe.disk_size.map_or(base.device.len(), |size| size.0);
        if len < base.device.len() {
            return Err(Error::Shrink {
                base: base.device.len(),
                asked: len,
            });
        }
        let grows = len > base.device.len();
        let delta = Arc::new(Delta::grown(base.device, len));
        let mut disk = Disk::open(delta.clone())?;
        let place = disk.root(base.partition)?;
        if grows {
            disk.grow(None)?;
        }
        let options = WriteOptions {
            now: now(recipe),
            seed: identity(recipe, "root filesystem").into_bytes(),
        };
        let mut root = disk.open_filesystem_writable(place, options)?;
        let mut applier = Applier::new(root.as_mut(), now(recipe))?;
        install_packages(&mut applier, recipe)?;
        for overlay in &recipe.overlays {
            applier.apply(overlay)?;
        }
        let formatted = recipe
            .volumes
            .iter()
            .filter_map(|volume| match &volume.content {
                Content::Filesystem(filesystem) => Some((volume, filesystem)),
                _ => None,
            });
        for (volume, filesystem) in formatted.clone() {
            let origin = format!("volume {}", volume.device_name.as_str());
            applier.edit(&origin, "mount", |editor, _| {
                volume::mount(filesystem, editor)
            })?;
        }
        let report = applier.finish();
        root.flush()
            .map_err(|source| Error::FileSystem { place, source })?;
        if recipe.sparsify {
            filesystem::sparsify(root.as_ref(), &disk.slice(place)?)
                .map_err(|source| Error::FileSystem { place, source })?;
        }
        let changed_paths = report.changed_paths(root.as_ref(), true)?;
        let changes = delta.changes()?;
        let ranges = changes.iter().map(|change| change.range.clone());
        let chunk_map = base.chunk_map.updated(&*delta, ranges)?;
        let mut volumes = Vec::new();
        for (volume, filesystem) in formatted {
            let seed = volume_seed(recipe, volume);
            let file = volume_file(recipe, filesystem);
            volumes.push((file, volume::format(filesystem, now(recipe), seed)?));
        }
        let image = manifest::Image {
            file: format!("{}.raw", recipe.name),
            size: delta.len(),
            digest: chunk_map.digest(),
            partition_table: disk.table()?.map(|table| table_description(&table)),
        };
        let packages = report.packages.iter().map(describe_package).collect();
        let mut manifest = describe(recipe, base.record, image, &volumes, &changed_paths);
        manifest.packages = packages;
        Ok(Self {
            delta,
            changes,
            base_map: base.chunk_map,
            chunk_map,
            changed_paths,
            volumes,
            manifest,
            recovery: base.recovery,
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
        image.write_delta(&self.delta, &self.changes)?;
        outputs.push(image);
        for (file, volume) in &self.volumes {
            let output = Output::create(&dir.join(file))?;
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

/// Installs the packages that the recipe itself names.
fn install_packages(applier: &mut Applier<'_>, recipe: &Recipe) -> Result<()> {
    let files = recipe.packages.iter();
    let requests: Vec<_> = files.map(|file| file.request(&recipe.folder)).collect();
    let unwritable = recipe.packages.iter().map(PackageFile::unwritable).min();
    match unwritable {
        Some(unwritable) => Ok(applier.install(&requests, unwritable)?),
        None => Ok(()),
    }
}

fn open_base(recipe: &Recipe, cache: &Cache, progress: &Progress<'_>) -> Result<OpenedBase> {
    let (path, sha256, partition) = match &recipe.base {
        Base::File {
            path,
            sha256,
            partition,
        } => (path, *sha256, *partition),
        Base::Rootfs { path, size } => return assemble_base(recipe, path, size.0),
    };
    let base = cache.base(path, sha256, progress)?;
    // What happens to be known of a raw file from another build must not show in this one's.
    let is_hashed = sha256.is_some() || !base.wrapping.is_empty();
    Ok(OpenedBase {
        record: manifest::Base {
            name: file_name(path),
            sha256: base.sha256.filter(|_| is_hashed),
            digest: base.chunk_map.digest(),
            size: base.device.len(),
            origin: Origin::of(path)?,
        },
        device: base.device,
        chunk_map: base.chunk_map,
        partition,
        recovery: base.recovery,
    })
}

/// Assembles a base disk in memory.
fn assemble_base(recipe: &Recipe, rootfs: &Path, size: u64) -> Result<OpenedBase> {
    let failed = |source| Error::Assemble {
        rootfs: rootfs.to_owned(),
        source,
    };
    let identified = digest::folder(rootfs)?;
    let meta = tree::meta_path(rootfs);
    let meta = if meta.exists() {
        fs::read(&meta).map_err(|source| Error::Output { path: meta, source })?
    } else {
        Vec::new()
    };
    let device: Arc<dyn BlockDevice> = Arc::new(Delta::new(Arc::new(Hole::new(size))));
    let options = AssembleOptions {
        rootfs,
        now: now(recipe),
        seed: identity(recipe, "base").into_bytes(),
    };
    Assembly::read(rootfs)
        .and_then(|assembly| assembly.write(&device, &options))
        .map_err(failed)?;
    let chunk_map = ChunkMap::compute(&device)?;
    Ok(OpenedBase {
        record: manifest::Base {
            name: file_name(rootfs),
            sha256: Some(Digest::of(
                &[identified.as_bytes(), meta.as_slice()].concat(),
            )),
            digest: chunk_map.digest(),
            size,
            origin: None,
        },
        device,
        chunk_map: Arc::new(chunk_map),
        partition: None,
        recovery: None,
    })
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn describe(
    recipe: &Recipe,
    base: manifest::Base,
    image: manifest::Image,
    volumes: &[(String, FormattedVolume)],
    changed_paths: &[ChangedPath],
) -> Manifest {
    let values = |variables: &crate::config::Variables| {
        variables
            .iter()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    };
    let mut formatted = volumes.iter();
    Manifest {
        imgasm_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: recipe.name.clone(),
        source_date_epoch: recipe.source_date_epoch,
        base,
        recipe_sha256: recipe.digest,
        variables: values(&recipe.variables),
        overlays: recipe
            .overlays
            .iter()
            .zip(&recipe.overlay_digests)
            .map(|(overlay, digest)| manifest::Overlay {
                name: overlay.name.clone(),
                sha256: *digest,
                variables: values(&overlay.variables),
            })
            .collect(),
        packages: Vec::new(),
        image,
        volumes: recipe
            .volumes
            .iter()
            .map(|volume| describe_volume(volume, &mut formatted))
            .collect(),
        changes: changed_paths.iter().map(describe_change).collect(),
        builds: Vec::new(),
        last_run_uuid: None,
    }
}

fn describe_volume<'a>(
    volume: &Volume,
    formatted: &mut impl Iterator<Item = &'a (String, FormattedVolume)>,
) -> manifest::Volume {
    let (volume_size, filesystem) = match &volume.content {
        Content::None => (None, None),
        Content::Empty { size } => (Some(size.gib()), None),
        Content::Snapshot { size, .. } => (size.map(super::config::values::VolumeSize::gib), None),
        Content::Filesystem(filesystem) => {
            let made = formatted
                .next()
                .map(|(file, made)| manifest::VolumeFilesystem {
                    file: file.clone(),
                    size: made.delta.len(),
                    digest: made.chunk_map.digest(),
                    kind: filesystem.kind.name().to_owned(),
                    label: filesystem.label.as_str().to_owned(),
                    uuid: made.uuid.to_string(),
                    mount: filesystem
                        .mount
                        .as_ref()
                        .map(|mount| mount.as_str().to_owned()),
                });
            (Some(filesystem.size.gib()), made)
        }
    };
    manifest::Volume {
        device_name: volume.device_name.as_str().to_owned(),
        volume_size,
        volume_type: volume.volume_type.name().to_owned(),
        delete_on_termination: volume.delete_on_termination,
        filesystem,
    }
}

/// A package in the words of the manifest.
fn describe_package(outcome: &Outcome) -> manifest::Package {
    let Outcome {
        package,
        sha256,
        was_present,
        skipped,
    } = outcome;
    manifest::Package {
        name: package.name.clone(),
        version: package.full_version(),
        arch: package.arch.clone(),
        sha256: *sha256,
        was_present: *was_present,
        skipped: skipped.clone(),
    }
}

/// A changed path in the words of the manifest.
pub fn describe_change(changed: &ChangedPath) -> manifest::Change {
    manifest::Change {
        path: crate::text::name_text(changed.path.as_bytes()),
        overlay: changed.overlay.clone(),
        step: changed.step,
        kind: changed.kind.to_owned(),
        r#type: changed
            .file_type
            .map(|file_type| file_type.name().to_owned()),
        sha256: changed.sha256,
    }
}
