//! A side of a comparison: an image in any container, a recipe, a manifest, or `-`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::failure::Failure;
use super::image::{cache, tell_recovery};
use super::output::Output;
use super::progress::Bars;
use super::recipe;
use crate::environment::Environment;
use crate::manifest::Manifest;
use imgasm_block::{BlockDevice, ChunkMap, FileDevice};
use imgasm_disk::Disk;

/// The longest file that is looked at as a manifest: with a line for each of a million paths.
const MANIFEST_LIMIT_BYTES: u64 = 256 << 20;

/// What there is to compare.
pub(super) enum Side {
    /// A disk.
    Disk(Image),
    /// A manifest whose image is not at hand.
    Record(Box<Manifest>),
}

impl Side {
    /// Why not all of it could be compared.
    pub(super) fn damage(self) -> Option<Failure> {
        match self {
            Self::Disk(image) => image.damage.map(|failure| *failure),
            Self::Record(_) => None,
        }
    }
}

/// A disk, with what is known of it.
pub(super) struct Image {
    pub(super) disk: Disk,
    /// Its chunks, where they are known without reading it.
    pub(super) chunk_map: Option<Arc<ChunkMap>>,
    /// Why not all of it can be compared.
    pub(super) damage: Option<Box<Failure>>,
    /// Where standard input was put, until the comparison is done.
    _spooled: Option<TempDir>,
}

impl Image {
    /// The digest of the disk.
    pub(super) fn digest(&self) -> imgasm_block::Result<imgasm_block::Digest> {
        match &self.chunk_map {
            Some(map) => Ok(map.digest()),
            None => Ok(ChunkMap::compute(self.disk.device())?.digest()),
        }
    }

    /// The raw file that the disk is, if it is one.
    pub(super) fn file(&self) -> Option<&FileDevice> {
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

/// Opens a side. `set` gives the variables of a recipe.
pub(super) fn open(
    path: &Path,
    set: &[(String, String)],
    environment: &Environment,
    output: &mut Output,
) -> Result<Side, Failure> {
    if path
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        let recipe = recipe::load_file(path, set, environment)?;
        let build = recipe::prepare(&recipe, environment, output)?;
        let chunk_map = Arc::new(build.chunk_map);
        let disk = Disk::open(build.delta)?;
        return Ok(Side::Disk(Image::new(disk, Some(chunk_map))));
    }
    let cannot_open =
        |failure: Failure| failure.in_context(format!("cannot open {}", path.display()));
    let side = if path == Path::new("-") {
        standard_input(environment, output)
    } else {
        file(path, environment, output)
    };
    match side.map_err(cannot_open)? {
        Side::Disk(image) => Ok(Side::Disk(Image {
            damage: image.damage.map(|failure| Box::new(cannot_open(*failure))),
            ..image
        })),
        record @ Side::Record(_) => Ok(record),
    }
}

/// A file: a manifest by its content, else an image.
fn file(path: &Path, environment: &Environment, output: &mut Output) -> Result<Side, Failure> {
    match manifest(path)? {
        None => Ok(Side::Disk(image(path, environment, output)?)),
        Some(manifest) => match image_of(path, &manifest) {
            Some(file) => Ok(Side::Disk(checked_image(&file, &manifest, environment)?)),
            None => Ok(Side::Record(Box::new(manifest))),
        },
    }
}

fn image(path: &Path, environment: &Environment, output: &mut Output) -> Result<Image, Failure> {
    let cache = cache(environment)?;
    let bars = Bars::new();
    let opened = match cache.open(path, &bars.reading("reading")) {
        Ok(opened) => opened,
        Err(error) => {
            let salvaged = cache.salvage(path, &bars.reading("salvaging"));
            bars.finish();
            return match salvaged {
                Some(device) => cut_short(Arc::new(device), error.into()),
                None => Err(error.into()),
            };
        }
    };
    bars.finish();
    if let Some(recovery) = &opened.recovery {
        tell_recovery(path, recovery, output);
    }
    let chunk_map = opened.device.host_file();
    let chunk_map = chunk_map.and_then(|device| cache.known_chunks(device));
    match Disk::open(Arc::clone(&opened.device)) {
        Ok(disk) => Ok(Image::new(disk, chunk_map.map(Arc::new))),
        Err(error) => cut_short(opened.device, error.into()),
    }
}

/// What is left of a disk, of which this is known to be wrong, can be compared all the same.
fn cut_short(device: Arc<dyn BlockDevice>, damage: Failure) -> Result<Image, Failure> {
    match Disk::open_cut_short(device) {
        Ok(disk) => Ok(Image {
            damage: Some(Box::new(damage)),
            ..Image::new(disk, None)
        }),
        Err(_) => Err(damage),
    }
}

/// The manifest in a file, if there is one in it.
fn manifest(path: &Path) -> Result<Option<Manifest>, Failure> {
    let mut file = File::open(path)?;
    let is_named_so = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let mut first = [0];
    let is_json = file.read(&mut first)? == 1 && first == *b"{";
    if !is_json || file.metadata()?.len() > MANIFEST_LIMIT_BYTES {
        return Ok(None);
    }
    match serde_json::from_slice(&fs::read(path)?) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if is_named_so => Err(Failure::from(error).in_context("this is no manifest")),
        // The code at the beginning of a disk may begin with any byte.
        Err(_) => Ok(None),
    }
}

/// The image beside a manifest, if it is there.
fn image_of(path: &Path, manifest: &Manifest) -> Option<PathBuf> {
    let name = Path::new(&manifest.image.file);
    // A manifest may come from anywhere and leads to no other folder.
    let file = path.with_file_name(name.file_name().filter(|file| *file == name)?);
    file.is_file().then_some(file)
}

/// The image beside a manifest, which must be the one that it tells of.
fn checked_image(
    path: &Path,
    manifest: &Manifest,
    environment: &Environment,
) -> Result<Image, Failure> {
    let bars = Bars::new();
    let base = cache(environment)?.base(path, None, &bars.reading("reading"))?;
    bars.finish();
    let (digest, len) = (base.chunk_map.digest(), base.chunk_map.device_len());
    if digest != manifest.image.digest || len != manifest.image.size {
        let (recorded, size) = (manifest.image.digest, manifest.image.size);
        let path = path.display();
        return Err(Failure::new(format!(
            "{path} is not the image of this manifest: it has {len} bytes and the digest {digest}, \
             and the manifest says {size} and {recorded}"
        ))
        .with_hint("give the image itself, or put the manifest elsewhere to compare by it alone"));
    }
    let disk = Disk::open(base.device)?;
    Ok(Image::new(disk, Some(base.chunk_map)))
}

/// Standard input: in place where it is a file, else put into a temporary file without its zeros.
fn standard_input(environment: &Environment, output: &mut Output) -> Result<Side, Failure> {
    let stdin = Path::new("/dev/stdin");
    if fs::metadata(stdin).is_ok_and(|metadata| metadata.is_file())
        && let Ok(path) = fs::canonicalize(stdin)
    {
        return file(&path, environment, output);
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("stdin");
    copy_sparse(&mut io::stdin().lock(), &File::create(&path)?)?;
    match file(&path, environment, output)? {
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
