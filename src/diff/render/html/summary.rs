//! What the differences come to, in words: packages, the kernel, users, services, files, the disk.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::units;
use super::{class, sizes};
use crate::diff::raw::total;
use crate::diff::{FieldChange, PathChange, PathChangeKind, PathState, Report};
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::name_text;

/// How many items of a topic are shown at once.
const SHOWN: usize = 12;

#[derive(Serialize)]
pub(super) struct Summary {
    topics: Vec<Topic>,
}

#[derive(Serialize)]
struct Topic {
    name: &'static str,
    words: String,
    /// Those that are shown, and those to be unfolded.
    groups: Vec<Vec<Item>>,
}

#[derive(Clone, Serialize)]
struct Item {
    class: &'static str,
    name: String,
    old: Option<String>,
    new: Option<String>,
}

/// What meanings are about: the topic, the word with which they begin, and the words for what is new,
/// gone and changed.
const SUBJECTS: [(&str, &str, [&str; 3]); 4] = [
    ("Packages", "package ", ["new", "gone", "changed"]),
    ("Users", "user ", ["new", "gone", "changed"]),
    ("Groups", "group ", ["new", "gone", "changed"]),
    (
        "Services",
        "service ",
        ["turned on", "turned off", "changed"],
    ),
];

impl Summary {
    pub(super) fn of(report: &Report) -> Self {
        let mut found = Found::default();
        for filesystem in &report.filesystems {
            for change in filesystem.paths.iter() {
                found.add(&change);
            }
        }
        let mut topics = Vec::new();
        topics.extend(found.kernel());
        for (name, word, words) in SUBJECTS {
            topics.extend(found.subject(name, word, words));
        }
        topics.extend(found.files());
        topics.push(disk(report));
        Self { topics }
    }
}

/// What the paths say.
#[derive(Default)]
struct Found {
    /// What is said before and after, by name: a service can have several links.
    meanings: BTreeMap<String, [BTreeSet<String>; 2]>,
    /// Versions of the kernel that came and went.
    kernels: [BTreeSet<String>; 2],
    counts: BTreeMap<&'static str, usize>,
    /// Bytes in files that came, and that went.
    bytes: [u64; 2],
    hidden: usize,
}

impl Found {
    fn add(&mut self, change: &PathChange) {
        for FieldChange { name, old, new } in &change.meanings {
            let said = self.meanings.entry(name.clone()).or_default();
            said[0].extend(old.clone());
            said[1].extend(new.clone());
        }
        if change.went_along() {
            return;
        }
        *self.counts.entry(class(&change.kind)).or_default() += 1;
        let is_hidden = change.content.as_ref().is_some_and(|it| it.is_hidden);
        self.hidden += usize::from(is_hidden);
        let size = |state: &Option<PathState>| {
            let own = state.as_ref().filter(|it| it.hard_link_to.is_none());
            own.map_or(0, |state| state.size)
        };
        let (old, new) = (size(&change.old), size(&change.new));
        self.bytes[0] = self.bytes[0].saturating_add(new.saturating_sub(old));
        self.bytes[1] = self.bytes[1].saturating_add(old.saturating_sub(new));
        let (came, went) = match &change.kind {
            PathChangeKind::Added => (kernel_of(&change.path), None),
            PathChangeKind::Removed => (None, kernel_of(&change.path)),
            PathChangeKind::Renamed { from, .. } => (kernel_of(&change.path), kernel_of(from)),
            PathChangeKind::Changed => (None, None),
        };
        self.kernels[0].extend(went);
        self.kernels[1].extend(came);
    }

    fn kernel(&self) -> Option<Topic> {
        let [went, came] = self.kernels.clone().map(|versions| {
            let versions: Vec<_> = versions.into_iter().collect();
            versions.join(", ")
        });
        let words = match (went.as_str(), came.as_str()) {
            ("", "") => return None,
            ("", came) => format!("{came} is new"),
            (went, "") => format!("{went} is gone"),
            (went, came) => format!("{went} → {came}"),
        };
        Some(Topic {
            name: "Kernel",
            words,
            groups: Vec::new(),
        })
    }

    /// What the meanings that begin with `word` come to.
    fn subject(
        &self,
        name: &'static str,
        word: &str,
        [new, gone, changed]: [&str; 3],
    ) -> Option<Topic> {
        let mut items: Vec<Item> = Vec::new();
        for (subject, [old, new]) in &self.meanings {
            let Some(subject) = subject.strip_prefix(word) else {
                continue;
            };
            let join = |said: &BTreeSet<String>| {
                let said: Vec<_> = said.iter().map(String::as_str).collect();
                (!said.is_empty()).then(|| said.join(", "))
            };
            items.push(Item {
                class: class_of(word, old, new),
                name: subject.to_owned(),
                old: join(old),
                new: join(new),
            });
        }
        let words = [("added", new), ("removed", gone), ("changed", changed)];
        let words = words.into_iter().filter_map(|(class, word)| {
            let count = items.iter().filter(|item| item.class == class).count();
            (count > 0).then(|| format!("{count} {word}"))
        });
        let words: Vec<_> = words.collect();
        (!items.is_empty()).then(|| Topic {
            name,
            words: words.join(", "),
            groups: groups(&items),
        })
    }

    fn files(&self) -> Option<Topic> {
        let kinds = ["added", "changed", "renamed", "removed"];
        let words = kinds.into_iter().filter_map(|kind| {
            let count = self.counts.get(kind)?;
            Some(format!("{count} {kind}"))
        });
        let mut words: Vec<_> = words.collect();
        if words.is_empty() {
            return None;
        }
        let [more, less] = self.bytes;
        for (sign, bytes) in [('+', more), ('−', less)] {
            if bytes > 0 {
                words.push(format!("{sign}{}", units::bytes(bytes)));
            }
        }
        if self.hidden > 0 {
            let hidden = self.hidden;
            words.push(format!(
                "the lines of {hidden} are not shown, as they hold secrets"
            ));
        }
        Some(Topic {
            name: "Files",
            words: words.join(", "),
            groups: Vec::new(),
        })
    }
}

/// The disk's size, and how much of it differs.
fn disk(report: &Report) -> Topic {
    let mut words = match sizes(report) {
        [Some(old), Some(new)] if old != new => {
            vec![format!("{} → {}", units::bytes(old), units::bytes(new))]
        }
        _ => Vec::new(),
    };
    if report.disk_len > 0 {
        let (changed, len) = (
            units::bytes(total(&report.changed)),
            units::bytes(report.disk_len),
        );
        words.push(format!("{changed} of {len} lie in sectors that differ"));
    }
    let properties = report.record.len() + report.disk.len();
    for (count, one, many) in [
        (properties, "property", "properties"),
        (report.partitions.len(), "partition", "partitions"),
    ] {
        match count {
            0 => {}
            1 => words.push(format!("1 {one} changed")),
            count => words.push(format!("{count} {many} changed")),
        }
    }
    Topic {
        name: "Disk",
        words: words.join(", "),
        groups: Vec::new(),
    }
}

/// What happened to a subject.
fn class_of(word: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) -> &'static str {
    let starts = |said: &BTreeSet<String>| {
        let verbs = ["wanted", "required", "started"];
        said.iter()
            .any(|said| verbs.iter().any(|verb| said.starts_with(verb)))
    };
    let (before, after) = match word {
        "service " => (starts(old), starts(new)),
        _ => (!old.is_empty(), !new.is_empty()),
    };
    match (before, after) {
        (false, true) => "added",
        (true, false) => "removed",
        _ => "changed",
    }
}

fn groups(items: &[Item]) -> Vec<Vec<Item>> {
    let (shown, more) = items.split_at(items.len().min(SHOWN));
    let groups = [shown, more].into_iter().filter(|group| !group.is_empty());
    groups.map(<[Item]>::to_vec).collect()
}

/// The version of the kernel that lies at a path.
fn kernel_of(path: &ImagePath) -> Option<String> {
    let names: Vec<&[u8]> = path.names().collect();
    match *names.as_slice() {
        [b"boot", name] => name.strip_prefix(b"vmlinuz-").map(name_text),
        _ => None,
    }
}
