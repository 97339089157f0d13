//! Changes of a file in place: its length, and pieces of its content.

use super::edit::{ChangeKind, Editor};
use super::read::holds;
use super::resolve::{LastLink, resolve};
use super::{At, Error, Result};
use crate::path::ImagePath;
use crate::posix;
use crate::{FileType, NodeId};

/// How many zeros are written in one step.
const ZEROS: usize = 16 << 20;

impl Editor<'_> {
    /// Makes the regular file at `path` `size` bytes long: cut off, or grown by a hole.
    ///
    /// # Errors
    /// As [`Editor::patch`].
    pub fn set_size(&mut self, path: &ImagePath, size: u64) -> Result<()> {
        self.patch(path, size, [])
    }

    /// Makes the regular file at `path` `size` bytes long and hold these pieces, each at its offset;
    /// what is between them stays, and costs nothing.
    ///
    /// # Errors
    /// Those of [`resolve`]; [`Error::WrongType`] if it is no regular file; [`Error::FileSystem`], with those of
    /// [`FileSystem::write_at`](crate::FileSystem::write_at).
    pub fn patch<'p>(
        &mut self,
        path: &ImagePath,
        size: u64,
        pieces: impl IntoIterator<Item = (u64, &'p [u8])>,
    ) -> Result<()> {
        let (node, path, old_size) = self.regular_file(path)?;
        let mut change = None;
        if old_size != size {
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
    ///
    /// # Errors
    /// As [`Editor::patch`].
    pub fn extend_with_zeros(&mut self, path: &ImagePath, size: u64) -> Result<()> {
        let (node, path, mut at) = self.regular_file(path)?;
        let change = (at < size).then_some(ChangeKind::Content);
        let step = |left: u64| usize::try_from(left).map_or(ZEROS, |left| left.min(ZEROS));
        let zeros = vec![0; step(size.saturating_sub(at))];
        while at < size {
            let len = step(size - at);
            posix::write_at(self.fs, node, at, &zeros[..len]).at("write", &path)?;
            at += len as u64;
        }
        self.record(path, change, false);
        Ok(())
    }

    /// The regular file at a path: the node, where links lead, and how many bytes it has.
    fn regular_file(&self, path: &ImagePath) -> Result<(NodeId, ImagePath, u64)> {
        let (node, path) = resolve(self.fs, path, LastLink::Follow)?;
        let metadata = self.fs.metadata(node).at("read", &path)?;
        if metadata.file_type != FileType::Regular {
            return Err(Error::WrongType {
                path,
                found: metadata.file_type,
                expected: "a regular file",
            });
        }
        Ok((node, path, metadata.size))
    }
}
