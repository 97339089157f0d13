//! The undo file of a change in place: what the image held where it is about to change.
//!
//! - `format`: the file as bytes.
//! - `place`: where it lies, and whether it can be trusted.
//!
//! The undo file is on the disk before the first byte of the image changes, and is removed after
//! the last changed byte is on the disk. So a whole undo file means that the image may be
//! half-changed; one that is cut off or does not match its checksum means that the image is
//! untouched.
//!
//! Old bytes are put back only if every sector that they go to holds either what it held before the
//! change or what it was to hold: an image that was replaced or written by somebody else in the
//! meantime is never touched.

mod format;
mod place;

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::bytes::{byte_len, is_zero};
use super::{BlockDevice, Change, Delta, Error, FileDevice, Result};
use format::{Header, RECORD_BYTES, Reader, Record, SECTOR_LEN, Writer, sum_of_sector};

/// What was found and done about a change in place that had been interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// The image was half-changed and is again as it was before.
    RolledBack {
        /// Bytes that were put back.
        bytes: u64,
    },
    /// The change had not begun: the image is as it was, and only its undo file had to be removed.
    NotBegun,
}

/// Where the undo file of an image may lie.
pub(super) fn places(image: &FileDevice) -> Vec<PathBuf> {
    let own = place::of(image).ok();
    own.into_iter().chain(place::marked(image)).collect()
}

/// Writes the undo file for the changes of `delta` to `image`, and syncs it.
pub(super) fn write(image: &FileDevice, delta: &Delta, changes: &[Change]) -> Result<()> {
    let path = place::of(image)?;
    place::mark(image, &path)?;
    let failed = |e| Error::file(&path, "write", e);
    let ranges = records(image, changes)?;
    let header = Header {
        inode: place::inode(image)?,
        old_len: image.len(),
        new_len: delta.len(),
        records: u64::try_from(ranges.len()).expect("a length fits 64 bits"),
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Error::file(&path, "make", e))?;
    let mut writer = Writer::begin(BufWriter::new(&file), &header).map_err(failed)?;
    for (range, is_data) in ranges {
        let mut bytes = vec![0; index(range.end - range.start)];
        delta.read_at(range.start, &mut bytes)?;
        let new = bytes.chunks(SECTOR_LEN).map(sum_of_sector).collect();
        if is_data {
            image.read_padded(range.start, &mut bytes)?;
        }
        let record = Record {
            range,
            old: is_data.then_some(bytes),
            new,
        };
        writer.record(&record).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    file.sync_all().map_err(failed)?;
    place::sync_folder_of(&path)
}

/// The ranges of the records for some changes, and whether they held data.
fn records(image: &FileDevice, changes: &[Change]) -> Result<Vec<(Range<u64>, bool)>> {
    let mut records = Vec::new();
    for change in changes {
        let Range { start: mut at, end } = change.range;
        while at < end {
            let data = image.next_data(at)?.unwrap_or(end..end);
            let is_data = data.start <= at;
            let until = if is_data { data.end } else { data.start };
            let step = until.min(end).min(at + RECORD_BYTES);
            records.push((at..step, is_data));
            at = step;
        }
    }
    Ok(records)
}

/// Removes the undo file, after which the change counts as done.
pub(super) fn remove(image: &FileDevice) -> Result<()> {
    let path = place::of(image)?;
    place::remove(image, &path)
}

/// The undo file of an image.
struct Found {
    path: PathBuf,
    /// `None` if it was not written to its end.
    reader: Option<Reader>,
}

/// Looks for the undo file of an image: at the place that belongs to the image's present name, or
/// at the place that the image's mark names.
fn find(image: &FileDevice) -> Result<Option<Found>> {
    let own = place::of(image)?;
    if let Some(file) = place::open(&own, image)? {
        let reader = Reader::open(&own, file)?;
        if let Some(reader) = &reader
            && reader.header.inode != place::inode(image)?
        {
            return Err(Error::UndoUntrusted {
                undo: own,
                problem: "it belongs to another file than the one beside it".to_owned(),
            });
        }
        return Ok(Some(Found { path: own, reader }));
    }
    let Some(marked) = place::marked(image) else {
        return Ok(None);
    };
    let Some(file) = place::open(&marked, image)? else {
        return Ok(None);
    };
    // A copy has the mark as well, but the undo file is not about the copy.
    let reader = Reader::open(&marked, file)?;
    let inode = place::inode(image)?;
    Ok(reader
        .filter(|reader| reader.header.inode == inode)
        .map(|reader| Found {
            path: marked,
            reader: Some(reader),
        }))
}

/// Makes sure that an image that is only to be read is not half-changed. Nothing is written.
///
/// # Errors
/// [`Error::Interrupted`] if it is; those of [`recover`] if the undo file is not about this image
/// as it is now.
pub(super) fn check(image: &FileDevice) -> Result<Option<Recovery>> {
    let Some(Found { path, reader }) = find(image)? else {
        return Ok(None);
    };
    super::lock::lock_shared(image.file(), image.path())?;
    if let Some(mut reader) = reader
        && is_changed(image, &path, &mut reader)?
    {
        return Err(Error::Interrupted {
            path: image.path().to_owned(),
            undo: path,
        });
    }
    Ok(Some(Recovery::NotBegun))
}

/// Puts an image back as it was, if it has an undo file. The image must be locked.
///
/// # Errors
/// [`Error::UndoUntrusted`] and [`Error::UndoMismatch`]; the image is not touched then.
pub(super) fn recover(image: &FileDevice) -> Result<Option<Recovery>> {
    let Some(Found { path, reader }) = find(image)? else {
        return Ok(None);
    };
    let recovery = match reader {
        None => Recovery::NotBegun,
        Some(mut reader) => {
            is_changed(image, &path, &mut reader)?;
            Recovery::RolledBack {
                bytes: roll_back(image, &mut reader)?,
            }
        }
    };
    place::remove(image, &path)?;
    Ok(Some(recovery))
}

/// Whether the image differs anywhere from what would be put back. Also checks that all of it may
/// be put back.
fn is_changed(image: &FileDevice, undo: &Path, reader: &mut Reader) -> Result<bool> {
    let header = reader.header;
    let mismatch = |offset| Error::UndoMismatch {
        path: image.path().to_owned(),
        undo: undo.to_owned(),
        offset,
    };
    if ![header.old_len, header.new_len].contains(&image.len()) {
        return Err(mismatch(image.len()));
    }
    let mut changed = image.len() != header.old_len;
    reader.records(|record| {
        let mut now = vec![0; index(record.range.end - record.range.start)];
        image.read_padded(record.range.start, &mut now)?;
        for (number, sector) in now.chunks(SECTOR_LEN).enumerate() {
            let at = number * SECTOR_LEN;
            let is_old = match &record.old {
                None => is_zero(sector),
                Some(old) => old[at..at + sector.len()] == *sector,
            };
            if !is_old {
                changed = true;
                if sum_of_sector(sector) != record.new[number] {
                    return Err(mismatch(record.range.start + byte_len(&now[..at])));
                }
            }
        }
        Ok(())
    })?;
    Ok(changed)
}

/// Puts the old bytes back, gives the image its old length, and syncs it.
fn roll_back(image: &FileDevice, reader: &mut Reader) -> Result<u64> {
    let old_len = reader.header.old_len;
    let mut bytes = 0;
    reader.records(|record| {
        let Range { start, end } = record.range;
        let inside = end.min(old_len).saturating_sub(start);
        match record.old {
            _ if inside == 0 => {}
            None => image.write_zeros(start, inside)?,
            Some(old) => image.write_at(start, &old[..index(inside)])?,
        }
        bytes += inside;
        Ok(())
    })?;
    image.set_len(old_len)?;
    sync(image.file(), image.path())?;
    Ok(bytes)
}

/// Waits until a file is on the disk.
pub(super) fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(|e| Error::file(path, "sync", e))
}

/// A length that is bounded by that of a record.
fn index(len: u64) -> usize {
    usize::try_from(len).expect("at most a record")
}
