//! All that a report can say, as values.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::PathChanges;
use super::raw::Ranges;
use imgasm_block::Digest;
use imgasm_fs::path::ImagePath;
use imgasm_fs::{DeviceNumber, FileType, Timestamp};

/// What differs between two images. Empty if nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes of the larger of the two disks.
    pub disk_len: u64,
    /// The bytes of the disks that differ, in whole sectors of 512 bytes.
    pub changed: Ranges,
    /// Where the partitions of the new disk lie, and what they are called.
    pub layout: Vec<(String, Range<u64>)>,
    /// What only manifests record, if a side is a manifest.
    pub record: Vec<FieldChange>,
    /// The disk and its partition table.
    pub disk: Vec<FieldChange>,
    /// Partitions, by their numbers.
    pub partitions: Vec<PartitionChange>,
    /// Filesystems that exist on both sides and differ, in the order of their partitions.
    pub filesystems: Vec<FileSystemReport>,
    /// Bytes that differ and belong to nothing else in the report.
    pub raw: Vec<RawChange>,
    /// What changed a path, if that is known: by the path, with `\xNN` for what is not UTF-8.
    pub origins: BTreeMap<String, String>,
}

impl Report {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.record.is_empty()
            && self.disk.is_empty()
            && self.partitions.is_empty()
            && self.filesystems.is_empty()
            && self.raw.is_empty()
    }
}

/// A property that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its name.
    pub name: String,
    /// Its value before; `None` if it had none.
    pub old: Option<String>,
    /// Its value after; `None` if it has none.
    pub new: Option<String>,
}

/// A partition that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChange {
    /// Its number.
    pub number: u32,
    /// What differs; for a partition that is new or gone, everything that it has or had.
    pub fields: Vec<FieldChange>,
}

/// What differs between the filesystems of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystemReport {
    /// The partition; `None` for the whole disk.
    pub partition: Option<u32>,
    /// Kind, label, features and other parameters.
    pub fields: Vec<FieldChange>,
    /// Paths, in the order of a walk.
    pub paths: PathChanges,
    /// Bytes in sectors that differ and hold neither the content of files nor anything that the
    /// report lists as raw bytes: the filesystem's own metadata.
    pub structure_bytes: u64,
}

/// Bytes that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawChange {
    /// Where they lie: a partition, or a region outside all partitions.
    pub region: String,
    /// The range of the disk in which all of them lie.
    pub range: Range<u64>,
    /// How many bytes lie in sectors of 512 bytes that differ.
    pub bytes: u64,
}

/// A path that differs between two filesystems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathChange {
    /// Its path; if it is gone, the path that it had.
    pub path: ImagePath,
    /// What happened to it.
    pub kind: PathChangeKind,
    /// Its state before, unless it is new.
    pub old: Option<PathState>,
    /// Its state after, unless it is gone.
    pub new: Option<PathState>,
    /// How the content of a regular file differs, if it does.
    pub content: Option<ContentChange>,
    /// What that means: packages, users, services, the build of a program.
    pub meanings: Vec<FieldChange>,
}

impl PathChange {
    /// Whether the path was renamed only because its directory was.
    pub fn went_along(&self) -> bool {
        matches!(
            self.kind,
            PathChangeKind::Renamed {
                with_parent: true,
                ..
            }
        )
    }
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It exists on both sides, and something about it differs.
    Changed,
    /// The same content was there before under another path, which is gone.
    Renamed {
        /// The path before.
        from: ImagePath,
        /// Whether it only moved with its directory, and nothing else differs.
        with_parent: bool,
    },
}

/// Everything about a file that a comparison looks at, except a regular file's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathState {
    /// What it is.
    pub file_type: FileType,
    /// The low twelve bits of `st_mode`.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes in a regular file; for anything else 0, because formats differ in what they store.
    pub size: u64,
    /// The number of a device node.
    pub device: Option<DeviceNumber>,
    /// The target of a symbolic link.
    pub target: Option<Vec<u8>>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in the order of the walk, that names the same file, if that is another.
    pub hard_link_to: Option<ImagePath>,
    /// When the content last changed; only if times are compared.
    pub modified: Option<Timestamp>,
}

/// How the content of a regular file differs, or what it is if the file is new or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentChange {
    /// The SHA-256 before.
    pub old: Option<Digest>,
    /// The SHA-256 after.
    pub new: Option<Digest>,
    /// The lines that differ, as unified hunks, if both sides are texts that are small enough to be
    /// shown.
    pub hunks: Option<String>,
    /// Whether lines that differ are not shown because they hold a secret.
    pub is_hidden: bool,
}
