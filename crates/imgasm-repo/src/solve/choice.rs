//! The packages that are chosen, by dnf's preferences: what wishes name, what is installed, what
//! these need, and what goes well with what is new.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::explain;
use super::formula::{Clause, Formula, Why};
use crate::oracle::{Literal, Oracle};
use crate::pool::{Number, Pool};
use crate::wish::{Job, Wishes, sort_best_first};
use crate::{Error, Result};

/// Chooses packages.
///
/// # Errors
/// Where the wishes and the dependencies contradict each other.
pub(super) fn choose(
    pool: &Pool,
    wishes: &Wishes,
    jobs: &[Job],
    formula: &Formula,
) -> Result<BTreeSet<Number>> {
    let mut oracle = Oracle::new();
    for member in &formula.members {
        oracle.declare(*member, pool.packages[*member].is_installed());
    }
    for assumption in formula.assumptions() {
        oracle.declare(assumption, true);
    }
    for clause in &formula.clauses {
        oracle.add(&clause.literals);
    }
    let contradiction =
        |assumed: &[Literal]| explain::contradiction(pool, wishes, jobs, formula, assumed);
    let removing: Vec<_> = jobs
        .iter()
        .zip(&formula.jobs)
        .filter(|(job, _)| matches!(job, Job::None { .. }))
        .map(|(_, assumption)| Literal::yes(*assumption))
        .collect();
    let kept = kept(pool, wishes, formula, &mut oracle, &removing).map_err(|assumed| {
        if oracle.has_given_up() {
            return Error::TooHard;
        }
        contradiction(&assumed)
    })?;
    let jobs_done = formula
        .jobs
        .iter()
        .map(|assumption| Literal::yes(*assumption));
    let mut assumed: Vec<_> = jobs_done.chain(kept).collect();
    let is_allowed = oracle.allows(&assumed);
    if oracle.has_given_up() {
        return Err(Error::TooHard);
    }
    if !is_allowed {
        return Err(contradiction(&assumed));
    }
    let preferences = formula.preferences.iter().copied().map(Literal::yes);
    let preferences = oracle.give_up_last(&assumed, preferences.collect(), |_| true);
    // Without any of them it holds.
    assumed.extend(preferences.unwrap_or_default());
    let mut choice = Choice {
        pool,
        formula,
        oracle,
        chosen: HashSet::new(),
        assumed: Vec::new(),
        waiting: VecDeque::new(),
        by_need: by_negative(&formula.clauses),
        by_weak: by_negative(&formula.weak),
        going_well: HashSet::new(),
        weak: VecDeque::new(),
    };
    for literal in assumed {
        choice.take(literal.name);
    }
    choice.wishes(jobs);
    choice.settle();
    choice.replace();
    choice.add_weak();
    if choice.oracle.has_given_up() {
        return Err(Error::TooHard);
    }
    let chosen = choice.chosen.into_iter();
    Ok(chosen.filter(|name| *name < pool.packages.len()).collect())
}

/// What is kept: everything, but for what wishes take away, and what depends on that.
///
/// # Errors
/// What contradicts itself.
fn kept(
    pool: &Pool,
    wishes: &Wishes,
    formula: &Formula,
    oracle: &mut Oracle,
    removing: &[Literal],
) -> Result<Vec<Literal>, Vec<Literal>> {
    let is_protected = |(number, _): &&(Number, usize)| {
        let name = pool.names.text(pool.packages[*number].name);
        wishes.protected.iter().any(|protected| protected == name)
    };
    let protected = formula.keeps.iter().filter(is_protected);
    let protected: HashSet<_> = protected.map(|(_, assumption)| *assumption).collect();
    let keeps = formula.keeps.iter();
    let keeps = keeps
        .map(|(_, assumption)| Literal::yes(*assumption))
        .collect();
    oracle.give_up_last(removing, keeps, |one| {
        !removing.is_empty() && !protected.contains(&one.name)
    })
}

/// For each package or assumption the clauses that matter once it is so.
fn by_negative(clauses: &[Clause]) -> HashMap<usize, Vec<usize>> {
    let mut found: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, clause) in clauses.iter().enumerate() {
        for literal in clause.literals.iter().filter(|literal| !literal.is_so) {
            found.entry(literal.name).or_default().push(index);
        }
    }
    found
}

struct Choice<'a> {
    pool: &'a Pool,
    formula: &'a Formula,
    oracle: Oracle,
    /// What is so: packages and assumptions.
    chosen: HashSet<usize>,
    assumed: Vec<Literal>,
    /// What was chosen and whose needs were not looked at yet.
    waiting: VecDeque<usize>,
    by_need: HashMap<usize, Vec<usize>>,
    by_weak: HashMap<usize, Vec<usize>>,
    /// What goes well with what was chosen.
    going_well: HashSet<Number>,
    /// The weak clauses that matter, in the order in which they began to.
    weak: VecDeque<usize>,
}

impl<'a> Choice<'a> {
    fn take(&mut self, name: usize) {
        if !self.chosen.insert(name) {
            return;
        }
        self.assumed.push(Literal::yes(name));
        self.waiting.push_back(name);
        for index in self.by_weak.get(&name).into_iter().flatten() {
            let clause = &self.formula.weak[*index];
            if self.matters(clause) {
                let yes = clause.literals.iter().filter(|literal| literal.is_so);
                self.going_well.extend(yes.map(|literal| literal.name));
                self.weak.push_back(*index);
            }
        }
    }

    /// Whether all that a clause rests on is so.
    fn matters(&self, clause: &Clause) -> bool {
        let mut no = clause.literals.iter().filter(|literal| !literal.is_so);
        no.all(|literal| self.chosen.contains(&literal.name))
    }

    fn is_met(&self, clause: &Clause) -> bool {
        let mut yes = clause.literals.iter().filter(|literal| literal.is_so);
        yes.any(|literal| self.chosen.contains(&literal.name))
    }

    /// Takes the first of these that can be.
    fn pick(&mut self, candidates: &[Number]) {
        for candidate in candidates {
            if !self.formula.members.contains(candidate) {
                continue;
            }
            self.assumed.push(Literal::yes(*candidate));
            let is_allowed = self.oracle.allows(&self.assumed);
            self.assumed.pop();
            if is_allowed {
                self.take(*candidate);
                return;
            }
        }
    }

    /// What wishes name, then what is installed and can stay as it is.
    fn wishes(&mut self, jobs: &[Job]) {
        for job in jobs {
            if let Job::One { candidates, .. } = job
                && !candidates.iter().any(|one| self.chosen.contains(one))
            {
                self.pick(candidates);
            }
        }
        for (number, clause) in self.keeps() {
            if !self.is_met(clause) {
                self.pick(&[number]);
            }
        }
    }

    /// What is kept in this or another form.
    fn keeps(&self) -> Vec<(Number, &'a Clause)> {
        let formula: &'a Formula = self.formula;
        let keeps = formula
            .clauses
            .iter()
            .filter_map(|clause| match clause.why {
                Why::Keep(number) => Some((number, clause)),
                _ => None,
            });
        keeps.filter(|(_, clause)| self.matters(clause)).collect()
    }

    /// What takes the place of that which cannot stay, unless what is needed does: a newer version
    /// before other packages.
    fn replace(&mut self) {
        for (number, clause) in self.keeps() {
            if !self.is_met(clause) {
                let yes = clause.literals.iter().filter(|literal| literal.is_so);
                let mut others: Vec<_> = yes.map(|literal| literal.name).collect();
                sort_best_first(self.pool, &mut others);
                let name = self.pool.packages[number].name;
                others.sort_by_key(|other| self.pool.packages[*other].name != name);
                self.pick(&others);
                self.settle();
            }
        }
    }

    /// What the chosen ones need.
    fn settle(&mut self) {
        while let Some(name) = self.waiting.pop_front() {
            let needs = self.by_need.get(&name).cloned().unwrap_or_default();
            for index in needs {
                let clause = &self.formula.clauses[index];
                let is_keep = matches!(clause.why, Why::Keep(_));
                if !is_keep && self.matters(clause) && !self.is_met(clause) {
                    let candidates = self.in_order(clause);
                    self.pick(&candidates);
                }
            }
        }
    }

    /// The packages that could meet a clause, the best first.
    fn in_order(&self, clause: &Clause) -> Vec<Number> {
        let yes = clause.literals.iter().filter(|literal| literal.is_so);
        let mut candidates: Vec<_> = yes.map(|literal| literal.name).collect();
        sort_best_first(self.pool, &mut candidates);
        candidates.sort_by_key(|number| {
            let package = &self.pool.packages[*number];
            let name = self.pool.names.text(package.name);
            let is_named = match &clause.why {
                Why::Requires(_, text) => text.split(' ').next() == Some(name),
                _ => false,
            };
            (
                !package.is_installed(),
                !is_named,
                !self.going_well.contains(number),
            )
        });
        candidates
    }

    /// The packages of the name of one that goes well with others, the best first; none where one of
    /// them is there, for whatever architecture.
    fn supplementing(&self, number: Number) -> Vec<Number> {
        let named = self.pool.named(self.pool.packages[number].name);
        if named.iter().any(|other| self.chosen.contains(other)) {
            return Vec::new();
        }
        let going_well = named.iter().filter(|other| self.going_well.contains(other));
        let mut candidates: Vec<_> = going_well.copied().collect();
        sort_best_first(self.pool, &mut candidates);
        candidates
    }

    /// What goes well with what is new, where it can be had.
    fn add_weak(&mut self) {
        while let Some(index) = self.weak.pop_front() {
            let clause = &self.formula.weak[index];
            let is_new = clause.literals.iter().any(|literal| {
                let package = self.pool.packages.get(literal.name);
                !literal.is_so && package.is_some_and(|package| !package.is_installed())
            });
            if !is_new || self.is_met(clause) {
                continue;
            }
            let mut candidates = match clause.why {
                Why::Supplements(number) => self.supplementing(number),
                _ => self.in_order(clause),
            };
            candidates.retain(|one| !self.formula.left_out.contains(one));
            self.pick(&candidates);
            self.settle();
        }
    }
}
