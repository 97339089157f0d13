//! One self-contained page: a map of the disk, and the tree of what differs, to be searched and
//! unfolded.
//!
//! The page is whole without its script, which only adds the search.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::fields;
use super::text::stat;
use crate::diff::raw::{Ranges, intersection, total};
use crate::diff::{FieldChange, FileSystemReport, PathChange, PathChangeKind, Report};
use crate::text::name_text;

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
        push(
            &mut page,
            "<p><input id=\"search\" type=\"search\" placeholder=\"Search paths\" aria-label=\"Search paths\"></p>",
        );
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
            "<svg class=\"map\" viewBox=\"0 0 {MAP_CELLS} 24\" preserveAspectRatio=\"none\" role=\"img\">"
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
    for (name, range) in &report.layout {
        let x = |at: u64| {
            let thousandths = u128::from(at) * u128::from(MAP_CELLS) * 1000 / u128::from(len);
            format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
        };
        push(
            page,
            &format!(
                "<line class=\"partition\" x1=\"{}\" x2=\"{}\" y1=\"20\" y2=\"20\"><title>{}</title></line>",
                x(range.start),
                x(range.end),
                escape(name),
            ),
        );
    }
    push(page, "</svg>");
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

/// The changes of one directory and of those below it.
#[derive(Default)]
struct Directory<'a> {
    /// By name.
    directories: BTreeMap<&'a [u8], Directory<'a>>,
    changes: Vec<&'a PathChange>,
}

fn filesystem(page: &mut String, report: &FileSystemReport) {
    let place = report
        .partition
        .map_or_else(|| "Disk".to_owned(), |n| format!("Partition {n}"));
    properties(page, &format!("{place}: filesystem"), &report.fields);
    if report.paths.is_empty() {
        return;
    }
    push(
        page,
        &format!("<h2>{place}: files</h2>\n<p>{}</p>", stat(&report.paths)),
    );
    let mut root = Directory::default();
    for change in &report.paths {
        let mut directory = &mut root;
        let names: Vec<&[u8]> = change.path.names().collect();
        for name in names.split_last().map_or(&[][..], |(_, above)| above) {
            directory = directory.directories.entry(name).or_default();
        }
        directory.changes.push(change);
    }
    tree(page, &root);
}

/// Writes the tree without recursion, because its depth is the image's.
fn tree(page: &mut String, root: &Directory<'_>) {
    enum Step<'a> {
        Open(&'a [u8], &'a Directory<'a>),
        Close,
    }
    push(page, "<div class=\"tree\">");
    root.changes.iter().for_each(|change| path(page, change));
    let children = |directory: &'_ Directory<'_>| directory.directories.len();
    let mut steps: Vec<Step<'_>> = Vec::with_capacity(children(root));
    steps.extend(
        root.directories
            .iter()
            .rev()
            .map(|(name, below)| Step::Open(name, below)),
    );
    while let Some(step) = steps.pop() {
        match step {
            Step::Open(name, directory) => {
                let name = escape(&name_text(name));
                push(page, &format!("<details open><summary>{name}/</summary>"));
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

fn path(page: &mut String, change: &PathChange) {
    let full = escape(&name_text(change.path.as_bytes()));
    let name = change.path.file_name().unwrap_or(b"/");
    let (class, from) = match &change.kind {
        PathChangeKind::Added => ("added", String::new()),
        PathChangeKind::Removed => ("removed", String::new()),
        PathChangeKind::Changed => ("changed", String::new()),
        PathChangeKind::Renamed { from, .. } => (
            "renamed",
            format!(" ← {}", escape(&name_text(from.as_bytes()))),
        ),
    };
    push(
        page,
        &format!(
            "<details class=\"path {class}\" data-path=\"{full}\"><summary title=\"{full}\">{}{from}</summary>",
            escape(&name_text(name)),
        ),
    );
    table(page, &fields::of_path(change));
    table(page, &change.meanings);
    if let Some(hunks) = change
        .content
        .as_ref()
        .and_then(|content| content.hunks.as_ref())
    {
        push(page, "<pre>");
        for line in hunks.lines() {
            let class = match line.as_bytes().first() {
                Some(b'+') => "added",
                Some(b'-') => "removed",
                Some(b'@') => "hunk",
                _ => "same",
            };
            push(
                page,
                &format!("<span class=\"{class}\">{}</span>", escape(line)),
            );
        }
        push(page, "</pre>");
    }
    push(page, "</details>");
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
