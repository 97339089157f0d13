//! The meaning of a change to a known file, for a person.
//!
//! - `lines`: users and groups.
//! - `packages`: packages of RPM and dpkg.
//! - `elf`: the build of a program.
//! - `gzip`: what is in a compressed file.
//! - `services`: the services that links start.
//!
//! A file that is not what its name says has no meaning here; its bytes were compared all the same.

mod elf;
mod gzip;
mod lines;
mod packages;
mod services;

use std::collections::{BTreeMap, BTreeSet};

use packages::Database;

use super::PathState;
use super::change::{FieldChange, PathChange, PathChangeKind};
use super::work::Work;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::name_text;
use imgasm_fs::tree::{LastLink, locate};
use imgasm_fs::{FileSystem, FileType};

/// The most that is read of a file to find its meaning.
const LIMIT_BYTES: u64 = 64 << 20;

/// The facts of one side: values by name.
type Facts = BTreeMap<String, String>;

/// What changes mean, path by path in the order of the walk.
pub(super) struct Meanings<'a> {
    old: &'a dyn FileSystem,
    new: &'a dyn FileSystem,
    /// Databases of packages that were reported already: one of several files is reported at the
    /// first that differs.
    told: BTreeSet<Database>,
    work: &'a mut Work,
}

impl<'a> Meanings<'a> {
    pub(super) fn new(
        old: &'a dyn FileSystem,
        new: &'a dyn FileSystem,
        work: &'a mut Work,
    ) -> Self {
        Self {
            old,
            new,
            told: BTreeSet::new(),
            work,
        }
    }

    /// What a change means: the facts that differ, in the order of their names.
    pub(super) fn of(&mut self, change: &PathChange) -> Vec<FieldChange> {
        let links = services::of(change);
        let (true, Some(content)) = (links.is_empty(), &change.content) else {
            return links;
        };
        if let Some(database) = Database::of(&change.path) {
            return if self.told.insert(database) {
                database.compare(self.old, self.new)
            } else {
                Vec::new()
            };
        }
        // What is too much to be hashed is not read here, either.
        if change.kind != PathChangeKind::Changed || content.old.is_none() || content.new.is_none()
        {
            return Vec::new();
        }
        let work = &mut *self.work;
        let mut facts = |fs, state: &Option<PathState>| {
            let is_file = |state: &PathState| state.file_type == FileType::Regular;
            let size = state.as_ref().filter(|state| is_file(state))?.size;
            facts(fs, &change.path, size, work)
        };
        match (facts(self.old, &change.old), facts(self.new, &change.new)) {
            (Some(old), Some(new)) => differing(&old, &new),
            _ => Vec::new(),
        }
    }
}

/// The facts in a file, if it is a known one.
fn facts(fs: &dyn FileSystem, path: &ImagePath, size: u64, work: &mut Work) -> Option<Facts> {
    let read = |limit: u64| read(fs, path, size.min(limit));
    match path.as_bytes() {
        b"/etc/passwd" => Some(lines::users(&read(LIMIT_BYTES)?)),
        b"/etc/group" => Some(lines::groups(&read(LIMIT_BYTES)?)),
        _ => {
            let head = read(elf::HEAD_BYTES)?;
            elf::facts(&head).or_else(|| gzip::facts(&head, || read(LIMIT_BYTES), work))
        }
    }
}

/// The first `len` bytes of a file that was read before without an error.
fn read(fs: &dyn FileSystem, path: &ImagePath, len: u64) -> Option<Vec<u8>> {
    let node = locate(fs, path, LastLink::Keep).ok()?.node?;
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    let read = fs.read_at(node, 0, &mut bytes).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

fn differing(old: &Facts, new: &Facts) -> Vec<FieldChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| FieldChange {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

/// Bytes of a file of the image as text of one line.
fn text(bytes: &[u8]) -> String {
    name_text(bytes)
}
