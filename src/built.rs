//! What `build` has made: the image, its volumes and the manifest, checked against each other and
//! the recipe before an import.

use std::path::{Path, PathBuf};

use crate::manifest::{self, Manifest};
use crate::recipe::Recipe;
use crate::recipe::volume::Content;
use crate::verify::boot;
use imgasm_aws::wish::Architecture;
use imgasm_aws::{Boot, Built, BuiltDisk, BuiltVolume, VolumeContent};
use imgasm_block::Digest;
use imgasm_block::sidecar::Sidecar;
use imgasm_container::{Cache, Progress};
use imgasm_disk::Disk;
use imgasm_guest::Arch;

/// Why what was built cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no manifest.
    #[error("there is nothing built here: there is no {}", path.display())]
    NotBuilt {
        /// The manifest.
        path: PathBuf,
    },
    /// The file is not a manifest.
    #[error("{} is not a manifest", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: manifest::ParseError,
    },
    /// A file could not be read, or the manifest cannot be trusted.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
    /// What was built no longer matches the recipe.
    #[error("{} is out of date: {problem}", dir.display())]
    Stale {
        /// The folder.
        dir: PathBuf,
        /// What is out of date.
        problem: String,
    },
    /// The image is for a processor that EC2 does not have.
    #[error("the image is for {}, and EC2 has instances of x86_64 and arm64 only", .0.name())]
    Architecture(Arch),
    /// The image's container.
    #[error(transparent)]
    Container(#[from] imgasm_container::Error),
    /// The image's disk.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The image's filesystem.
    #[error(transparent)]
    Tree(#[from] imgasm_fs::tree::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotBuilt { .. } => Some("run `imgasm build` first, or name its folder with -o"),
            Self::Manifest { .. } | Self::Stale { .. } => Some("run `imgasm build` again"),
            Self::Architecture(_) => Some("correct the base"),
            _ => None,
        }
    }
}

/// Opens what the recipe's build has made in a folder.
pub fn open(
    dir: &Path,
    recipe: &Recipe,
    cache: &Cache,
    progress: &Progress<'_>,
) -> Result<(Manifest, Built), Error> {
    let (manifest, sidecar) = read_manifest(dir)?;
    let stale = |problem: &str| Error::Stale {
        dir: dir.to_owned(),
        problem: problem.to_owned(),
    };
    if manifest.name != recipe.name {
        return Err(stale(&format!(
            "it holds the image `{}`, and the recipe makes `{}`",
            manifest.name, recipe.name
        )));
    }
    if manifest.recipe_sha256 != recipe.digest {
        return Err(stale(
            "the recipe, its variables or an overlay is not what it was when the image was built",
        ));
    }
    let disk = |file: &str, digest: Digest| {
        let base = cache.base(&dir.join(file), None, progress)?;
        sidecar.may_speak_of_image_of(base.owner)?;
        if base.chunk_map.digest() != digest {
            return Err(stale(&format!("{file} was changed after it was built")));
        }
        Ok(BuiltDisk {
            file: file.to_owned(),
            device: base.device,
            chunk_map: base.chunk_map,
        })
    };
    let root = disk(&manifest.image.file, manifest.image.digest)?;
    let mut formatted = manifest.volumes.iter();
    let mut formatted = formatted
        .by_ref()
        .filter_map(|volume| volume.filesystem.as_ref());
    let mut volumes = Vec::with_capacity(recipe.volumes.len());
    for volume in &recipe.volumes {
        let content = match &volume.content {
            Content::None => VolumeContent::None,
            &Content::Empty { size } => VolumeContent::Empty { size },
            Content::Snapshot { snapshot_id, size } => VolumeContent::Snapshot {
                snapshot_id: snapshot_id.clone(),
                size: *size,
            },
            Content::Filesystem(filesystem) => {
                let made = formatted
                    .next()
                    .ok_or_else(|| stale("it has fewer volumes than the recipe"))?;
                VolumeContent::Disk {
                    size: filesystem.size,
                    disk: disk(&made.file, made.digest)?,
                }
            }
        };
        volumes.push(BuiltVolume {
            settings: volume.settings.clone(),
            content,
        });
    }
    let (architecture, boot) = look(&root, recipe)?;
    let built = Built {
        name: manifest.name.clone(),
        description: recipe.description.clone(),
        recipe: manifest.recipe_sha256,
        base: manifest.base.digest,
        origin: manifest.base.origin.clone(),
        architecture,
        boot,
        root,
        volumes,
    };
    Ok((manifest, built))
}

/// The manifest in a folder, and the file that it is.
fn read_manifest(dir: &Path) -> Result<(Manifest, Sidecar), Error> {
    let path = dir.join(manifest::FILE_NAME);
    let Some(mut file) = Sidecar::open(&path)? else {
        return Err(Error::NotBuilt { path });
    };
    let manifest = Manifest::parse(&file.read(manifest::LIMIT_BYTES)?)
        .map_err(|source| Error::Manifest { path, source })?;
    Ok((manifest, file))
}

/// The architecture of the programs in the image's root filesystem, and how the image can start.
fn look(root: &BuiltDisk, recipe: &Recipe) -> Result<(Architecture, Option<Boot>), Error> {
    let disk = Disk::open(root.device.clone())?;
    let filesystem = disk.open_filesystem(disk.root(recipe.base.partition())?)?;
    let architecture = match Arch::detect(filesystem.as_ref())? {
        // An image without programs says nothing; most of EC2 is x86_64.
        Some(Arch::X86_64) | None => Architecture::X86_64,
        Some(Arch::Arm64) => Architecture::Arm64,
        Some(other) => return Err(Error::Architecture(other)),
    };
    Ok((architecture, boot::facts(&disk, filesystem.as_ref())))
}
