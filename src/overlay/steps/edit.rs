//! `edit`: text that a regular expression matches, replaced.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder, Replacer};
use serde::{Deserialize, Deserializer, de};

use super::{Context, Error};
use imgasm_fs::path::ImagePath;

/// The most memory that a compiled pattern may take, in bytes.
const PATTERN_LIMIT: usize = 16 << 20;

/// Replaces every match of a pattern in a file.
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
struct Pattern(Regex);

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
        if found < self.count && !self.is_done(&content) {
            return Err(self.unfit(
                format!(
                    "the pattern matches {found} times, not {} or more",
                    self.count
                ),
                Some("`count = 0` allows none"),
            ));
        }
        let edited = pattern.replace_all(&content, self.replacement.as_bytes());
        if pattern.replace_all(&edited, self.replacement.as_bytes()) != edited {
            return Err(self.unfit(
                "a second run would change the file again".to_owned(),
                Some("let the pattern match the whole line, with `^` and `$`"),
            ));
        }
        context.rewrite(&self.path, &edited)
    }

    /// Whether the text is as an earlier run would have left it, as far as can be told.
    fn is_done(&self, content: &[u8]) -> bool {
        let mut replacement = self.replacement.as_bytes();
        let literal: Option<Cow<'_, [u8]>> = Replacer::no_expansion(&mut replacement);
        literal.is_some_and(|text| {
            text.is_empty() || content.windows(text.len()).any(|window| window == &*text)
        })
    }

    fn unfit(&self, problem: String, hint: Option<&'static str>) -> Error {
        Error::Unfit {
            path: self.path.clone(),
            problem,
            hint,
        }
    }
}
