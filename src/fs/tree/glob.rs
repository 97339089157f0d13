//! Patterns of paths.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use super::walk::walk;
use super::{Error, LastLink, Result, locate};
use crate::fs::FileSystem;
use crate::fs::path::ImagePath;

/// The characters that make a path a pattern.
const META: &[char] = &['*', '?', '[', ']', '{', '}', '\\'];

/// A pattern over whole paths: `*` and `?` stay within a name and match a leading dot too, `**`
/// spans any number of names, `[a-z]`, `{this,that}`, and `\` takes the meaning from the next
/// character.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    /// Reads a pattern, which must be absolute.
    pub fn parse(text: &str) -> Result<Self> {
        let error = |problem: String| Error::Pattern {
            pattern: text.to_owned(),
            problem,
        };
        if !text.starts_with('/') {
            return Err(error("it does not begin with `/`".to_owned()));
        }
        if text.split('/').any(|name| name == "..") {
            return Err(error("it contains `..`".to_owned()));
        }
        let mut names = text.split('/').filter(|name| !matches!(*name, "" | "."));
        let text = names
            .by_ref()
            .fold(String::new(), |path, name| path + "/" + name);
        let glob = GlobBuilder::new(if text.is_empty() { "/" } else { &text })
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|e| error(e.kind().to_string()))?;
        Ok(Self {
            matcher: glob.compile_matcher(),
            text,
        })
    }

    /// Whether the pattern matches `path` as a whole.
    pub fn matches(&self, path: &ImagePath) -> bool {
        self.matcher.is_match(path.as_path())
    }

    /// The pattern as a path, where it has no special characters.
    pub fn literal(&self) -> Option<ImagePath> {
        if self.text.contains(META) {
            return None;
        }
        ImagePath::parse(&self.text)
            .or_else(|_| ImagePath::parse("/"))
            .ok()
    }

    /// The names before the first that has a special character, and how many names follow them;
    /// `None` where the pattern does not tell how many.
    fn base(&self) -> (String, Option<usize>) {
        let names: Vec<_> = self.text.split('/').skip(1).collect();
        let plain = names.iter().take_while(|name| !name.contains(META)).count();
        let base = format!("/{}", names[..plain].join("/"));
        let bounded = !self.text.contains("**") && !self.text.contains(['{', '\\']);
        (base, bounded.then_some(names.len() - plain))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The paths that `pattern` matches, in the order of a walk. The names before the first special
/// character may be symbolic links and are followed; the paths given are the real ones.
pub fn glob(fs: &dyn FileSystem, pattern: &Pattern) -> Result<Vec<ImagePath>> {
    if let Some(path) = pattern.literal() {
        return match locate(fs, &path, LastLink::Keep) {
            Ok(place) => Ok(place.node.map(|_| place.path).into_iter().collect()),
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
    }
    let (base, depth) = pattern.base();
    let base = ImagePath::parse(&base).unwrap_or_else(|_| ImagePath::root());
    let real = match locate(fs, &base, LastLink::Follow) {
        Ok(place) if place.node.is_some() => place.path,
        Ok(_) | Err(Error::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut matches = Vec::new();
    for entry in walk(fs, &real)?.max_depth(depth.unwrap_or(usize::MAX)) {
        let path = entry?.path;
        let below = &path.as_bytes()[real.as_bytes().len()..];
        let below = below.strip_prefix(b"/").unwrap_or(below);
        if base.join(below).is_ok_and(|given| pattern.matches(&given)) {
            matches.push(path);
        }
    }
    Ok(matches)
}
