//! A report as a comment on a pull request: bounded in size, the most important first.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::fields;
use super::text::{HIDDEN, field_text, stat};
use crate::diff::{PartitionChange, PathChange, PathChangeKind, Report};
use imgasm_fs::text::{name_text, shown, shown_lines};

/// The most bytes of a comment: GitHub accepts 65,536 characters, others less.
const LIMIT_BYTES: usize = 60_000;

/// The most bytes of one file's hunks.
const HUNKS_LIMIT_BYTES: usize = 8_000;

/// The most lines about the meaning of a file's change.
const MEANINGS_LIMIT: usize = 50;

/// The report as Markdown, never longer than a comment may be; what is left out is counted.
pub fn render(report: &Report, old: &str, new: &str) -> String {
    let mut text = String::new();
    push(
        &mut text,
        &format!("### Image diff: {} → {}\n", code(old), code(new)),
    );
    if report.is_empty() {
        push(&mut text, "Nothing differs.");
        return text;
    }
    let mut lines = Vec::new();
    for field in &report.record {
        lines.push(format!("- {}", code(&field_text(field))));
    }
    for field in &report.disk {
        lines.push(format!("- disk: {}", code(&field_text(field))));
    }
    for PartitionChange { number, fields } in &report.partitions {
        let fields = fields.iter().map(field_text);
        lines.extend(fields.map(|field| format!("- partition {number}: {}", code(&field))));
    }
    for raw in &report.raw {
        lines.push(format!("- {}: {} bytes", code(&raw.region), raw.bytes));
    }
    bounded(&mut text, lines.into_iter(), "properties");
    for filesystem in &report.filesystems {
        let place = filesystem
            .partition
            .map_or_else(|| "disk".to_owned(), |n| format!("partition {n}"));
        push(
            &mut text,
            &format!("\n**{place}**: {}\n", stat(&filesystem.paths)),
        );
        let fields = filesystem.fields.iter();
        let fields = fields.map(|field| format!("- filesystem: {}", code(&field_text(field))));
        bounded(&mut text, fields, "properties");
        if filesystem.structure_bytes > 0 {
            let bytes = filesystem.structure_bytes;
            push(&mut text, &format!("- structures: {bytes} bytes"));
        }
        let paths = filesystem.paths.iter().filter(|path| !path.went_along());
        let entries = paths.map(|path| entry(&path, &report.origins));
        bounded(&mut text, entries, "paths");
    }
    text
}

/// Adds entries as long as there is room, and then the number of those left out.
fn bounded(text: &mut String, entries: impl Iterator<Item = String>, what: &str) {
    let mut left_out = 0_usize;
    for entry in entries {
        if left_out > 0 || text.len() + entry.len() > LIMIT_BYTES {
            left_out += 1;
        } else {
            push(text, entry.trim_end_matches('\n'));
        }
    }
    if left_out > 0 {
        push(text, &format!("\n… and {left_out} more {what}"));
    }
}

fn entry(change: &PathChange, origins: &BTreeMap<String, String>) -> String {
    let name = name_text(change.path.as_bytes());
    let origin = origins.get(&name);
    let origin = origin.map_or_else(String::new, |origin| format!(" (by {})", code(origin)));
    let path = code(&name);
    let mut text = match &change.kind {
        PathChangeKind::Added => format!("- added {path}{origin}\n"),
        PathChangeKind::Removed => format!("- removed {path}{origin}\n"),
        PathChangeKind::Changed | PathChangeKind::Renamed { .. } => {
            let fields: Vec<String> = fields::of_path(change)
                .iter()
                .map(|f| code(&field_text(f)))
                .collect();
            let what = match &change.kind {
                PathChangeKind::Renamed { from, .. } => {
                    format!("renamed {} → {path}", code(&name_text(from.as_bytes())))
                }
                _ => format!("changed {path}"),
            };
            let separator = if fields.is_empty() { "" } else { ": " };
            format!("- {what}{origin}{separator}{}\n", fields.join(", "))
        }
    };
    for meaning in change.meanings.iter().take(MEANINGS_LIMIT) {
        let _ = writeln!(text, "  - {}", code(&field_text(meaning)));
    }
    if let Some(more) = change
        .meanings
        .len()
        .checked_sub(MEANINGS_LIMIT)
        .filter(|&n| n > 0)
    {
        let _ = writeln!(text, "  - … and {more} more");
    }
    if change.content.as_ref().is_some_and(|c| c.is_hidden) {
        let _ = writeln!(text, "  - lines: {HIDDEN}");
    }
    let hunks = change
        .content
        .as_ref()
        .and_then(|content| content.hunks.as_ref());
    if let Some(hunks) = hunks {
        let end = hunks.floor_char_boundary(HUNKS_LIMIT_BYTES);
        let cut = if end < hunks.len() { "\n…" } else { "" };
        // A fence longer than any in the text cannot be closed by it.
        let fence = "`".repeat(longest_run_of_backticks(hunks).max(2) + 1);
        let hunks = shown_lines(hunks[..end].trim_end());
        let _ = write!(
            text,
            "  <details><summary>lines</summary>\n\n{fence}diff\n{hunks}{cut}\n{fence}\n\n  </details>\n"
        );
    }
    text
}

/// Text as inline code, whatever backticks it has.
fn code(text: &str) -> String {
    let text = shown(text);
    let fence = "`".repeat(longest_run_of_backticks(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn longest_run_of_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn push(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes all");
}
