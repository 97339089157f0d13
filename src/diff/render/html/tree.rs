//! The directories of a filesystem with what differs in them.

use std::collections::BTreeMap;

use minijinja::Value;
use serde::Serialize;

use super::super::fields;
use super::super::text::{HIDDEN, field_text};
use super::{Page, Shown, class};
use crate::diff::{FieldChange, PathChange, PathChangeKind};
use imgasm_fs::FileType;
use imgasm_fs::text::name_text;

/// A directory with what differs in itself and below it.
#[derive(Default)]
struct Directory<'a> {
    /// By name.
    directories: BTreeMap<&'a [u8], Directory<'a>>,
    /// What differs in the directory itself.
    change: Option<&'a PathChange>,
    /// What differs in it, except directories.
    changes: Vec<&'a PathChange>,
}

impl<'a> Directory<'a> {
    fn of(changes: &'a [PathChange]) -> Self {
        let mut root = Self::default();
        for change in changes {
            let is_directory = is_directory(change);
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

    /// The only directory in a directory about which there is nothing else to say.
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

fn is_directory(change: &PathChange) -> bool {
    let state = change.new.as_ref().or(change.old.as_ref());
    state.is_some_and(|state| state.file_type == FileType::Directory)
}

/// Something to unfold: a directory, or a path that differs.
#[derive(Serialize)]
struct Open {
    name: String,
    path: Option<Path>,
}

/// The entry of a path.
#[derive(Serialize)]
struct Path {
    class: &'static str,
    /// The text by which the script finds it.
    full: String,
    is_directory: bool,
    from: Option<String>,
    hint: String,
    /// What changed it.
    origin: Option<String>,
    fields: Value,
    /// What is said in the place of lines that hold a secret.
    hidden: Option<&'static str>,
    lines: Vec<Line>,
}

/// A line of a hunk, with its numbers on both sides.
#[derive(Serialize)]
struct Line {
    class: &'static str,
    old: Option<u64>,
    new: Option<u64>,
    text: String,
}

/// Writes the tree without recursion, because its depth is the image's.
pub(super) fn write(page: &mut Page<'_>, changes: &[PathChange]) {
    enum Step<'a> {
        Open(&'a [u8], &'a Directory<'a>),
        Close,
    }
    let root = Directory::of(changes);
    page.text += "<div class=\"tree\">\n";
    for change in root.change.iter().chain(&root.changes) {
        leaf(page, change);
    }
    let open = root.directories.iter().rev();
    let mut steps: Vec<Step<'_>> = open.map(|(name, below)| Step::Open(name, below)).collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Open(name, mut directory) => {
                let mut name = name_text(name);
                while let Some((next, child)) = directory.only_child() {
                    name = format!("{name}/{}", name_text(next));
                    directory = child;
                }
                let path = directory.change.map(|change| path(page, change));
                name.push('/');
                page.add("open", Open { name, path });
                for change in &directory.changes {
                    leaf(page, change);
                }
                steps.push(Step::Close);
                let below = directory.directories.iter().rev();
                steps.extend(below.map(|(name, below)| Step::Open(name, below)));
            }
            Step::Close => page.text += "</details>\n",
        }
    }
    page.text += "</div>\n";
}

/// Something that holds nothing else.
fn leaf(page: &mut Page<'_>, change: &PathChange) {
    let open = Open {
        name: name_text(change.path.file_name().unwrap_or(b"/")),
        path: Some(path(page, change)),
    };
    page.add("open", open);
    page.text += "</details>\n";
}

fn path(page: &Page<'_>, change: &PathChange) -> Path {
    let properties = fields::of_path(change);
    let hint: Vec<String> = match change.kind {
        PathChangeKind::Added | PathChangeKind::Removed => Vec::new(),
        _ if is_directory(change) => Vec::new(),
        _ => properties
            .iter()
            .filter(|field| field.name != "sha256")
            .map(hint_text)
            .collect(),
    };
    let from = match &change.kind {
        PathChangeKind::Renamed { from, .. } => Some(name_text(from.as_bytes())),
        _ => None,
    };
    // What it means comes first, and digests last.
    let fields = page.fields("", &change.meanings) + &page.fields("", &properties);
    let content = change.content.as_ref();
    let is_hidden = content.is_some_and(|content| content.is_hidden);
    let hunks = content.and_then(|content| content.hunks.as_deref());
    let full = name_text(change.path.as_bytes());
    Path {
        class: class(&change.kind),
        origin: page.origins.get(&full).cloned(),
        full,
        is_directory: is_directory(change),
        from,
        hint: hint.join(", "),
        fields: Value::from_safe_string(fields),
        hidden: is_hidden.then_some(HIDDEN),
        lines: hunks.filter(|_| !is_hidden).map(lines).unwrap_or_default(),
    }
}

/// A property in the line of a path.
fn hint_text(field: &FieldChange) -> String {
    let value = |value: &Option<String>| {
        let value = value.as_deref()?;
        Some(Shown::of(&field.name, value).text)
    };
    field_text(&FieldChange {
        name: field.name.clone(),
        old: value(&field.old),
        new: value(&field.new),
    })
    .replace(" -> ", " → ")
}

/// The lines of hunks.
fn lines(hunks: &str) -> Vec<Line> {
    let (mut old, mut new) = (0_u64, 0_u64);
    let next = |number: &mut u64| {
        let this = *number;
        *number += 1;
        Some(this)
    };
    let line = |text: &str| {
        let (class, on_old, on_new) = match text.as_bytes().first() {
            Some(b'+') => ("added", None, next(&mut new)),
            Some(b'-') => ("removed", next(&mut old), None),
            Some(b'@') => {
                (old, new) = first_lines(text).unwrap_or((old, new));
                ("hunk", None, None)
            }
            // That a text does not end with a line end.
            Some(b'\\') => ("hunk", None, None),
            _ => ("same", next(&mut old), next(&mut new)),
        };
        Line {
            class,
            old: on_old,
            new: on_new,
            text: text.to_owned(),
        }
    };
    hunks.lines().map(line).collect()
}

/// The numbers with which a hunk begins: `@@ -3,7 +3,8 @@`.
fn first_lines(head: &str) -> Option<(u64, u64)> {
    let mut words = head.split(' ').skip(1);
    let mut number = |sign: char| {
        let word = words.next()?.strip_prefix(sign)?;
        word.split(',').next()?.parse().ok()
    };
    Some((number('-')?, number('+')?))
}
