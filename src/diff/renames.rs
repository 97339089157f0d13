//! Files and directories that were moved, found by what they hold.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::change::{PathChange, PathChangeKind};
use super::{PathChanges, PathState};
use imgasm_block::Digest;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;

/// Makes one change out of each pair of a path that is gone and a new one with the same content.
///
/// A directory is paired with one that holds the same tree, and what is in the one with what is in
/// the other. Among other equal files, those with the same name are paired first, and among these,
/// those whose metadata are equal, too; after that the order of the paths decides. Empty files and
/// empty directories by themselves are never paired.
pub(super) fn pair(changes: PathChanges) -> PathChanges {
    let is_there = |kind| changes.iter().any(|change| change.kind == kind);
    if !is_there(PathChangeKind::Added) || !is_there(PathChangeKind::Removed) {
        return changes;
    }
    let mut gone = candidates(&changes, &PathChangeKind::Removed);
    let mut new = candidates(&changes, &PathChangeKind::Added);
    pair_directories(&mut gone, &mut new);
    pair_files(&mut gone, &mut new);
    merge(changes, &gone, &new)
}

/// Half a SHA-256: enough to distinguish things, of which millions are held.
type Mark = [u8; 16];

/// A path that is new or gone, with the properties by which it can be paired.
struct Candidate {
    /// Its place among all changes.
    index: usize,
    /// The directory that holds it, among the candidates of its kind.
    parent: Option<usize>,
    /// How many candidates are below it; they follow it.
    below: usize,
    /// The property by which it is recognised; `None` if many files could share it.
    identity: Option<Mark>,
    /// Its last name.
    name: Mark,
    /// Its state, apart from its directory, its name and its other names.
    state: Mark,
    /// Of a directory, everything below it, if something there can be recognised.
    tree: Option<Mark>,
    /// The candidate with which it is paired.
    pair: Option<usize>,
}

/// All changes of a kind: either the new paths or those that are gone.
fn candidates(changes: &PathChanges, kind: &PathChangeKind) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    // The directories that contain the last one.
    let mut around: Vec<(ImagePath, usize)> = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let Some(state) = state(&change).filter(|_| change.kind == *kind) else {
            continue;
        };
        while let Some((_, above)) = around.pop_if(|(path, _)| !change.path.starts_with(path)) {
            found[above].below = found.len() - above - 1;
        }
        let content = change.content.as_ref().and_then(|c| c.new.or(c.old));
        // The names of one file differ only in their places, which are not compared.
        let alone = PathState {
            hard_link_to: None,
            ..state.clone()
        };
        found.push(Candidate {
            index,
            parent: around.last().map(|&(_, above)| above),
            below: 0,
            identity: identity(&change, state),
            name: mark(&change.path.file_name()),
            state: mark(&(alone, content)),
            tree: None,
            pair: None,
        });
        if state.file_type == FileType::Directory {
            around.push((change.path, found.len() - 1));
        }
    }
    for (_, above) in around {
        found[above].below = found.len() - above - 1;
    }
    mark_trees(&mut found);
    found
}

/// What identifies a file that was moved: the content of a regular file that is not empty; the
/// target and the name of a symbolic link, because many links share a target.
fn identity(change: &PathChange, state: &PathState) -> Option<Mark> {
    match state.file_type {
        FileType::Regular if state.size > 0 => {
            let content = change.content.as_ref()?;
            content.new.or(content.old).map(|digest| mark(&digest))
        }
        FileType::Symlink => Some(mark(&(state.target.as_deref()?, change.path.file_name()?))),
        _ => None,
    }
}

/// The state of a path that is on one side only.
fn state(change: &PathChange) -> Option<&PathState> {
    change.new.as_ref().or(change.old.as_ref())
}

fn mark(value: &impl Serialize) -> Mark {
    let bytes = postcard::to_allocvec(value).expect("memory takes all");
    half(Digest::of(&bytes))
}

fn half(digest: Digest) -> Mark {
    let [mark, _] = zerocopy::transmute!(*digest.as_bytes());
    mark
}

/// Gives each directory the mark of what is below it.
fn mark_trees(candidates: &mut [Candidate]) {
    /// The content of a directory that was met so far, the last name first.
    #[derive(Default)]
    struct Content {
        hasher: Sha256,
        is_distinct: bool,
    }
    let mut contents: HashMap<usize, Content> = HashMap::new();
    // Backwards, what is below a directory comes before it.
    for index in (0..candidates.len()).rev() {
        let candidate = &mut candidates[index];
        let mut hasher = Sha256::new();
        let mut is_distinct = candidate.identity.is_some();
        if let Some(content) = contents.remove(&index) {
            let tree = half(Digest::finish(content.hasher));
            is_distinct |= content.is_distinct;
            candidate.tree = is_distinct.then_some(tree);
            hasher.update(tree);
        }
        hasher.update(candidate.name);
        hasher.update(candidate.state);
        if let Some(parent) = candidate.parent {
            let above = contents.entry(parent).or_default();
            above.hasher.update(Digest::finish(hasher).as_bytes());
            above.is_distinct |= is_distinct;
        }
    }
}

/// Candidates by a property, in their order.
struct Queues<K>(HashMap<K, VecDeque<usize>>);

impl<K: Hash + Eq> Queues<K> {
    fn new(candidates: &[Candidate], key: impl Fn(&Candidate) -> Option<K>) -> Self {
        let mut queues: HashMap<K, VecDeque<usize>> = HashMap::new();
        for (number, candidate) in candidates.iter().enumerate() {
            if let Some(key) = key(candidate).filter(|_| candidate.pair.is_none()) {
                queues.entry(key).or_default().push_back(number);
            }
        }
        Self(queues)
    }

    /// Takes the first candidate with this property that is not paired yet.
    fn take(&mut self, key: &K, candidates: &[Candidate]) -> Option<usize> {
        let queue = self.0.get_mut(key)?;
        std::iter::from_fn(|| queue.pop_front()).find(|&first| candidates[first].pair.is_none())
    }
}

fn pair_directories(gone: &mut [Candidate], new: &mut [Candidate]) {
    let mut same_name = Queues::new(gone, |directory| Some((directory.tree?, directory.name)));
    let mut any_name = Queues::new(gone, |directory| directory.tree);
    // From the top downwards, so that a directory is paired before those in it.
    for number in 0..new.len() {
        let directory = &new[number];
        let Some(tree) = directory.tree.filter(|_| directory.pair.is_none()) else {
            continue;
        };
        let found = same_name
            .take(&(tree, directory.name), gone)
            .or_else(|| any_name.take(&tree, gone));
        let Some(found) = found else { continue };
        // The same trees have the same paths in the same order.
        for offset in 0..=gone[found].below.min(directory.below) {
            let (before, after) = (&mut gone[found + offset], &mut new[number + offset]);
            if before.pair.is_none() {
                before.pair = Some(number + offset);
                after.pair = Some(found + offset);
            }
        }
    }
}

fn pair_files(gone: &mut [Candidate], new: &mut [Candidate]) {
    for (by_name, by_state) in [(true, true), (true, false), (false, true), (false, false)] {
        let key = |file: &Candidate| {
            let name = by_name.then_some(file.name);
            let state = by_state.then_some(file.state);
            Some((file.identity?, name, state))
        };
        let mut queues = Queues::new(gone, key);
        for (number, file) in new.iter_mut().enumerate() {
            let Some(key) = key(file).filter(|_| file.pair.is_none()) else {
                continue;
            };
            if let Some(found) = queues.take(&key, gone) {
                gone[found].pair = Some(number);
                file.pair = Some(found);
            }
        }
    }
}

/// Merges each path that is gone into the new one that it became.
fn merge(changes: PathChanges, gone: &[Candidate], new: &[Candidate]) -> PathChanges {
    let by_index = |candidates: &[Candidate]| -> HashMap<usize, usize> {
        let paired = candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| c.pair.is_some());
        paired.map(|(number, c)| (c.index, number)).collect()
    };
    let (gone_by_index, new_by_index) = (by_index(gone), by_index(new));
    if new_by_index.is_empty() {
        return changes;
    }
    // What was there before, and the names to which links lead.
    let mut before: HashMap<usize, Before> = HashMap::new();
    let mut linked: HashSet<ImagePath> = HashSet::new();
    for (index, change) in changes.iter().enumerate() {
        if let Some(&number) = gone_by_index.get(&index) {
            before.insert(number, Before::new(&change));
        } else if new_by_index.contains_key(&index) {
            linked.extend(change.new.and_then(|state| state.hard_link_to));
        }
    }
    let source = |index: usize| -> Option<(usize, ImagePath, Option<PathState>)> {
        let number = *new_by_index.get(&index)?;
        let (from, state) = before.get(&new[number].pair?)?.get();
        Some((number, from, state))
    };
    // The earlier paths of the names to which links lead.
    let moved: HashMap<ImagePath, ImagePath> = changes
        .iter()
        .enumerate()
        .filter(|(_, change)| linked.contains(&change.path))
        .filter_map(|(index, change)| Some((change.path, source(index)?.1)))
        .collect();
    changes.rewrite(|index, mut change| {
        if gone_by_index.contains_key(&index) {
            return None;
        }
        if let Some((number, from, state)) = source(index) {
            change.old = state;
            change.content = None;
            follow_links(&mut change, &moved);
            let parents = new[number]
                .parent
                .zip(new[number].pair.and_then(|old| gone[old].parent));
            let with_parent = change.old == change.new
                && change.path.file_name() == from.file_name()
                && parents.is_some_and(|(above, old_above)| new[above].pair == Some(old_above));
            change.kind = PathChangeKind::Renamed { from, with_parent };
        }
        Some(change)
    })
}

/// A path that is gone and what was there, in little memory.
struct Before(Box<[u8]>);

impl Before {
    fn new(change: &PathChange) -> Self {
        let bytes = postcard::to_allocvec(&(&change.path, &change.old));
        Self(bytes.expect("memory takes all").into())
    }

    fn get(&self) -> (ImagePath, Option<PathState>) {
        postcard::from_bytes(&self.0).expect("`new` encoded it")
    }
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
