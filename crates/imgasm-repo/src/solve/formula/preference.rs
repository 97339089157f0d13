//! What is preferred, and what is left out.

use std::collections::BTreeSet;

use super::{Builder, Why};
use crate::oracle::Literal;
use crate::package::Relation;
use crate::pool::Number;
use crate::wish::sort_best_first;
use imgasm_guest::packages::boolean::Expression;
use imgasm_guest::packages::version::Dependency;

impl Builder<'_> {
    /// What is installed, or takes the place of that, is rather taken to meet a need than what is new to
    /// the system; libsolv, which dnf uses, has the same as its choice rules. Nothing is said if that makes
    /// no difference, or if an upgrade alone would do.
    pub(super) fn prefer(&mut self, number: Number, literals: &[Literal]) {
        let yes = literals.iter().filter(|literal| literal.is_so);
        let providers: BTreeSet<Number> = yes.map(|literal| literal.name).collect();
        let (mut preferred, mut is_choice, mut is_upgrade) = (Vec::new(), false, true);
        for provider in &providers {
            if self.pool.packages[*provider].is_installed() {
                preferred.push(*provider);
                continue;
            }
            let Some(old) = self.replaced_by(*provider) else {
                is_choice = true;
                continue;
            };
            let updates = self.updates(old);
            if updates.first().is_some_and(|best| providers.contains(best)) {
                preferred.push(*provider);
                let mut forms = updates.iter().chain([&old]);
                is_upgrade &= forms.all(|form| providers.contains(form));
            }
        }
        if is_upgrade || !is_choice {
            return;
        }
        let assumption = self.assume();
        let others = literals.iter().filter(|literal| !literal.is_so).copied();
        let mut clause: Vec<_> = others.collect();
        clause.push(Literal::no(assumption));
        clause.extend(preferred.into_iter().map(Literal::yes));
        self.push(clause, Why::Prefers(number));
        self.formula.preferences.push(assumption);
    }

    /// The installed package whose place a package takes.
    fn replaced_by(&self, number: Number) -> Option<Number> {
        let package = &self.pool.packages[number];
        let same = self.installed.get(&package.name).into_iter().flatten();
        let mut same = same.filter(|old| self.pool.excludes(number, **old));
        let obsoletes = package.relations.obsoletes.iter();
        let obsolete = obsoletes.filter_map(|relation| self.installed.get(&relation.name));
        let mut obsolete = obsolete
            .flatten()
            .filter(|old| self.pool.obsoletes(number, **old));
        same.next().or_else(|| obsolete.next()).copied()
    }

    /// What could take the place of an installed package, the best first.
    pub(super) fn updates(&self, old: Number) -> Vec<Number> {
        let name = self.pool.packages[old].name;
        let members = &self.formula.members;
        let newer = self.pool.named(name).iter().copied();
        let newer = newer.filter(|other| *other != old && self.pool.excludes(old, *other));
        let obsoleting = self.pool.obsoleting(name).iter().copied();
        let obsoleting = obsoleting.filter(|other| {
            !self.pool.packages[*other].is_installed() && self.pool.obsoletes(*other, old)
        });
        let mut updates: Vec<_> = newer
            .chain(obsoleting)
            .filter(|one| members.contains(one))
            .collect();
        sort_best_first(self.pool, &mut updates);
        updates.sort_by_key(|one| self.pool.packages[*one].name == name);
        updates
    }

    /// Finds what was left out: what installed packages recommend while nothing of that name is there,
    /// and what supplements them. As with dnf, versions do not matter, and rich dependencies do not count.
    pub(super) fn leave_out(&mut self) {
        for (number, package) in self.pool.packages.iter().enumerate() {
            if package.is_installed() {
                for relation in &package.relations.recommends {
                    let providers = self.providers_by_name(*relation);
                    let is_there = |one: &Number| self.pool.packages[*one].is_installed();
                    if !providers.iter().any(is_there) {
                        self.formula.left_out.extend(providers);
                    }
                }
            } else if !self.installed.contains_key(&package.name) {
                let mut supplements = package.relations.supplements.iter();
                let goes_well = supplements.any(|relation| {
                    let expression = Expression::parse(&relation.dependency(&self.pool.names));
                    let simple = expression.filter(|one| matches!(one, Expression::Simple(_)));
                    simple.is_some_and(|one| self.holds_before(&one))
                });
                if goes_well {
                    self.formula.left_out.insert(number);
                }
            }
        }
    }

    fn providers_by_name(&self, relation: Relation) -> Vec<Number> {
        let name = self.pool.names.text(relation.name);
        if name.starts_with('(') {
            return Vec::new();
        }
        self.pool.providers(&Dependency::any(name))
    }
}
