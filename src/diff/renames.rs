//! Files that were moved, found by their content.

use std::collections::HashMap;

use super::change::{PathChange, PathChangeKind};
use crate::block::Digest;
use crate::fs::FileType;
use crate::fs::path::ImagePath;

/// By what a file that was moved is known again.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'a> {
    /// A regular file that is not empty: its content.
    Content(Digest),
    /// A symbolic link: its target and its name, because many links share a target.
    Link(&'a [u8], &'a [u8]),
}

/// Makes one change of each pair of a path that is gone and a new one with the same content.
///
/// Of several that could be meant, those with the same name are paired first, then the first ones
/// in the order of the paths; empty files are never paired.
pub(super) fn pair(changes: Vec<PathChange>) -> Vec<PathChange> {
    let mut gone: HashMap<Identity<'_>, Vec<usize>> = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        if change.kind == PathChangeKind::Removed
            && let Some(identity) = identity(change)
        {
            gone.entry(identity).or_default().push(index);
        }
    }
    let mut from: HashMap<usize, usize> = HashMap::new();
    for same_name in [true, false] {
        for (index, change) in changes.iter().enumerate() {
            if change.kind != PathChangeKind::Added || from.contains_key(&index) {
                continue;
            }
            let Some(candidates) = identity(change).and_then(|identity| gone.get_mut(&identity))
            else {
                continue;
            };
            let name = change.path.file_name();
            let found = candidates
                .iter()
                .position(|&old| !same_name || changes[old].path.file_name() == name);
            if let Some(found) = found {
                from.insert(index, candidates.remove(found));
            }
        }
    }
    merge(changes, &from)
}

/// Puts each path that is gone into the new one that it became; `from` gives its index.
fn merge(changes: Vec<PathChange>, from: &HashMap<usize, usize>) -> Vec<PathChange> {
    let sources: HashMap<usize, (ImagePath, Option<super::PathState>)> = from
        .values()
        .map(|&old| (old, (changes[old].path.clone(), changes[old].old.clone())))
        .collect();
    let mut merged = Vec::with_capacity(changes.len());
    for (index, mut change) in changes.into_iter().enumerate() {
        if sources.contains_key(&index) {
            continue;
        }
        if let Some((path, state)) = from.get(&index).and_then(|old| sources.get(old)) {
            change.kind = PathChangeKind::Renamed { from: path.clone() };
            change.old.clone_from(state);
            change.content = None;
        }
        merged.push(change);
    }
    merged
}

fn identity(change: &PathChange) -> Option<Identity<'_>> {
    let state = change.new.as_ref().or(change.old.as_ref())?;
    match state.file_type {
        FileType::Regular if state.size > 0 => {
            let content = change.content.as_ref()?;
            content.new.or(content.old).map(Identity::Content)
        }
        FileType::Symlink => Some(Identity::Link(
            state.target.as_deref()?,
            change.path.file_name()?,
        )),
        _ => None,
    }
}
