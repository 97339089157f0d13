//! `edit`: text that a regular expression matches, replaced.

use regex::bytes::Regex;
use serde::{Deserialize, Deserializer, de};

use super::{Context, Error};
use crate::config::pattern::{Matches, compile};
use imgasm_fs::path::ImagePath;

/// Replaces every match of a pattern in a file.
///
/// It is an error if the pattern matches less often than `count`: that a file was edited already is
/// known only if the pattern also matches the edited text. It is also an error if a second run would
/// change the file again.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Edit {
    path: ImagePath,
    pattern: Pattern,
    replacement: String,
    count: usize,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    path: ImagePath,
    pattern: Pattern,
    replacement: String,
    /// The least number of matches.
    #[serde(default = "one")]
    count: usize,
}

impl TryFrom<Keys> for Edit {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        check_groups(&keys.pattern.0, &keys.replacement)?;
        Ok(Self {
            path: keys.path,
            pattern: keys.pattern,
            replacement: keys.replacement,
            count: keys.count,
        })
    }
}

/// Makes sure that a pattern has the groups that a replacement names, in the words of the regex crate:
/// `$name` is as long as it can be, `${name}` ends where it says, `$$` is a dollar sign.
fn check_groups(pattern: &Regex, replacement: &str) -> Result<(), String> {
    let mut rest = replacement;
    while let Some((_, after)) = rest.split_once('$') {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let braced = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let (name, left) = match braced {
            _ if after.starts_with('$') => ("", &after[1..]),
            Some(braced) => braced,
            None => after.split_at(after.find(|c| !is_part(c)).unwrap_or(after.len())),
        };
        rest = left;
        let is_known = match name.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|known| known == name),
        };
        if !is_known && !name.is_empty() {
            return Err(format!(
                "the pattern has no group `{name}`; a name ends where `${{…}}` says, and a dollar sign is \
                 written `$$`"
            ));
        }
    }
    Ok(())
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
        let pattern = compile(&text, Matches::Lines);
        pattern.map(Self).map_err(de::Error::custom)
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
        let Some(edited) = self.replaced(&content, Context::EDIT_LIMIT) else {
            return Err(self.unfit(
                format!(
                    "the edited file would have more than {} bytes",
                    Context::EDIT_LIMIT
                ),
                "let the pattern match less often, or the replacement be shorter",
            ));
        };
        if self.replaced(&edited, edited.len()).as_ref() != Some(&edited) {
            return Err(self.unfit(
                "a second run would change the file again".to_owned(),
                "let the pattern match the whole line, with `^` and `$`",
            ));
        }
        context.rewrite(&self.path, &edited)
    }

    /// The content with all matches replaced; `None` if that has more than so many bytes.
    fn replaced(&self, content: &[u8], most: usize) -> Option<Vec<u8>> {
        let replacement = self.replacement.as_bytes();
        let groups = self.replacement.matches('$').count();
        let mut replaced = Vec::with_capacity(content.len().min(most));
        let mut end = 0;
        for captures in self.pattern.0.captures_iter(content) {
            let whole = captures.get_match();
            replaced.extend(&content[end..whole.start()]);
            end = whole.end();
            // What a group holds is a part of the match.
            let longest = groups
                .saturating_mul(whole.len())
                .saturating_add(replacement.len());
            if longest > Context::EDIT_LIMIT {
                return None;
            }
            captures.expand(replacement, &mut replaced);
            if replaced.len() > most {
                return None;
            }
        }
        replaced.extend(&content[end..]);
        (replaced.len() <= most).then_some(replaced)
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
    !text.is_empty() && memchr::memmem::find(content, text).is_some()
}
