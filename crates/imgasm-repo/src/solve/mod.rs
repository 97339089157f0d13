//! Which packages come and go, so that all wishes and all dependencies are met.
//!
//! - [`formula`]: what must hold, as clauses over the packages that matter.
//! - [`cnf`]: boolean dependencies as clauses.
//! - [`choice`]: the packages that are chosen, by dnf's preferences, asking an oracle, a SAT solver.
//! - [`explain`]: why there are none.
//! - [`reasons`]: why each package comes.
//!
//! A choice is only made if the oracle knows that all else can still be met with it. So nothing is
//! ever taken back, and what is not chosen in the end is not needed.

mod choice;
mod cnf;
mod explain;
mod formula;
mod reasons;

use std::collections::BTreeSet;

use crate::metadata::Loaded;
use crate::pool::{Number, Pool};
use crate::wish::{Job, Wishes};
use crate::{Result, Transport};
use imgasm_guest::packages::history::Reason;

/// How often more of the lists of files may be read.
const MAX_ROUNDS: usize = 8;

/// What comes and goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Solution {
    /// The packages that are to be installed.
    pub arriving: Vec<Number>,
    /// Why each of them is.
    pub reasons: Vec<Reason>,
    /// The installed packages that go.
    pub leaving: Vec<Number>,
    /// What was asked for that is so already.
    pub notes: Vec<String>,
}

/// Solves the wishes. The lists of files are read where a dependency cannot be met without them.
pub fn solve(
    pool: &mut Pool,
    wishes: &Wishes,
    repositories: &[Loaded],
    transport: &Transport,
) -> Result<Solution> {
    let groups = repositories.iter().flat_map(|loaded| &loaded.groups);
    let groups: Vec<_> = groups.cloned().collect();
    let mut known = BTreeSet::new();
    let paths = wishes
        .install
        .iter()
        .chain(wishes.swap.iter().map(|(_, new)| new));
    let paths = paths.filter(|path| path.starts_with('/'));
    let mut unknown: BTreeSet<String> = paths.cloned().collect();
    let mut round = 0;
    loop {
        if !unknown.is_empty() {
            // The lists are long: one reading is to find all that may be asked for later.
            unknown.extend(pool.unlisted_paths());
            pool.learn_files(repositories, transport, &unknown)?;
            known.append(&mut unknown);
        }
        let (jobs, notes) = wishes.jobs(pool, &groups)?;
        let formula = formula::Formula::new(pool, wishes, &jobs)?;
        let missing = formula.missing_files.iter();
        unknown = missing
            .filter(|path| !known.contains(*path))
            .cloned()
            .collect();
        round += 1;
        if unknown.is_empty() || round == MAX_ROUNDS {
            return finish(pool, wishes, &jobs, &formula, notes);
        }
    }
}

fn finish(
    pool: &Pool,
    wishes: &Wishes,
    jobs: &[Job],
    formula: &formula::Formula,
    notes: Vec<String>,
) -> Result<Solution> {
    let chosen = choice::choose(pool, wishes, jobs, formula)?;
    let mut arriving: Vec<_> = chosen
        .iter()
        .copied()
        .filter(|number| !pool.packages[*number].is_installed())
        .collect();
    arriving.sort_by_key(|number| pool.nevra(*number));
    let installed =
        (0..pool.packages.len()).take_while(|number| pool.packages[*number].is_installed());
    let reasons = reasons::of(pool, wishes, jobs, &chosen, &arriving);
    Ok(Solution {
        arriving,
        reasons,
        leaving: installed
            .filter(|number| !chosen.contains(number))
            .collect(),
        notes,
    })
}
