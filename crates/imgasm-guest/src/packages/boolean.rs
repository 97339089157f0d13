//! Boolean dependencies, `(a >= 1 and (b or c))` (RPM manual, "Boolean Dependencies").

use std::collections::BTreeSet;

use super::version::{Dependency, sense};

/// How deep expressions may lie in each other.
const MAX_DEPTH: usize = 32;

/// A dependency, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A name, with versions or without.
    Simple(Dependency),
    /// All of them.
    And(Vec<Expression>),
    /// Any of them.
    Or(Vec<Expression>),
    /// One package that is all of them.
    With(Vec<Expression>),
    /// A package that is the first but not the second.
    Without(Box<[Expression; 2]>),
    /// The first if the second holds, else the third, which may be nothing.
    If(Box<[Expression; 2]>, Option<Box<Expression>>),
    /// The first unless the second holds, then the third, which may be nothing.
    Unless(Box<[Expression; 2]>, Option<Box<Expression>>),
}

/// Whether an expression holds, and by which packages.
struct Verdict {
    holds: bool,
    by: BTreeSet<usize>,
}

impl Expression {
    /// Takes a dependency apart; `None` where it is not well-formed.
    pub fn parse(dependency: &Dependency) -> Option<Self> {
        if !dependency.name.starts_with('(') {
            return Some(Self::Simple(dependency.clone()));
        }
        let mut parser = Parser {
            rest: &dependency.name,
        };
        let expression = parser.group(0)?;
        parser.rest.is_empty().then_some(expression)
    }

    /// Whether it holds, where `providers` gives the numbers of the packages that meet a simple
    /// dependency.
    pub fn holds(&self, providers: &dyn Fn(&Dependency) -> BTreeSet<usize>) -> bool {
        self.evaluate(providers).holds
    }

    /// The names under which RPM's database lists a package with this dependency, beside the whole
    /// of it: the names in it, those on which it depends the other way round with a `!` before them.
    pub fn index_names(&self) -> Vec<String> {
        let (mut plain, mut negated) = (BTreeSet::new(), BTreeSet::new());
        self.collect_names(false, &mut plain, &mut negated);
        let negated = negated.into_iter().map(|name| format!("!{name}"));
        plain.into_iter().chain(negated).collect()
    }

    fn collect_names(
        &self,
        is_negated: bool,
        plain: &mut BTreeSet<String>,
        negated: &mut BTreeSet<String>,
    ) {
        match self {
            Self::Simple(dependency) => {
                let names = if is_negated { negated } else { plain };
                names.insert(dependency.name.clone());
            }
            Self::And(list) | Self::Or(list) | Self::With(list) => {
                for part in list {
                    part.collect_names(is_negated, plain, negated);
                }
            }
            Self::Without(pair) => {
                for part in pair.iter() {
                    part.collect_names(is_negated, plain, negated);
                }
            }
            Self::If(pair, otherwise) | Self::Unless(pair, otherwise) => {
                pair[0].collect_names(is_negated, plain, negated);
                pair[1].collect_names(!is_negated, plain, negated);
                if let Some(otherwise) = otherwise {
                    // Then the condition counts both ways.
                    pair[1].collect_names(is_negated, plain, negated);
                    otherwise.collect_names(is_negated, plain, negated);
                }
            }
        }
    }

    fn evaluate(&self, providers: &dyn Fn(&Dependency) -> BTreeSet<usize>) -> Verdict {
        let of = |expression: &Self| expression.evaluate(providers);
        let all = |list: &[Self]| list.iter().map(of).collect::<Vec<_>>();
        let union = |list: Vec<Verdict>| list.into_iter().flat_map(|verdict| verdict.by).collect();
        match self {
            Self::Simple(dependency) => Verdict::by(providers(dependency)),
            Self::And(list) => {
                let list = all(list);
                Verdict {
                    holds: list.iter().all(|verdict| verdict.holds),
                    by: union(list),
                }
            }
            Self::Or(list) => {
                let list = all(list);
                Verdict {
                    holds: list.iter().any(|verdict| verdict.holds),
                    by: union(list),
                }
            }
            Self::With(list) => {
                let sets = all(list).into_iter().map(|verdict| verdict.by);
                let common = sets.reduce(|one, other| &one & &other);
                Verdict::by(common.unwrap_or_default())
            }
            Self::Without(pair) => Verdict::by(&of(&pair[0]).by - &of(&pair[1]).by),
            Self::If(pair, otherwise) => {
                if of(&pair[1]).holds {
                    of(&pair[0])
                } else {
                    otherwise.as_deref().map_or(Verdict::EMPTY, of)
                }
            }
            Self::Unless(pair, otherwise) => {
                if of(&pair[1]).holds {
                    otherwise.as_deref().map_or(Verdict::EMPTY, of)
                } else {
                    of(&pair[0])
                }
            }
        }
    }
}

impl Verdict {
    /// Nothing is asked for.
    const EMPTY: Self = Self {
        holds: true,
        by: BTreeSet::new(),
    };

    fn by(by: BTreeSet<usize>) -> Self {
        Self {
            holds: !by.is_empty(),
            by,
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    /// An expression in parentheses.
    fn group(&mut self, depth: usize) -> Option<Expression> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.rest = self.rest.strip_prefix('(')?;
        let first = self.operand(depth)?;
        self.space();
        let word = self.word();
        let expression = match word {
            "" => first,
            "and" | "or" | "with" => {
                let mut list = vec![first, self.operand(depth)?];
                while !self.at_end() {
                    // Operators of different kinds do not stand beside each other.
                    if self.word() != word {
                        return None;
                    }
                    list.push(self.operand(depth)?);
                }
                match word {
                    "and" => Expression::And(list),
                    "or" => Expression::Or(list),
                    _ => Expression::With(list),
                }
            }
            "without" => Expression::Without(Box::new([first, self.operand(depth)?])),
            "if" | "unless" => {
                let pair = Box::new([first, self.operand(depth)?]);
                let otherwise = match self.at_end() {
                    true => None,
                    false if self.word() == "else" => Some(Box::new(self.operand(depth)?)),
                    false => return None,
                };
                if word == "if" {
                    Expression::If(pair, otherwise)
                } else {
                    Expression::Unless(pair, otherwise)
                }
            }
            _ => return None,
        };
        self.space();
        self.rest = self.rest.strip_prefix(')')?;
        Some(expression)
    }

    fn operand(&mut self, depth: usize) -> Option<Expression> {
        self.space();
        if self.rest.starts_with('(') {
            return self.group(depth + 1);
        }
        let name = self.word();
        if name.is_empty() {
            return None;
        }
        self.space();
        let mut flags = 0;
        for (sign, bits) in [
            ("<=", sense::LESS | sense::EQUAL),
            (">=", sense::GREATER | sense::EQUAL),
            ("==", sense::EQUAL),
            ("<", sense::LESS),
            (">", sense::GREATER),
            ("=", sense::EQUAL),
        ] {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                (flags, self.rest) = (bits, rest);
                self.space();
                break;
            }
        }
        let version = if flags == 0 { "" } else { self.word() };
        Some(Expression::Simple(Dependency {
            name: name.to_owned(),
            flags,
            version: version.to_owned(),
        }))
    }

    /// Up to white space or a parenthesis that does not belong to the word: `perl(Foo)` is one.
    fn word(&mut self) -> &'t str {
        self.space();
        let mut depth = 0_usize;
        let end = self.rest.find(|c: char| {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return true,
                ')' => depth -= 1,
                _ => {}
            }
            c.is_whitespace()
        });
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn at_end(&mut self) -> bool {
        self.space();
        self.rest.starts_with(')')
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three packages: 0 is `a`, 1 is `b` and `c(x)`, 2 is `c(x)`.
    fn holds(text: &str) -> Option<bool> {
        let providers = |dependency: &Dependency| match dependency.name.as_str() {
            "a" if dependency.version != "2" => BTreeSet::from([0]),
            "b" => BTreeSet::from([1]),
            "c(x)" => BTreeSet::from([1, 2]),
            _ => BTreeSet::new(),
        };
        Some(Expression::parse(&Dependency::any(text))?.holds(&providers))
    }

    #[test]
    fn expressions() {
        for (text, wanted) in [
            ("(a and b and c(x))", true),
            ("(a and no)", false),
            ("(no or (b and a >= 1))", true),
            ("(a = 2)", false),
            ("(no if b)", false),
            ("(no if no)", true),
            ("(no if no else b)", true),
            ("(no unless b)", true),
            ("(a unless no)", true),
            ("(b with c(x))", true),
            ("(a with c(x))", false),
            ("(c(x) without b)", true),
            ("(b without c(x))", false),
        ] {
            assert_eq!(holds(text), Some(wanted), "{text}");
        }
        let deep = "(".repeat(100_000);
        for bad in ["(a and)", "(a and b or c)", "(a", "(a) b", "()", &deep] {
            assert_eq!(holds(bad), None, "{bad:.20}");
        }
    }
}
