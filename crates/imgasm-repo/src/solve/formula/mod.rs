//! What must hold, as clauses over the packages that matter: those that are installed, those that
//! are wished for, and what these could need.
//!
//! - [`preference`]: what is preferred, and what is left out.

mod preference;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::RangeFrom;

use super::cnf::{self, Cnf};
use crate::metadata::primary;
use crate::oracle::Literal;
use crate::package::{Package, Relation};
use crate::pool::{Number, Pool};
use crate::wish::{Job, Wishes};
use crate::{Error, Result};
use imgasm_guest::packages::boolean::Expression;

/// Why a clause must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    Requires(Number, String),
    /// What a package requires should be a newer form of something installed.
    Prefers(Number),
    /// It goes with others that are there.
    Supplements(Number),
    Conflicts(Number, String),
    Obsoletes(Number, Number),
    Twice(Number, Number),
    /// A wish, by the number of its job.
    Job(usize),
    /// It is installed, and nobody asked for it to go.
    Keep(Number),
}

/// One of these must be so.
#[derive(Debug, Clone)]
pub(super) struct Clause {
    pub(super) literals: Vec<Literal>,
    pub(super) why: Why,
}

/// All that must hold.
pub(super) struct Formula {
    /// The packages that matter.
    pub(super) members: BTreeSet<Number>,
    pub(super) clauses: Vec<Clause>,
    /// What should hold where it can.
    pub(super) weak: Vec<Clause>,
    /// What goes well with the base and is not in it was left out, or taken away, on purpose.
    pub(super) left_out: HashSet<Number>,
    /// For each installed package the assumption that it is kept, in this or a newer form.
    pub(super) keeps: Vec<(Number, usize)>,
    /// For each job the assumption that it is done.
    pub(super) jobs: Vec<usize>,
    /// For each preference the assumption that it holds.
    pub(super) preferences: Vec<usize>,
    /// Paths that packages depend on and that nobody is known to have.
    pub(super) missing_files: BTreeSet<String>,
}

/// What is built while the formula is.
struct Builder<'p> {
    pool: &'p Pool,
    formula: Formula,
    /// The packages that wishes name.
    wanted: HashSet<Number>,
    /// The installed packages that other packages are versions of, by name.
    installed: HashMap<crate::names::Id, Vec<Number>>,
    known: HashMap<Relation, Option<Expression>>,
    /// The numbers of the assumptions to come.
    assumptions: RangeFrom<usize>,
}

impl Formula {
    /// All assumptions.
    pub(super) fn assumptions(&self) -> impl Iterator<Item = usize> {
        let keeps = self.keeps.iter().map(|(_, assumption)| assumption);
        keeps.chain(&self.jobs).chain(&self.preferences).copied()
    }

    /// Builds it.
    pub(super) fn new(pool: &Pool, wishes: &Wishes, jobs: &[Job]) -> Result<Self> {
        let mut builder = Builder {
            pool,
            formula: Self {
                members: BTreeSet::new(),
                clauses: Vec::new(),
                weak: Vec::new(),
                left_out: HashSet::new(),
                keeps: Vec::new(),
                jobs: Vec::new(),
                preferences: Vec::new(),
                missing_files: BTreeSet::new(),
            },
            wanted: HashSet::new(),
            installed: HashMap::new(),
            known: HashMap::new(),
            assumptions: pool.packages.len()..,
        };
        for (number, package) in pool.packages.iter().enumerate() {
            if package.is_installed() {
                builder
                    .installed
                    .entry(package.name)
                    .or_default()
                    .push(number);
            }
        }
        for job in jobs {
            if let Job::One { candidates, .. } = job {
                builder.wanted.extend(candidates);
            }
        }
        builder.gather(wishes)?;
        if wishes.weak {
            builder.leave_out();
        }
        builder.relate(wishes)?;
        builder.keep_and_wish(jobs);
        Ok(builder.formula)
    }
}

impl Builder<'_> {
    /// Whether a package may be installed at all: an older version of what is there may only if a
    /// wish names it.
    fn may_be(&self, number: Number) -> bool {
        let package = &self.pool.packages[number];
        if package.is_installed() || self.wanted.contains(&number) {
            return true;
        }
        let installed = self.installed.get(&package.name).into_iter().flatten();
        !installed.into_iter().any(|other| {
            self.pool.excludes(number, *other) && self.pool.compare(number, *other).is_lt()
        })
    }

    /// Finds the packages that matter.
    fn gather(&mut self, wishes: &Wishes) -> Result<()> {
        let installed = self.installed.iter();
        let mut pending: VecDeque<Number> = installed
            .flat_map(|(name, _)| self.pool.named(*name))
            .chain(&self.wanted)
            .copied()
            .collect();
        let supplementing: Vec<_> = (0..self.pool.packages.len())
            .filter(|number| {
                wishes.weak && !self.pool.packages[*number].relations.supplements.is_empty()
            })
            .collect();
        loop {
            while let Some(number) = pending.pop_front() {
                if !self.may_be(number) || !self.formula.members.insert(number) {
                    continue;
                }
                let package = &self.pool.packages[number];
                let relations = &package.relations;
                let weak = relations
                    .recommends
                    .iter()
                    .filter(|_| wishes.weak && !package.is_installed());
                for relation in relations.requires.iter().chain(weak) {
                    for provider in self.possible(*relation) {
                        if !self.formula.members.contains(&provider) {
                            pending.push_back(provider);
                        }
                    }
                }
                if !relations.requires.is_empty() {
                    self.note_missing(package);
                }
            }
            for number in &supplementing {
                if self.formula.members.contains(number) {
                    continue;
                }
                for relation in &self.pool.packages[*number].relations.supplements {
                    let Some(expression) = self.expression(*relation) else {
                        continue;
                    };
                    let members = &self.formula.members;
                    let holds = expression.holds(&|dependency| {
                        let providers = self.pool.providers(dependency).into_iter();
                        providers.filter(|one| members.contains(one)).collect()
                    });
                    if holds {
                        pending.push_back(*number);
                    }
                }
            }
            pending.retain(|number| self.may_be(*number));
            if pending.is_empty() {
                return Ok(());
            }
        }
    }

    /// All packages that a dependency could be met by.
    fn possible(&mut self, relation: Relation) -> BTreeSet<Number> {
        let mut found = BTreeSet::new();
        if let Some(expression) = self.expression(relation) {
            cnf::simple_parts(&expression, &mut |dependency| {
                found.extend(self.pool.providers(dependency));
            });
        }
        found
    }

    fn note_missing(&mut self, package: &Package) {
        for relation in &package.relations.requires {
            let path = self.pool.names.text(relation.name);
            if path.starts_with('/') && !primary::lists(path) {
                let dependency = relation.dependency(&self.pool.names);
                if self.may_have_others(&self.pool.providers(&dependency)) {
                    self.formula.missing_files.insert(dependency.name);
                }
            }
        }
    }

    /// Whether others may have a file than these packages: if there are none, or if all are installed
    /// and there are other versions of one.
    fn may_have_others(&self, providers: &[Number]) -> bool {
        let package = |number: &Number| &self.pool.packages[*number];
        let all_installed = providers.iter().all(|one| package(one).is_installed());
        let mut named = providers
            .iter()
            .flat_map(|one| self.pool.named(package(one).name));
        all_installed && (providers.is_empty() || named.any(|other| !package(other).is_installed()))
    }

    /// A relation taken apart; `None` where there is nothing to it.
    fn expression(&mut self, relation: Relation) -> Option<Expression> {
        if let Some(known) = self.known.get(&relation) {
            return known.clone();
        }
        let dependency = relation.dependency(&self.pool.names);
        let is_feature = dependency.name.starts_with("rpmlib(");
        let expression = Expression::parse(&dependency).filter(|_| !is_feature);
        self.known.insert(relation, expression.clone());
        expression
    }

    /// Clauses for what the packages say of each other.
    fn relate(&mut self, wishes: &Wishes) -> Result<()> {
        let members: Vec<_> = self.formula.members.iter().copied().collect();
        for number in members {
            let package = &self.pool.packages[number];
            for relation in &package.relations.requires {
                self.require(number, *relation)?;
            }
            for relation in &package.relations.conflicts {
                self.conflict(number, *relation)?;
            }
            for relation in &package.relations.obsoletes {
                for other in self.pool.named(relation.name) {
                    let both_installed =
                        package.is_installed() && self.pool.packages[*other].is_installed();
                    if self.formula.members.contains(other)
                        && !both_installed
                        && self.pool.obsoletes(number, *other)
                    {
                        let why = Why::Obsoletes(number, *other);
                        self.push(vec![Literal::no(number), Literal::no(*other)], why);
                    }
                }
            }
            for other in self.pool.named(package.name) {
                let both_installed =
                    package.is_installed() && self.pool.packages[*other].is_installed();
                if *other > number
                    && !both_installed
                    && self.formula.members.contains(other)
                    && self.pool.excludes(number, *other)
                {
                    let why = Why::Twice(number, *other);
                    self.push(vec![Literal::no(number), Literal::no(*other)], why);
                }
            }
            if wishes.weak && !package.is_installed() {
                self.recommend(number)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, literals: Vec<Literal>, why: Why) {
        self.formula.clauses.push(Clause { literals, why });
    }

    fn require(&mut self, number: Number, relation: Relation) -> Result<()> {
        let Some(expression) = self.expression(relation) else {
            return Ok(());
        };
        // What is not met in the base already is not ours to mend.
        if self.pool.packages[number].is_installed() && !self.holds_before(&expression) {
            return Ok(());
        }
        let text = relation.dependency(&self.pool.names).to_string();
        let clauses = self.clauses(number, &expression, true, None)?;
        for mut literals in clauses {
            literals.insert(0, Literal::no(number));
            self.prefer(number, &literals);
            self.push(literals, Why::Requires(number, text.clone()));
        }
        Ok(())
    }

    fn assume(&mut self) -> usize {
        // The range has no end.
        self.assumptions.next().unwrap_or(usize::MAX)
    }

    /// Whether an expression holds in the base.
    fn holds_before(&self, expression: &Expression) -> bool {
        expression.holds(&|dependency| {
            let providers = self.pool.providers(dependency).into_iter();
            providers
                .filter(|other| self.pool.packages[*other].is_installed())
                .collect()
        })
    }

    fn conflict(&mut self, number: Number, relation: Relation) -> Result<()> {
        let Some(expression) = self.expression(relation) else {
            return Ok(());
        };
        let text = relation.dependency(&self.pool.names).to_string();
        // A package may be what it conflicts with, but not a part of it.
        let without = matches!(expression, Expression::Simple(_)).then_some(number);
        let clauses = self.clauses(number, &expression, false, without)?;
        let is_installed = |literal: &Literal| {
            let package = self.pool.packages.get(literal.name);
            !literal.is_so && package.is_some_and(Package::is_installed)
        };
        let mut found = Vec::new();
        for mut literals in clauses {
            literals.insert(0, Literal::no(number));
            // Between two that are installed it is not ours to say anything.
            if !literals.iter().all(is_installed) {
                found.push(literals);
            }
        }
        for literals in found {
            self.push(literals, Why::Conflicts(number, text.clone()));
        }
        Ok(())
    }

    /// What should come with a package, and what it should come with.
    fn recommend(&mut self, number: Number) -> Result<()> {
        let package = &self.pool.packages[number];
        // What an installed version recommends already was left out on purpose.
        let installed = self.installed.get(&package.name).into_iter().flatten();
        let old: HashSet<Relation> = installed
            .flat_map(|old| &self.pool.packages[*old].relations.recommends)
            .copied()
            .collect();
        for relation in &package.relations.recommends {
            let Some(expression) = self
                .expression(*relation)
                .filter(|_| !old.contains(relation))
            else {
                continue;
            };
            for mut literals in self.clauses(number, &expression, true, None)? {
                literals.insert(0, Literal::no(number));
                let text = relation.dependency(&self.pool.names).to_string();
                let why = Why::Requires(number, text);
                self.formula.weak.push(Clause { literals, why });
            }
        }
        for relation in &package.relations.supplements {
            // What goes with what was there before was left out on purpose, too.
            let expression = self.expression(*relation);
            let Some(expression) = expression.filter(|one| !self.holds_before(one)) else {
                continue;
            };
            for mut literals in self.clauses(number, &expression, false, None)? {
                literals.push(Literal::yes(number));
                let why = Why::Supplements(number);
                self.formula.weak.push(Clause { literals, why });
            }
        }
        Ok(())
    }

    /// The clauses that together say that an expression is so, or is not so.
    fn clauses(
        &self,
        number: Number,
        expression: &Expression,
        is_so: bool,
        without: Option<Number>,
    ) -> Result<Vec<Vec<Literal>>> {
        let cnf = Cnf {
            pool: self.pool,
            members: &self.formula.members,
            without,
        };
        cnf.of(expression, is_so).ok_or_else(|| Error::Dependency {
            package: self.pool.nevra(number),
            dependency: format!("{expression:?}").chars().take(200).collect(),
        })
    }

    /// Clauses for what is kept and for what is wished, each under an assumption of its own.
    fn keep_and_wish(&mut self, jobs: &[Job]) {
        let installed = (0..self.pool.packages.len())
            .take_while(|number| self.pool.packages[*number].is_installed());
        for number in installed {
            let assumption = self.assume();
            let mut literals = vec![Literal::no(assumption), Literal::yes(number)];
            literals.extend(self.updates(number).into_iter().map(Literal::yes));
            self.push(literals, Why::Keep(number));
            self.formula.keeps.push((number, assumption));
        }
        for (index, job) in jobs.iter().enumerate() {
            let assumption = self.assume();
            let assumed = Literal::no(assumption);
            match job {
                Job::One { candidates, .. } => {
                    let candidates = candidates.iter().copied().map(Literal::yes);
                    let literals = std::iter::once(assumed).chain(candidates).collect();
                    self.push(literals, Why::Job(index));
                }
                Job::None { packages, .. } => {
                    for package in packages {
                        if self.formula.members.contains(package) {
                            self.push(vec![assumed, Literal::no(*package)], Why::Job(index));
                        }
                    }
                }
            }
            self.formula.jobs.push(assumption);
        }
    }
}
