//! `edit`: text that a regular expression matches, replaced.

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de};

use super::{Context, Error};
use imgasm_fs::path::ImagePath;

/// The most memory that a compiled pattern may take, in bytes.
const PATTERN_LIMIT: usize = 16 << 20;

/// Replaces every match of a pattern in a file.
///
/// It is an error if the pattern matches less often than `count`: that a file was edited already is
/// known only if the pattern also matches the edited text. It is also an error if a second run would
/// change the file again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    path: ImagePath,
    pattern: Pattern,
    replacement: String,
    /// The least number of matches.
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

/// A regular expression over bytes, in which `^` and `$` match at every line.
#[derive(Debug, Clone)]
pub(in crate::overlay) struct Pattern(pub(in crate::overlay) Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pattern = RegexBuilder::new(&text)
            .multi_line(true)
            .size_limit(PATTERN_LIMIT)
            .build();
        match pattern {
            Ok(pattern) => Ok(Self(pattern)),
            Err(error) => Err(de::Error::custom(format!(
                "the pattern is not a regular expression: {}",
                error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
            ))),
        }
    }
}

impl Edit {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let content = context.read(&self.path)?;
        let pattern = &self.pattern.0;
        let found = pattern.find_iter(&content).count();
        if found < self.count {
            let problem = format!(
                "the pattern matches {found} times, not {} or more",
                self.count
            );
            let hint = if self.count == 1 && contains(&content, self.replacement.as_bytes()) {
                "the file contains the replacement, but the pattern does not match it; \
                 let the pattern match the edited text, too, or allow no match with `count = 0`"
            } else {
                "`count = 0` allows none"
            };
            return Err(self.unfit(problem, hint));
        }
        let edited = pattern.replace_all(&content, self.replacement.as_bytes());
        if pattern.replace_all(&edited, self.replacement.as_bytes()) != edited {
            return Err(self.unfit(
                "a second run would change the file again".to_owned(),
                "let the pattern match the whole line, with `^` and `$`",
            ));
        }
        context.rewrite(&self.path, &edited)
    }

    fn unfit(&self, problem: String, hint: &'static str) -> Error {
        Error::Unfit {
            path: self.path.clone(),
            problem,
            hint: Some(hint),
        }
    }
}

/// Whether the content contains a text that is not empty.
fn contains(content: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && content.windows(text.len()).any(|window| window == text)
}
