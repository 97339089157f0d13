//! The contents of two files beside each other.

use sha2::{Digest as _, Sha256};
use similar::TextDiff;

use super::change::ContentChange;
use super::{Error, Result, Side};
use crate::block::Digest;
use crate::fs::path::ImagePath;
use crate::fs::{FileExtent, FileSystem, NodeId};

/// Bytes compared at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The largest file whose lines are compared. Larger texts are data rather than configuration, and
/// nobody reviews their hunks.
const TEXT_LIMIT_BYTES: u64 = 256 << 10;

/// Lines of context around a change, as `diff -u` shows them.
const CONTEXT_LINES: usize = 3;

/// One file of a comparison.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) side: Side,
    pub(super) fs: &'a dyn FileSystem,
    pub(super) node: NodeId,
    pub(super) size: u64,
}

impl File<'_> {
    fn read_at(&self, path: &ImagePath, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let read = self.fs.read_at(self.node, offset, buf);
        read.map_err(|source| Error::File {
            side: self.side,
            path: path.clone(),
            source,
        })
    }

    fn extents(&self, path: &ImagePath) -> Result<Vec<FileExtent>> {
        let extents = self.fs.extents(self.node);
        extents.map_err(|source| Error::File {
            side: self.side,
            path: path.clone(),
            source,
        })
    }

    /// The content of a file that is known to be small.
    fn read_text(&self, path: &ImagePath) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size.min(TEXT_LIMIT_BYTES)).unwrap_or(0)];
        let read = self.read_at(path, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The SHA-256 of the content.
    fn digest(&self, path: &ImagePath) -> Result<Digest> {
        let mut hasher = Sha256::new();
        let mut buf = vec![0; PIECE_BYTES];
        let mut offset = 0;
        loop {
            let read = self.read_at(path, offset, &mut buf)?;
            hasher.update(&buf[..read]);
            offset += read as u64;
            if read < buf.len() {
                return Ok(Digest::finish(hasher));
            }
        }
    }
}

/// Whether two files hold the same bytes. `same_device_bytes` says of an extent that both devices
/// are known to be equal there, so that it need not be read.
pub(super) fn is_same(
    path: &ImagePath,
    old: &File<'_>,
    new: &File<'_>,
    same_device_bytes: &dyn Fn(&FileExtent) -> bool,
) -> Result<bool> {
    if old.size != new.size {
        return Ok(false);
    }
    if old.size == 0 {
        return Ok(true);
    }
    let extents = old.extents(path)?;
    if extents == new.extents(path)? && extents.iter().all(same_device_bytes) {
        return Ok(true);
    }
    let mut before = vec![0; PIECE_BYTES];
    let mut after = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let read = old.read_at(path, offset, &mut before)?;
        if new.read_at(path, offset, &mut after)? != read || before[..read] != after[..read] {
            return Ok(false);
        }
        if read < before.len() {
            return Ok(true);
        }
        offset += read as u64;
    }
}

/// Describes contents that differ, or the content of a file that is on one side only.
pub(super) fn describe(
    path: &ImagePath,
    old: Option<File<'_>>,
    new: Option<File<'_>>,
) -> Result<ContentChange> {
    let digest = |file: Option<File<'_>>| file.map(|file| file.digest(path)).transpose();
    let hunks = match (old, new) {
        (Some(old), Some(new)) => hunks(path, old, new)?,
        _ => None,
    };
    Ok(ContentChange {
        old: digest(old)?,
        new: digest(new)?,
        hunks,
    })
}

fn hunks(path: &ImagePath, old: File<'_>, new: File<'_>) -> Result<Option<String>> {
    if old.size.max(new.size) > TEXT_LIMIT_BYTES {
        return Ok(None);
    }
    let (old, new) = (old.read_text(path)?, new.read_text(path)?);
    let (Some(old), Some(new)) = (as_text(&old), as_text(&new)) else {
        return Ok(None);
    };
    let diff = TextDiff::from_lines(old, new);
    Ok(Some(
        diff.unified_diff()
            .context_radius(CONTEXT_LINES)
            .to_string(),
    ))
}

/// The content as text, if a person could read it as such.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let readable = |c: char| !c.is_control() || matches!(c, '\n' | '\t' | '\r' | '\x0c');
    text.chars().all(readable).then_some(text)
}
