//! What `build` has left: the image, its volumes and the manifest, checked against each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::manifest::{self, Manifest};
use crate::recipe::Recipe;
use imgasm_block::{BlockDevice, ChunkMap, Digest};
use imgasm_container::{Cache, Progress};
use imgasm_disk::Disk;
use imgasm_guest::Arch;

use super::{Error, Result};

/// A built image that lies in a folder.
pub struct Built {
    /// The folder.
    pub dir: PathBuf,
    /// What was recorded of it.
    pub manifest: Manifest,
    /// The root disk.
    pub root: BuiltDisk,
    /// The formatted volumes by their devices, in the recipe's order.
    pub volumes: Vec<(String, BuiltDisk)>,
    /// What the image's programs are for.
    pub arch: Arch,
}

/// A disk that was built.
#[derive(Clone)]
pub struct BuiltDisk {
    /// The name of its file in the folder.
    pub file: String,
    /// Its bytes.
    pub device: Arc<dyn BlockDevice>,
    /// Its chunks.
    pub chunk_map: Arc<ChunkMap>,
}

impl BuiltDisk {
    /// The digest of its content.
    pub fn digest(&self) -> Digest {
        self.chunk_map.digest()
    }

    /// Its size in whole GiB, as EBS has it.
    pub fn gib(&self) -> u64 {
        self.device.len().div_ceil(1 << 30)
    }
}

impl Built {
    /// Opens what the recipe's build has left in a folder.
    pub fn open(
        dir: &Path,
        recipe: &Recipe,
        cache: &Cache,
        progress: &Progress<'_>,
    ) -> Result<Self> {
        let manifest = read_manifest(dir)?;
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
                "the recipe, its variables or an overlay is not what it was when the image was \
                 built",
            ));
        }
        let open = |file: &str, digest: Digest| {
            let base = cache.base(&dir.join(file), None, progress)?;
            if base.chunk_map.digest() != digest {
                return Err(stale(&format!("{file} was changed after it was built")));
            }
            Ok(BuiltDisk {
                file: file.to_owned(),
                device: base.device,
                chunk_map: base.chunk_map,
            })
        };
        let root = open(&manifest.image.file, manifest.image.digest)?;
        let mut volumes = Vec::new();
        for volume in &manifest.volumes {
            if let Some(filesystem) = &volume.filesystem {
                let disk = open(&filesystem.file, filesystem.digest)?;
                volumes.push((volume.device_name.clone(), disk));
            }
        }
        let arch = architecture(&root, recipe)?;
        Ok(Self {
            dir: dir.to_owned(),
            manifest,
            root,
            volumes,
            arch,
        })
    }
}

/// Reads the manifest in a folder.
pub fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(manifest::FILE_NAME);
    let json = fs::read(&path).map_err(|source| Error::NotBuilt {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&json).map_err(|source| Error::Manifest { path, source })
}

/// What the programs of the image's root filesystem are for.
fn architecture(root: &BuiltDisk, recipe: &Recipe) -> Result<Arch> {
    let disk = Disk::open(root.device.clone())?;
    let filesystem = disk.open_filesystem(disk.root(recipe.base.partition())?)?;
    let found = Arch::detect(filesystem.as_ref())?;
    match found {
        Some(arch @ (Arch::X86_64 | Arch::Arm64)) => Ok(arch),
        Some(other) => Err(Error::Architecture(format!(
            "the image is for {}, and EC2 has instances of x86_64 and arm64 only",
            other.name()
        ))),
        // An image without programs says nothing; most of EC2 is this.
        None => Ok(Arch::X86_64),
    }
}
