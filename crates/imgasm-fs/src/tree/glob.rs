//! Patterns of paths.

use std::fmt;

use globset::{ErrorKind, GlobBuilder, GlobSet};

use super::walk::walk;
use super::{Error, LastLink, Result, locate};
use crate::FileSystem;
use crate::path::ImagePath;

/// The characters that make a path a pattern.
const META: &[char] = &['*', '?', '[', ']', '{', '}', '\\'];

/// How many alternatives a pattern may have.
const MAX_ALTERNATIVES: usize = 1000;

/// How many bytes these may have in all.
const MAX_EXPANDED: usize = 1 << 20;

/// How many characters of a pattern an error shows.
const SHOWN: usize = 120;

/// A pattern over whole paths: `*` and `?` stay within a name and match a leading dot too, `**`
/// spans any number of names, `[a-z]`, `{this,that}`, and `\` makes the next character an ordinary
/// one.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    alternatives: Vec<Alternative>,
}

/// A pattern without `{this,that}`.
#[derive(Debug, Clone)]
struct Alternative {
    text: String,
    matcher: GlobSet,
}

impl Pattern {
    /// Reads a pattern, which must be absolute.
    ///
    /// # Errors
    /// [`Error::Pattern`].
    pub fn parse(text: &str) -> Result<Self> {
        let error = |problem: String| {
            let mut pattern: String = text.chars().take(SHOWN).collect();
            if pattern.len() < text.len() {
                pattern.push('…');
            }
            Error::Pattern { pattern, problem }
        };
        let alternatives = expand(text).map_err(error)?;
        let alternatives = alternatives.iter().map(|text| Alternative::parse(text));
        Ok(Self {
            alternatives: alternatives.collect::<Result<_, _>>().map_err(error)?,
            text: text.to_owned(),
        })
    }

    /// Whether the pattern matches `path` as a whole.
    pub fn matches(&self, path: &ImagePath) -> bool {
        let mut alternatives = self.alternatives.iter();
        alternatives.any(|alternative| alternative.matcher.is_match(path.as_path()))
    }
}

impl Alternative {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("it does not begin with `/`".to_owned());
        }
        if text.split('/').any(|name| name == "..") {
            return Err("it contains `..`".to_owned());
        }
        let names = text.split('/').filter(|name| !matches!(*name, "" | "."));
        let text = format!("/{}", names.collect::<Vec<_>>().join("/"));
        let glob = GlobBuilder::new(&text)
            .literal_separator(true)
            .backslash_escape(true)
            .build();
        let matcher = glob.and_then(|glob| GlobSet::new([glob]));
        let problem = |error: globset::Error| match error.kind() {
            ErrorKind::Regex(_) => "it is too large".to_owned(),
            kind => kind.to_string(),
        };
        Ok(Self {
            matcher: matcher.map_err(problem)?,
            text,
        })
    }

    /// The names before the first one with a special character, and how many names follow; `None`
    /// if the pattern does not fix their number.
    fn base(&self) -> (String, Option<usize>) {
        let names: Vec<_> = self.text.split('/').skip(1).collect();
        let plain = names.iter().take_while(|name| !name.contains(META)).count();
        let base = format!("/{}", names[..plain].join("/"));
        let bounded = !self.text.contains("**") && !self.text.contains('\\');
        (base, bounded.then_some(names.len() - plain))
    }

    /// The paths that it matches, in the order of a walk.
    fn find(&self, fs: &dyn FileSystem) -> Result<Vec<ImagePath>> {
        let (base, depth) = self.base();
        let base = ImagePath::parse(&base).unwrap_or_else(|_| ImagePath::root());
        let last = match depth {
            Some(0) => LastLink::Keep,
            _ => LastLink::Follow,
        };
        let real = match locate(fs, &base, last) {
            Ok(place) if place.node.is_some() => place.path,
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if depth == Some(0) {
            return Ok(vec![real]);
        }
        let mut matches = Vec::new();
        for entry in walk(fs, &real)?.max_depth(depth.unwrap_or(usize::MAX)) {
            let path = entry?.path;
            let below = &path.as_bytes()[real.as_bytes().len()..];
            let below = below.strip_prefix(b"/").unwrap_or(below);
            let given = base.join(below);
            if given.is_ok_and(|given| self.matcher.is_match(given.as_path())) {
                matches.push(path);
            }
        }
        Ok(matches)
    }
}

/// The patterns that `{this,that}` stands for, so that the search for each can begin at its own
/// fixed names.
fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut pending = vec![text.to_owned()];
    let mut expanded = Vec::new();
    let mut bytes = text.len();
    while let Some(text) = pending.pop() {
        match first_braces(&text) {
            None => expanded.push(text),
            Some((before, choices, after)) => {
                let around = before.len() + after.len();
                bytes -= text.len();
                bytes += choices
                    .iter()
                    .map(|choice| around + choice.len())
                    .sum::<usize>();
                if bytes > MAX_EXPANDED {
                    return Err(format!(
                        "the patterns that it stands for have more than {MAX_EXPANDED} bytes"
                    ));
                }
                let choices = choices.iter().rev();
                pending.extend(choices.map(|choice| format!("{before}{choice}{after}")));
            }
        }
        if pending.len() + expanded.len() > MAX_ALTERNATIVES {
            return Err(format!(
                "it stands for more than {MAX_ALTERNATIVES} patterns"
            ));
        }
    }
    Ok(expanded)
}

/// The text before the first braces, the choices in them, and the text behind them.
fn first_braces(text: &str) -> Option<(&str, Vec<&str>, &str)> {
    let mut depth = 0_usize;
    let mut in_class = false;
    let mut start = 0;
    let mut choices = Vec::new();
    let mut choice_start = 0;
    let mut characters = text.char_indices();
    while let Some((i, c)) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            _ if in_class => {}
            '{' => {
                depth += 1;
                if depth == 1 {
                    (start, choice_start) = (i, i + 1);
                }
            }
            ',' if depth == 1 => {
                choices.push(&text[choice_start..i]);
                choice_start = i + 1;
            }
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    choices.push(&text[choice_start..i]);
                    return Some((&text[..start], choices, &text[i + 1..]));
                }
            }
            _ => {}
        }
    }
    None
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The paths that `pattern` matches: those of the first alternative in the order of a walk, then
/// those of the next. The names before the first special character may be symbolic links and are
/// followed; the paths given are the real ones.
///
/// # Errors
/// Those of [`locate`] for the names before the first special character, but for [`Error::NotFound`]: what
/// is not there matches nothing. Those of a [`walk`] below them.
pub fn glob(fs: &dyn FileSystem, pattern: &Pattern) -> Result<Vec<ImagePath>> {
    let mut matches = Vec::new();
    for alternative in &pattern.alternatives {
        matches.extend(alternative.find(fs)?);
    }
    Ok(matches)
}
