//! Comparing what users name: images in any container, recipes, manifests, and standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::build::{self, Bases, Build};
use crate::config;
use crate::diff::{self, Incomplete, Options, Report, raw, record};
use crate::manifest::{self, Manifest};
use crate::opener::Opener;
use crate::private;
use crate::recipe::{self, Base, Recipe};
use imgasm_block::{BlockDevice, ChunkMap, Digest, FileDevice, shared};
use imgasm_container::Cache;
use imgasm_disk::Disk;

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe could not be read.
    #[error(transparent)]
    Recipe(#[from] config::Error),
    /// The image of a recipe could not be built.
    #[error(transparent)]
    Build(#[from] build::Error),
    /// The disk that was built could not be understood.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// A file could not be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<OpenError>,
    },
}

/// Why a file could not be opened to be compared.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The container of the disk could not be read.
    #[error(transparent)]
    Container(#[from] imgasm_container::Error),
    /// The disk could not be understood.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The file is named like a manifest, but is not one.
    #[error("this is not a manifest")]
    NoManifest(#[source] manifest::ParseError),
    /// The file beside a manifest is not the image that the manifest describes.
    #[error(
        "{} is not the image of this manifest: it has {len} bytes and the digest {digest}, and the \
         manifest says {recorded_len} and {recorded}",
        path.display()
    )]
    OtherImage {
        /// The file.
        path: PathBuf,
        /// The bytes of its disk.
        len: u64,
        /// The digest of its disk.
        digest: Digest,
        /// The bytes that the manifest records.
        recorded_len: u64,
        /// The digest that the manifest records.
        recorded: Digest,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open { source, .. } => match **source {
                OpenError::OtherImage { .. } => Some(
                    "name the image itself, or copy the manifest to another folder to compare what \
                     it records",
                ),
                _ => None,
            },
            _ => None,
        }
    }
}

/// One side of a comparison.
pub enum Side {
    /// A disk.
    Disk(Image),
    /// A manifest whose image is not at hand.
    Record(Box<Manifest>),
}

impl Side {
    /// Why a part of it could not be compared.
    pub fn damage(self) -> Option<Error> {
        match self {
            Self::Disk(image) => image
                .damage
                .map(|(path, source)| Error::Open { path, source }),
            Self::Record(_) => None,
        }
    }
}

/// A disk, with what is known about it.
pub struct Image {
    disk: Disk,
    /// Its chunks, if they are known without reading it.
    chunk_map: Option<Arc<ChunkMap>>,
    /// The file of which a part cannot be compared, and why.
    damage: Option<(PathBuf, Box<OpenError>)>,
    /// The temporary folder with standard input, until the comparison is done.
    _spooled: Option<TempDir>,
}

impl Image {
    /// The digest of the disk.
    fn digest(&self) -> imgasm_block::Result<Digest> {
        match &self.chunk_map {
            Some(map) => Ok(map.digest()),
            None => Ok(ChunkMap::compute(self.disk.device())?.digest()),
        }
    }

    /// The raw file that the disk is, if it is one.
    fn file(&self) -> Option<&FileDevice> {
        self.disk.device().host_file()
    }

    fn new(disk: Disk, chunk_map: Option<Arc<ChunkMap>>) -> Self {
        Self {
            disk,
            chunk_map,
            damage: None,
            _spooled: None,
        }
    }
}

/// Whether a side is a recipe, by its name.
pub fn is_recipe(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "toml")
}

/// Opens a side: a recipe, whose image is built in memory, if the name ends in `.toml`; standard
/// input if it is `-`; else a manifest or an image. `options` are for recipes.
pub fn open(
    path: &Path,
    options: &recipe::Options,
    opener: &mut Opener<'_>,
) -> Result<Side, Error> {
    if is_recipe(path) {
        return built(path, options, opener);
    }
    let side = if path == Path::new("-") {
        standard_input(opener)
    } else {
        file(path, opener)
    };
    match side {
        Ok(Side::Disk(image)) => Ok(Side::Disk(Image {
            damage: image.damage.map(|(_, source)| (path.to_owned(), source)),
            ..image
        })),
        Ok(record @ Side::Record(_)) => Ok(record),
        Err(source) => Err(Error::Open {
            path: path.to_owned(),
            source: Box::new(source),
        }),
    }
}

/// The image that a recipe would give.
fn built(path: &Path, options: &recipe::Options, opener: &mut Opener<'_>) -> Result<Side, Error> {
    let recipe = Recipe::load(path, options)?;
    let bases = Bases::new(opener.cache.clone());
    let build = Build::prepare(&recipe, &bases, opener.progress)?;
    if let (Some(recovery), Base::File { path, .. }) = (&build.recovery, &recipe.base) {
        (opener.recovered)(path, recovery);
    }
    let disk = Disk::open(build.delta)?;
    Ok(Side::Disk(Image::new(
        disk,
        Some(Arc::new(build.chunk_map)),
    )))
}

/// A file: a manifest by its content, else an image.
fn file(path: &Path, opener: &mut Opener<'_>) -> Result<Side, OpenError> {
    match manifest(path)? {
        None => Ok(Side::Disk(image(path, opener)?)),
        Some(manifest) => match image_of(path, &manifest) {
            Some(file) => Ok(Side::Disk(checked_image(&file, &manifest, opener)?)),
            None => Ok(Side::Record(Box::new(manifest))),
        },
    }
}

fn image(path: &Path, opener: &mut Opener<'_>) -> Result<Image, OpenError> {
    let opened = match opener.container(path) {
        Ok(opened) => opened,
        Err(error) => {
            return match opener.cache.salvage(path, opener.progress) {
                Some(device) => cut_short(path, Arc::new(device), error.into()),
                None => Err(error.into()),
            };
        }
    };
    let chunk_map = opened.device.host_file();
    let chunk_map = chunk_map.and_then(|device| opener.cache.known_chunks(device));
    match Disk::open(Arc::clone(&opened.device)) {
        Ok(disk) => Ok(Image::new(disk, chunk_map.map(Arc::new))),
        Err(error) => cut_short(path, opened.device, error.into()),
    }
}

/// Opens what is left of a damaged disk, which can be compared all the same.
fn cut_short(
    path: &Path,
    device: Arc<dyn BlockDevice>,
    damage: OpenError,
) -> Result<Image, OpenError> {
    match Disk::open_cut_short(device) {
        Ok(disk) => Ok(Image {
            damage: Some((path.to_owned(), Box::new(damage))),
            ..Image::new(disk, None)
        }),
        Err(_) => Err(damage),
    }
}

/// Whether a file begins as a manifest does, which leads to the image beside it.
pub fn may_be_manifest(path: &Path) -> bool {
    manifest::read(path).is_ok_and(|content| content.is_some())
}

/// The manifest in a file, if there is one in it.
fn manifest(path: &Path) -> Result<Option<Manifest>, OpenError> {
    let is_named_so = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let Some(content) = manifest::read(path)? else {
        return Ok(None);
    };
    match Manifest::parse(&content) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if is_named_so => Err(OpenError::NoManifest(error)),
        // The code at the beginning of a disk may begin with any byte.
        Err(_) => Ok(None),
    }
}

/// The image beside a manifest, if it is there.
fn image_of(path: &Path, manifest: &Manifest) -> Option<PathBuf> {
    let file = path.with_file_name(&manifest.image.file);
    file.is_file().then_some(file)
}

/// The image beside a manifest, after a check that it is the one that the manifest describes.
fn checked_image(
    path: &Path,
    manifest: &Manifest,
    opener: &mut Opener<'_>,
) -> Result<Image, OpenError> {
    let base = opener.cache.base(path, None, opener.progress)?;
    let (digest, len) = (base.chunk_map.digest(), base.chunk_map.device_len());
    if digest != manifest.image.digest || len != manifest.image.size {
        return Err(OpenError::OtherImage {
            path: path.to_owned(),
            len,
            digest,
            recorded_len: manifest.image.size,
            recorded: manifest.image.digest,
        });
    }
    let disk = Disk::open(base.device)?;
    Ok(Image::new(disk, Some(base.chunk_map)))
}

/// Standard input: in place if it is a file, else copied to a temporary file without its zeros.
fn standard_input(opener: &mut Opener<'_>) -> Result<Side, OpenError> {
    let stdin = Path::new("/dev/stdin");
    if fs::metadata(stdin).is_ok_and(|metadata| metadata.is_file())
        && let Ok(path) = fs::canonicalize(stdin)
    {
        return file(&path, opener);
    }
    let folder = private::folder("imgasm-").tempdir()?;
    let path = folder.path().join("stdin");
    copy_sparse(&mut io::stdin().lock(), &File::create(&path)?)?;
    match file(&path, opener)? {
        Side::Disk(image) => Ok(Side::Disk(Image {
            _spooled: Some(folder),
            ..image
        })),
        record @ Side::Record(_) => Ok(record),
    }
}

/// Copies a stream into an empty file; stretches of zeros become holes.
fn copy_sparse(from: &mut dyn Read, to: &File) -> io::Result<()> {
    let mut buf = Vec::with_capacity(1 << 20);
    let mut len = 0;
    loop {
        buf.clear();
        Read::take(&mut *from, 1 << 20).read_to_end(&mut buf)?;
        if buf.is_empty() {
            return to.set_len(len);
        }
        imgasm_block::bytes::write_non_zero(len, &buf, |at, data| to.write_all_at(data, at))?;
        len += imgasm_block::bytes::byte_len(&buf);
    }
}

/// Compares two sides. The cache remembers how two files differ.
pub fn compare(
    old: &Side,
    new: &Side,
    options: &Options,
    cache: &Cache,
) -> Result<Report, Incomplete> {
    let of_record = |record: &Manifest, side: diff::Side, image: &Image| {
        let digest = image.digest();
        let digest = digest.map_err(|source| diff::Error::Device {
            side: !side,
            source,
        })?;
        record::compare_with_disk(record, side, &image.disk, digest)
    };
    match (old, new) {
        (Side::Disk(old), Side::Disk(new)) => compare_disks(old, new, options, cache),
        (Side::Record(old), Side::Record(new)) => Ok(record::compare(old, new)),
        (Side::Record(old), Side::Disk(new)) => Ok(of_record(old, diff::Side::Old, new)?),
        (Side::Disk(old), Side::Record(new)) => Ok(of_record(new, diff::Side::New, old)?),
    }
}

/// Compares two disks, using what is known about them, and remembers how they differ.
fn compare_disks(
    old: &Image,
    new: &Image,
    options: &Options,
    cache: &Cache,
) -> Result<Report, Incomplete> {
    if let (Some(before), Some(after)) = (&old.chunk_map, &new.chunk_map) {
        let suspects = raw::differing_chunks(before, after);
        return diff::compare(&old.disk, &new.disk, Some(&suspects), options);
    }
    let files = old.file().zip(new.file());
    let compared = files.and_then(|(old, new)| Some(((old, new), cache.compared(old, new)?)));
    let known = compared
        .as_ref()
        .and_then(|(_, compared)| cache.known_difference(compared));
    let unshared = || {
        let unshared = shared::unshared(old.file()?, new.file()?)?;
        Some(raw::union(&unshared, &[]))
    };
    let suspects = known.clone().or_else(unshared);
    let report = diff::compare(&old.disk, &new.disk, suspects.as_ref(), options)?;
    if let Some((files, compared)) = compared.filter(|_| known.is_none()) {
        cache.keep_difference(compared, files, &report.changed);
    }
    Ok(report)
}
