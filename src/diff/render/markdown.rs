//! For a comment on a pull request: bounded in size, the most important first.

use std::fmt::Write;

use super::fields;
use super::text::{field_text, stat};
use crate::diff::{PathChange, PathChangeKind, Report};
use crate::text::name_text;

/// The most bytes of a comment: GitHub takes 65,536 characters, and others take less.
const LIMIT_BYTES: usize = 60_000;

/// The most bytes of one file's hunks.
const HUNKS_LIMIT_BYTES: usize = 8_000;

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
    for field in &report.disk {
        push(&mut text, &format!("- disk: {}", code(&field_text(field))));
    }
    for partition in &report.partitions {
        for field in &partition.fields {
            push(
                &mut text,
                &format!(
                    "- partition {}: {}",
                    partition.number,
                    code(&field_text(field))
                ),
            );
        }
    }
    for raw in &report.raw {
        push(&mut text, &format!("- {}: {} bytes", raw.region, raw.bytes));
    }
    for filesystem in &report.filesystems {
        let place = filesystem
            .partition
            .map_or_else(|| "disk".to_owned(), |n| format!("partition {n}"));
        push(
            &mut text,
            &format!("\n**{place}**: {}\n", stat(&filesystem.paths)),
        );
        for field in &filesystem.fields {
            push(
                &mut text,
                &format!("- filesystem: {}", code(&field_text(field))),
            );
        }
        paths(&mut text, &filesystem.paths);
    }
    text
}

fn paths(text: &mut String, changes: &[PathChange]) {
    for (done, change) in changes.iter().enumerate() {
        let entry = entry(change);
        if text.len() + entry.len() > LIMIT_BYTES {
            push(
                text,
                &format!("\n… and {} more paths", changes.len() - done),
            );
            return;
        }
        text.push_str(&entry);
    }
}

fn entry(change: &PathChange) -> String {
    let path = code(&name_text(change.path.as_bytes()));
    let mut text = match &change.kind {
        PathChangeKind::Added => format!("- added {path}\n"),
        PathChangeKind::Removed => format!("- removed {path}\n"),
        PathChangeKind::Changed | PathChangeKind::Renamed { .. } => {
            let fields: Vec<String> = fields::of_path(change)
                .iter()
                .map(|f| code(&field_text(f)))
                .collect();
            let what = match &change.kind {
                PathChangeKind::Renamed { from } => {
                    format!("renamed {} → {path}", code(&name_text(from.as_bytes())))
                }
                _ => format!("changed {path}"),
            };
            let separator = if fields.is_empty() { "" } else { ": " };
            format!("- {what}{separator}{}\n", fields.join(", "))
        }
    };
    let hunks = change
        .content
        .as_ref()
        .and_then(|content| content.hunks.as_ref());
    if let Some(hunks) = hunks {
        let end = hunks.floor_char_boundary(HUNKS_LIMIT_BYTES);
        let cut = if end < hunks.len() { "\n…" } else { "" };
        // A fence longer than any in the text cannot be closed by it.
        let fence = "`".repeat(longest_run_of_backticks(hunks).max(2) + 1);
        let hunks = hunks[..end].trim_end();
        let _ = write!(
            text,
            "  <details><summary>lines</summary>\n\n{fence}diff\n{hunks}{cut}\n{fence}\n\n  </details>\n"
        );
    }
    text
}

/// Text as inline code, whatever backticks it has.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run_of_backticks(text) + 1);
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
