//! The bases of builds: disks from files, and those that are assembled from folders.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Error, Result, identity, now};
use crate::base::{AssembleOptions, Assembly, Layout, tree, tree::Tree};
use crate::config;
use crate::manifest::{self, Bound};
use crate::memo::Memo;
use crate::origin::Origin;
use crate::recipe::{Base, Recipe};
use crate::recovery;
use imgasm_block::{BlockDevice, ChunkMap, Delta, Digest, Hole};
use imgasm_container::{Binding, Cache, Progress};
use imgasm_fs::text::chain;

/// A base disk, ready for a build.
pub(super) struct OpenedBase {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) chunk_map: Arc<ChunkMap>,
    pub(super) record: manifest::Base,
    pub(super) partition: Option<u32>,
    pub(super) recovery: Option<imgasm_block::Recovery>,
    /// The mode bits that an image made from it may have.
    pub(super) mask: u32,
}

/// An archive, and what the file beside it says.
type Archive = (PathBuf, Option<Vec<u8>>);

/// The bases of the images that one command builds: a file that several are made from is read and
/// unpacked once.
pub struct Bases {
    cache: Cache,
    disks: Memo<(PathBuf, Option<Digest>), imgasm_container::Base>,
    archives: Memo<Archive, (Tree, Digest)>,
}

impl Bases {
    /// Bases that are unpacked into this cache.
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            disks: Memo::default(),
            archives: Memo::default(),
        }
    }

    /// The cache that they are unpacked into.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}

/// Opens the base of a recipe, or makes it.
pub(super) fn open(recipe: &Recipe, bases: &Bases, progress: &Progress<'_>) -> Result<OpenedBase> {
    if let Some(missing) = recipe.base.download()
        && !recipe.base.path().exists()
    {
        let error = recipe.base_error(format!("{} has not been fetched", missing.url.as_str()));
        let error = error.with_hint("`imgasm fetch` gets it; a build asks no server");
        return Err(config::Error::from(error).into());
    }
    let (path, sha256, partition) = match &recipe.base {
        Base::File {
            path,
            sha256,
            partition,
            ..
        } => (path, *sha256, *partition),
        Base::Rootfs {
            path,
            sha256,
            size,
            layout,
            ..
        } => return assemble(recipe, bases, (path, *sha256), size.0, layout),
    };
    // It is told once.
    let mut recovery = None;
    let base = bases.disks.get_or_make((path.clone(), sha256), || {
        let mut base = bases.cache.base(path, sha256, progress)?;
        recovery = base.recovery.take();
        Ok(base)
    });
    let base = base.map_err(|reason| unusable(recipe, reason))?;
    // What is known about a raw file from another build must not show in the manifest of this one.
    let is_hashed = sha256.is_some() || !base.wrapping.is_empty();
    let digest = base.chunk_map.digest();
    Ok(OpenedBase {
        record: manifest::Base {
            name: recipe.base.name(),
            sha256: base.sha256.filter(|_| is_hashed),
            digest,
            size: base.device.len(),
            unpinned: sha256.is_none(),
            bound: Some(match base.binding {
                Binding::Compared => Bound::Compared,
                Binding::Trusted => Bound::TrustedCache,
            }),
            origin: Origin::of(path, base.owner, digest)?,
        },
        device: base.device,
        chunk_map: base.chunk_map,
        partition,
        recovery,
        mask: base.mode,
    })
}

/// Why a base cannot be used, with the place where the recipe names it.
fn unusable(recipe: &Recipe, reason: imgasm_container::Error) -> Error {
    let said = match &reason {
        // What a file of the host is, is nobody's business who does not know its digest.
        imgasm_container::Error::DigestMismatch { path, .. }
            if recipe.boundary.check(path).is_err() =>
        {
            format!("{} has another SHA-256", path.display())
        }
        _ => chain(&reason),
    };
    let place = recipe.base_error(format!("the base cannot be used: {said}"));
    let hint = match &reason {
        imgasm_container::Error::Read { source, .. }
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Some("paths in a recipe are relative to its folder".to_owned())
        }
        imgasm_container::Error::DigestMismatch { .. } => {
            Some("if this file is meant, write its digest into the recipe".to_owned())
        }
        imgasm_container::Error::Block(error) => recovery::hint(error),
        _ => None,
    };
    Error::Base {
        place: Box::new(match hint {
            Some(hint) => place.with_hint(hint),
            None => place,
        }),
        reason: Box::new(reason),
    }
}

/// Assembles a base disk in memory.
fn assemble(
    recipe: &Recipe,
    bases: &Bases,
    (rootfs, sha256): (&Path, Option<Digest>),
    size: u64,
    layout: &Layout,
) -> Result<OpenedBase> {
    let failed = |source| Error::Assemble {
        rootfs: rootfs.to_owned(),
        source,
    };
    // A tar file is hashed as it is read, once; what is read of a folder is compared with what was hashed.
    let folder = rootfs.is_dir().then(|| recipe.folders.contents(rootfs));
    let folder = folder.transpose()?;
    let meta = tree::meta_bytes(rootfs).map_err(failed)?;
    let readings = Arc::default();
    let is_archive = folder.is_none();
    let (tree, content) = match &folder {
        Some(_) if sha256.is_some() => {
            let error = recipe.base_error("`sha256` is for a file, and this `rootfs` is a folder");
            return Err(config::Error::from(error).into());
        }
        Some(folder) => {
            let tree = tree::read(rootfs, meta.as_deref(), &readings);
            (tree.map_err(failed)?, folder.digest)
        }
        None => {
            let key = (rootfs.to_owned(), meta.clone());
            let read = bases
                .archives
                .get_or_make(key, || tree::read_archive(rootfs, meta.as_deref()));
            read.map_err(failed)?
        }
    };
    if let Some(expected) = sha256.filter(|expected| *expected != content) {
        let reason = imgasm_container::Error::DigestMismatch {
            path: rootfs.to_owned(),
            expected,
            found: content,
        };
        return Err(unusable(recipe, reason));
    }
    let device: Arc<dyn BlockDevice> = Arc::new(Delta::new(Arc::new(Hole::new(size))));
    let options = AssembleOptions {
        now: now(recipe),
        seed: identity(recipe, "base").into_bytes(),
    };
    Assembly::new(tree, layout)
        .and_then(|assembly| assembly.write(&device, &options))
        .map_err(failed)?;
    if let Some(folder) = &folder {
        readings.check(rootfs, folder)?;
    }
    let identified = match (&folder, meta) {
        // That of a tar file alone can be compared with what others have for it.
        (None, None) => content,
        (_, meta) => tree::identity(content, meta.as_deref()),
    };
    let chunk_map = ChunkMap::compute(&device)?;
    Ok(OpenedBase {
        record: manifest::Base {
            name: recipe.base.name(),
            sha256: Some(identified),
            digest: chunk_map.digest(),
            size,
            // A folder lies in the project, as the recipe does.
            unpinned: is_archive && sha256.is_none(),
            bound: None,
            origin: None,
        },
        device,
        chunk_map: Arc::new(chunk_map),
        partition: None,
        recovery: None,
        mask: 0o777,
    })
}
