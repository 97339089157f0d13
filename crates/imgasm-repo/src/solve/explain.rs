//! Why wishes cannot be met: the fewest facts that contradict each other.

use std::collections::BTreeSet;

use super::formula::{Formula, Why};
use crate::Error;
use crate::oracle::{Literal, Oracle};
use crate::pool::Pool;
use crate::wish::{Job, Wishes};

/// The error that says why what is assumed cannot be.
pub(super) fn contradiction(
    pool: &Pool,
    wishes: &Wishes,
    jobs: &[Job],
    formula: &Formula,
    assumed: &[Literal],
) -> Error {
    let mut oracle = Oracle::new();
    for member in &formula.members {
        oracle.declare(*member, pool.packages[*member].is_installed());
    }
    for assumption in formula.assumptions() {
        oracle.declare(assumption, true);
    }
    // Every clause gets an assumption of its own, so that the oracle can blame it.
    let first = formula.assumptions().max();
    let first = first.map_or(pool.packages.len(), |last| last + 1);
    for (index, clause) in formula.clauses.iter().enumerate() {
        oracle.declare(first + index, true);
        let mut literals = clause.literals.clone();
        literals.push(Literal::no(first + index));
        oracle.add(&literals);
    }
    let clauses = (first..first + formula.clauses.len()).map(Literal::yes);
    let mut blamed: Vec<_> = assumed.iter().copied().chain(clauses).collect();
    if oracle.allows(&blamed) {
        blamed.clear();
    } else {
        blamed = fewest(&mut oracle, &blamed);
    }
    if oracle.has_given_up() {
        return Error::TooHard;
    }
    let whys = blamed.iter().filter_map(|literal| {
        let clause = formula.clauses.get(literal.name.checked_sub(first)?)?;
        Some((
            &clause.why,
            clause.literals.iter().any(|literal| literal.is_so),
        ))
    });
    let facts: BTreeSet<_> = whys
        .map(|(why, has_candidates)| fact(pool, wishes, jobs, why, has_candidates))
        .collect();
    Error::Unsolvable {
        problems: facts.into_iter().map(|(_, text)| text).collect(),
    }
}

/// Leaves out whatever is not needed for the contradiction.
fn fewest(oracle: &mut Oracle, blamed: &[Literal]) -> Vec<Literal> {
    let mut blamed = oracle.blamed(blamed);
    let mut index = 0;
    while index < blamed.len() {
        let mut fewer = blamed.clone();
        fewer.remove(index);
        if oracle.allows(&fewer) {
            index += 1;
        } else {
            let still = oracle.blamed(&fewer);
            blamed.retain(|literal| still.contains(literal));
            index = 0;
        }
    }
    blamed
}

/// A fact in words, with a number by which wishes come first.
fn fact(
    pool: &Pool,
    wishes: &Wishes,
    jobs: &[Job],
    why: &Why,
    has_candidates: bool,
) -> (u8, String) {
    match why {
        Why::Job(index) => match jobs.get(*index) {
            Some(Job::One { wish, candidates }) => {
                let text = match candidates.as_slice() {
                    [only] => format!("`{wish}` is wished for, which is {}", pool.nevra(*only)),
                    _ => format!("`{wish}` is wished for"),
                };
                (0, text)
            }
            Some(Job::None { wish, .. }) => (0, format!("`{wish}` is to be removed")),
            None => (0, String::new()),
        },
        Why::Keep(number) => {
            let package = pool.nevra(*number);
            let name = pool.names.text(pool.packages[*number].name);
            if wishes.protected.iter().any(|protected| protected == name) {
                (1, format!("{package} is installed and protected"))
            } else {
                (
                    1,
                    format!("{package} is installed, and no wish is for its removal"),
                )
            }
        }
        Why::Requires(number, text) if has_candidates => {
            (2, format!("{} requires `{text}`", pool.nevra(*number)))
        }
        Why::Requires(number, text) => {
            let package = pool.nevra(*number);
            (
                2,
                format!("nothing provides `{text}`, which {package} requires"),
            )
        }
        // Nobody assumes them when a contradiction is explained.
        Why::Prefers(_) => (2, String::new()),
        Why::Supplements(number) => (2, format!("{} goes with others", pool.nevra(*number))),
        Why::Conflicts(number, text) => (
            3,
            format!("{} conflicts with `{text}`", pool.nevra(*number)),
        ),
        Why::Obsoletes(number, other) => {
            let (package, other) = (pool.nevra(*number), pool.nevra(*other));
            (3, format!("{package} takes the place of {other}"))
        }
        Why::Twice(one, other) => {
            let (one, other) = (pool.nevra(*one), pool.nevra(*other));
            (3, format!("{one} and {other} cannot both be installed"))
        }
    }
}
