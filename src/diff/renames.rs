//! Files and directories that were moved, found by what they hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::PathState;
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

/// Makes one change of each pair of a path that is gone and a new one that holds the same.
///
/// A directory is paired with one that holds the same tree, and what is in the one with what is in
/// the other. Of other files that are equal, one of the same name goes before others, and one whose
/// metadata are equal too before those where they are not; else the order of the paths decides.
/// Empty files and empty directories by themselves are never paired.
pub(super) fn pair(changes: Vec<PathChange>) -> Vec<PathChange> {
    let mut pairs = Pairs::default();
    pair_directories(&changes, &mut pairs);
    pair_files(&changes, &mut pairs);
    merge(changes, &pairs)
}

/// Which changes belong together, by their indices.
#[derive(Default)]
struct Pairs {
    /// Of a new path, the one that is gone.
    from: HashMap<usize, usize>,
    /// Those that are gone and paired.
    used: HashSet<usize>,
}

impl Pairs {
    fn add(&mut self, gone: usize, new: usize) {
        self.from.insert(new, gone);
        self.used.insert(gone);
    }
}

fn is_gone(change: &PathChange) -> bool {
    change.kind == PathChangeKind::Removed
}

fn is_new(change: &PathChange) -> bool {
    change.kind == PathChangeKind::Added
}

fn state(change: &PathChange) -> Option<&PathState> {
    change.new.as_ref().or(change.old.as_ref())
}

fn pair_files(changes: &[PathChange], pairs: &mut Pairs) {
    let mut gone: HashMap<Identity<'_>, Vec<usize>> = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        if is_gone(change)
            && !pairs.used.contains(&index)
            && let Some(identity) = identity(change)
        {
            gone.entry(identity).or_default().push(index);
        }
    }
    for (by_name, by_state) in [(true, true), (true, false), (false, true), (false, false)] {
        for (index, change) in changes.iter().enumerate() {
            if !is_new(change) || pairs.from.contains_key(&index) {
                continue;
            }
            let Some(candidates) = identity(change).and_then(|identity| gone.get_mut(&identity))
            else {
                continue;
            };
            let fits = |old: &PathChange| {
                (!by_name || old.path.file_name() == change.path.file_name())
                    && (!by_state || old.old == change.new)
            };
            if let Some(found) = candidates.iter().position(|&old| fits(&changes[old])) {
                pairs.add(candidates.remove(found), index);
            }
        }
    }
}

/// A directory on one side only, with all that is below it.
struct Subtree {
    /// Over the names, the metadata and the contents of all that it holds.
    digest: Digest,
    /// Whether it holds something by which a file is known again.
    is_distinct: bool,
}

fn pair_directories(changes: &[PathChange], pairs: &mut Pairs) {
    let gone = subtrees(changes, is_gone);
    let new = subtrees(changes, is_new);
    let mut by_digest: HashMap<Digest, Vec<usize>> = HashMap::new();
    for (&index, subtree) in gone.iter().filter(|(_, subtree)| subtree.is_distinct) {
        by_digest.entry(subtree.digest).or_default().push(index);
    }
    if by_digest.is_empty() {
        return;
    }
    let indices: HashMap<&ImagePath, usize> = changes
        .iter()
        .enumerate()
        .map(|(index, change)| (&change.path, index))
        .collect();
    // From the top downwards, so that a directory is paired before those in it.
    for (&index, subtree) in &new {
        if pairs.from.contains_key(&index) {
            continue;
        }
        let Some(candidates) = by_digest.get(&subtree.digest) else {
            continue;
        };
        let name = changes[index].path.file_name();
        let found = [true, false].into_iter().find_map(|by_name| {
            candidates.iter().copied().find(|old| {
                !pairs.used.contains(old) && (!by_name || changes[*old].path.file_name() == name)
            })
        });
        if let Some(found) = found {
            pair_below(changes, &indices, found, index, pairs);
        }
    }
}

/// Pairs two directories that hold the same, and all that is in them.
fn pair_below(
    changes: &[PathChange],
    indices: &HashMap<&ImagePath, usize>,
    gone: usize,
    new: usize,
    pairs: &mut Pairs,
) {
    pairs.add(gone, new);
    let (from, to) = (&changes[gone].path, &changes[new].path);
    // What is below a directory follows it.
    let below = changes[new + 1..].iter().enumerate();
    for (offset, change) in below.take_while(|(_, change)| change.path.starts_with(to)) {
        let rest = change.path.as_bytes().get(to.as_bytes().len() + 1..);
        let counterpart = rest.and_then(|rest| from.join(rest).ok());
        let old = counterpart.and_then(|path| indices.get(&path));
        if let Some(&old) = old.filter(|old| !pairs.used.contains(old)) {
            pairs.add(old, new + 1 + offset);
        }
    }
}

/// The directories among the changes of one kind, by their indices.
fn subtrees(changes: &[PathChange], of: fn(&PathChange) -> bool) -> BTreeMap<usize, Subtree> {
    /// What was met of a directory's content, the last name first.
    struct Content {
        hasher: Sha256,
        is_distinct: bool,
    }
    let mut contents: HashMap<ImagePath, Content> = HashMap::new();
    let mut subtrees = BTreeMap::new();
    // Backwards, what is below a directory comes before it.
    for (index, change) in changes.iter().enumerate().rev().filter(|(_, c)| of(c)) {
        let (Some(state), Some(parent)) = (state(change), change.path.parent()) else {
            continue;
        };
        let mut is_distinct = identity(change).is_some();
        let mut hasher = Sha256::new();
        if let Some(content) = contents.remove(&change.path) {
            let digest = Digest::finish(content.hasher);
            hasher.update(digest.as_bytes());
            is_distinct |= content.is_distinct;
            if state.file_type == FileType::Directory {
                subtrees.insert(
                    index,
                    Subtree {
                        digest,
                        is_distinct,
                    },
                );
            }
        }
        hash_entry(&mut hasher, change, state);
        let above = contents.entry(parent).or_insert_with(|| Content {
            hasher: Sha256::new(),
            is_distinct: false,
        });
        above.hasher.update(Digest::finish(hasher).as_bytes());
        above.is_distinct |= is_distinct;
    }
    subtrees
}

/// All of an entry but for where it is and which other names it has.
fn hash_entry(hasher: &mut Sha256, change: &PathChange, state: &PathState) {
    let mut part = |bytes: &[u8]| {
        hasher.update(bytes.len().to_le_bytes());
        hasher.update(bytes);
    };
    part(change.path.file_name().unwrap_or_default());
    let content = change.content.as_ref().and_then(|c| c.new.or(c.old));
    let shown = format!(
        "{:?} {:o} {} {} {} {:?} {:?} {content:?}",
        state.file_type,
        state.permissions,
        state.uid,
        state.gid,
        state.size,
        state.device,
        state.modified,
    );
    part(shown.as_bytes());
    part(state.target.as_deref().unwrap_or_default());
    for (name, value) in &state.xattrs {
        part(name);
        part(value);
    }
}

/// Puts each path that is gone into the new one that it became.
fn merge(changes: Vec<PathChange>, pairs: &Pairs) -> Vec<PathChange> {
    let sources: HashMap<usize, (ImagePath, Option<PathState>)> = pairs
        .used
        .iter()
        .map(|&old| (old, (changes[old].path.clone(), changes[old].old.clone())))
        .collect();
    // Where the paths that were moved are now, to follow links to them.
    let moved: HashMap<ImagePath, ImagePath> = pairs
        .from
        .iter()
        .map(|(&new, &old)| (changes[new].path.clone(), changes[old].path.clone()))
        .collect();
    let mut merged = Vec::with_capacity(changes.len() - sources.len());
    for (index, mut change) in changes.into_iter().enumerate() {
        if sources.contains_key(&index) {
            continue;
        }
        if let Some((from, state)) = pairs.from.get(&index).and_then(|old| sources.get(old)) {
            change.old.clone_from(state);
            change.content = None;
            follow_links(&mut change, &moved);
            let parents = change.path.parent().zip(from.parent());
            let with_parent = change.old == change.new
                && change.path.file_name() == from.file_name()
                && parents.is_some_and(|(new, old)| moved.get(&new) == Some(&old));
            change.kind = PathChangeKind::Renamed {
                from: from.clone(),
                with_parent,
            };
        }
        merged.push(change);
    }
    merged
}

/// A link to a file that was moved is still the same link.
fn follow_links(change: &mut PathChange, moved: &HashMap<ImagePath, ImagePath>) {
    let (Some(old), Some(new)) = (&mut change.old, &change.new) else {
        return;
    };
    let was = new.hard_link_to.as_ref().and_then(|path| moved.get(path));
    if was.is_some() && was == old.hard_link_to.as_ref() {
        old.hard_link_to.clone_from(&new.hard_link_to);
    }
}

fn identity(change: &PathChange) -> Option<Identity<'_>> {
    let state = state(change)?;
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
