//! The cache: base images are unpacked once.
//!
//! | file | what |
//! | --- | --- |
//! | `DIGEST.raw` | the disk in the file with this SHA-256, sparse |
//! | `DIGEST.chunks` | its chunk map |
//! | `DIGEST.json` | what it was wrapped in; written last, so its presence shows that the others are whole |
//! | `paths/KEY.json` | what is known about the file at a path: its stamp and its SHA-256 |
//! | `paths/KEY.chunks` | the chunk map of a raw image, which is used where it is |
//! | `paths/KEY.lock` | held while the file at that path is looked at or unpacked |
//! | `pairs/KEY.json` | in which bytes two raw images differ; see [`super::known`] |
//!
//! `KEY` is the SHA-256 of the path. What is known about a file is valid while its stamp (`stamp`)
//! is the same. A file that changed just before it was hashed gets no entry, because another change
//! might leave the same times.
//!
//! A stamp only says which digests to expect: writing a page through a mapping need not change the
//! times. So the file is opened once, a raw image is compared with its chunk map as it is read
//! ([`Verified`]), and the folder is ours alone (`folder`). If the cache is trusted
//! ([`Cache::trusting`]), what was unpacked into it is used without comparison, and a packed file with
//! an unchanged stamp is not hashed again; else both are read and compared, too.
//!
//! Everything is made under a temporary name and renamed when it is on the disk, so a killed
//! process leaves nothing that looks whole. The folder may be removed at any time.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::family::Family;
use super::stamp::Stamp;
use super::unpack::unpack;
use super::{Error, Found, Image, Progress, Reading, Result, folder, look, open, open_disk};
use imgasm_block::{BlockDevice, ChunkMap, Digest, FileDevice, Output, Verified, once};

/// The mode of cached files: nobody has a reason to write them.
const READ_ONLY: u32 = 0o400;

/// A folder of unpacked base images.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) dir: PathBuf,
    reading: Reading,
    pub(super) is_trusted: bool,
}

/// Why the bytes of a base match its digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// They are compared as they are read.
    Compared,
    /// They lie in the cache, which is ours alone, and are not compared.
    Trusted,
}

/// A base image, ready to be built upon.
#[derive(Clone)]
pub struct Base {
    /// The disk, as a raw file on the host: cheap to clone.
    pub device: Arc<dyn BlockDevice>,
    /// Why its bytes match the digests.
    pub binding: Binding,
    /// Its chunks.
    pub chunk_map: Arc<ChunkMap>,
    /// SHA-256 of the file as it was given. A raw image is hashed only if a digest was asked for:
    /// reading all its zeros takes longer than the rest of a build.
    pub sha256: Option<Digest>,
    /// Like [`Image::wrapping`].
    pub wrapping: Vec<String>,
    /// Like [`Image::recovery`].
    pub recovery: Option<imgasm_block::Recovery>,
    /// Whom the file belonged to when it was opened: a user's number.
    pub owner: u32,
    /// Its mode bits then.
    pub mode: u32,
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

/// A disk in the cache.
struct Cached {
    device: Arc<dyn BlockDevice>,
    binding: Binding,
    chunk_map: Arc<ChunkMap>,
    wrapping: Vec<String>,
}

/// What is known about one path while its lock is held.
struct Place<'a> {
    path: &'a Path,
    /// The file, opened once.
    file: Arc<FileDevice>,
    /// `paths/KEY` in the cache.
    stem: PathBuf,
    /// What the opened file is.
    metadata: Metadata,
    stamp: Stamp,
    /// Whether the stamp may be remembered.
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
            is_trusted: true,
        }
    }

    /// The same cache; with `false`, what lies in it is compared with its chunk map as it is read, and
    /// packed files are hashed again.
    #[must_use]
    pub fn trusting(self, is_trusted: bool) -> Self {
        Self { is_trusted, ..self }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// Makes the folder, or makes sure that it is ours alone.
    ///
    /// # Errors
    /// [`Error::Foreign`], and what the host says.
    pub fn prepare(&self) -> Result<()> {
        folder::own(&self.dir)
    }

    /// The same cache, for files that are read as `reading` says.
    #[must_use]
    pub fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    /// The folder that users expect: `$IMGASM_CACHE`, else `$XDG_CACHE_HOME/imgasm`, else
    /// `$HOME/.cache/imgasm`; `None` if none of them is set. `variable` looks up a variable of the
    /// environment.
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

    /// Opens any image for reading: where it lies if possible; else it is unpacked into the cache
    /// or found there.
    pub fn open(&self, path: &Path, progress: &Progress<'_>) -> Result<Image> {
        let file = open(path)?;
        match look(&file, path, self.reading, Family::of(self.reading))? {
            Found::Disk(image) => {
                tracing::info!("{}: read where it lies", path.display());
                Ok(image)
            }
            Found::Packed => {
                let base = self.packed(&self.place(path, file)?, None, progress)?;
                Ok(Image {
                    device: base.device,
                    wrapping: base.wrapping,
                    recovery: base.recovery,
                })
            }
        }
    }

    /// Opens any image for reading if that takes no unpacking, because it is read where it lies or was
    /// unpacked before; else gives `None`. Waits for nobody and writes nothing.
    pub fn at_hand(&self, path: &Path) -> Result<Option<Arc<dyn BlockDevice>>> {
        let file = open(path)?;
        if let Found::Disk(image) = look(&file, path, self.reading, Family::of(self.reading))? {
            return Ok(Some(image.device));
        }
        let stamp = Stamp::of(file.file()).map_err(|e| cannot_read(path, e))?;
        let whole = fs::canonicalize(path).map_err(|e| cannot_read(path, e))?;
        let known: Option<Known> = read_json(&self.stem(&whole).with_extension("json"));
        let digest = known.filter(|known| known.stamp == stamp);
        let Some(digest) = digest.and_then(|known| known.sha256) else {
            return Ok(None);
        };
        Ok(self.cached(digest)?.map(|cached| cached.device))
    }

    /// As much as can be unpacked from a file that is cut short or damaged; it exists as long as
    /// the device does. `None` if nothing can be unpacked.
    pub fn salvage(&self, path: &Path, progress: &Progress<'_>) -> Option<FileDevice> {
        let file = open(path).ok()?;
        let Ok(Found::Packed) = look(&file, path, self.reading, Family::ALONE) else {
            return None;
        };
        let place = self.place(path, file).ok()?;
        let output = Output::create(&self.incoming(&place)).ok()?;
        // The caller already knows what is wrong with the file.
        let _ = unpack(
            path,
            place.file.file(),
            &output,
            None,
            self.reading.max_bytes,
            progress,
        );
        output.device().ok().filter(|device| !device.is_empty())
    }

    /// Opens any image as a base: the disk as a raw file and its chunk map. A raw image is used
    /// where it is; anything else is found in the cache or unpacked into it.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if the file is not the one that `expected` names.
    pub fn base(
        &self,
        path: &Path,
        expected: Option<Digest>,
        progress: &Progress<'_>,
    ) -> Result<Base> {
        let place = self.place(path, open(path)?)?;
        if let Some(known) = place.known_digest().filter(|_| self.is_trusted) {
            check(path, expected, known)?;
        }
        let found = look(&place.file, path, self.reading, Family::ALONE);
        if let (Err(_), Some(_)) = (&found, expected) {
            // What is wrong with a file is said of the one that is meant, and of no other.
            let (digest, _) = once::read(&place.file, progress)?;
            check(path, expected, digest)?;
        }
        match found? {
            Found::Disk(image) if image.device.host_file().is_some() => {
                tracing::info!("{}: read where it lies", path.display());
                place.raw(image.recovery, expected, progress)
            }
            Found::Disk(image) => {
                if let Some(known) = place.known_digest().filter(|_| self.is_trusted)
                    && let Some(base) = self.entry(&place, known)?
                {
                    return Ok(base);
                }
                let (digest, verified) = place.whole(expected, progress)?;
                if let Some(base) = self.entry(&place, digest)? {
                    return Ok(base);
                }
                tracing::info!("{}: copied into the cache", path.display());
                let (_, disk) = open_disk(verified, path, Family::ALONE)?;
                let output = Output::create(&self.incoming(&place))?;
                output.write_device(&disk)?;
                let chunk_map = ChunkMap::compute(&output.device()?)?;
                self.keep(&place, output, (digest, &chunk_map), image.wrapping)
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
        let known = place.known_digest();
        if let Some(digest) = known.or(expected)
            && let Some(base) = self.entry(place, digest)?
        {
            if known.is_some() && self.is_trusted {
                return Ok(base);
            }
            // Only a stamp or the recipe's digest led here: the file still has to be read.
            tracing::info!("{}: read to compare its digest", place.path.display());
            let (found, _) = once::read(&place.file, progress)?;
            check(place.path, expected, found)?;
            place.remember(Some(found))?;
            if found == digest {
                return Ok(base);
            }
        }
        tracing::info!("{}: unpacked into the cache", place.path.display());
        let output = Output::create(&self.incoming(place))?;
        let unpacked = unpack(
            place.path,
            place.file.file(),
            &output,
            expected,
            self.reading.max_bytes,
            progress,
        )?;
        place.remember(Some(unpacked.digest))?;
        let mut wrapping: Vec<String> = unpacked.layers.iter().map(ToString::to_string).collect();
        let device: Arc<dyn BlockDevice> = Arc::new(output.device()?);
        let (format, disk) = open_disk(device, place.path, Family::ALONE)?;
        if disk.host_file().is_some() {
            let made = (unpacked.digest, &unpacked.chunk_map);
            return self.keep(place, output, made, wrapping);
        }
        // What was unpacked is a disk in another format.
        wrapping.push(format.to_string());
        let raw = Output::create(&self.incoming(place).with_extension("disk"))?;
        raw.write_device(&disk)?;
        let chunk_map = ChunkMap::compute(&raw.device()?)?;
        self.keep(place, raw, (unpacked.digest, &chunk_map), wrapping)
    }

    /// Looks up a path and takes its lock, waiting for another process that has it.
    fn place<'a>(&self, path: &'a Path, file: Arc<FileDevice>) -> Result<Place<'a>> {
        let whole = fs::canonicalize(path).map_err(|e| cannot_read(path, e))?;
        folder::own(&self.dir)?;
        let paths = self.dir.join(folder::PATHS);
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
        let metadata = file.file().metadata().map_err(|e| cannot_read(path, e))?;
        let stamp = Stamp::new(&metadata);
        let known: Option<Known> = read_json(&stem.with_extension("json"));
        Ok(Place {
            path,
            file,
            at_rest: stamp.is_at_rest(),
            known: known.filter(|known| known.stamp == stamp),
            metadata,
            stamp,
            stem,
            _lock: lock,
        })
    }

    /// `paths/KEY` of a whole path.
    pub(super) fn stem(&self, whole: &Path) -> PathBuf {
        let key = Digest::of(whole.as_os_str().as_bytes());
        self.dir.join(folder::PATHS).join(key.to_string())
    }

    /// The temporary name of a file that is being made for a path.
    fn incoming(&self, place: &Place<'_>) -> PathBuf {
        let key = place.stem.file_name().unwrap_or_default();
        let mut name = std::ffi::OsString::from("incoming-");
        name.push(key);
        self.dir.join(name)
    }

    fn file(&self, digest: Digest, extension: &str) -> PathBuf {
        self.dir.join(format!("{digest}.{extension}"))
    }

    /// The base at a place with this digest, if the cache has its disk.
    fn entry(&self, place: &Place<'_>, digest: Digest) -> Result<Option<Base>> {
        Ok(self.cached(digest)?.map(|cached| Base {
            device: cached.device,
            binding: cached.binding,
            chunk_map: cached.chunk_map,
            sha256: Some(digest),
            wrapping: cached.wrapping,
            recovery: None,
            owner: place.metadata.uid(),
            mode: place.metadata.mode(),
        }))
    }

    /// The cached disk of the file with this digest, if it is whole.
    fn cached(&self, digest: Digest) -> Result<Option<Cached>> {
        let open = || {
            let entry: Entry = read_json(&self.file(digest, "json"))?;
            let device = FileDevice::open(&self.file(digest, "raw")).ok()?;
            let chunk_map = read_chunk_map(&self.file(digest, "chunks"))?;
            (device.len() == chunk_map.device_len()).then_some((entry, device, chunk_map))
        };
        let Some((entry, device, chunk_map)) = open() else {
            return Ok(None);
        };
        tracing::info!("{digest}: taken from the cache");
        let (device, chunk_map) = (Arc::new(device), Arc::new(chunk_map));
        let (device, binding): (Arc<dyn BlockDevice>, _) = if self.is_trusted {
            (device, Binding::Trusted)
        } else {
            let mark = self.file(digest, "json");
            let compared = Verified::new(device, Arc::clone(&chunk_map), forget(mark))?;
            (Arc::new(compared), Binding::Compared)
        };
        Ok(Some(Cached {
            device,
            binding,
            chunk_map,
            wrapping: entry.wrapping,
        }))
    }

    /// Puts an unpacked disk into the cache and opens it there.
    fn keep(
        &self,
        place: &Place<'_>,
        output: Output,
        (digest, chunk_map): (Digest, &ChunkMap),
        wrapping: Vec<String>,
    ) -> Result<Base> {
        let raw = self.file(digest, "raw");
        // It may never be compared with a digest again.
        output.sync()?;
        output.restrict(READ_ONLY)?;
        output.commit_as(&raw)?;
        write(&self.file(digest, "chunks"), &chunk_map.encode())?;
        write_json(&self.file(digest, "json"), &Entry { wrapping })?;
        let lost = || cannot_read(&raw, io::ErrorKind::NotFound.into());
        self.entry(place, digest)?.ok_or_else(lost)
    }
}

impl Place<'_> {
    fn known_digest(&self) -> Option<Digest> {
        self.known.as_ref().and_then(|known| known.sha256)
    }

    /// The file, compared with a chunk map that was made of it. If it turns out to differ, what is
    /// known about it is forgotten.
    fn verified(&self, chunk_map: &Arc<ChunkMap>) -> Result<Arc<dyn BlockDevice>> {
        let known = self.stem.with_extension("json");
        let verified = Verified::new(Arc::clone(&self.file), Arc::clone(chunk_map), forget(known))?;
        Ok(Arc::new(verified))
    }

    /// A raw image, used where it is.
    fn raw(
        &self,
        recovery: Option<imgasm_block::Recovery>,
        expected: Option<Digest>,
        progress: &Progress<'_>,
    ) -> Result<Base> {
        let kept = self.known.as_ref().and_then(|known| {
            let map = read_chunk_map(&self.stem.with_extension("chunks"))?;
            let is_enough = known.sha256.is_some() || expected.is_none();
            let fits = map.device_len() == self.file.len();
            (is_enough && fits).then_some((known.sha256, map))
        });
        let (digest, chunk_map) = if let Some(kept) = kept {
            kept
        } else {
            let read = if expected.is_some() {
                let (digest, map) = once::read(&self.file, progress)?;
                (Some(digest), map)
            } else {
                // Hashing all the zeros takes longer than the rest of a build.
                (None, ChunkMap::compute(&self.file)?)
            };
            write(&self.stem.with_extension("chunks"), &read.1.encode())?;
            self.remember(read.0)?;
            read
        };
        if let Some(digest) = digest {
            check(self.path, expected, digest)?;
        }
        let chunk_map = Arc::new(chunk_map);
        Ok(Base {
            device: self.verified(&chunk_map)?,
            binding: Binding::Compared,
            chunk_map,
            sha256: digest,
            wrapping: Vec::new(),
            recovery,
            owner: self.metadata.uid(),
            mode: self.metadata.mode(),
        })
    }

    /// Reads the whole file: gives its digest, and the content that has that digest.
    fn whole(
        &self,
        expected: Option<Digest>,
        progress: &Progress<'_>,
    ) -> Result<(Digest, Arc<dyn BlockDevice>)> {
        let (digest, chunk_map) = once::read(&self.file, progress)?;
        check(self.path, expected, digest)?;
        self.remember(Some(digest))?;
        Ok((digest, self.verified(&Arc::new(chunk_map))?))
    }

    /// Stores what was learned, if the file has not changed since.
    fn remember(&self, sha256: Option<Digest>) -> Result<()> {
        let now = Stamp::of(self.file.file()).map_err(|e| cannot_read(self.path, e))?;
        if !self.at_rest || now != self.stamp {
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

/// Removes the file whose presence shows that others in the cache are valid.
fn forget(mark: PathBuf) -> impl Fn() + Send + Sync {
    move || {
        // If it stays, the next run finds the same difference.
        let _ = fs::remove_file(&mark);
    }
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

fn cannot_read(path: &Path, source: io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// A file of the cache; one that cannot be read counts as missing, and is made anew.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(super) fn read_chunk_map(path: &Path) -> Option<ChunkMap> {
    ChunkMap::decode(&fs::read(path).ok()?).ok()
}

/// Writes a file of the cache that nobody else can read.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let output = Output::create(path)?;
    output.restrict(0o600)?;
    let written = (&mut output.file()).write_all(bytes);
    written.map_err(|e| imgasm_block::Error::file(path, "write", e))?;
    Ok(output.commit()?)
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).expect("texts and numbers can be written");
    write(path, &text)
}
