//! Holes: which zeros of new content become some, one rule for every engine that has them; and whether
//! a file has any.

use std::io::{self, Read};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::{FileSystem, NodeId};
use imgasm_block::bytes::is_zero;

/// New content that is all zeros over this many bytes, at a multiple of them, becomes a hole.
/// Smaller holes would save little and tear files into many extents.
pub const HOLE: usize = 64 << 10;

/// The parts of a piece of content that are to be stored, in order; what lies between them becomes
/// holes. The piece begins at a multiple of [`HOLE`] in the file.
pub fn data_runs(piece: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for part in piece.chunks(HOLE) {
        let end = at + part.len();
        if !is_zero(part) {
            match runs.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => runs.push(at..end),
            }
        }
        at = end;
    }
    runs
}

/// Whether a regular file of `size` bytes has fewer in blocks.
///
/// # Errors
/// Those of [`FileSystem::extents`].
pub fn has_holes(fs: &dyn FileSystem, node: NodeId, size: u64) -> Result<bool> {
    let extents = fs.extents(node)?;
    let len = extents
        .iter()
        .fold(0_u64, |len, extent| len.saturating_add(extent.len));
    Ok(len < size)
}

/// Fills `buf` from the content that is to be written.
///
/// # Errors
/// [`Error::Content`] if it fails or ends early.
pub fn read_content(content: &mut dyn Read, buf: &mut [u8]) -> Result<()> {
    content.read_exact(buf).map_err(|error| {
        Error::Content(if error.kind() == io::ErrorKind::UnexpectedEof {
            io::Error::new(error.kind(), "it has fewer bytes than announced")
        } else {
            error
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_aligned_zeros_become_holes() {
        let mut piece = vec![0; 5 * HOLE + 4096];
        piece[HOLE - 1] = 1;
        piece[3 * HOLE] = 1;
        piece[4 * HOLE] = 1;
        assert_eq!(data_runs(&piece), [0..HOLE, 3 * HOLE..5 * HOLE]);
    }

    #[test]
    fn content_that_ends_early_is_an_error() {
        let mut buf = [0; 8];
        let error = read_content(&mut &b"short"[..], &mut buf);
        assert!(matches!(error, Err(Error::Content(_))), "{error:?}");
    }
}
