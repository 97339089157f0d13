//! `sed` with the commands that scripts commonly have: `s`, `d`, `p`, `q`, and `a`, `i`, `c` with
//! one line of text, each with addresses.
//!
//! - `script`: the commands, parsed.

mod script;

use std::borrow::Cow;

use super::super::io::MAX_BYTES;
use super::super::regex::Expression;
use super::super::{MAX_WORK, Run, Shell};
use super::options;
use imgasm_block::bytes::byte_len;
use imgasm_fs::FileType;
use imgasm_fs::tree::{self, Attributes, LastLink};

/// Where a command applies.
#[derive(Debug)]
enum Address {
    Line(usize),
    Last,
    Matches(Expression),
}

#[derive(Debug)]
enum Action {
    Delete,
    Print,
    Quit,
    Append(String),
    Insert(String),
    Change(String),
    Substitute {
        expression: Expression,
        replacement: Vec<Piece>,
        /// Which match is replaced, and whether those behind it too.
        first: usize,
        is_global: bool,
        prints: bool,
    },
}

/// A piece of a replacement.
#[derive(Debug)]
enum Piece {
    Text(String),
    Group(usize),
}

#[derive(Debug)]
struct Command {
    addresses: Vec<Address>,
    is_negated: bool,
    action: Action,
    /// Whether a range of lines is open before the first one.
    starts_open: bool,
    /// Whether a range of lines is open.
    is_open: bool,
}

impl Shell<'_, '_> {
    pub(super) fn sed(&mut self, arguments: &[String]) -> Run {
        let long = [
            ("quiet", 'n'),
            ("silent", 'n'),
            ("regexp-extended", 'E'),
            ("in-place", 'i'),
            ("expression", 'e'),
        ];
        let has_suffix = arguments.iter().any(|argument| {
            let letters = argument
                .strip_prefix('-')
                .filter(|rest| !rest.starts_with('-'));
            letters.is_some_and(|letters| letters.contains('i') && !letters.ends_with('i'))
        });
        if has_suffix {
            return Err(self.unknown());
        }
        let options = options::parse(arguments, "nErie", "", &long);
        // `-e` takes a value, `-i` may have one in the same word.
        let options = match options {
            Some(options) if !options.has('e') => Some(options),
            _ => options::parse(arguments, "nEri", "e", &long),
        };
        let mut options = options.ok_or_else(|| self.unknown())?;
        let mut scripts: Vec<_> = options
            .values
            .iter()
            .map(|(_, script)| script.clone())
            .collect();
        if scripts.is_empty() {
            if options.operands.is_empty() {
                return Ok(1);
            }
            scripts.push(options.operands.remove(0));
        }
        let is_extended = options.has('E') || options.has('r');
        let parsed = script::parse(&scripts.join("\n"), is_extended);
        let mut commands = parsed.ok_or_else(|| self.unknown())?;
        if !options.has('i') {
            let mut text = String::new();
            let mut status = 0;
            if options.operands.is_empty() {
                let input = self.descriptors.input.read_all();
                text = String::from_utf8(input).map_err(|_| self.unknown())?;
            }
            for file in &options.operands {
                match self.read_file(file)? {
                    Some(content) => {
                        let content = String::from_utf8(content).map_err(|_| self.unknown())?;
                        if !text.is_empty() && !text.ends_with('\n') {
                            return Err(self.unknown());
                        }
                        text.push_str(&content);
                    }
                    None => status = 2,
                }
            }
            let edited = self.edited(&mut commands, &text, options.has('n'))?;
            self.say(edited.as_bytes())?;
            return Ok(status);
        }
        let mut status = 0;
        for file in &options.operands {
            let found = match self.metadata_kept(file)? {
                Some(found) if found.file_type != FileType::Directory => found,
                // A file that is missing is passed over, a folder ends the command.
                Some(_) => return Ok(4),
                None => {
                    status = 2;
                    continue;
                }
            };
            // GNU's sed replaces a link by a file.
            if found.file_type != FileType::Regular || found.links > 1 {
                return Err(self.unknown());
            }
            let content = self.read_file(file)?.ok_or_else(|| self.unknown())?;
            let text = String::from_utf8(content).map_err(|_| self.unknown())?;
            for command in &mut commands {
                command.is_open = command.starts_open;
            }
            let edited = self.edited(&mut commands, &text, options.has('n'))?;
            let path = self.path(file)?;
            let (_, path) = tree::resolve(self.editor.fs(), &path, LastLink::Keep)?;
            self.editor.write(
                &path,
                LastLink::Keep,
                edited.as_bytes(),
                Attributes::default(),
            )?;
        }
        Ok(status)
    }

    /// The text that the commands make of another.
    fn edited(&self, commands: &mut [Command], text: &str, is_quiet: bool) -> Run<String> {
        let before = MAX_WORK.saturating_sub(self.work.get());
        let mut left = before;
        let edited = edit(commands, text, is_quiet, &mut left).ok_or_else(|| self.unknown())?;
        self.spend(before - left)?;
        Ok(edited)
    }
}

/// As [`Shell::edited`]; `None` if what comes of it is not known, or takes more work than is left.
fn edit(commands: &mut [Command], text: &str, is_quiet: bool, left: &mut u64) -> Option<String> {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let mut edited = String::new();
    'lines: for (index, line) in lines.iter().enumerate() {
        let is_last = index + 1 == lines.len();
        let has_end = line.ends_with('\n');
        let mut space = line.strip_suffix('\n').unwrap_or(line).to_owned();
        let mut appended = String::new();
        let mut quits = false;
        let put = |edited: &mut String, text: &str| {
            edited.push_str(text);
            if has_end || !is_last {
                edited.push('\n');
            }
        };
        for command in commands.iter_mut() {
            *left = left.checked_sub(1 + byte_len(space.as_bytes()))?;
            if command.applies(index + 1, is_last, &space)? == command.is_negated {
                continue;
            }
            match &command.action {
                Action::Delete => {
                    edited.push_str(&appended);
                    continue 'lines;
                }
                // Without an end of the last line, each tool writes its own.
                Action::Print | Action::Append(_) | Action::Insert(_) if !has_end => return None,
                Action::Print => put(&mut edited, &space),
                Action::Quit => {
                    quits = true;
                    break;
                }
                Action::Append(text) => {
                    appended.push_str(text);
                    appended.push('\n');
                }
                Action::Insert(text) => put(&mut edited, text),
                Action::Change(text) => {
                    put(&mut edited, text);
                    edited.push_str(&appended);
                    continue 'lines;
                }
                Action::Substitute {
                    expression,
                    replacement,
                    first,
                    is_global,
                    prints,
                } => {
                    let replaced = substitute(expression, replacement, *first, *is_global, &space)?;
                    if let Cow::Owned(replaced) = replaced {
                        space = replaced;
                        if *prints {
                            put(&mut edited, &space);
                        }
                    }
                }
            }
        }
        if !is_quiet {
            put(&mut edited, &space);
        }
        edited.push_str(&appended);
        if edited.len() > MAX_BYTES {
            return None;
        }
        if quits {
            break;
        }
    }
    Some(edited)
}

/// A line after a substitution; borrowed if it does not match, and `None` if it grows too long.
fn substitute<'l>(
    expression: &Expression,
    replacement: &[Piece],
    first: usize,
    is_global: bool,
    line: &'l str,
) -> Option<Cow<'l, str>> {
    let mut replaced = String::new();
    let mut end = 0;
    let mut is_changed = false;
    for (index, captures) in expression.regex.captures_iter(line).enumerate() {
        let number = index + 1;
        if number < first || (number > first && !is_global) {
            continue;
        }
        let whole = captures.get(0)?;
        replaced.push_str(&line[end..whole.start()]);
        for piece in replacement {
            match piece {
                Piece::Text(text) => replaced.push_str(text),
                Piece::Group(group) => {
                    replaced.push_str(captures.get(*group).map_or("", |found| found.as_str()));
                }
            }
            if replaced.len() > MAX_BYTES {
                return None;
            }
        }
        end = whole.end();
        is_changed = true;
    }
    replaced.push_str(&line[end..]);
    Some(if is_changed {
        Cow::Owned(replaced)
    } else {
        Cow::Borrowed(line)
    })
}

impl Command {
    /// Whether the command applies to a line; `None` if that is not known here.
    fn applies(&mut self, number: usize, is_last: bool, space: &str) -> Option<bool> {
        let matches = |address: &Address| match address {
            Address::Line(line) => *line == number,
            Address::Last => is_last,
            Address::Matches(expression) => expression.regex.is_match(space),
        };
        match self.addresses.as_slice() {
            [] => Some(true),
            [only] => Some(matches(only)),
            [_, end] if self.is_open => {
                // A range that ends at a line already passed ends with its first line.
                self.is_open = !match end {
                    Address::Line(line) => number >= *line,
                    end => matches(end),
                };
                Some(true)
            }
            [start, end] => {
                let begins = matches(start);
                self.is_open = begins
                    && match end {
                        Address::Line(line) => number < *line,
                        _ => !is_last,
                    };
                Some(begins)
            }
            _ => None,
        }
    }
}
