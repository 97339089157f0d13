//! The identity of a folder's content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::boundary::open_regular;
use super::{Boundary, Error, Result, readings};
use crate::memo::Memo;
use imgasm_block::Digest;

/// The contents of folders that several images are made from: each is read once.
#[derive(Debug, Clone, Default)]
pub struct Folders(Arc<Memo<PathBuf, Arc<Contents>>>);

impl Folders {
    /// What a folder held when it was asked for the first time.
    ///
    /// # Errors
    /// As [`folder`].
    pub fn contents(&self, root: &Path) -> Result<Arc<Contents>> {
        self.0
            .get_or_make(root.to_owned(), || folder(root).map(Arc::new))
    }

    /// The identities of several.
    ///
    /// # Errors
    /// As [`folder`].
    pub fn digests<'p>(&self, roots: impl Iterator<Item = &'p Path>) -> Result<Vec<Digest>> {
        roots.map(|root| Ok(self.contents(root)?.digest)).collect()
    }
}

/// What a folder held when it was hashed.
#[derive(Debug, PartialEq, Eq)]
pub struct Contents {
    /// The identity of all of it.
    pub digest: Digest,
    /// Its entries by their paths from there.
    pub(super) seen: BTreeMap<PathBuf, Seen>,
}

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Folder,
    /// With its target.
    Link(PathBuf),
    File {
        executable: bool,
        /// Its length, and its BLAKE3.
        content: (u64, blake3::Hash),
    },
}

impl Contents {
    /// The paths below one of its folders, from there, in the order of their bytes.
    pub(super) fn below<'c>(&'c self, folder: &'c Path) -> impl Iterator<Item = &'c Path> {
        let paths = self
            .seen
            .keys()
            .filter_map(|path| path.strip_prefix(folder).ok());
        let mut paths: Vec<_> = paths.filter(|path| !path.as_os_str().is_empty()).collect();
        paths.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        paths.into_iter()
    }
}

/// Bytes of a file hashed at a time.
const CHUNK: usize = 128 << 10;

/// What is below a folder, with the SHA-256 over everything that can make a difference to an image.
///
/// For each entry in the order of the bytes of its relative path: a letter for its kind (`d`, `f`,
/// `x` for a file that its owner may execute, `l`), the path, and the content of the file or the
/// target of the link; path and content are each preceded by their length as eight bytes, least
/// significant first. The folder's place, times, owners and other permissions make no difference.
///
/// # Errors
/// If something is neither a folder nor a file nor a link.
pub fn folder(root: &Path) -> Result<Contents> {
    let mut hasher = Sha256::new();
    let mut seen = BTreeMap::new();
    for entry in entries(root)? {
        let path = root.join(&entry);
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let metadata = fs::symlink_metadata(&path).map_err(io)?;
        let kind = metadata.file_type();
        let mut field = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        let name = entry.as_os_str().as_bytes();
        let was = if kind.is_dir() {
            field(b"d");
            field(name);
            Seen::Folder
        } else if kind.is_symlink() {
            field(b"l");
            field(name);
            let target = fs::read_link(&path).map_err(io)?;
            field(target.as_os_str().as_bytes());
            Seen::Link(target)
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            field(if executable { b"x" } else { b"f" });
            field(name);
            hasher.update(metadata.len().to_le_bytes());
            let mut file = open_regular(&path).map_err(io)?;
            let mut own = blake3::Hasher::new();
            let len = hash_file(&mut file, &mut |piece| {
                hasher.update(piece);
                own.update(piece);
            });
            let len = len.map_err(io)?;
            if len != metadata.len() {
                return Err(readings::changed(&path));
            }
            Seen::File {
                executable,
                content: (len, own.finalize()),
            }
        } else {
            let problem = "is neither a folder nor a file nor a link".to_owned();
            return Err(Error::Unusable { path, problem });
        };
        seen.insert(entry, was);
    }
    let digest = Digest::finish(hasher);
    Ok(Contents { digest, seen })
}

/// The SHA-256 of a file inside a boundary.
///
/// # Errors
/// As [`Boundary::open`], and if it cannot be read.
pub fn file(boundary: &Boundary, path: &Path) -> Result<Digest> {
    let mut hasher = Sha256::new();
    let hashed = hash_file(&mut boundary.open(path)?, &mut |piece| hasher.update(piece));
    hashed.map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(Digest::finish(hasher))
}

/// The SHA-256 of a file, and its length and BLAKE3, of the same bytes.
pub(super) fn both(file: &mut File) -> io::Result<(Digest, (u64, blake3::Hash))> {
    let (mut sha256, mut own) = (Sha256::new(), blake3::Hasher::new());
    let len = hash_file(file, &mut |piece| {
        sha256.update(piece);
        own.update(piece);
    })?;
    Ok((Digest::finish(sha256), (len, own.finalize())))
}

/// Reads a file in pieces; gives its length.
fn hash_file(file: &mut File, hash: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut len = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(len),
            count => {
                hash(&chunk[..count]);
                len += count as u64;
            }
        }
    }
}

/// Everything below a folder by relative path, in the order of the paths' bytes. Links are not
/// followed.
pub fn entries(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(folder) = pending.pop() {
        let path = root.join(&folder);
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        for entry in fs::read_dir(&path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let relative = folder.join(entry.file_name());
            if entry.file_type().map_err(io)?.is_dir() {
                pending.push(relative.clone());
            }
            found.push(relative);
        }
    }
    found.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(found)
}
