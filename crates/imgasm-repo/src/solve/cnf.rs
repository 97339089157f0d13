//! Boolean dependencies as clauses.

use std::collections::BTreeSet;

use crate::oracle::Literal;
use crate::pool::{Number, Pool};
use imgasm_guest::packages::boolean::Expression;
use imgasm_guest::packages::version::Dependency;

/// The most literals that one dependency may come to.
const MAX_LITERALS: usize = 100_000;

/// Hands over the parts of an expression that packages could meet.
pub(super) fn simple_parts(expression: &Expression, take: &mut dyn FnMut(&Dependency)) {
    match expression {
        Expression::Simple(dependency) => take(dependency),
        Expression::And(list) | Expression::Or(list) | Expression::With(list) => {
            for part in list {
                simple_parts(part, take);
            }
        }
        Expression::Without(pair) => simple_parts(&pair[0], take),
        Expression::If(pair, otherwise) | Expression::Unless(pair, otherwise) => {
            for part in pair.iter() {
                simple_parts(part, take);
            }
            if let Some(otherwise) = otherwise {
                simple_parts(otherwise, take);
            }
        }
    }
}

/// Expressions as clauses.
pub(super) struct Cnf<'a> {
    pub(super) pool: &'a Pool,
    pub(super) members: &'a BTreeSet<Number>,
    pub(super) without: Option<Number>,
}

pub(super) type Clauses = Vec<Vec<Literal>>;

impl Cnf<'_> {
    /// The clauses that say that it is so, or is not; `None` where they become too many.
    pub(super) fn of(&self, expression: &Expression, is_so: bool) -> Option<Clauses> {
        match expression {
            Expression::Simple(_) | Expression::With(_) | Expression::Without(_) => {
                let packages = self.packages(expression);
                let packages = packages.into_iter().filter(|number| {
                    self.members.contains(number) && Some(*number) != self.without
                });
                Some(if is_so {
                    vec![packages.map(Literal::yes).collect()]
                } else {
                    packages.map(|number| vec![Literal::no(number)]).collect()
                })
            }
            Expression::And(list) if is_so => self.all(list, true),
            Expression::Or(list) if !is_so => self.all(list, false),
            Expression::And(list) => self.any(list, false),
            Expression::Or(list) => self.any(list, true),
            Expression::If(pair, otherwise) => {
                // (a or not b) and (b or c)
                let [wanted, condition] = pair.as_ref();
                let then = Self::either(&self.of(wanted, true)?, &self.of(condition, false)?)?;
                let other = match otherwise {
                    Some(other) => {
                        Self::either(&self.of(condition, true)?, &self.of(other, true)?)?
                    }
                    None => Vec::new(),
                };
                let all: Clauses = then.into_iter().chain(other).collect();
                if is_so {
                    Some(all)
                } else {
                    Self::negated(&all)
                }
            }
            Expression::Unless(pair, otherwise) => {
                // (a and not b) or (c and b)
                let [wanted, condition] = pair.as_ref();
                let mut plain = self.of(wanted, true)?;
                plain.extend(self.of(condition, false)?);
                let all = match otherwise {
                    Some(other) => {
                        let mut second = self.of(other, true)?;
                        second.extend(self.of(condition, true)?);
                        Self::either(&plain, &second)?
                    }
                    None => plain,
                };
                if is_so {
                    Some(all)
                } else {
                    Self::negated(&all)
                }
            }
        }
    }

    /// The packages that are what a part says, each alone.
    fn packages(&self, expression: &Expression) -> BTreeSet<Number> {
        match expression {
            Expression::Simple(dependency) => self.pool.providers(dependency).into_iter().collect(),
            Expression::With(list) => {
                let sets = list.iter().map(|part| self.packages(part));
                sets.reduce(|one, other| &one & &other).unwrap_or_default()
            }
            Expression::Without(pair) => &self.packages(&pair[0]) - &self.packages(&pair[1]),
            Expression::And(list) | Expression::Or(list) => {
                list.iter().flat_map(|part| self.packages(part)).collect()
            }
            Expression::If(pair, _) | Expression::Unless(pair, _) => self.packages(&pair[0]),
        }
    }

    fn all(&self, list: &[Expression], is_so: bool) -> Option<Clauses> {
        let mut all = Vec::new();
        for part in list {
            all.extend(self.of(part, is_so)?);
        }
        Some(all)
    }

    fn any(&self, list: &[Expression], is_so: bool) -> Option<Clauses> {
        let mut any = vec![Vec::new()];
        for part in list {
            any = Self::either(&any, &self.of(part, is_so)?)?;
        }
        Some(any)
    }

    /// What says that one of two holds.
    fn either(one: &Clauses, other: &Clauses) -> Option<Clauses> {
        let literals = |clauses: &Clauses| clauses.iter().map(Vec::len).sum::<usize>();
        let size = literals(one)
            .checked_mul(other.len())?
            .checked_add(literals(other).checked_mul(one.len())?)?;
        if size > MAX_LITERALS {
            return None;
        }
        let pairs = one
            .iter()
            .flat_map(|one| other.iter().map(move |other| (one, other)));
        Some(
            pairs
                .map(|(one, other)| [one.as_slice(), other].concat())
                .collect(),
        )
    }

    /// What says that not all of these clauses hold.
    fn negated(clauses: &Clauses) -> Option<Clauses> {
        let mut any = vec![Vec::new()];
        for clause in clauses {
            let not = clause.iter().map(|literal| {
                vec![Literal {
                    is_so: !literal.is_so,
                    ..*literal
                }]
            });
            any = Self::either(&any, &not.collect())?;
        }
        Some(any)
    }
}
