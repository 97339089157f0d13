//! The label that a policy gives a path.
//!
//! If several lines match, a plain path takes precedence over a regular expression, and among
//! equals the last line is used. The files are taken in the order `file_contexts`, `.homedirs`,
//! `.local`. Source: `selabel_file(5)`, "Notes", and the answers of `matchpathcon`.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;

use regex::bytes::{Regex, RegexBuilder};

use super::spec::{Spec, SpecError, translated};
use imgasm_fs::FileType;

/// The most bytes that a compiled pattern may take, and all that were needed. None of the thousands in a real
/// policy takes more than is counted for the smallest.
const LARGEST_PATTERN: usize = 256 << 10;
const MOST_PATTERNS: usize = 64 << 20;
const SMALLEST_PATTERN: usize = 4 << 10;

/// How much larger a pattern may be at the next attempt.
const STEP: usize = 4;

/// What a pattern may take besides, for what it has met.
const MET_BYTES: usize = 64 << 10;

/// Why a policy's contexts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextsError {
    /// A line is malformed.
    #[error("{file}, line {line}: {source}")]
    Line {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: SpecError,
    },
    /// A line's regular expression is not one that we understand.
    #[error("cannot use the file context pattern `{pattern}`")]
    Pattern {
        /// The regular expression.
        pattern: String,
        /// What is wrong with it.
        source: Box<regex::Error>,
    },
    /// The patterns take too much memory.
    #[error(
        "the file context patterns up to `{pattern:.60}` take more than {MOST_PATTERNS} bytes when they \
         are compiled"
    )]
    TooMany {
        /// The regular expression that is one too many.
        pattern: String,
    },
}

/// What a policy says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label<'a> {
    /// It gets this context.
    Context(&'a str),
    /// It gets no label.
    Unlabelled,
}

/// A replacement of the beginning of a path, from a `.subs` file.
#[derive(Debug, PartialEq, Eq)]
struct Substitution {
    from: String,
    to: String,
}

#[derive(Debug)]
struct Entry {
    spec: Spec,
    regex: OnceCell<Regex>,
}

/// The contexts of a policy, ready for look-ups.
///
/// A look-up tries only the lines whose literal prefix the path has, and a regular expression is
/// compiled when it is first tried: a policy has thousands, a build needs few.
#[derive(Debug, Default)]
pub struct Contexts {
    entries: Vec<Entry>,
    /// How many bytes were compiled.
    compiled: Cell<usize>,
    /// Indexes of entries by the bytes that a path must begin with.
    by_prefix: HashMap<Vec<u8>, Vec<usize>>,
    substitutions: Vec<Substitution>,
    distribution_substitutions: Vec<Substitution>,
}

impl Contexts {
    /// Adds the lines of the next file, called `file` in errors.
    pub fn read(&mut self, file: &str, text: &[u8]) -> Result<(), ContextsError> {
        for (index, line) in String::from_utf8_lossy(text).lines().enumerate() {
            let spec = Spec::parse(line).map_err(|source| ContextsError::Line {
                file: file.to_owned(),
                line: index + 1,
                source,
            })?;
            if let Some(spec) = spec {
                let prefix = spec.literal_prefix();
                self.by_prefix
                    .entry(prefix)
                    .or_default()
                    .push(self.entries.len());
                let regex = OnceCell::new();
                self.entries.push(Entry { spec, regex });
            }
        }
        Ok(())
    }

    /// Takes the administrator's replacements from a `.subs` file.
    pub fn read_substitutions(&mut self, text: &[u8]) {
        self.substitutions = substitutions(text);
    }

    /// Takes the distribution's replacements from a `.subs_dist` file.
    pub fn read_distribution_substitutions(&mut self, text: &[u8]) {
        self.distribution_substitutions = substitutions(text);
    }

    /// What the policy says about the file at the absolute path `path`; `None` if no line matches.
    pub fn lookup(
        &self,
        path: &[u8],
        file_type: FileType,
    ) -> Result<Option<Label<'_>>, ContextsError> {
        let path = normalize(path);
        let path = substitute(&self.substitutions, path);
        let path = substitute(&self.distribution_substitutions, path);
        let mut candidates: Vec<usize> = (0..=path.len())
            .filter_map(|len| self.by_prefix.get(&path[..len]))
            .flatten()
            .copied()
            .collect();
        candidates.sort_unstable_by_key(|&index| (self.entries[index].spec.is_literal(), index));
        for index in candidates.into_iter().rev() {
            let entry = &self.entries[index];
            let type_fits = entry
                .spec
                .file_type
                .is_none_or(|wanted| wanted == file_type);
            if type_fits && entry.matches(&path, &self.compiled)? {
                return Ok(Some(match &entry.spec.context {
                    Some(context) => Label::Context(context),
                    None => Label::Unlabelled,
                }));
            }
        }
        Ok(None)
    }
}

impl Entry {
    /// Whether the path matches; what is compiled for that is added to `compiled`.
    fn matches(&self, path: &[u8], compiled: &Cell<usize>) -> Result<bool, ContextsError> {
        if let Some(regex) = self.regex.get() {
            return Ok(regex.is_match(path));
        }
        let regex = self.compile(compiled)?;
        Ok(self.regex.get_or_init(|| regex).is_match(path))
    }

    fn compile(&self, compiled: &Cell<usize>) -> Result<Regex, ContextsError> {
        let pattern = || self.spec.pattern.clone();
        let mut builder = RegexBuilder::new(&format!("^(?:{})$", translated(&self.spec.pattern)));
        builder
            .unicode(false)
            .dot_matches_new_line(true)
            .dfa_size_limit(MET_BYTES);
        let mut size = SMALLEST_PATTERN;
        loop {
            // What is tried in vain takes time, too.
            compiled.set(compiled.get() + size);
            if compiled.get() > MOST_PATTERNS {
                return Err(ContextsError::TooMany { pattern: pattern() });
            }
            match builder.size_limit(size).build() {
                Err(regex::Error::CompiledTooBig(_)) if size < LARGEST_PATTERN => size *= STEP,
                built => {
                    return built.map_err(|source| ContextsError::Pattern {
                        pattern: pattern(),
                        source: Box::new(source),
                    });
                }
            }
        }
    }
}

/// The path with single slashes, and none at the end, except for the root.
fn normalize(path: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || normal.last() != Some(&b'/') {
            normal.push(byte);
        }
    }
    if normal.len() > 1 && normal.last() == Some(&b'/') {
        normal.pop();
    }
    normal
}

/// The lines of a `.subs` file; of two for one path the later one is used, so it comes first here.
fn substitutions(text: &[u8]) -> Vec<Substitution> {
    let text = String::from_utf8_lossy(text);
    let mut list: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let from = words
                .next()
                .filter(|word| !word.starts_with('#'))?
                .to_owned();
            let to = words.next()?.to_owned();
            Some(Substitution { from, to })
        })
        .collect();
    list.reverse();
    list
}

fn substitute(list: &[Substitution], path: Vec<u8>) -> Vec<u8> {
    for substitution in list {
        let Some(rest) = path.strip_prefix(substitution.from.as_bytes()) else {
            continue;
        };
        let rest = match rest {
            [] => rest,
            [b'/', below @ ..] if substitution.to == "/" => below,
            [b'/', ..] => rest,
            _ => continue,
        };
        return [substitution.to.as_bytes(), rest].concat();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts(text: &str) -> Contexts {
        let mut contexts = Contexts::default();
        contexts.read("file_contexts", text.as_bytes()).unwrap();
        contexts
    }

    fn label(contexts: &Contexts, path: &str) -> String {
        match contexts.lookup(path.as_bytes(), FileType::Regular).unwrap() {
            Some(Label::Context(context)) => context.to_owned(),
            Some(Label::Unlabelled) => "<<none>>".to_owned(),
            None => "no match".to_owned(),
        }
    }

    #[test]
    fn the_last_of_equals_counts_and_a_plain_path_goes_first() {
        let policy = contexts("/etc/x literal\n/.* all\n/etc(/.*)? etc\n/etc/.*\\.d -d dirs\n");
        assert_eq!(label(&policy, "/etc/x"), "literal");
        assert_eq!(label(&policy, "/etc/y.d"), "etc");
        assert_eq!(label(&policy, "/usr"), "all");
        assert_eq!(label(&policy, "relative"), "no match");
    }

    #[test]
    fn paths_are_normalized_and_substituted() {
        let mut policy = contexts("/usr/lib(/.*)? lib\n/proc/.* <<none>>\n/x a\n");
        policy.read_substitutions(b"# c\n/lib /usr/lib\n/srv /\n");
        policy.read_distribution_substitutions(b"/usr/lib64 /usr/lib\n");
        assert_eq!(label(&policy, "//lib///a/"), "lib");
        assert_eq!(label(&policy, "/lib64/a"), "no match");
        assert_eq!(label(&policy, "/usr/lib64/a"), "lib");
        assert_eq!(label(&policy, "/srv/x"), "a");
        assert_eq!(label(&policy, "/proc/1"), "<<none>>");
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_named() {
        let error = contexts("/a(?!b) c\n")
            .lookup(b"/a", FileType::Regular)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use the file context pattern `/a(?!b)`"
        );
    }

    #[test]
    fn patterns_are_bounded_each_and_together() {
        let large = contexts("/.{400000}x a\n");
        let error = large.lookup(b"/a", FileType::Regular);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("cannot use the file context pattern"),
            "{error}"
        );
        let all =
            |count: u32, line: fn(u32) -> String| (0..count).map(line).collect::<Vec<_>>().concat();
        let lines = all(3000, |i| format!("/.{{2000}}{i} a\n"));
        let many = contexts(&lines);
        let error = many.lookup(b"/a", FileType::Regular);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("take more than 67108864 bytes"), "{error}");
        // As many as in a large policy.
        let lines = all(7000, |i| format!("/.*/lib(32|64)?/[^/]+/d{i}(/.*)? a\n"));
        assert_eq!(label(&contexts(&lines), "/usr/lib64/x/d7/y"), "a");
        assert_eq!(label(&contexts(&lines), "/none"), "no match");
    }

    #[test]
    fn a_malformed_line_is_named() {
        let mut contexts = Contexts::default();
        let error = contexts.read("fc.local", b"\n/a -q b\n").unwrap_err();
        assert!(error.to_string().starts_with("fc.local, line 2: `-q`"));
    }
}
