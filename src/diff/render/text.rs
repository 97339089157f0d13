//! A report as text, one line per path.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::fields;
use crate::diff::{FieldChange, PathChange, PathChangeKind, PathChanges, Report};
use imgasm_fs::text::{name_text, shown, shown_lines};

/// How detailed a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Only the numbers of paths added, changed, renamed and removed.
    Stat,
    /// One line per path.
    Paths,
    /// The lines that differ in texts, too.
    Patch,
}

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const HUNK: Style = AnsiColor::Cyan.on_default();
/// What stands for lines that hold a secret.
pub(super) const HIDDEN: &str = "changed (hidden)";
const HEADING: Style = Style::new().bold();

/// Gives the report as text to `put`, piece by piece, with colours as escape sequences; nothing if
/// nothing differs.
///
/// # Errors
/// The first one of `put`.
pub fn render<E>(
    report: &Report,
    detail: Detail,
    put: &mut dyn FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut text = String::new();
    for field in &report.record {
        line(&mut text, CHANGED, "M", &field_text(field));
    }
    for field in &report.disk {
        line(
            &mut text,
            CHANGED,
            "M",
            &format!("disk: {}", field_text(field)),
        );
    }
    for partition in &report.partitions {
        let fields: Vec<String> = partition.fields.iter().map(field_text).collect();
        line(
            &mut text,
            CHANGED,
            "M",
            &format!("partition {}: {}", partition.number, fields.join(", ")),
        );
    }
    for filesystem in &report.filesystems {
        let place = filesystem
            .partition
            .map_or_else(|| "disk".to_owned(), |n| format!("partition {n}"));
        push(&mut text, HEADING, &place);
        for field in &filesystem.fields {
            line(
                &mut text,
                CHANGED,
                "M",
                &format!("filesystem: {}", field_text(field)),
            );
        }
        if detail == Detail::Stat {
            push(&mut text, Style::new(), &stat(&filesystem.paths));
        } else {
            for change in filesystem.paths.iter() {
                render_path(&mut text, &change, detail);
                put(&text)?;
                text.clear();
            }
        }
        if filesystem.structure_bytes > 0 {
            let bytes = filesystem.structure_bytes;
            let said = format!("   structures: {bytes} bytes");
            push(&mut text, Style::new(), &said);
        }
    }
    for raw in &report.raw {
        let (start, end) = (raw.range.start, raw.range.end);
        let bytes = raw.bytes;
        line(
            &mut text,
            CHANGED,
            "M",
            &format!(
                "{}: {bytes} bytes within {start}..{end}",
                shown(&raw.region)
            ),
        );
    }
    put(&text)
}

fn render_path(text: &mut String, change: &PathChange, detail: Detail) {
    let path = name_text(change.path.as_bytes());
    let details = || {
        let fields = fields::of_path(change);
        let fields: Vec<String> = fields.iter().map(field_text).collect();
        fields.join(", ")
    };
    match &change.kind {
        PathChangeKind::Added => line(text, ADDED, "A", &path),
        PathChangeKind::Removed => line(text, REMOVED, "D", &path),
        PathChangeKind::Changed => line(text, CHANGED, "M", &format!("{path}  {}", details())),
        // The line of the directory stands for everything that moved with it.
        PathChangeKind::Renamed {
            with_parent: true, ..
        } => return,
        PathChangeKind::Renamed { from, .. } => {
            let from = name_text(from.as_bytes());
            line(
                text,
                CHANGED,
                "R",
                format!("{from} -> {path}  {}", details()).trim_end(),
            );
        }
    }
    for meaning in &change.meanings {
        push(text, Style::new(), &format!("     {}", field_text(meaning)));
    }
    let hunks = change
        .content
        .as_ref()
        .and_then(|content| content.hunks.as_ref());
    let is_hidden = change.content.as_ref().is_some_and(|c| c.is_hidden);
    if is_hidden && detail == Detail::Patch {
        push(text, Style::new(), &format!("    {HIDDEN}"));
    }
    if let Some(hunks) = hunks.filter(|_| detail == Detail::Patch) {
        for hunk_line in hunks.lines() {
            let style = match hunk_line.as_bytes().first() {
                Some(b'+') => ADDED,
                Some(b'-') => REMOVED,
                Some(b'@') => HUNK,
                _ => Style::new(),
            };
            push(text, style, &format!("    {}", shown_lines(hunk_line)));
        }
    }
}

/// `name old -> new`; digests are cut to what a person can compare.
pub(super) fn field_text(field: &FieldChange) -> String {
    let value = |value: &Option<String>| {
        let value = value.as_deref().unwrap_or("none");
        let value = if field.name == "sha256" {
            &value[..value.len().min(12)]
        } else {
            value
        };
        shown(value).into_owned()
    };
    format!(
        "{} {} -> {}",
        shown(&field.name),
        value(&field.old),
        value(&field.new)
    )
}

/// How many paths were added, changed, renamed and removed. A renamed directory counts as one, with
/// everything that moved with it.
pub(super) fn stat(paths: &PathChanges) -> String {
    let (mut added, mut changed, mut renamed, mut removed) = (0, 0, 0, 0);
    for path in paths.iter().filter(|path| !path.went_along()) {
        match path.kind {
            PathChangeKind::Added => added += 1,
            PathChangeKind::Changed => changed += 1,
            PathChangeKind::Renamed { .. } => renamed += 1,
            PathChangeKind::Removed => removed += 1,
        }
    }
    format!("{added} added, {changed} changed, {renamed} renamed, {removed} removed")
}

fn line(text: &mut String, style: Style, letter: &str, what: &str) {
    writeln!(text, "{style}{letter}{style:#}  {what}").expect("a string takes all");
}

fn push(text: &mut String, style: Style, what: &str) {
    writeln!(text, "{style}{what}{style:#}").expect("a string takes all");
}
