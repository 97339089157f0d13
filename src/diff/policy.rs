//! Which changes are expected: the file of `imgasm diff --allow`.
//!
//! A list of rules. A change passes if some rule allows each of its parts.

use std::path::Path;

use globset::{Glob, GlobSet};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::Report;
use super::change::{FieldChange, FileSystemReport, PartitionChange, PathChange, PathChangeKind};
use super::render::fields;
use crate::config::decode::{self, Value};
use crate::config::{self, Diagnostic, Source};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::glob::Pattern;

/// What may differ.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
enum Rule {
    /// What may happen to the paths that a pattern matches.
    Paths {
        patterns: Vec<Pattern>,
        /// Empty for anything.
        kinds: Vec<Kind>,
    },
    /// Properties of the disk, its partitions and filesystems, by their dotted names.
    Properties(Vec<GlobSet>),
    /// Regions of bytes that differ and that nothing else explains.
    Raw(Vec<GlobSet>),
}

/// Something that can happen to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Added,
    Removed,
    Renamed,
    /// Any of those below.
    Changed,
    Type,
    Mode,
    Owner,
    Content,
    Target,
    Rdev,
    HardLink,
    Xattr,
    Mtime,
}

impl Kind {
    /// The kind to which a property of a path belongs.
    fn of_field(name: &str) -> Self {
        match name {
            "type" => Self::Type,
            "mode" => Self::Mode,
            "uid" | "gid" => Self::Owner,
            "target" => Self::Target,
            "rdev" => Self::Rdev,
            "hard_link_to" => Self::HardLink,
            "mtime" => Self::Mtime,
            "size" | "sha256" => Self::Content,
            _ => Self::Xattr,
        }
    }

    fn is_of_state(self) -> bool {
        !matches!(self, Self::Added | Self::Removed | Self::Renamed)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(default)]
    allow: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    paths: Option<Vec<Spanned<String>>>,
    kinds: Option<Spanned<Vec<Kind>>>,
    properties: Option<Vec<Spanned<String>>>,
    raw: Option<Vec<Spanned<String>>>,
    /// For the reader of the file.
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Policy {
    /// Reads the file.
    pub fn load(path: &Path) -> config::Result<Self> {
        Ok(Self::from_source(&Source::read(path)?)?)
    }

    /// Takes the rules from text.
    pub fn from_source(source: &Source) -> Result<Self, Diagnostic> {
        let table = decode::parse(source)?;
        let whole = Value::new(0..source.text().len(), DeValue::Table(table));
        let raw: RawPolicy = decode::decode(source, whole)?;
        let rules = raw.allow.into_iter().map(|rule| Rule::check(source, rule));
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// The part of a report that is not allowed; empty if all of it is.
    pub fn outside(&self, report: &Report) -> Report {
        let keep = |fields: &[FieldChange], above: &str| {
            let outside = |field: &&FieldChange| !self.allows_property(above, &field.name);
            fields.iter().filter(outside).cloned().collect::<Vec<_>>()
        };
        let partitions = report.partitions.iter().map(|partition| PartitionChange {
            number: partition.number,
            fields: keep(
                &partition.fields,
                &format!("partition.{}", partition.number),
            ),
        });
        let filesystems = report.filesystems.iter().map(|filesystem| {
            let place = filesystem.partition;
            let place = place.map_or_else(|| "disk".to_owned(), |number| number.to_string());
            let paths = filesystem.paths.iter();
            FileSystemReport {
                partition: filesystem.partition,
                fields: keep(&filesystem.fields, &format!("filesystem.{place}")),
                paths: paths.filter(|path| !self.allows(path)).collect(),
                structure_bytes: filesystem.structure_bytes,
            }
        });
        let raw = report.raw.iter();
        Report {
            disk_len: report.disk_len,
            changed: report.changed.clone(),
            layout: report.layout.clone(),
            record: keep(&report.record, "record"),
            disk: keep(&report.disk, "disk"),
            partitions: partitions.filter(|p| !p.fields.is_empty()).collect(),
            filesystems: filesystems
                .filter(|fs| !(fs.fields.is_empty() && fs.paths.is_empty()))
                .collect(),
            origins: report.origins.clone(),
            raw: raw
                .filter(|raw| !self.allows_raw(&raw.region))
                .cloned()
                .collect(),
        }
    }

    fn allows(&self, change: &PathChange) -> bool {
        let path = &change.path;
        match &change.kind {
            PathChangeKind::Added => self.allows_at(path, &[Kind::Added]),
            PathChangeKind::Removed => self.allows_at(path, &[Kind::Removed]),
            PathChangeKind::Changed => self.allows_fields(change),
            PathChangeKind::Renamed { from, .. } => {
                self.allows_at(from, &[Kind::Renamed, Kind::Removed])
                    && self.allows_at(path, &[Kind::Renamed, Kind::Added])
                    && self.allows_fields(change)
            }
        }
    }

    fn allows_fields(&self, change: &PathChange) -> bool {
        let fields = fields::of_path(change);
        let mut kinds = fields.iter().map(|field| Kind::of_field(&field.name));
        kinds.all(|kind| self.allows_at(&change.path, &[kind]))
    }

    /// Whether one of `kinds` may happen to a path.
    fn allows_at(&self, path: &ImagePath, kinds: &[Kind]) -> bool {
        self.rules.iter().any(|rule| match rule {
            Rule::Paths {
                patterns,
                kinds: allowed,
            } => {
                let covers = |kind: &Kind| {
                    allowed.contains(kind) || kind.is_of_state() && allowed.contains(&Kind::Changed)
                };
                (allowed.is_empty() || kinds.iter().any(covers))
                    && patterns.iter().any(|pattern| pattern.matches(path))
            }
            Rule::Properties(_) | Rule::Raw(_) => false,
        })
    }

    fn allows_property(&self, above: &str, name: &str) -> bool {
        let name = format!("{above}.{name}");
        self.rules.iter().any(|rule| match rule {
            Rule::Properties(globs) => globs.iter().any(|glob| glob.is_match(&name)),
            Rule::Paths { .. } | Rule::Raw(_) => false,
        })
    }

    fn allows_raw(&self, region: &str) -> bool {
        self.rules.iter().any(|rule| match rule {
            Rule::Raw(globs) => globs.iter().any(|glob| glob.is_match(region)),
            Rule::Paths { .. } | Rule::Properties(_) => false,
        })
    }
}

impl Rule {
    fn check(source: &Source, raw: Spanned<RawRule>) -> Result<Self, Diagnostic> {
        let span = raw.span();
        let raw = raw.into_inner();
        if let Some(kinds) = raw.kinds.as_ref().filter(|_| raw.paths.is_none()) {
            return Err(source.error(kinds.span(), "`kinds` is for `paths`"));
        }
        let globs = |texts: Vec<Spanned<String>>| {
            let globs = texts.into_iter().map(|text| glob(source, &text));
            globs.collect::<Result<Vec<_>, _>>()
        };
        match (raw.paths, raw.properties, raw.raw) {
            (Some(paths), None, None) => {
                let patterns = paths.into_iter().map(|text| {
                    let pattern = Pattern::parse(text.get_ref());
                    pattern.map_err(|error| source.error(text.span(), error.to_string()))
                });
                Ok(Self::Paths {
                    patterns: patterns.collect::<Result<_, _>>()?,
                    kinds: kinds(source, raw.kinds)?,
                })
            }
            (None, Some(names), None) => globs(names).map(Self::Properties),
            (None, None, Some(regions)) => globs(regions).map(Self::Raw),
            _ => {
                let message = "a rule is about one of `paths`, `properties` and `raw`";
                Err(source.error(span, message))
            }
        }
    }
}

fn kinds(source: &Source, kinds: Option<Spanned<Vec<Kind>>>) -> Result<Vec<Kind>, Diagnostic> {
    match kinds {
        Some(kinds) if kinds.get_ref().is_empty() => {
            let error = source.error(kinds.span(), "no kind at all is allowed here");
            Err(error.with_hint("leave `kinds` out to allow anything"))
        }
        kinds => Ok(kinds.map(Spanned::into_inner).unwrap_or_default()),
    }
}

fn glob(source: &Source, text: &Spanned<String>) -> Result<GlobSet, Diagnostic> {
    let glob = Glob::new(text.get_ref()).and_then(|glob| GlobSet::new([glob]));
    glob.map_err(|error| source.error(text.span(), error.kind().to_string()))
}
