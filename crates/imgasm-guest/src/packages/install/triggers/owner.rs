//! A package of the database, with its triggers and its files.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::super::super::file_list;
use super::super::super::header::Header;
use super::super::super::version::{self, Dependency, sense};
use super::super::super::{Package, tags};
use super::declared::{Condition, FileTrigger, Occasion, Watch, conditions, file_triggers};

pub(super) struct Owner<'h> {
    pub(super) header: &'h Header,
    pub(super) package: Package,
    pub(super) conditions: Vec<Condition>,
    pub(super) on_files: Vec<FileTrigger>,
    pub(super) on_transaction: Vec<FileTrigger>,
    paths: OnceCell<Vec<Vec<u8>>>,
    folders: OnceCell<BTreeSet<Vec<u8>>>,
}

impl<'h> Owner<'h> {
    pub(super) fn of(header: &'h Header) -> Self {
        Self {
            header,
            package: Package::of(header),
            conditions: conditions(header),
            on_files: file_triggers(header, Watch::Files),
            on_transaction: file_triggers(header, Watch::Transaction),
            paths: OnceCell::new(),
            folders: OnceCell::new(),
        }
    }

    /// Whether it has this header, and not one that is only equal to it.
    pub(super) fn is(&self, header: &Header) -> bool {
        std::ptr::eq(self.header, header)
    }

    /// The first package that a trigger watches.
    pub(super) fn first_watched(&self, index: usize) -> String {
        let mut conditions = self.conditions.iter();
        let first = conditions.find(|condition| condition.index == index);
        first.map_or_else(String::new, |first| first.wanted.name.clone())
    }

    /// The trigger that another package sets off, if it does; `done` are those that did run for the
    /// same reason. One package sets off one trigger of another at most.
    pub(super) fn matching(
        &self,
        other: &Owner<'_>,
        occasion: Occasion,
        done: &BTreeSet<usize>,
    ) -> Option<usize> {
        let mut conditions = self.conditions.iter();
        let first = conditions.find(|condition| {
            condition.wanted.flags & occasion.sense() != 0 && other.is_meant(&condition.wanted)
        });
        first
            .map(|condition| condition.index)
            .filter(|index| !done.contains(index))
    }

    /// Whether a condition means this package: it has the name, and what it is or provides under
    /// this name has the version.
    fn is_meant(&self, wanted: &Dependency) -> bool {
        let is = Dependency {
            name: self.package.name.clone(),
            flags: sense::EQUAL,
            version: self.package.full_version(),
        };
        let provides = version::provides(self.header);
        let mut all = provides.iter().chain([&is]);
        wanted.name == is.name && all.any(|one| one.name == is.name && one.overlaps(wanted))
    }

    /// The paths of its files that are really there by its record, in their order.
    pub(super) fn paths(&self) -> &[Vec<u8>] {
        self.paths.get_or_init(|| installed_paths(self.header))
    }

    /// Whether it has files in a folder whose path begins so.
    pub(super) fn has_folder(&self, place: &[u8]) -> bool {
        let folders = self.folders.get_or_init(|| {
            let paths = file_list::raw_paths(self.header).unwrap_or_default();
            let folder = |path: &Vec<u8>| {
                let end = path.iter().rposition(|byte| *byte == b'/')?;
                Some(path[..=end].to_vec())
            };
            paths.iter().filter_map(folder).collect()
        });
        let mut behind = folders.range(place.to_vec()..);
        behind
            .next()
            .is_some_and(|folder| folder.starts_with(place))
    }
}

/// The paths of a package's files that were not left out, in their order.
pub(in super::super) fn installed_paths(header: &Header) -> Vec<Vec<u8>> {
    // A record whose list of files is damaged has none.
    let paths = file_list::raw_paths(header).unwrap_or_default();
    let states = header.numbers(tags::FILE_STATES);
    let is_there = |index| {
        let state = states.get(index).copied();
        state.is_none_or(|state| {
            state == file_list::states::NORMAL || state == file_list::states::NET_SHARED
        })
    };
    let numbered = paths.into_iter().enumerate();
    let mut paths: Vec<_> = numbered
        .filter(|(index, _)| is_there(*index))
        .map(|(_, path)| path)
        .collect();
    paths.sort();
    paths
}
