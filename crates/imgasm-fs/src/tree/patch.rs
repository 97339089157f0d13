//! Changes of a file in place: its length, and pieces of its content.

use super::edit::{ChangeKind, Editor};
use super::resolve::{LastLink, resolve};
use super::{At, Error, Result};
use crate::path::ImagePath;
use crate::posix;
use crate::{FileSystem, FileType, NodeId};

/// How many zeros are written in one step.
const ZEROS: usize = 16 << 20;

impl Editor<'_> {
    /// Makes the regular file at `path` `size` bytes long: cut off, or grown by a hole.
    pub fn set_size(&mut self, path: &ImagePath, size: u64) -> Result<()> {
        self.patch(path, size, [])
    }

    /// Makes the regular file at `path` `size` bytes long and hold these pieces, each at its offset;
    /// what is between them stays, and costs nothing.
    pub fn patch<'p>(
        &mut self,
        path: &ImagePath,
        size: u64,
        pieces: impl IntoIterator<Item = (u64, &'p [u8])>,
    ) -> Result<()> {
        let (node, path) = resolve(self.fs, path, LastLink::Follow)?;
        let metadata = self.fs.metadata(node).at("read", &path)?;
        if metadata.file_type != FileType::Regular {
            return Err(Error::WrongType {
                path,
                found: metadata.file_type,
                expected: "a regular file",
            });
        }
        let mut change = None;
        if metadata.size != size {
            posix::set_size(self.fs, node, size).at("truncate", &path)?;
            change = Some(ChangeKind::Content);
        }
        for (offset, piece) in pieces {
            if !holds(self.fs, node, offset, piece).at("read", &path)? {
                posix::write_at(self.fs, node, offset, piece).at("write", &path)?;
                change = Some(ChangeKind::Content);
            }
        }
        self.record(path, change, false);
        Ok(())
    }

    /// Makes the regular file at `path` `size` bytes long by zeros that, unlike a hole, take up
    /// blocks. A file that is as long or longer stays as it is.
    pub fn extend_with_zeros(&mut self, path: &ImagePath, size: u64) -> Result<()> {
        let (node, path) = resolve(self.fs, path, LastLink::Follow)?;
        let mut at = self.fs.metadata(node).at("read", &path)?.size;
        let mut change = None;
        let zeros = vec![0; ZEROS];
        while at < size {
            let left = usize::try_from(size - at).map_or(ZEROS, |left| left.min(ZEROS));
            let written = self.fs.write_at(node, at, &zeros[..left]);
            written.at("write", &path)?;
            at += left as u64;
            change = Some(ChangeKind::Content);
        }
        self.record(path, change, false);
        Ok(())
    }
}

/// Whether a file has these bytes there.
fn holds(fs: &dyn FileSystem, node: NodeId, offset: u64, wanted: &[u8]) -> crate::Result<bool> {
    let mut found = vec![0; wanted.len()];
    let mut done = 0;
    while done < found.len() {
        match fs.read_at(node, offset + done as u64, &mut found[done..])? {
            0 => return Ok(false),
            count => done += count,
        }
    }
    Ok(found == wanted)
}
