//! The cache: base images are unpacked once.
//!
//! | file | what |
//! | --- | --- |
//! | `DIGEST.raw` | the disk in the file with this SHA-256, sparse |
//! | `DIGEST.chunks` | its chunk map |
//! | `DIGEST.json` | what it was wrapped in; written last, so it says that the others are whole |
//! | `paths/KEY.json` | what is known of the file at a path: its stamp and its SHA-256 |
//! | `paths/KEY.chunks` | the chunk map of a raw image, which is used where it is |
//! | `paths/KEY.lock` | held while the file at that path is looked at or unpacked |
//! | `pairs/KEY.json` | in which bytes two raw images differ; see [`super::known`] |
//!
//! `KEY` is the SHA-256 of the path. A file is not hashed again while its stamp (`stamp`) is the
//! same. A file that changed in the last moments before it was hashed gets no entry, because a
//! further change might leave the same times.
//!
//! Everything is made under another name and renamed when it is on the disk, so a killed process
//! leaves nothing that looks whole. The folder may be removed at any time.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::stamp::Stamp;
use super::unpack::unpack;
use super::{Error, Found, Image, Progress, Reading, Result, look, open_disk};
use imgasm_block::{BlockDevice, ChunkMap, Digest, FileDevice, Output, pool};

/// A folder of unpacked base images.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) dir: PathBuf,
    reading: Reading,
}

/// A base image, ready to be built upon.
#[derive(Clone)]
pub struct Base {
    /// The disk, as a raw file on the host: cheap to clone.
    pub device: Arc<FileDevice>,
    /// Its chunks.
    pub chunk_map: Arc<ChunkMap>,
    /// SHA-256 of the file as it was given. A raw image is hashed only where a digest was asked
    /// for: reading all its zeros takes longer than the rest of a build.
    pub sha256: Option<Digest>,
    /// As [`Image::wrapping`].
    pub wrapping: Vec<String>,
    /// As [`Image::recovery`].
    pub recovery: Option<imgasm_block::Recovery>,
}

/// `paths/KEY.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) path: String,
    pub(super) stamp: Stamp,
    pub(super) sha256: Option<Digest>,
}

/// `DIGEST.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    wrapping: Vec<String>,
}

/// What is known of one path while its lock is held.
struct Place<'a> {
    path: &'a Path,
    /// `paths/KEY` in the cache.
    stem: PathBuf,
    stamp: Stamp,
    /// Whether the stamp is worth writing down.
    at_rest: bool,
    known: Option<Known>,
    _lock: File,
}

impl Cache {
    /// A cache in the folder `dir`, which is made when it is needed.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            reading: Reading::default(),
        }
    }

    /// The same cache for files that are to be read in a certain way.
    #[must_use]
    pub fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    /// The folder that users expect: `$IMGASM_CACHE`, else `$XDG_CACHE_HOME/imgasm`, else
    /// `$HOME/.cache/imgasm`; `None` where none of them is set. `variable` looks up a variable of
    /// the environment.
    pub fn usual_dir(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
        let set = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("IMGASM_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("imgasm")))
            .or_else(|| set("HOME").map(|dir| dir.join(".cache").join("imgasm")))
    }

    /// Opens any image for reading. One that can be read where it is, is; others are unpacked into
    /// the cache or found there.
    pub fn open(&self, path: &Path, progress: &Progress<'_>) -> Result<Image> {
        match look(path, self.reading)? {
            Found::Disk(image) => Ok(image),
            Found::Packed => {
                let base = self.base(path, None, progress)?;
                Ok(Image {
                    device: base.device,
                    wrapping: base.wrapping,
                    recovery: base.recovery,
                })
            }
        }
    }

    /// What can be unpacked of a file that is cut short or damaged, for as long as the device is
    /// held; `None` where that is nothing.
    pub fn salvage(&self, path: &Path, progress: &Progress<'_>) -> Option<FileDevice> {
        let Ok(Found::Packed) = look(path, self.reading) else {
            return None;
        };
        let place = self.place(path).ok()?;
        let output = Output::create(&self.incoming(&place)).ok()?;
        // What is wrong with it is known to those who ask for this.
        let _ = unpack(
            path,
            &File::open(path).ok()?,
            &output,
            None,
            self.reading.max_bytes,
            progress,
        );
        output.device().ok().filter(|device| !device.is_empty())
    }

    /// Opens any image as a base: the disk as a raw file and its chunk map. A raw image is used
    /// where it is, what else is in the cache or put there.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if the file is not the one that `expected` names.
    pub fn base(
        &self,
        path: &Path,
        expected: Option<Digest>,
        progress: &Progress<'_>,
    ) -> Result<Base> {
        let place = self.place(path)?;
        if let Some(known) = place.known.as_ref().and_then(|known| known.sha256) {
            check(path, expected, known)?;
        }
        match look(path, self.reading)? {
            Found::Disk(image) if image.device.host_file().is_some() => {
                place.raw(image.recovery, expected, progress)
            }
            Found::Disk(image) => {
                let digest = place.digest(expected, progress)?;
                if let Some(base) = self.entry(digest) {
                    return Ok(base);
                }
                let output = Output::create(&self.incoming(&place))?;
                output.write_device(&image.device)?;
                let chunk_map = ChunkMap::compute(&output.device()?)?;
                self.keep(output, digest, &chunk_map, image.wrapping)
            }
            Found::Packed => self.packed(&place, expected, progress),
        }
    }

    /// A base that has to be unpacked.
    fn packed(
        &self,
        place: &Place<'_>,
        expected: Option<Digest>,
        progress: &Progress<'_>,
    ) -> Result<Base> {
        let known = place.known.as_ref().and_then(|known| known.sha256);
        if let Some(digest) = known.or(expected)
            && let Some(base) = self.entry(digest)
        {
            // Where only the expected digest led here, the file is yet to be checked.
            place.digest(Some(digest), progress)?;
            return Ok(base);
        }
        let output = Output::create(&self.incoming(place))?;
        let input = File::open(place.path).map_err(|e| cannot_read(place.path, e))?;
        let unpacked = unpack(
            place.path,
            &input,
            &output,
            expected,
            self.reading.max_bytes,
            progress,
        )?;
        place.remember(Some(unpacked.digest))?;
        let mut wrapping: Vec<String> = unpacked.layers.iter().map(ToString::to_string).collect();
        let device: Arc<dyn BlockDevice> = Arc::new(output.device()?);
        let (format, disk) = open_disk(device, place.path)?;
        if disk.host_file().is_some() {
            return self.keep(output, unpacked.digest, &unpacked.chunk_map, wrapping);
        }
        // What was unpacked is not the disk itself yet.
        wrapping.push(format.to_string());
        let raw = Output::create(&self.incoming(place).with_extension("disk"))?;
        raw.write_device(&disk)?;
        let chunk_map = ChunkMap::compute(&raw.device()?)?;
        self.keep(raw, unpacked.digest, &chunk_map, wrapping)
    }

    /// Looks up a path and takes its lock, waiting for another process that has it.
    fn place<'a>(&self, path: &'a Path) -> Result<Place<'a>> {
        let whole = fs::canonicalize(path).map_err(|e| cannot_read(path, e))?;
        let paths = self.dir.join("paths");
        fs::create_dir_all(&paths).map_err(|e| imgasm_block::Error::file(&paths, "make", e))?;
        let stem = self.stem(&whole);
        let lock_path = stem.with_extension("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|e| imgasm_block::Error::file(&lock_path, "lock", e))?;
        let stamp = stamp(path)?;
        let known: Option<Known> = read_json(&stem.with_extension("json"));
        Ok(Place {
            path,
            at_rest: stamp.is_at_rest(),
            known: known.filter(|known| known.stamp == stamp),
            stamp,
            stem,
            _lock: lock,
        })
    }

    /// `paths/KEY` of a whole path.
    pub(super) fn stem(&self, whole: &Path) -> PathBuf {
        let key = Digest::of(whole.as_os_str().as_bytes());
        self.dir.join("paths").join(key.to_string())
    }

    /// The name of a file that is being made for a path.
    fn incoming(&self, place: &Place<'_>) -> PathBuf {
        let key = place.stem.file_name().unwrap_or_default();
        let mut name = std::ffi::OsString::from("incoming-");
        name.push(key);
        self.dir.join(name)
    }

    fn file(&self, digest: Digest, extension: &str) -> PathBuf {
        self.dir.join(format!("{digest}.{extension}"))
    }

    /// What is kept of the file with this digest, if it is whole.
    fn entry(&self, digest: Digest) -> Option<Base> {
        let entry: Entry = read_json(&self.file(digest, "json"))?;
        let device = FileDevice::open(&self.file(digest, "raw")).ok()?;
        let chunk_map = read_chunk_map(&self.file(digest, "chunks"))?;
        (device.len() == chunk_map.device_len()).then(|| Base {
            device: Arc::new(device),
            chunk_map: Arc::new(chunk_map),
            sha256: Some(digest),
            wrapping: entry.wrapping,
            recovery: None,
        })
    }

    /// Puts an unpacked disk into the cache and opens it there.
    fn keep(
        &self,
        output: Output,
        digest: Digest,
        chunk_map: &ChunkMap,
        wrapping: Vec<String>,
    ) -> Result<Base> {
        let raw = self.file(digest, "raw");
        // Nobody compares it with a digest again.
        output.sync()?;
        output.commit_as(&raw)?;
        Output::write(&self.file(digest, "chunks"), &chunk_map.encode())?;
        write_json(&self.file(digest, "json"), &Entry { wrapping })?;
        let lost = || cannot_read(&raw, io::ErrorKind::NotFound.into());
        self.entry(digest).ok_or_else(lost)
    }
}

impl Place<'_> {
    /// A raw image, used where it is.
    fn raw(
        &self,
        recovery: Option<imgasm_block::Recovery>,
        expected: Option<Digest>,
        progress: &Progress<'_>,
    ) -> Result<Base> {
        let device = FileDevice::open(self.path).map_err(|e| cannot_read(self.path, e))?;
        let kept_map = || read_chunk_map(&self.stem.with_extension("chunks"));
        let known = self.known.as_ref();
        let kept = known
            .and_then(|_| kept_map())
            .filter(|map| map.device_len() == device.len());
        let known_digest = known.and_then(|known| known.sha256);
        let missing_digest = expected.is_some() && known_digest.is_none();
        let (digest, chunk_map) = pool::both(
            || {
                missing_digest
                    .then(|| hash(self.path, progress))
                    .transpose()
            },
            || kept.clone().map_or_else(|| ChunkMap::compute(&device), Ok),
        );
        let (digest, chunk_map) = (digest?.or(known_digest), chunk_map?);
        if let Some(digest) = digest {
            check(self.path, expected, digest)?;
        }
        if kept.is_none() {
            Output::write(&self.stem.with_extension("chunks"), &chunk_map.encode())?;
        }
        if kept.is_none() || missing_digest {
            self.remember(digest)?;
        }
        Ok(Base {
            device: Arc::new(device),
            chunk_map: Arc::new(chunk_map),
            sha256: digest,
            wrapping: Vec::new(),
            recovery,
        })
    }

    /// The digest of the file, known or found by reading it.
    fn digest(&self, expected: Option<Digest>, progress: &Progress<'_>) -> Result<Digest> {
        if let Some(known) = self.known.as_ref().and_then(|known| known.sha256) {
            return Ok(known);
        }
        let digest = hash(self.path, progress)?;
        check(self.path, expected, digest)?;
        self.remember(Some(digest))?;
        Ok(digest)
    }

    /// Writes down what was learned, if the file is still what it was before.
    fn remember(&self, sha256: Option<Digest>) -> Result<()> {
        if !self.at_rest || stamp(self.path)? != self.stamp {
            return Ok(());
        }
        let known = Known {
            path: self.path.display().to_string(),
            stamp: self.stamp.clone(),
            sha256,
        };
        write_json(&self.stem.with_extension("json"), &known)
    }
}

fn stamp(path: &Path) -> Result<Stamp> {
    let metadata = fs::metadata(path).map_err(|e| cannot_read(path, e))?;
    Ok(Stamp::new(&metadata))
}

fn check(path: &Path, expected: Option<Digest>, found: Digest) -> Result<()> {
    match expected {
        Some(expected) if expected != found => Err(Error::DigestMismatch {
            path: path.to_owned(),
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

/// SHA-256 of a file.
fn hash(path: &Path, progress: &Progress<'_>) -> Result<Digest> {
    let failed = |e| cannot_read(path, e);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buf, at).map_err(failed)?;
        if read == 0 {
            return Ok(Digest::finish(hasher));
        }
        hasher.update(&buf[..read]);
        at += imgasm_block::bytes::byte_len(&buf[..read]);
        progress(at, len);
    }
}

fn cannot_read(path: &Path, source: io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// A file of the cache; one that cannot be read is one that is not there, and is made anew.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(super) fn read_chunk_map(path: &Path) -> Option<ChunkMap> {
    ChunkMap::decode(&fs::read(path).ok()?).ok()
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).expect("texts and numbers can be written");
    Ok(Output::write(path, &text)?)
}
