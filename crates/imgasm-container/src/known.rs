//! What the cache remembers about raw images, which stay where they are: their chunk maps, and the
//! bytes in which two of them differ.
//!
//! What is remembered is used only while the file is the one that it was made from: the same device
//! and inode number, length, and times of the last change of content and of inode to the nanosecond
//! (`stamp`), taken from the opened file. Nothing is remembered about a file whose times could not
//! show another change.
//!
//! The cache only saves time, so what cannot be read or written there is left out silently.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache::{Cache, Known, read_chunk_map, read_json, write, write_json};
use super::folder;
use super::stamp::{Stamp, Written};
use imgasm_block::{ChunkMap, Digest, FileDevice};

/// The most ranges that are remembered for two images: two that differ more have little in common.
const MOST_RANGES: usize = 100_000;

/// `pairs/KEY.json`: how two files differ.
#[derive(Debug, Serialize, Deserialize)]
struct Pair {
    old: Stamp,
    new: Stamp,
    /// First and past-the-last bytes of ranges that differ, in order.
    differing: Vec<Range<u64>>,
}

/// Two files, with their stamps from the beginning of a comparison.
#[derive(Debug)]
pub struct Compared {
    path: PathBuf,
    old: Stamp,
    new: Stamp,
}

impl Cache {
    /// The chunk map of an opened raw image, if it is known.
    pub fn known_chunks(&self, image: &FileDevice) -> Option<ChunkMap> {
        if !self.is_trusted {
            return None;
        }
        folder::own(&self.dir).ok()?;
        let stem = self.stem(&fs::canonicalize(image.path()).ok()?);
        // Whoever writes the two files below holds the lock alone.
        let lock = File::open(stem.with_extension("lock")).ok()?;
        lock.lock_shared().ok()?;
        let known: Known = read_json(&stem.with_extension("json"))?;
        let stamp = Stamp::of(image.file()).ok()?;
        let chunk_map = read_chunk_map(&stem.with_extension("chunks"))?;
        (known.stamp == stamp && chunk_map.device_len() == stamp.len()).then_some(chunk_map)
    }

    /// Remembers the chunk map of a file that was just written and has its final name.
    pub fn keep_chunks(&self, path: &Path, written: &Written, chunk_map: &ChunkMap) {
        let keep = || {
            let whole = fs::canonicalize(path).ok()?;
            let stem = self.stem(&whole);
            folder::own(&self.dir).ok()?;
            fs::create_dir_all(stem.parent()?).ok()?;
            let lock = File::create(stem.with_extension("lock")).ok()?;
            lock.lock().ok()?;
            let stamp = written.stamp().ok()??;
            // Until all is written, nothing is known.
            let known = stem.with_extension("json");
            let _ = fs::remove_file(&known);
            write(&stem.with_extension("chunks"), &chunk_map.encode()).ok()?;
            let of_this = Known {
                path: whole.display().to_string(),
                stamp,
                sha256: None,
            };
            write_json(&known, &of_this).ok()
        };
        // A failure does not matter.
        let _: Option<()> = keep();
    }

    /// Takes the stamps of two raw images before they are compared.
    pub fn compared(&self, old: &FileDevice, new: &FileDevice) -> Option<Compared> {
        if !self.is_trusted {
            return None;
        }
        folder::own(&self.dir).ok()?;
        let whole = |device: &FileDevice| fs::canonicalize(device.path()).ok();
        let (before, after) = (whole(old)?, whole(new)?);
        let names = [before.as_os_str().as_bytes(), after.as_os_str().as_bytes()];
        let key = Digest::of(&names.join(&0));
        Some(Compared {
            path: self.dir.join("pairs").join(format!("{key}.json")),
            old: Stamp::of(old.file()).ok()?,
            new: Stamp::of(new.file()).ok()?,
        })
    }

    /// The bytes in which two raw images differ, if known.
    pub fn known_difference(&self, compared: &Compared) -> Option<Vec<Range<u64>>> {
        let pair: Pair = read_json(&compared.path)?;
        (pair.old == compared.old && pair.new == compared.new).then_some(pair.differing)
    }

    /// Remembers the bytes in which two raw images differ, if the images have not changed since.
    pub fn keep_difference(
        &self,
        compared: Compared,
        (old, new): (&FileDevice, &FileDevice),
        differing: &[Range<u64>],
    ) {
        let is_at_rest = compared.old.is_at_rest() && compared.new.is_at_rest();
        let is_as_before = Stamp::of(old.file()).is_ok_and(|stamp| stamp == compared.old)
            && Stamp::of(new.file()).is_ok_and(|stamp| stamp == compared.new);
        if !is_at_rest || !is_as_before || differing.len() > MOST_RANGES {
            return;
        }
        let pair = Pair {
            old: compared.old,
            new: compared.new,
            differing: differing.to_vec(),
        };
        let folder = self.dir.join("pairs");
        // A failure does not matter.
        let _ = fs::create_dir_all(folder).map(|()| write_json(&compared.path, &pair));
    }
}
