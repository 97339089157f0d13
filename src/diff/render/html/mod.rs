//! One self-contained page: what the differences come to in words, a map of the disk, and the tree of
//! what differs, which can be searched and unfolded.
//!
//! The page is complete without its script, which only adds the search. Its content comes from
//! strangers, so a policy allows this script and the style sheet and nothing else.
//!
//! - `fragments`: the templates that it is made from.
//! - `summary`: the words at the top.
//! - `map`: where the disk differs.
//! - `tree`: the directories with what differs in them.

mod fragments;
mod map;
mod summary;
mod tree;

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minijinja::Value;
use serde::Serialize;

use super::text::stat;
use super::units;
use crate::diff::{FieldChange, FileSystemReport, PathChangeKind, Report};
use fragments::Fragments;
use imgasm_block::Digest;
use map::Map;
use summary::Summary;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page. The titles name the two sides, for people.
pub fn render(report: &Report, old: &str, new: &str) -> String {
    let mut page = Page {
        fragments: Fragments::new(),
        text: String::new(),
        origins: &report.origins,
    };
    page.add(
        "head",
        Head {
            policy: policy(),
            old,
            new,
            sizes: sizes(report),
            style: Value::from_safe_string(STYLE.to_owned()),
            is_empty: report.is_empty(),
        },
    );
    if !report.is_empty() {
        page.add("summary", Summary::of(report));
        if report.disk_len > 0 {
            page.add("map", Map::of(report));
        }
        page.properties("Manifest", &report.record);
        page.properties("Disk", &report.disk);
        for partition in &report.partitions {
            let heading = format!("Partition {}", partition.number);
            page.properties(&heading, &partition.fields);
        }
        let filters = Filters::of(report);
        if !filters.counts.is_empty() {
            page.add("filters", filters);
        }
        for filesystem in &report.filesystems {
            page.filesystem(filesystem);
        }
        if !report.raw.is_empty() {
            page.add("raw", Regions::of(report));
        }
    }
    page.add(
        "foot",
        Foot {
            script: Value::from_safe_string(SCRIPT.to_owned()),
        },
    );
    page.text
}

/// What the page may load and run: its own script and style sheet, by their hashes (Content
/// Security Policy Level 3).
fn policy() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Digest::of(text.as_bytes()).as_bytes());
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// The page that is being written.
struct Page<'a> {
    fragments: Fragments,
    text: String,
    /// What changed a path, by the path.
    origins: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Head<'a> {
    policy: String,
    old: &'a str,
    new: &'a str,
    /// Of the disks, as far as they are known.
    sizes: [Option<u64>; 2],
    style: Value,
    is_empty: bool,
}

#[derive(Serialize)]
struct Foot {
    script: Value,
}

/// Names and values that differ.
#[derive(Serialize)]
struct Fields<'a> {
    heading: &'a str,
    fields: Vec<Field<'a>>,
}

#[derive(Serialize)]
struct Field<'a> {
    name: &'a str,
    old: Option<Shown>,
    new: Option<Shown>,
}

/// A value, and all of it, if less is shown.
#[derive(Serialize)]
struct Shown {
    text: String,
    whole: Option<String>,
}

/// How many digits of a digest are shown: what a person can compare.
const DIGEST_DIGITS: usize = 12;

impl Shown {
    /// A value of a field of this name: sizes with a unit, digests by their first digits.
    fn of(name: &str, value: &str) -> Self {
        let size = value.parse().ok().filter(|_| name == "size");
        let (text, whole) = match (name, size) {
            (_, Some(size)) => (units::bytes(size), Some(units::exact(size))),
            ("sha256", _) => {
                let end = value.floor_char_boundary(DIGEST_DIGITS);
                (format!("{}…", &value[..end]), Some(value.to_owned()))
            }
            _ => (value.to_owned(), None),
        };
        Self { text, whole }
    }
}

#[derive(Serialize)]
struct Files<'a> {
    place: &'a str,
    structure_bytes: u64,
    stat: Option<String>,
}

impl Page<'_> {
    fn add(&mut self, fragment: &str, values: impl Serialize) {
        self.text += &self.fragments.fill(fragment, values);
        self.text.push('\n');
    }

    fn fields(&self, heading: &str, fields: &[FieldChange]) -> String {
        if fields.is_empty() {
            return String::new();
        }
        let fields = fields.iter().map(|FieldChange { name, old, new }| Field {
            name,
            old: old.as_deref().map(|value| Shown::of(name, value)),
            new: new.as_deref().map(|value| Shown::of(name, value)),
        });
        let fields = fields.collect();
        self.fragments.fill("fields", Fields { heading, fields })
    }

    fn properties(&mut self, heading: &str, fields: &[FieldChange]) {
        let fields = self.fields(heading, fields);
        self.text += &fields;
    }

    fn filesystem(&mut self, report: &FileSystemReport) {
        let place = report
            .partition
            .map_or_else(|| "Disk".to_owned(), |n| format!("Partition {n}"));
        self.properties(&format!("{place}: filesystem"), &report.fields);
        let files = Files {
            place: &place,
            structure_bytes: report.structure_bytes,
            stat: (!report.paths.is_empty()).then(|| stat(&report.paths)),
        };
        self.add("files", files);
        let reported = report.paths.iter().filter(|change| !change.went_along());
        let reported: Vec<_> = reported.collect();
        if !reported.is_empty() {
            tree::write(self, &reported);
        }
    }
}

/// The sizes of both disks.
fn sizes(report: &Report) -> [Option<u64>; 2] {
    match report.disk.iter().find(|field| field.name == "size") {
        Some(field) => [&field.old, &field.new].map(|size| size.as_ref()?.parse().ok()),
        None => [Some(report.disk_len).filter(|len| *len > 0); 2],
    }
}

/// The search field, and the kinds of changes that are shown.
#[derive(Serialize)]
struct Filters {
    counts: BTreeMap<&'static str, usize>,
}

impl Filters {
    fn of(report: &Report) -> Self {
        let changes = report.filesystems.iter().flat_map(|fs| fs.paths.iter());
        let mut counts = BTreeMap::new();
        for change in changes.filter(|change| !change.went_along()) {
            *counts.entry(class(&change.kind)).or_insert(0_usize) += 1;
        }
        Self { counts }
    }
}

fn class(kind: &PathChangeKind) -> &'static str {
    match kind {
        PathChangeKind::Added => "added",
        PathChangeKind::Removed => "removed",
        PathChangeKind::Changed => "changed",
        PathChangeKind::Renamed { .. } => "renamed",
    }
}

/// Bytes that no path explains.
#[derive(Serialize)]
struct Regions<'a> {
    regions: Vec<Region<'a>>,
}

#[derive(Serialize)]
struct Region<'a> {
    name: &'a str,
    bytes: u64,
    start: u64,
    end: u64,
}

impl<'a> Regions<'a> {
    fn of(report: &'a Report) -> Self {
        let regions = report.raw.iter().map(|raw| Region {
            name: &raw.region,
            bytes: raw.bytes,
            start: raw.range.start,
            end: raw.range.end,
        });
        Self {
            regions: regions.collect(),
        }
    }
}
