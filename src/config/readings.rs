//! That what is copied from a folder are the bytes that its digest was made of.
//!
//! The folder may be changed at any time, and changed back: to hash it before and after says nothing about
//! what was copied in between. So whoever copies notes what was read, and in the end each note is compared
//! with what was hashed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::boundary::open_regular;
use super::digest::{Contents, Seen};
use super::{Error, Result, digest};
use imgasm_block::Digest;

/// What was read below a folder.
#[derive(Debug)]
pub struct Readings(
    /// Nothing if nobody compares them.
    Option<Mutex<Vec<(PathBuf, Note)>>>,
);

impl Default for Readings {
    fn default() -> Self {
        Self(Some(Mutex::default()))
    }
}

/// Something that was read.
#[derive(Debug)]
enum Note {
    /// The paths below a folder, from there.
    Entries(Vec<PathBuf>),
    /// The target of a link.
    Link(PathBuf),
    /// Whether the owner of a file may execute it.
    Executable(bool),
    /// The content of a file: its length, and its BLAKE3.
    Content(u64, blake3::Hash),
    /// The content of a file, by its SHA-256.
    Whole(Digest),
}

impl Readings {
    /// Where nothing is noted, and nothing hashed: for a folder of which nobody gives a digest.
    pub fn none() -> Self {
        Self(None)
    }

    fn note(&self, path: &Path, note: Note) {
        if let Some(notes) = &self.0 {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push((path.to_owned(), note));
        }
    }

    /// Everything below a folder, as [`digest::entries`].
    pub fn entries(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let entries = digest::entries(folder)?;
        self.note(folder, Note::Entries(entries.clone()));
        Ok(entries)
    }

    /// Notes that just these paths, from there, are below a folder.
    pub fn listed(&self, folder: &Path, mut entries: Vec<PathBuf>) {
        entries.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        self.note(folder, Note::Entries(entries));
    }

    /// Notes where a link leads.
    pub fn link(&self, path: &Path, target: &OsStr) {
        self.note(path, Note::Link(target.into()));
    }

    /// Notes whether the owner of a file may execute it.
    pub fn executable(&self, path: &Path, is_executable: bool) {
        self.note(path, Note::Executable(is_executable));
    }

    /// Notes the SHA-256 of a file that was read whole.
    pub fn whole(&self, path: &Path, sha256: Digest) {
        self.note(path, Note::Whole(sha256));
    }

    /// A file that was opened; what is read of it is noted.
    pub fn reader(self: &Arc<Self>, path: &Path, file: File) -> Reading {
        Reading {
            readings: Arc::clone(self),
            path: path.to_owned(),
            file,
            at: 0,
            hasher: self.0.is_some().then(blake3::Hasher::new),
            farthest: Vec::new(),
        }
    }

    /// Makes sure that all that was read below `root` is what was hashed there.
    ///
    /// # Errors
    /// [`Error::Unusable`] with the path that was changed, or that cannot be read; and if nothing was
    /// noted.
    pub fn check(&self, root: &Path, contents: &Contents) -> Result<()> {
        let Some(notes) = &self.0 else {
            return Err(changed(root));
        };
        let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        for (path, note) in notes.iter() {
            let below = path
                .strip_prefix(root)
                .or_else(|_| path.strip_prefix(&real));
            let Ok(below) = below else { continue };
            if !note.is_of(path, below, contents)? {
                return Err(changed(path));
            }
        }
        Ok(())
    }
}

impl Note {
    fn is_of(&self, path: &Path, below: &Path, contents: &Contents) -> Result<bool> {
        let seen = contents.seen.get(below);
        Ok(match (self, seen) {
            (Self::Entries(entries), _) => contents
                .below(below)
                .eq(entries.iter().map(PathBuf::as_path)),
            (Self::Link(target), Some(Seen::Link(then))) => target == then,
            (Self::Executable(is), Some(Seen::File { executable, .. })) => is == executable,
            (Self::Content(len, hash), Some(Seen::File { content, .. })) => {
                (*len, *hash) == *content
            }
            (Self::Whole(sha256), Some(Seen::File { content, .. })) => {
                let io = |source| Error::Io {
                    path: path.to_owned(),
                    source,
                };
                let mut file = open_regular(path).map_err(io)?;
                digest::both(&mut file).map_err(io)? == (*sha256, *content)
            }
            _ => false,
        })
    }
}

/// That something was changed while it was used.
pub fn changed(path: &Path) -> Error {
    Error::Unusable {
        path: path.to_owned(),
        problem: "was changed while it was used: do it again".to_owned(),
    }
}

/// A file that is read from its beginning, perhaps several times.
pub struct Reading {
    readings: Arc<Readings>,
    path: PathBuf,
    file: File,
    /// How far it was read this time.
    at: u64,
    hasher: Option<blake3::Hasher>,
    /// What was read the times that it was read farthest: its length, and its BLAKE3.
    farthest: Vec<(u64, blake3::Hash)>,
}

impl Reading {
    /// Keeps what was read this time, unless it was less than before: that was only begun.
    fn end(&mut self) {
        let at = std::mem::take(&mut self.at);
        let Some(hasher) = &mut self.hasher else {
            return;
        };
        let before = self.farthest.first().map(|(len, _)| *len);
        if before.is_some_and(|before| before < at) {
            self.farthest.clear();
        }
        if before.is_none_or(|before| before <= at) {
            self.farthest.push((at, hasher.finalize()));
        }
        hasher.reset();
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// Only to the beginning.
impl Seek for Reading {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(0) => {
                self.end();
                self.file.rewind()?;
                Ok(0)
            }
            SeekFrom::Current(0) => Ok(self.at),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.at > 0 || self.farthest.is_empty() {
            self.end();
        }
        for (len, hash) in self.farthest.drain(..) {
            self.readings.note(&self.path, Note::Content(len, hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    type Change = fn(&Path);

    /// What is read of a folder that is changed by `change` after it was hashed, and changed back.
    fn read_between(change: fn(&Path), back: fn(&Path)) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/a"), "before").unwrap();
        fs::write(root.join("etc/empty"), "").unwrap();
        symlink("a", root.join("etc/link")).unwrap();
        let contents = digest::folder(root).unwrap();
        change(root);
        let readings = Arc::<Readings>::default();
        for below in ["", "etc"] {
            for entry in readings.entries(&root.join(below)).unwrap() {
                let path = root.join(below).join(entry);
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_symlink() {
                    readings.link(&path, fs::read_link(&path).unwrap().as_os_str());
                } else if metadata.is_file() {
                    readings.executable(&path, metadata.permissions().mode() & 0o100 != 0);
                    let mut file = readings.reader(&path, File::open(&path).unwrap());
                    // As for a comparison that ends early.
                    let mut begin = [0; 2];
                    let _ = file.read(&mut begin).unwrap();
                    file.rewind().unwrap();
                    file.read_to_end(&mut Vec::new()).unwrap();
                    readings.whole(&path, Digest::of(&fs::read(&path).unwrap()));
                }
            }
        }
        back(root);
        assert_eq!(digest::folder(root).unwrap(), contents);
        readings.check(root, &contents)
    }

    #[test]
    fn what_is_read_is_what_was_hashed() {
        read_between(|_| {}, |_| {}).unwrap();
        let cases: [(Change, Change); 6] = [
            (
                |root| fs::write(root.join("etc/a"), "within").unwrap(),
                |root| fs::write(root.join("etc/a"), "before").unwrap(),
            ),
            (
                |root| fs::write(root.join("etc/empty"), "x").unwrap(),
                |root| fs::write(root.join("etc/empty"), "").unwrap(),
            ),
            (
                |root| fs::write(root.join("etc/new"), "").unwrap(),
                |root| fs::remove_file(root.join("etc/new")).unwrap(),
            ),
            (
                |root| fs::remove_file(root.join("etc/empty")).unwrap(),
                |root| fs::write(root.join("etc/empty"), "").unwrap(),
            ),
            (
                |root| {
                    fs::remove_file(root.join("etc/link")).unwrap();
                    symlink("empty", root.join("etc/link")).unwrap();
                },
                |root| {
                    fs::remove_file(root.join("etc/link")).unwrap();
                    symlink("a", root.join("etc/link")).unwrap();
                },
            ),
            (
                |root| {
                    let mode = fs::Permissions::from_mode(0o755);
                    fs::set_permissions(root.join("etc/a"), mode).unwrap();
                },
                |root| {
                    let mode = fs::Permissions::from_mode(0o644);
                    fs::set_permissions(root.join("etc/a"), mode).unwrap();
                },
            ),
        ];
        for (number, (change, back)) in cases.into_iter().enumerate() {
            assert!(read_between(change, back).is_err(), "case {number}");
        }
    }
}
