//! Which argument the cursor is at.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

/// The argument at the cursor, and those before it.
#[derive(Debug)]
pub(super) struct Asked<'c> {
    /// The argument.
    pub(super) argument: &'c Arg,
    /// What stands before its value in the same word: `--set=`.
    pub(super) before: String,
    /// What there is of its value.
    pub(super) text: String,
    /// The values of the arguments before it, by their identifiers.
    given: Vec<(&'c str, OsString)>,
}

impl Asked<'_> {
    /// The values of an argument.
    pub(super) fn values(&self, id: &str) -> impl Iterator<Item = &OsStr> {
        let given = self.given.iter().filter(move |(name, _)| *name == id);
        given.map(|(_, value)| value.as_os_str())
    }

    /// The last value of an argument.
    pub(super) fn value(&self, id: &str) -> Option<&OsStr> {
        self.values(id).last()
    }
}

/// Follows the words of a command line, the program first and the one at the cursor last. `None` if
/// the cursor is at no value of an argument.
pub(super) fn asked<'c>(root: &'c Command, words: &[OsString]) -> Option<Asked<'c>> {
    let (last, before) = words.split_last()?;
    let mut way = Way {
        command: root,
        position: 0,
        has_options: true,
        waiting: None,
        given: Vec::new(),
    };
    for word in before.get(1..)? {
        way.follow(word);
    }
    let text = last.to_str()?.to_owned();
    let (argument, before, text) = match way.waiting {
        Some(argument) => (argument, String::new(), text),
        None if way.has_options && text.starts_with('-') && text.len() > 1 => {
            let (name, value) = text.split_once('=')?;
            let argument = option(way.command, name)?;
            (argument, format!("{name}="), value.to_owned())
        }
        None if way.command.has_subcommands() => return None,
        None => (way.positional()?, String::new(), text),
    };
    Some(Asked {
        argument,
        before,
        text,
        given: way.given,
    })
}

/// How far the words were followed.
struct Way<'c> {
    command: &'c Command,
    /// How many positional arguments there were.
    position: usize,
    /// Whether no `--` has ended the options.
    has_options: bool,
    /// The option whose value comes next.
    waiting: Option<&'c Arg>,
    given: Vec<(&'c str, OsString)>,
}

impl<'c> Way<'c> {
    fn follow(&mut self, word: &OsStr) {
        if let Some(argument) = self.waiting.take() {
            self.give(argument, word.to_owned());
            return;
        }
        let text = word.to_string_lossy();
        if self.has_options && text == "--" {
            self.has_options = false;
        } else if self.has_options && text.starts_with('-') && text.len() > 1 {
            self.follow_option(&text);
        } else if let Some(command) = self.command.find_subcommand(&*text) {
            self.command = command;
            self.position = 0;
        } else if let Some(argument) = self.positional() {
            self.give(argument, word.to_owned());
            self.position += 1;
        }
    }

    /// `--name`, `--name=value`, `-n` or `-nvalue`.
    fn follow_option(&mut self, text: &str) {
        let short = text.char_indices().nth(2).map(|(at, _)| text.split_at(at));
        let (name, value) = match (text.split_once('='), short) {
            (Some((name, value)), _) => (name, Some(value)),
            (None, Some((name, value))) if !text.starts_with("--") => (name, Some(value)),
            _ => (text, None),
        };
        let Some(argument) = option(self.command, name) else {
            return;
        };
        match value {
            Some(value) => self.give(argument, value.into()),
            None if argument.is_require_equals_set() => {}
            None => self.waiting = Some(argument),
        }
    }

    /// The positional argument that comes next; the last one may come again.
    fn positional(&self) -> Option<&'c Arg> {
        let mut positionals = self.command.get_positionals();
        let next = positionals.nth(self.position);
        next.or_else(|| {
            let last = self.command.get_positionals().last()?;
            last.get_num_args()?.max_values().gt(&1).then_some(last)
        })
    }

    fn give(&mut self, argument: &'c Arg, value: OsString) {
        self.given.push((argument.get_id().as_str(), value));
    }
}

/// The option of this name that takes a value.
fn option<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    let is_it = |argument: &&Arg| match name.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short() == name.chars().nth(1),
    };
    let mut options = command
        .get_arguments()
        .filter(|argument| !argument.is_positional());
    let found = options.find(is_it)?;
    found.get_action().takes_values().then_some(found)
}

/// A word of a shell without its quotes. What a shell would put in for other things stays.
pub(super) fn unquoted(word: &OsStr) -> OsString {
    let mut plain = Vec::with_capacity(word.len());
    let mut quote = None;
    let mut bytes = word.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (b'\\', None) => plain.extend(bytes.next()),
            (b'\\', Some(b'"')) => {
                let escaped = bytes.next_if(|next| b"$`\"\\".contains(next));
                plain.push(escaped.unwrap_or(b'\\'));
            }
            (byte, _) => plain.push(byte),
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The argument, what is before its value, its text and the values of `id`.
    fn at(line: &[&str], id: &str) -> Option<(String, String, String, Vec<OsString>)> {
        let mut root = super::super::command();
        root.build();
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        let asked = asked(&root, &words)?;
        let values = asked.values(id).map(OsStr::to_owned).collect();
        let name = asked.argument.get_id().to_string();
        Some((name, asked.before, asked.text, values))
    }

    #[test]
    fn the_argument_at_the_cursor() {
        for (line, id, expected) in [
            (
                &["imgasm", "ls", "a.raw", "/e"][..],
                "image",
                Some(("path", "", "/e", &["a.raw"][..])),
            ),
            (
                &["imgasm", "ls", "-R", "--partition", "2", "a", ""],
                "partition",
                Some(("path", "", "", &["2"])),
            ),
            (
                &["imgasm", "-v", "ls", "--partition=3", ""],
                "partition",
                Some(("image", "", "", &["3"])),
            ),
            (
                &["imgasm", "build", "-fx.toml", "--set", "a"],
                "file",
                Some(("set", "", "a", &["x.toml"])),
            ),
            (
                &["imgasm", "build", "--set", "a=1", "--set=b"],
                "set",
                Some(("set", "--set=", "b", &["a=1"])),
            ),
            (
                &["imgasm", "apply", "a", "o1", "o2", ""],
                "overlays",
                Some(("overlays", "", "", &["o1", "o2"])),
            ),
            (
                &["imgasm", "ls", "--trust-cache", "a", "--", "-x"],
                "image",
                Some(("path", "", "-x", &["a"])),
            ),
            (&["imgasm", "ls", "a", "/", ""], "image", None),
            (&["imgasm", "ls", "--pa"], "image", None),
            (&["imgasm", "l"], "image", None),
            (&["imgasm"], "image", None),
            (&[], "image", None),
        ] {
            let found = at(line, id);
            let expected = expected.map(|(name, before, text, values)| {
                let values = values.iter().map(OsString::from).collect();
                (name.to_owned(), before.to_owned(), text.to_owned(), values)
            });
            assert_eq!(found, expected, "{line:?}");
        }
    }

    #[test]
    fn words_without_quotes() {
        for (word, expected) in [
            ("plain", "plain"),
            ("my\\ image", "my image"),
            ("'my $image'", "my $image"),
            ("\"a\\\"b\\c\"", "a\"b\\c"),
            ("'open", "open"),
            ("end\\", "end"),
        ] {
            assert_eq!(unquoted(OsStr::new(word)), expected, "{word}");
        }
    }
}
