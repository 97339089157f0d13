//! One self-contained page: a map of the disk, and the tree of what differs, which can be searched
//! and unfolded.
//!
//! The page is complete without its script, which only adds the search. Its content comes from
//! strangers, so a policy allows this script and the style sheet and nothing else.
//!
//! - `fragments`: the templates that it is made from.
//! - `tree`: the directories with what differs in them.

mod fragments;
mod tree;

use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minijinja::Value;
use serde::Serialize;

use super::text::stat;
use crate::diff::raw::{Ranges, intersection, total};
use crate::diff::{FieldChange, FileSystemReport, PathChangeKind, Report};
use fragments::Fragments;
use imgasm_block::Digest;

/// Cells in the map of the disk: as many as can be distinguished in a row on a screen.
const MAP_CELLS: u64 = 256;

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
            style: Value::from_safe_string(STYLE.to_owned()),
            is_empty: report.is_empty(),
        },
    );
    if !report.is_empty() {
        page.add("map", Map::of(report));
        page.add("filters", Filters::of(report));
        page.properties("Manifest", &report.record);
        page.properties("Disk", &report.disk);
        for partition in &report.partitions {
            let heading = format!("Partition {}", partition.number);
            page.properties(&heading, &partition.fields);
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
    style: Value,
    is_empty: bool,
}

#[derive(Serialize)]
struct Foot {
    script: Value,
}

/// Names and values that differ.
#[derive(Serialize)]
struct Table<'a> {
    heading: &'a str,
    fields: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    old: Option<&'a str>,
    new: Option<&'a str>,
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

    fn table(&self, heading: &str, fields: &[FieldChange]) -> String {
        if fields.is_empty() {
            return String::new();
        }
        let fields = fields.iter().map(|field| Row {
            name: &field.name,
            old: field.old.as_deref(),
            new: field.new.as_deref(),
        });
        let fields = fields.collect();
        self.fragments.fill("table", Table { heading, fields })
    }

    fn properties(&mut self, heading: &str, fields: &[FieldChange]) {
        let table = self.table(heading, fields);
        self.text += &table;
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

/// A row of cells, each as dark as the share of its bytes that differ, and the partitions below.
#[derive(Serialize)]
struct Map<'a> {
    cells: u64,
    changed_cells: Vec<Cell>,
    bands: Vec<Band<'a>>,
    bytes: u64,
    disk_len: u64,
}

#[derive(Serialize)]
struct Cell {
    x: u64,
    opacity: String,
    bytes: u64,
    start: u64,
    end: u64,
}

#[derive(Serialize)]
struct Band<'a> {
    name: &'a str,
    start: String,
    width: String,
    bytes: u64,
}

impl<'a> Map<'a> {
    fn of(report: &'a Report) -> Self {
        let len = report.disk_len.max(1);
        let bands = report.layout.iter().map(|(name, range)| {
            let bytes = range.end.saturating_sub(range.start);
            Band {
                name,
                start: share(range.start, len),
                width: share(bytes, len),
                bytes,
            }
        });
        Self {
            cells: MAP_CELLS,
            changed_cells: (0..MAP_CELLS)
                .filter_map(|x| cell(report, len, x))
                .collect(),
            bands: bands.collect(),
            bytes: total(&report.changed),
            disk_len: report.disk_len,
        }
    }
}

/// One cell of the map, if anything differs in it.
fn cell(report: &Report, len: u64, x: u64) -> Option<Cell> {
    let bound = |x: u64| u64::try_from(u128::from(len) * u128::from(x) / u128::from(MAP_CELLS));
    let within: Range<u64> = bound(x).unwrap_or(len)..bound(x + 1).unwrap_or(len);
    let inside: Ranges = intersection(&report.changed, std::slice::from_ref(&within));
    let bytes = total(&inside);
    if bytes == 0 {
        return None;
    }
    // A single block must be seen, so the scale begins well above nothing.
    let percent = 30 + bytes.saturating_mul(70) / (within.end - within.start).max(1);
    Some(Cell {
        x,
        opacity: format!("{}.{:02}", percent / 100, percent % 100),
        bytes,
        start: within.start,
        end: within.end,
    })
}

/// A part of the disk in percent, to three decimal places.
fn share(bytes: u64, len: u64) -> String {
    let share = u128::from(bytes.min(len)) * 100_000 / u128::from(len);
    format!("{}.{:03}%", share / 1000, share % 1000)
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
