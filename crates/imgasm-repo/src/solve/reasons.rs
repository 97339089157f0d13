//! Why the packages of a solution come, as dnf tells it.

use std::collections::BTreeSet;

use crate::package::Relation;
use crate::pool::{Number, Pool};
use crate::wish::{Job, Wishes};
use imgasm_guest::packages::history::Reason;

/// The reason of each package that arrives. What was wished for comes for that, what others only
/// recommend is told from what they need.
pub(super) fn of(
    pool: &Pool,
    wishes: &Wishes,
    jobs: &[Job],
    chosen: &BTreeSet<Number>,
    arriving: &[Number],
) -> Vec<Reason> {
    let swapped = wishes.swap.iter().map(|(_, new)| new);
    let files = wishes.files.iter().map(|(file, _)| file);
    let installed: BTreeSet<_> = wishes.install.iter().chain(swapped).chain(files).collect();
    let (mut wished, mut grouped) = (BTreeSet::<Number>::new(), BTreeSet::<Number>::new());
    for job in jobs {
        let Job::One { wish, candidates } = job else {
            continue;
        };
        let found = candidates.iter().find(|number| chosen.contains(number));
        if wish.starts_with('@') {
            grouped.extend(found);
        } else if installed.contains(wish) {
            wished.extend(found);
        }
    }
    let meant = |relations: fn(&Pool, Number) -> &[Relation],
                 of: &mut dyn Iterator<Item = Number>| {
        let mut found = BTreeSet::new();
        for number in of {
            for relation in relations(pool, number) {
                let providers = pool.providers(&relation.dependency(&pool.names));
                found.extend(providers.into_iter().filter(|one| *one != number));
            }
        }
        found
    };
    let needed = meant(
        |pool, number| &pool.packages[number].relations.requires,
        &mut chosen.iter().copied(),
    );
    let recommended = meant(
        |pool, number| &pool.packages[number].relations.recommends,
        &mut arriving.iter().copied(),
    );
    let reason = |number: &Number| {
        let supplements = &pool.packages[*number].relations.supplements;
        let is_weak = recommended.contains(number) || !supplements.is_empty();
        if wished.contains(number) {
            Reason::User
        } else if grouped.contains(number) {
            Reason::Group
        } else if is_weak && !needed.contains(number) {
            Reason::WeakDependency
        } else {
            Reason::Dependency
        }
    };
    arriving.iter().map(reason).collect()
}
