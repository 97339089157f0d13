//! Regular expressions of recipes and overlays.
//!
//! A few bytes of one can take megabytes when it is compiled, and a recipe has room for thousands. So
//! each text is compiled once in a process, and all of them together have a limit.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::bytes::{Regex, RegexBuilder};

/// The most bytes that one may take, compiled: `[\w.-]+@[\w.-]+` takes 100 KiB.
const LARGEST: usize = 1 << 20;

/// The most that all of them may take.
const TOTAL: usize = 64 << 20;

/// How large one may be at first, and how much more is tried if it is larger: the sizes that are counted.
const SMALLEST: usize = 4 << 10;
const STEP: usize = 4;

/// What a pattern is to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Matches {
    /// Something in it; `^` and `$` match at every line.
    Lines,
    /// The whole text.
    Whole,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("{pattern} is not a regular expression: {problem}")]
    Syntax { pattern: String, problem: String },
    #[error("{pattern} takes more than {} bytes when it is compiled", LARGEST)]
    Large { pattern: String },
    #[error(
        "the regular expressions up to {pattern} take more than {} bytes",
        TOTAL
    )]
    Many { pattern: String },
}

/// How long a pattern is that an error shows. It is shown whole or not at all: a part of a sensitive value
/// would not be known as such.
const LONGEST_SHOWN: usize = 60;

#[derive(Default)]
struct Compiled {
    known: HashMap<(String, Matches), Regex>,
    taken: usize,
}

thread_local! {
    /// What has been compiled.
    static COMPILED: RefCell<Compiled> = RefCell::default();
}

/// Compiles a pattern.
pub(crate) fn compile(text: &str, matches: Matches) -> Result<Regex, PatternError> {
    COMPILED.with_borrow_mut(|compiled| compiled.get(text, matches))
}

impl Compiled {
    fn get(&mut self, text: &str, matches: Matches) -> Result<Regex, PatternError> {
        let key = (text.to_owned(), matches);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let pattern = || match text.len() {
            ..=LONGEST_SHOWN => format!("{text:?}"),
            _ => "a long pattern".to_owned(),
        };
        let whole = match matches {
            Matches::Lines => text.to_owned(),
            Matches::Whole => format!("^(?:{text})$"),
        };
        let mut size = SMALLEST;
        loop {
            // What is tried takes time, too.
            self.taken += size;
            if self.taken > TOTAL {
                return Err(PatternError::Many { pattern: pattern() });
            }
            let built = RegexBuilder::new(&whole)
                .multi_line(matches == Matches::Lines)
                .size_limit(size)
                .build();
            match built {
                Ok(regex) => {
                    self.known.insert(key, regex.clone());
                    return Ok(regex);
                }
                Err(regex::Error::CompiledTooBig(_)) if size < LARGEST => size *= STEP,
                Err(regex::Error::CompiledTooBig(_)) => {
                    return Err(PatternError::Large { pattern: pattern() });
                }
                Err(error) => {
                    let said = error.to_string();
                    let last = said.lines().last().unwrap_or_default();
                    return Err(PatternError::Syntax {
                        pattern: pattern(),
                        problem: last.trim_start_matches("error: ").to_owned(),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_bounded_each_and_together() {
        let email = r"[\w.-]+@[\w.-]+\.\w{2,8}";
        let whole = compile(email, Matches::Whole).unwrap();
        assert!(whole.is_match(b"a@b.org") && !whole.is_match(b"a@b.org\n"));
        let large = compile("(.{30}){500}q", Matches::Lines).unwrap_err();
        assert!(matches!(large, PatternError::Large { .. }), "{large}");
        let wrong = compile("(", Matches::Lines).unwrap_err();
        assert!(matches!(wrong, PatternError::Syntax { .. }), "{wrong}");

        let mut compiled = Compiled::default();
        for _ in 0..10_000 {
            compiled.get(email, Matches::Whole).unwrap();
        }
        let many = (0..1000).map(|i| compiled.get(&format!("(.{{30}}){{10}}{i}"), Matches::Lines));
        let last = many.last().unwrap().unwrap_err();
        assert!(matches!(last, PatternError::Many { .. }), "{last}");
    }
}
