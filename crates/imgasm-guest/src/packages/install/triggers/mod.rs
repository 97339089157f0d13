//! Triggers: scripts that run because other packages, or files of theirs, come and go.
//!
//! - [`declared`]: the triggers that a header has.
//! - [`owner`]: a package of the database, with its triggers and its files.
//!
//! Which of them run, when, in which order and with what is RPM's own (its `rpmtriggers.c` and
//! `psm.c`), down to that a package's own triggers on files run twice where the database already has
//! the package.

mod declared;
mod owner;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use declared::FileTrigger;
pub(super) use declared::{Occasion, ScriptTags, Watch};
use owner::Owner;
pub(super) use owner::installed_paths;

use super::super::Package;
use super::super::header::Header;

/// Triggers on the files of a package with this priority or a higher one run before its own script,
/// the others behind it.
const URGENT: u64 = 10_000;

/// A trigger that is due.
pub(super) struct Due<'h> {
    /// The header that has it.
    pub(super) owner: &'h Header,
    /// What it watches.
    pub(super) watch: Watch,
    /// What has happened.
    pub(super) occasion: Occasion,
    /// The number of its script.
    pub(super) index: usize,
    /// The first thing that it watches, for messages.
    pub(super) watched: String,
    /// What RPM gives its script.
    pub(super) arguments: Vec<String>,
    /// What RPM gives its script to read.
    pub(super) input: Vec<u8>,
    /// The header of the package that set it off.
    pub(super) cause: &'h Header,
}

/// The packages that the database has at a moment of a transaction, in its order.
pub(super) struct Triggers<'h> {
    owners: Vec<Owner<'h>>,
    /// Those that have gone.
    gone: Vec<Owner<'h>>,
}

impl<'h> Triggers<'h> {
    /// At the beginning of a transaction.
    pub(super) fn new(headers: impl Iterator<Item = &'h Header>) -> Self {
        Self {
            owners: headers.map(Owner::of).collect(),
            gone: Vec::new(),
        }
    }

    /// A package has come.
    pub(super) fn add(&mut self, header: &'h Header) {
        self.owners.push(Owner::of(header));
    }

    /// A package has gone.
    pub(super) fn remove(&mut self, header: &'h Header) {
        let gone = self.owners.iter().position(|owner| owner.is(header));
        self.gone
            .extend(gone.map(|number| self.owners.remove(number)));
    }

    /// How many packages there are of the name of this one.
    pub(super) fn count(&self, package: &Package) -> usize {
        let owners = self.owners.iter();
        let same = owners.filter(|owner| owner.package.name == package.name);
        same.count()
    }

    /// The triggers on packages that are due because of this one: those of others, and its own
    /// because of others.
    pub(super) fn on_package(&self, subject: &'h Header, occasion: Occasion) -> Vec<Due<'h>> {
        let subject = Owner::of(subject);
        // A package that is about to go does not count any more.
        let own_count = self
            .count(&subject.package)
            .saturating_sub(usize::from(occasion.is_removal()));
        let due = |owner: &Owner<'h>, index, (own, other): (usize, usize)| Due {
            owner: owner.header,
            watch: Watch::Packages,
            occasion,
            index,
            watched: owner.first_watched(index),
            arguments: vec![own.to_string(), other.to_string()],
            input: Vec::new(),
            cause: subject.header,
        };
        let nothing = BTreeSet::new();
        let others = self.owners.iter().filter_map(|owner| {
            let index = owner.matching(&subject, occasion, &nothing)?;
            let counts = (self.count(&owner.package), own_count);
            Some(due(owner, index, counts))
        });
        let others: Vec<_> = others.collect();
        let (mut own, mut done) = (Vec::new(), BTreeSet::new());
        if occasion != Occasion::PostUn {
            for condition in &subject.conditions {
                if done.contains(&condition.index) {
                    continue;
                }
                let is_watched = |other: &&Owner<'_>| other.package.name == condition.wanted.name;
                for other in self.owners.iter().filter(is_watched) {
                    if let Some(index) = subject.matching(other, occasion, &done) {
                        done.insert(index);
                        own.push(due(
                            &subject,
                            index,
                            (own_count, self.count(&other.package)),
                        ));
                    }
                }
            }
        }
        in_turn(occasion, others, own)
    }

    /// The triggers on files that are due because of these of a package, in the order of their
    /// paths: those of others, and its own because of the files of others. The urgent ones or the
    /// others.
    pub(super) fn on_files(
        &self,
        subject: &'h Header,
        files: &[Vec<u8>],
        occasion: Occasion,
        is_urgent: bool,
    ) -> Vec<Due<'h>> {
        let is_due = |trigger: &&FileTrigger| {
            trigger.is_for(occasion) && (trigger.priority >= URGENT) == is_urgent
        };
        let due = |owner: &Owner<'h>, trigger: &FileTrigger, input| {
            file_due(owner, trigger, (Watch::Files, occasion), input, subject)
        };
        let mut others = Vec::new();
        for (number, owner) in self.owners.iter().enumerate() {
            for trigger in owner.on_files.iter().filter(is_due) {
                let input = matching(trigger, |place, lines| add_lines(files, place, lines));
                others.extend(due(owner, trigger, input).map(|due| (trigger, number, due)));
            }
        }
        let others = in_order(others);
        let mut own = Vec::new();
        if occasion != Occasion::PostUn {
            let subject = Owner::of(subject);
            for trigger in subject.on_files.iter().filter(is_due) {
                let all = self.owners.iter();
                let all = all.filter(|other| occasion.is_removal() || !other.is(subject.header));
                let input = recorded(trigger, &all.collect::<Vec<_>>());
                own.extend(due(&subject, trigger, input));
            }
        }
        in_turn(occasion, others, own)
    }

    /// The triggers on the files of a transaction that are due before it begins, in which these
    /// packages go.
    pub(super) fn before_transaction(&self, going: &[&'h Header]) -> Vec<Due<'h>> {
        self.on_transaction(Occasion::Un, going)
    }

    /// Those that are due in its end, in which these packages came.
    pub(super) fn after_transaction(&self, came: &[&'h Header]) -> Vec<Due<'h>> {
        let mut due = self.on_transaction(Occasion::In, came);
        let occasion = Occasion::PostUn;
        let mut gone = Vec::new();
        for (number, owner) in self.owners.iter().enumerate() {
            let triggers = owner.on_transaction.iter();
            for trigger in triggers.filter(|trigger| trigger.is_for(occasion)) {
                let mut causes = self.gone.iter();
                if let Some(cause) = causes.find(|cause| has_first_place(cause, trigger)) {
                    let what = (Watch::Transaction, occasion);
                    // Its script is not given any paths.
                    let one = due_of(owner, trigger, what, Vec::new(), cause.header);
                    gone.push((trigger, number, one));
                }
            }
        }
        // Those of the packages that came are the last of all.
        let own = due.split_off(
            due.iter()
                .take_while(|due| !is_one(came, due.owner))
                .count(),
        );
        due.extend(in_order(gone));
        due.extend(own);
        due
    }

    /// Triggers of the packages that stay because of the files of these, then the own ones of each
    /// of these because of all files.
    fn on_transaction(&self, occasion: Occasion, subjects: &[&'h Header]) -> Vec<Due<'h>> {
        let what = (Watch::Transaction, occasion);
        let is_subject = |owner: &&Owner<'_>| is_one(subjects, owner.header);
        let theirs: Vec<_> = self.owners.iter().filter(is_subject).collect();
        let mut others = Vec::new();
        for (number, owner) in self.owners.iter().enumerate() {
            if is_subject(&owner) {
                continue;
            }
            let triggers = owner.on_transaction.iter();
            for trigger in triggers.filter(|trigger| trigger.is_for(occasion)) {
                let mut causes = theirs.iter();
                let cause = causes.find(|cause| !recorded(trigger, &[cause]).is_empty());
                let Some(cause) = cause else { continue };
                let input = recorded(trigger, &theirs);
                let one = due_of(owner, trigger, what, input, cause.header);
                others.push((trigger, number, one));
            }
        }
        let mut due = in_order(others);
        let all: Vec<_> = self.owners.iter().collect();
        for subject in subjects {
            let own = self.owners.iter().find(|owner| owner.is(subject));
            let triggers = own.into_iter().flat_map(|owner| {
                let triggers = owner.on_transaction.iter();
                triggers.map(move |trigger| (owner, trigger))
            });
            for (owner, trigger) in triggers.filter(|(_, trigger)| trigger.is_for(occasion)) {
                let input = recorded(trigger, &all);
                due.extend(file_due(owner, trigger, what, input, subject));
            }
        }
        due
    }
}

/// Those of others run before a package's own when it comes, behind them when it goes.
fn in_turn<'h>(
    occasion: Occasion,
    mut others: Vec<Due<'h>>,
    mut own: Vec<Due<'h>>,
) -> Vec<Due<'h>> {
    if occasion == Occasion::Un {
        own.append(&mut others);
        return own;
    }
    others.append(&mut own);
    others
}

/// Those of the highest priority first, then in the order of the database.
fn in_order<'h>(mut due: Vec<(&FileTrigger, usize, Due<'h>)>) -> Vec<Due<'h>> {
    due.sort_by_key(|(trigger, number, _)| (Reverse(trigger.priority), *number, trigger.index));
    due.into_iter().map(|(.., due)| due).collect()
}

fn is_one(headers: &[&Header], header: &Header) -> bool {
    headers.iter().any(|one| std::ptr::eq(*one, header))
}

/// A trigger on files that there are; none if there are not.
fn file_due<'h>(
    owner: &Owner<'h>,
    trigger: &FileTrigger,
    what: (Watch, Occasion),
    input: Vec<u8>,
    cause: &'h Header,
) -> Option<Due<'h>> {
    (!input.is_empty()).then(|| due_of(owner, trigger, what, input, cause))
}

fn due_of<'h>(
    owner: &Owner<'h>,
    trigger: &FileTrigger,
    (watch, occasion): (Watch, Occasion),
    input: Vec<u8>,
    cause: &'h Header,
) -> Due<'h> {
    let first = trigger.places.first().map(Vec::as_slice);
    Due {
        owner: owner.header,
        watch,
        occasion,
        index: trigger.index,
        watched: String::from_utf8_lossy(first.unwrap_or_default()).into_owned(),
        // It means nothing.
        arguments: vec!["0".to_owned()],
        input,
        cause,
    }
}

/// The paths of packages in the database at the places that a trigger watches, a line each: place by
/// place, package by package. As RPM looks them up, a package only counts if it has a folder whose
/// path begins as the place does.
fn recorded(trigger: &FileTrigger, owners: &[&Owner<'_>]) -> Vec<u8> {
    matching(trigger, |place, lines| {
        for owner in owners.iter().filter(|owner| owner.has_folder(place)) {
            add_lines(owner.paths(), place, lines);
        }
    })
}

/// Whether a package has files at the first of a trigger's places: RPM looks at no other once files
/// have gone.
fn has_first_place(owner: &Owner<'_>, trigger: &FileTrigger) -> bool {
    let mut paths = owner.paths().iter();
    let first = trigger.places.first();
    first.is_some_and(|place| paths.any(|path| path.starts_with(place)))
}

fn matching(trigger: &FileTrigger, mut add: impl FnMut(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut lines = Vec::new();
    for place in &trigger.places {
        add(place, &mut lines);
    }
    lines
}

/// Adds those of sorted paths that begin as this place does.
fn add_lines(paths: &[Vec<u8>], place: &[u8], lines: &mut Vec<u8>) {
    let start = paths.partition_point(|path| path.as_slice() < place);
    for path in paths[start..]
        .iter()
        .take_while(|path| path.starts_with(place))
    {
        lines.extend_from_slice(path);
        lines.push(b'\n');
    }
}
