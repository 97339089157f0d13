//! One self-contained page: a map of the disk, and the tree of what differs, to be searched and
//! unfolded.
//!
//! The page is whole without its script, which only adds the search.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::fields;
use super::text::{field_text, stat};
use crate::diff::raw::{Ranges, intersection, total};
use crate::diff::{FieldChange, FileSystemReport, PathChange, PathChangeKind, Report};
use imgasm_fs::FileType;
use imgasm_fs::text::name_text;

/// Cells in the map of the disk: as many as a row of them can be told apart on a screen.
const MAP_CELLS: u64 = 256;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The page. The titles name the two sides, for people.
pub fn render(report: &Report, old: &str, new: &str) -> String {
    let mut page = String::new();
    let title = format!("{} → {}", escape(old), escape(new));
    push(
        &mut page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">",
    );
    push(
        &mut page,
        "<meta name=\"viewport\" content=\"width=device-width\">",
    );
    push(&mut page, &format!("<title>imgasm diff: {title}</title>"));
    push(
        &mut page,
        &format!("<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>"),
    );
    if report.is_empty() {
        push(&mut page, "<p>Nothing differs.</p>");
    } else {
        map(&mut page, report);
        filters(&mut page, report);
        properties(&mut page, "Manifest", &report.record);
        properties(&mut page, "Disk", &report.disk);
        for partition in &report.partitions {
            properties(
                &mut page,
                &format!("Partition {}", partition.number),
                &partition.fields,
            );
        }
        report
            .filesystems
            .iter()
            .for_each(|fs| filesystem(&mut page, fs));
        raw(&mut page, report);
    }
    push(
        &mut page,
        &format!("<script>\n{SCRIPT}</script>\n</body>\n</html>"),
    );
    page
}

/// A row of cells, each as dark as the share of its bytes that differ, and the partitions below.
fn map(page: &mut String, report: &Report) {
    let len = report.disk_len.max(1);
    push(page, "<h2>Where the disk differs</h2>");
    push(
        page,
        &format!(
            "<svg class=\"map\" viewBox=\"0 0 {MAP_CELLS} 16\" preserveAspectRatio=\"none\" role=\"img\">"
        ),
    );
    for cell in 0..MAP_CELLS {
        let bound =
            |cell: u64| u64::try_from(u128::from(len) * u128::from(cell) / u128::from(MAP_CELLS));
        let (start, end) = (bound(cell).unwrap_or(len), bound(cell + 1).unwrap_or(len));
        let inside: Ranges = intersection(&report.changed, std::slice::from_ref(&(start..end)));
        let changed = total(&inside);
        if changed == 0 {
            continue;
        }
        // A single block must be seen, so the scale begins well above nothing.
        let percent = 30 + changed.saturating_mul(70) / (end - start).max(1);
        push(
            page,
            &format!(
                "<rect x=\"{cell}\" y=\"0\" width=\"1\" height=\"16\" fill-opacity=\"{}.{:02}\"><title>{changed} bytes differ within {start}..{end}</title></rect>",
                percent / 100,
                percent % 100,
            ),
        );
    }
    push(page, "</svg>\n<div class=\"bands\">");
    for (name, range) in &report.layout {
        // Thousandths of a percent.
        let share = |at: u64| {
            let share = u128::from(at.min(len)) * 100_000 / u128::from(len);
            format!("{}.{:03}%", share / 1000, share % 1000)
        };
        let (start, width) = (
            share(range.start),
            share(range.end.saturating_sub(range.start)),
        );
        let (name, bytes) = (escape(name), range.end.saturating_sub(range.start));
        push(
            page,
            &format!(
                "<span style=\"left:{start};width:{width}\" title=\"{name}, {bytes} bytes\">{name}</span>"
            ),
        );
    }
    let (changed, len) = (total(&report.changed), report.disk_len);
    push(
        page,
        &format!(
            "</div>\n<p class=\"note\">{changed} of {len} bytes lie in sectors that differ.</p>"
        ),
    );
}

fn properties(page: &mut String, heading: &str, fields: &[FieldChange]) {
    if !fields.is_empty() {
        push(page, &format!("<h2>{}</h2>", escape(heading)));
        table(page, fields);
    }
}

fn table(page: &mut String, fields: &[FieldChange]) {
    if fields.is_empty() {
        return;
    }
    push(page, "<table>");
    for field in fields {
        let cell = |value: &Option<String>| match value {
            Some(value) => format!("<td>{}</td>", escape(value)),
            None => "<td class=\"none\">none</td>".to_owned(),
        };
        let name = escape(&field.name);
        push(
            page,
            &format!(
                "<tr><th>{name}</th>{}{}</tr>",
                cell(&field.old),
                cell(&field.new)
            ),
        );
    }
    push(page, "</table>");
}

/// What is searched for, and which kinds of changes are shown.
fn filters(page: &mut String, report: &Report) {
    push(
        page,
        "<form class=\"filters\"><input id=\"search\" type=\"search\" placeholder=\"Search paths\" aria-label=\"Search paths\">",
    );
    let changes = report.filesystems.iter().flat_map(|fs| fs.paths.iter());
    let mut counts = BTreeMap::new();
    for change in changes.filter(|change| !change.went_along()) {
        *counts.entry(class(&change.kind)).or_insert(0_usize) += 1;
    }
    for (kind, count) in counts {
        push(
            page,
            &format!(
                "<label class=\"{kind}\"><input type=\"checkbox\" value=\"{kind}\" checked> {count} {kind}</label>"
            ),
        );
    }
    push(page, "</form>");
}

fn class(kind: &PathChangeKind) -> &'static str {
    match kind {
        PathChangeKind::Added => "added",
        PathChangeKind::Removed => "removed",
        PathChangeKind::Changed => "changed",
        PathChangeKind::Renamed { .. } => "renamed",
    }
}

/// A directory with what differs of it and below it.
#[derive(Default)]
struct Directory<'a> {
    /// By name.
    directories: BTreeMap<&'a [u8], Directory<'a>>,
    /// What differs of the directory itself.
    change: Option<&'a PathChange>,
    /// What differs in it, but for directories.
    changes: Vec<&'a PathChange>,
}

impl<'a> Directory<'a> {
    fn of(changes: &'a [PathChange]) -> Self {
        let mut root = Self::default();
        for change in changes {
            let state = change.new.as_ref().or(change.old.as_ref());
            let is_directory = state.is_some_and(|s| s.file_type == FileType::Directory);
            let names: Vec<&[u8]> = change.path.names().collect();
            let above = if is_directory {
                names.as_slice()
            } else {
                names.split_last().map_or(&[][..], |(_, above)| above)
            };
            let mut directory = &mut root;
            for name in above {
                directory = directory.directories.entry(name).or_default();
            }
            if is_directory {
                directory.change = Some(change);
            } else {
                directory.changes.push(change);
            }
        }
        root
    }

    /// The only directory in one of which there is nothing else to say.
    fn only_child(&self) -> Option<(&'a [u8], &Self)> {
        let mut children = self.directories.iter();
        match (
            self.change,
            self.changes.as_slice(),
            children.next(),
            children.next(),
        ) {
            (None, [], Some((name, child)), None) => Some((name, child)),
            _ => None,
        }
    }
}

fn filesystem(page: &mut String, report: &FileSystemReport) {
    let place = report
        .partition
        .map_or_else(|| "Disk".to_owned(), |n| format!("Partition {n}"));
    properties(page, &format!("{place}: filesystem"), &report.fields);
    if report.structure_bytes > 0 {
        let bytes = report.structure_bytes;
        let note = format!("<p class=\"note\">{place}: {bytes} bytes of structures differ.</p>");
        push(page, &note);
    }
    if report.paths.is_empty() {
        return;
    }
    push(
        page,
        &format!(
            "<h2>{place}: files</h2>\n<p class=\"note\">{}</p>",
            stat(&report.paths)
        ),
    );
    let told = report.paths.iter().filter(|change| !change.went_along());
    let told: Vec<PathChange> = told.collect();
    tree(page, &Directory::of(&told));
}

/// Writes the tree without recursion, because its depth is the image's.
fn tree(page: &mut String, root: &Directory<'_>) {
    enum Step<'a> {
        Open(&'a [u8], &'a Directory<'a>),
        Close,
    }
    push(page, "<div class=\"tree\">");
    root.change.iter().for_each(|change| path(page, change));
    root.changes.iter().for_each(|change| path(page, change));
    let below = |directory: &'_ Directory<'_>| directory.directories.len();
    let mut steps: Vec<Step<'_>> = Vec::with_capacity(below(root));
    let open = root.directories.iter().rev();
    steps.extend(open.map(|(name, below)| Step::Open(name, below)));
    while let Some(step) = steps.pop() {
        match step {
            Step::Open(name, mut directory) => {
                let mut name = name_text(name);
                while let Some((next, child)) = directory.only_child() {
                    name = format!("{name}/{}", name_text(next));
                    directory = child;
                }
                let name = escape(&name);
                match directory.change {
                    Some(change) => {
                        let (class, data) = (class(&change.kind), data(change));
                        let from = from(change);
                        push(
                            page,
                            &format!(
                                "<details open class=\"path {class}\" {data}><summary>{name}/{from}</summary>"
                            ),
                        );
                        details(page, change);
                    }
                    None => push(page, &format!("<details open><summary>{name}/</summary>")),
                }
                directory
                    .changes
                    .iter()
                    .for_each(|change| path(page, change));
                steps.push(Step::Close);
                let below = directory.directories.iter().rev();
                steps.extend(below.map(|(name, below)| Step::Open(name, below)));
            }
            Step::Close => push(page, "</details>"),
        }
    }
    push(page, "</div>");
}

/// What the script finds a path by.
fn data(change: &PathChange) -> String {
    let full = escape(&name_text(change.path.as_bytes()));
    format!("data-path=\"{full}\" title=\"{full}\"")
}

fn from(change: &PathChange) -> String {
    match &change.kind {
        PathChangeKind::Renamed { from, .. } => format!(
            " <span class=\"hint\">← {}</span>",
            escape(&name_text(from.as_bytes()))
        ),
        _ => String::new(),
    }
}

/// Something that is no directory: a line to unfold.
fn path(page: &mut String, change: &PathChange) {
    let name = escape(&name_text(change.path.file_name().unwrap_or(b"/")));
    let (class, data, from) = (class(&change.kind), data(change), from(change));
    let told = fields::of_path(change);
    let hint: Vec<String> = match change.kind {
        PathChangeKind::Added | PathChangeKind::Removed => Vec::new(),
        _ => told
            .iter()
            .filter(|field| field.name != "sha256")
            .map(field_text)
            .collect(),
    };
    let hint = escape(&hint.join(", "));
    push(
        page,
        &format!(
            "<details class=\"path {class}\" {data}><summary>{name}{from} <span class=\"hint\">{hint}</span></summary>"
        ),
    );
    details(page, change);
    push(page, "</details>");
}

fn details(page: &mut String, change: &PathChange) {
    table(page, &fields::of_path(change));
    table(page, &change.meanings);
    let hunks = change.content.as_ref();
    let Some(hunks) = hunks.and_then(|content| content.hunks.as_ref()) else {
        return;
    };
    push(page, "<pre>");
    for line in hunks.lines() {
        let class = match line.as_bytes().first() {
            Some(b'+') => "added",
            Some(b'-') => "removed",
            Some(b'@') => "hunk",
            _ => "same",
        };
        let line = escape(line);
        push(page, &format!("<span class=\"{class}\">{line}</span>"));
    }
    push(page, "</pre>");
}

fn raw(page: &mut String, report: &Report) {
    if report.raw.is_empty() {
        return;
    }
    push(page, "<h2>Other bytes</h2>\n<table>");
    for raw in &report.raw {
        let (region, bytes) = (escape(&raw.region), raw.bytes);
        let (start, end) = (raw.range.start, raw.range.end);
        push(
            page,
            &format!("<tr><th>{region}</th><td>{bytes} bytes within {start}..{end}</td></tr>"),
        );
    }
    push(page, "</table>");
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn push(page: &mut String, line: &str) {
    writeln!(page, "{line}").expect("a string takes all");
}
