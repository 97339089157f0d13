//! The contents of two files beside each other.

use std::ops::Range;

use diffy::{DiffOptions, Hunk, HunkRange, Line};
use sha2::{Digest as _, Sha256};

use super::change::ContentChange;
use super::raw::{self, Ranges, SECTOR_BYTES};
use super::work::Work;
use super::{Error, Result, Side, secret};
use imgasm_block::Digest;
use imgasm_fs::digest::ContentBudget;
use imgasm_fs::path::ImagePath;
use imgasm_fs::{FileExtent, FileSystem, NodeId};

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

    /// The SHA-256 of the content; `None` for one that is more than may be read.
    fn digest(&self, path: &ImagePath, budget: &mut ContentBudget) -> Result<Option<Digest>> {
        let may_be_hashed = budget.take(self.fs, self.node, self.size);
        let may_be_hashed = may_be_hashed.map_err(|source| Error::File {
            side: self.side,
            path: path.clone(),
            source,
        })?;
        if !may_be_hashed {
            return Ok(None);
        }
        let mut hasher = Sha256::new();
        let mut buf = vec![0; PIECE_BYTES];
        let mut offset = 0;
        loop {
            let read = self.read_at(path, offset, &mut buf)?;
            hasher.update(&buf[..read]);
            offset += read as u64;
            if read < buf.len() {
                return Ok(Some(Digest::finish(hasher)));
            }
        }
    }
}

/// Which bytes of the two devices are known to differ.
pub struct DeviceBytes<'a> {
    /// Bytes of the disks; all others are the same on both.
    pub differing: &'a Ranges,
    /// Where the filesystems begin on the disks; if that differs, bytes at the same place in both
    /// filesystems cannot be compared this way.
    pub starts: [u64; 2],
}

impl DeviceBytes<'_> {
    /// The bytes that differ within an extent of one side.
    fn differing_in(&self, side: Side, extent: &FileExtent) -> Ranges {
        let start = match side {
            Side::Old => self.starts[0],
            Side::New => self.starts[1],
        };
        let start = start.saturating_add(extent.device_offset);
        raw::within(self.differing, &(start..start.saturating_add(extent.len)))
    }

    fn are_aligned(&self) -> bool {
        self.starts[0] == self.starts[1]
    }
}

/// Bytes of the disks that differ, by their role in files.
#[derive(Debug, Default)]
pub struct FileBytes {
    /// Content of files that differs or was moved, before or after.
    pub content: Ranges,
    /// Bytes behind the end of files that are the same on both sides, in their last blocks.
    pub slack: Ranges,
}

impl FileBytes {
    /// Adds the bytes that differ within a file.
    fn add_content(
        &mut self,
        path: &ImagePath,
        file: &File<'_>,
        device: &DeviceBytes<'_>,
    ) -> Result<()> {
        for extent in file.extents(path)? {
            for range in device.differing_in(file.side, &extent) {
                raw::push(&mut self.content, range);
            }
        }
        Ok(())
    }
}

/// Whether two files hold the same bytes, which are only read if the devices differ there. Bytes
/// that differ although the files are the same are added to `bytes`.
pub(super) fn is_same(
    path: &ImagePath,
    old: &File<'_>,
    new: &File<'_>,
    device: &DeviceBytes<'_>,
    bytes: &mut FileBytes,
) -> Result<bool> {
    if old.size != new.size {
        return Ok(false);
    }
    if old.size == 0 {
        return Ok(true);
    }
    let extents = old.extents(path)?;
    let is_in_place = device.are_aligned() && extents == new.extents(path)?;
    let differing = |extent| device.differing_in(Side::Old, extent);
    if is_in_place && extents.iter().all(|extent| differing(extent).is_empty()) {
        return Ok(true);
    }
    if !has_same_content(path, old, new)? {
        return Ok(false);
    }
    if is_in_place {
        // Content within an inode shares its sector with other things.
        let in_blocks =
            |extent: &&FileExtent| (extent.device_offset | extent.len).is_multiple_of(SECTOR_BYTES);
        bytes
            .slack
            .extend(extents.iter().filter(in_blocks).flat_map(differing));
    } else {
        bytes.add_content(path, old, device)?;
        bytes.add_content(path, new, device)?;
    }
    Ok(true)
}

fn has_same_content(path: &ImagePath, old: &File<'_>, new: &File<'_>) -> Result<bool> {
    let mut before = vec![0; PIECE_BYTES];
    let mut after = vec![0; PIECE_BYTES];
    // What is a hole on both sides is the same and may be of any length.
    let extents = [old.extents(path)?, new.extents(path)?].concat();
    let ranges = extents.iter().map(|extent| {
        let start = extent.file_offset.min(old.size);
        start..start.saturating_add(extent.len).min(old.size)
    });
    for range in merged(ranges.collect()) {
        let mut offset = range.start;
        while offset < range.end {
            let len = (range.end - offset).min(PIECE_BYTES as u64);
            let len = usize::try_from(len).unwrap_or(PIECE_BYTES);
            let (before, after) = (&mut before[..len], &mut after[..len]);
            let read = old.read_at(path, offset, before)?;
            if new.read_at(path, offset, after)? != read || before[..read] != after[..read] {
                return Ok(false);
            }
            if read == 0 {
                break;
            }
            offset += read as u64;
        }
    }
    Ok(true)
}

/// The ranges in order, joined if they touch.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// How contents are described.
pub(super) struct Describing<'a> {
    /// See [`super::Options::show_secrets`].
    pub(super) show_secrets: bool,
    /// See [`super::Options::secrets`].
    pub(super) secrets: &'a [String],
    /// See [`super::Options::lines`].
    pub(super) lines: bool,
    /// How much may still be hashed.
    pub(super) budget: ContentBudget,
    /// How much else may still be done.
    pub(super) work: &'a mut Work,
}

/// Describes contents that differ, or the content of a file that is on one side only, and adds
/// their places to `bytes`.
pub(super) fn describe(
    path: &ImagePath,
    old: Option<File<'_>>,
    new: Option<File<'_>>,
    device: &DeviceBytes<'_>,
    bytes: &mut FileBytes,
    describing: &mut Describing<'_>,
) -> Result<ContentChange> {
    for file in [old, new].iter().flatten() {
        bytes.add_content(path, file, device)?;
    }
    let budget = &mut describing.budget;
    let mut digest = |file: Option<File<'_>>| match file {
        Some(file) => file.digest(path, budget),
        None => Ok(None),
    };
    let digests = [digest(old)?, digest(new)?];
    let lines = match (old, new) {
        // Files that are too much to be hashed are not read for their lines, either.
        (Some(old), Some(new)) if describing.lines && digests.iter().all(Option::is_some) => {
            lines(path, old, new, describing.work)?
        }
        _ => None,
    };
    let is_secret =
        |lines: &Lines| lines.are_secret || secret::holds(&lines.hunks, describing.secrets);
    let is_hidden = !describing.show_secrets && lines.as_ref().is_some_and(is_secret);
    Ok(ContentChange {
        old: digests[0],
        new: digests[1],
        hunks: lines.filter(|_| !is_hidden).map(|lines| lines.hunks),
        is_hidden,
    })
}

/// The lines in which two texts differ.
struct Lines {
    hunks: String,
    /// Whether one of the texts holds a secret: the lines that differ may be a part of it.
    are_secret: bool,
}

/// The lines that differ; `None` if a side is no text, or too much to be compared.
fn lines(path: &ImagePath, old: File<'_>, new: File<'_>, work: &mut Work) -> Result<Option<Lines>> {
    if old.size.max(new.size) > TEXT_LIMIT_BYTES {
        return Ok(None);
    }
    let (old, new) = (old.read_text(path)?, new.read_text(path)?);
    let (Some(old), Some(new)) = (as_text(&old), as_text(&new)) else {
        return Ok(None);
    };
    if !work.take_lines(old, new) {
        return Ok(None);
    }
    Ok(Some(Lines {
        hunks: hunks(old, new),
        are_secret: [old, new].iter().any(|text| secret::is_secret(path, text)),
    }))
}

/// What differs as `diff -u` shows it, without the files' names.
fn hunks(old: &str, new: &str) -> String {
    let mut options = DiffOptions::new();
    let patch = options
        .set_context_len(CONTEXT_LINES)
        .create_patch(old, new);
    // Those that touch are one to `diff -u`.
    let touch = |one: &Hunk<'_, str>, next: &Hunk<'_, str>| {
        one.old_range().end() == next.old_range().start()
    };
    patch.hunks().chunk_by(touch).map(hunk).collect()
}

/// Hunks that touch, as one.
fn hunk(parts: &[Hunk<'_, str>]) -> String {
    let old = joined(parts.iter().map(Hunk::old_range));
    let new = joined(parts.iter().map(Hunk::new_range));
    let mut text = format!("@@ -{old} +{new} @@\n");
    for line in parts.iter().flat_map(Hunk::lines) {
        let (sign, line) = match line {
            Line::Context(line) => (' ', line),
            Line::Delete(line) => ('-', line),
            Line::Insert(line) => ('+', line),
        };
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
    text
}

/// Ranges that touch, as `diff -u` names one.
fn joined(mut ranges: impl Iterator<Item = HunkRange>) -> String {
    let Some(first) = ranges.next() else {
        return String::new();
    };
    match first.len() + ranges.map(|range| range.len()).sum::<usize>() {
        1 => first.start().to_string(),
        len => format!("{},{len}", first.start()),
    }
}

/// The content as text, if a person could read it as such.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let readable = |c: char| !c.is_control() || matches!(c, '\n' | '\t' | '\r' | '\x0c');
    text.chars().all(readable).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// What diffutils says of two texts, without the files' names.
    fn of_diffutils(old: &str, new: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("old"), old).unwrap();
        fs::write(at("new"), new).unwrap();
        let mut diff = Command::new("diff");
        let diff = diff.args(["--minimal", "-u"]).args([at("old"), at("new")]);
        let said = String::from_utf8(diff.output().unwrap().stdout).unwrap();
        said.splitn(3, '\n').nth(2).unwrap_or_default().to_owned()
    }

    #[test]
    fn hunks_are_those_of_diffutils() {
        let lines = |range: std::ops::Range<usize>| -> String {
            let lines = range.map(|line| format!("line {line}\n"));
            lines.collect::<Vec<_>>().concat()
        };
        for len in [0, 1, 2, 6, 7, 8, 9, 20] {
            let old = lines(0..len);
            for at in 0..=len {
                let (before, after) = (lines(0..at), lines(at..len));
                let without = lines((at + 1).min(len)..len);
                let texts = [
                    format!("{before}put in\n{after}"),
                    format!("{before}{without}"),
                    format!("{before}\n{without}"),
                    format!("first\n{before}in the place of it\n{without}last"),
                    format!("{before}{after}no end"),
                    format!("{before}{}", after.trim_end()),
                ];
                for new in texts {
                    assert_eq!(
                        hunks(&old, &new),
                        of_diffutils(&old, &new),
                        "{old:?} {new:?}"
                    );
                    assert_eq!(
                        hunks(&new, &old),
                        of_diffutils(&new, &old),
                        "{new:?} {old:?}"
                    );
                }
            }
        }
    }
}
