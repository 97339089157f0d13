//! The identity of a folder's content.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::boundary::open_regular;
use super::{Boundary, Error, Result};
use crate::memo::Memo;
use imgasm_block::Digest;

/// The identities of folders that several images are made from: each is hashed once.
#[derive(Debug, Clone, Default)]
pub struct Folders(Arc<Memo<PathBuf, Digest>>);

impl Folders {
    /// The identity of a folder's content, when it was asked for the first time.
    ///
    /// # Errors
    /// As [`folder`].
    pub fn digest(&self, root: &Path) -> Result<Digest> {
        self.0.get_or_make(root.to_owned(), || folder(root))
    }
}

/// Bytes of a file hashed at a time.
const CHUNK: usize = 128 << 10;

/// The SHA-256 over everything below a folder that can make a difference to an image.
///
/// For each entry in the order of the bytes of its relative path: a letter for its kind (`d`, `f`,
/// `x` for a file that its owner may execute, `l`), the path, and the content of the file or the
/// target of the link; path and content are each preceded by their length as eight bytes, least
/// significant first. The folder's place, times, owners and other permissions make no difference.
///
/// # Errors
/// If something is neither a folder nor a file nor a link.
pub fn folder(root: &Path) -> Result<Digest> {
    let mut hasher = Sha256::new();
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
        if kind.is_dir() {
            field(b"d");
            field(name);
        } else if kind.is_symlink() {
            field(b"l");
            field(name);
            field(fs::read_link(&path).map_err(io)?.as_os_str().as_bytes());
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            field(if executable { b"x" } else { b"f" });
            field(name);
            hasher.update(metadata.len().to_le_bytes());
            let mut file = open_regular(&path).map_err(io)?;
            hash_file(&mut file, &mut hasher).map_err(io)?;
        } else {
            let problem = "is neither a folder nor a file nor a link".to_owned();
            return Err(Error::Unusable { path, problem });
        }
    }
    Ok(Digest::finish(hasher))
}

/// The SHA-256 of a file inside a boundary.
///
/// # Errors
/// As [`Boundary::open`], and if it cannot be read.
pub fn file(boundary: &Boundary, path: &Path) -> Result<Digest> {
    let mut hasher = Sha256::new();
    let hashed = hash_file(&mut boundary.open(path)?, &mut hasher);
    hashed.map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(Digest::finish(hasher))
}

pub(crate) fn hash_file(file: &mut File, hasher: &mut Sha256) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            count => hasher.update(&chunk[..count]),
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
