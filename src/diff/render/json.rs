//! The stable schema for machines; `docs/diff.md` describes it.

use serde::{Serialize, Serializer};

use super::fields;
use crate::diff::{FieldChange, FileSystemReport, PathChange, PathChangeKind, PathChanges, Report};
use imgasm_fs::text::name_text;

/// A report. Every list is there, empty if nothing differs.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// What could not be read; `null` if the comparison is complete.
    error: Option<String>,
    record: Vec<Field>,
    disk: Vec<Field>,
    partitions: Vec<Partition>,
    filesystems: Vec<FileSystem<'a>>,
    raw: Vec<Raw>,
}

#[derive(Debug, Serialize)]
struct Field {
    name: String,
    old: Option<String>,
    new: Option<String>,
}

#[derive(Debug, Serialize)]
struct Partition {
    number: u32,
    fields: Vec<Field>,
}

#[derive(Debug, Serialize)]
struct FileSystem<'a> {
    partition: Option<u32>,
    fields: Vec<Field>,
    #[serde(serialize_with = "paths")]
    paths: &'a PathChanges,
    /// Bytes of the filesystem's own structures.
    structure_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Path {
    #[serde(rename = "path")]
    name: String,
    /// `added`, `removed`, `changed` or `renamed`.
    change: &'static str,
    /// Where a renamed path was before.
    from: Option<String>,
    /// Whether a renamed path only moved with its directory.
    with_parent: bool,
    fields: Vec<Field>,
    /// What the change means, if that is known.
    meanings: Vec<Field>,
    hunks: Option<String>,
    /// Whether there are hunks that are not shown because they hold a secret.
    hidden: bool,
}

#[derive(Debug, Serialize)]
struct Raw {
    region: String,
    start: u64,
    end: u64,
    bytes: u64,
}

impl Document<'_> {
    /// The document of a comparison that could not be completed.
    #[must_use]
    pub fn with_error(mut self, error: String) -> Self {
        self.error = Some(error);
        self
    }
}

impl<'a> From<&'a Report> for Document<'a> {
    fn from(report: &'a Report) -> Self {
        let partitions = report.partitions.iter();
        let raw = report.raw.iter();
        Self {
            error: None,
            record: fields_of(&report.record),
            disk: fields_of(&report.disk),
            partitions: partitions
                .map(|partition| Partition {
                    number: partition.number,
                    fields: fields_of(&partition.fields),
                })
                .collect(),
            filesystems: report.filesystems.iter().map(filesystem).collect(),
            raw: raw
                .map(|raw| Raw {
                    region: raw.region.clone(),
                    start: raw.range.start,
                    end: raw.range.end,
                    bytes: raw.bytes,
                })
                .collect(),
        }
    }
}

fn filesystem(report: &FileSystemReport) -> FileSystem<'_> {
    FileSystem {
        partition: report.partition,
        fields: fields_of(&report.fields),
        paths: &report.paths,
        structure_bytes: report.structure_bytes,
    }
}

/// Writes the paths one by one: there may be many.
fn paths<S: Serializer>(paths: &PathChanges, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(path))
}

fn path(change: PathChange) -> Path {
    let with_parent = change.went_along();
    let told = fields_of(&fields::of_path(&change));
    let (kind, from) = match change.kind {
        PathChangeKind::Added => ("added", None),
        PathChangeKind::Removed => ("removed", None),
        PathChangeKind::Changed => ("changed", None),
        PathChangeKind::Renamed { from, .. } => ("renamed", Some(name_text(from.as_bytes()))),
    };
    Path {
        name: name_text(change.path.as_bytes()),
        change: kind,
        from,
        with_parent,
        fields: told,
        meanings: fields_of(&change.meanings),
        hidden: change.content.as_ref().is_some_and(|c| c.is_hidden),
        hunks: change.content.and_then(|content| content.hunks),
    }
}

fn fields_of(fields: &[FieldChange]) -> Vec<Field> {
    let fields = fields.iter().cloned();
    fields
        .map(|FieldChange { name, old, new }| Field { name, old, new })
        .collect()
}
