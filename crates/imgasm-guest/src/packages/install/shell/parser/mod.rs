//! From the text of a script to its parts (POSIX.1-2017, "Shell Command Language", with bash's
//! `[[`, `<<<`, `&>` and `function`).
//!
//! What is not understood becomes a part that nobody can carry out, so that a script is refused
//! only if such a part is reached. Here: lists and simple commands; [`compound`], [`redirections`]
//! and [`words`] have the rest.

mod compound;
mod redirections;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use super::ast::{AndOr, Command, Link, List, Pipeline, Stage};

/// How deep commands may lie in each other.
const MAX_DEPTH: usize = 40;
/// The longest script, in bytes: far longer than any package has.
const MAX_SCRIPT: usize = 256 << 10;
/// The most characters of a command that messages show.
const MAX_TEXT: usize = 200;
/// Words that end a list of commands or begin a compound one.
const RESERVED: [&str; 15] = [
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac",
    "in", "}", "{",
];
/// What ends a word.
const BREAKS: &str = " \t\n;&|<>()";
/// Commands that would give the rest of the script another meaning.
const UNKNOWN_WORDS: [&str; 3] = ["select", "time", "coproc"];

/// Why a script cannot be taken apart from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GiveUp;

type Parsed<T> = Result<T, GiveUp>;

/// Takes a script apart. What follows a part that breaks the grammar is one unknown command.
pub(super) fn parse(script: &str) -> List {
    let mut parser = Parser {
        script,
        at: 0,
        depth: 0,
        documents: BTreeMap::new(),
        plain_braces: BTreeSet::new(),
    };
    let mut list = Vec::new();
    if script.len() > MAX_SCRIPT {
        list.push(opaque(script));
        return list;
    }
    loop {
        let start = parser.skip_blank_lines();
        if parser.peek().is_none() {
            return list;
        }
        let parsed = parser.and_or().and_then(|command| {
            parser.separator()?;
            Ok(command)
        });
        if let Ok(command) = parsed {
            list.push(command);
        } else {
            list.push(opaque(&script[start..]));
            return list;
        }
    }
}

fn opaque(script: &str) -> AndOr {
    let stage = Stage {
        command: Command::Opaque,
        redirections: Vec::new(),
    };
    AndOr {
        first: Pipeline {
            is_negated: false,
            stages: vec![stage],
            text: first_line(script),
        },
        rest: Vec::new(),
    }
}

struct Parser<'s> {
    script: &'s str,
    at: usize,
    depth: usize,
    /// Where lines end that here-documents follow, and where the script goes on behind these.
    documents: BTreeMap<usize, usize>,
    /// Behind which braces nothing stands that makes several words: each is looked at once, though
    /// others around it are, too.
    plain_braces: BTreeSet<usize>,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.script[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pass(c.len_utf8()).ok()?;
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    /// Passes over spaces, comments and joined lines.
    fn skip_spaces(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t') => self.at += 1,
                Some('\\') if self.rest().starts_with("\\\n") => self.at += 2,
                Some('#') => {
                    let len = self.rest().find('\n').unwrap_or(self.rest().len());
                    self.at += len;
                }
                _ => return,
            }
        }
    }

    fn skip_blank_lines(&mut self) -> usize {
        loop {
            self.skip_spaces();
            if !self.take_line_end() {
                return self.at;
            }
        }
    }

    /// Passes over the end of a line and the here-documents behind it.
    fn take_line_end(&mut self) -> bool {
        let is_there = self.peek() == Some('\n');
        if is_there {
            self.at = *self.documents.get(&self.at).unwrap_or(&(self.at + 1));
        }
        is_there
    }

    /// The end of a command: `;`, the end of the line, or nothing more.
    fn separator(&mut self) -> Parsed<()> {
        self.skip_spaces();
        if self.rest().starts_with(";;") {
            return Ok(());
        }
        match self.peek() {
            Some('\n') => {
                self.take_line_end();
                Ok(())
            }
            Some(';') => {
                self.at += 1;
                Ok(())
            }
            None | Some(')') => Ok(()),
            _ => Err(GiveUp),
        }
    }

    /// Commands up to one of these words or signs, which is left.
    fn list(&mut self, ends: &[&str]) -> Parsed<List> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(GiveUp);
        }
        let mut list = Vec::new();
        loop {
            self.skip_blank_lines();
            if self.at_end(ends) || (ends.is_empty() && self.peek().is_none()) {
                break;
            }
            list.push(self.and_or()?);
            self.skip_spaces();
            if self.at_end(ends) {
                break;
            }
            self.separator()?;
        }
        self.depth -= 1;
        Ok(list)
    }

    /// The same, with one command at least: the grammar wants that.
    fn some(&mut self, ends: &[&str]) -> Parsed<List> {
        let list = self.list(ends)?;
        if list.is_empty() {
            Err(GiveUp)
        } else {
            Ok(list)
        }
    }

    fn at_end(&self, ends: &[&str]) -> bool {
        ends.iter().any(|end| match *end {
            ")" | ";;" => self.rest().starts_with(end),
            word => self.word_is(word),
        })
    }

    /// Whether the next word is this one, unquoted.
    fn word_is(&self, word: &str) -> bool {
        let after = self.rest().strip_prefix(word);
        after.is_some_and(|after| after.chars().next().is_none_or(|c| BREAKS.contains(c)))
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let is_there = self.word_is(word);
        if is_there {
            self.at += word.len();
        }
        is_there
    }

    fn expect_word(&mut self, word: &str) -> Parsed<()> {
        self.skip_blank_lines();
        if self.take_word(word) {
            Ok(())
        } else {
            Err(GiveUp)
        }
    }

    fn and_or(&mut self) -> Parsed<AndOr> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.skip_spaces();
            let link = if self.take("&&") {
                Link::And
            } else if self.take("||") {
                Link::Or
            } else {
                return Ok(AndOr { first, rest });
            };
            self.skip_blank_lines();
            rest.push((link, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        self.skip_spaces();
        let start = self.at;
        let mut is_negated = false;
        while self.take_word("!") {
            is_negated = !is_negated;
        }
        let mut stages = vec![self.stage()?];
        loop {
            self.skip_spaces();
            if self.rest().starts_with("||") || self.rest().starts_with("|&") || !self.take("|") {
                break;
            }
            self.skip_blank_lines();
            stages.push(self.stage()?);
        }
        Ok(Pipeline {
            is_negated,
            stages,
            text: first_line(&self.script[start..self.at]),
        })
    }

    fn stage(&mut self) -> Parsed<Stage> {
        self.skip_spaces();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(GiveUp);
        }
        let command = self.command()?;
        self.depth -= 1;
        if let Command::Simple(..) = command.command {
            return Ok(command);
        }
        let mut redirections = command.redirections;
        while let Some(redirection) = self.redirection()? {
            redirections.push(redirection);
        }
        Ok(Stage {
            command: command.command,
            redirections,
        })
    }

    fn simple(&mut self) -> Parsed<Stage> {
        let (mut assignments, mut words, mut redirections) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.skip_spaces();
            if let Some(redirection) = self.redirection()? {
                redirections.push(redirection);
                continue;
            }
            match self.peek() {
                None | Some('\n' | ';' | '|' | ')') => break,
                Some('&') if self.rest().starts_with("&&") => break,
                // A command beside the script has no certain effect.
                Some('&' | '(' | '<' | '>') => return Err(GiveUp),
                _ => {}
            }
            if words.is_empty()
                && let Some(name) = self.assignment()
            {
                let value = match self.peek() {
                    Some('(') => return Err(GiveUp),
                    None => Vec::new(),
                    Some(c) if BREAKS.contains(c) => Vec::new(),
                    Some(_) => self.word()?,
                };
                assignments.push((name, value));
                continue;
            }
            words.push(self.word()?);
        }
        if assignments.is_empty() && words.is_empty() && redirections.is_empty() {
            return Err(GiveUp);
        }
        Ok(Stage {
            command: Command::Simple(assignments, words),
            redirections,
        })
    }

    /// `name=` at this place, which is passed over.
    fn assignment(&mut self) -> Option<String> {
        let start = self.at;
        if let Some(name) = self.name()
            && self.take("=")
        {
            return Some(name);
        }
        self.at = start;
        None
    }

    fn name(&mut self) -> Option<String> {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !self.peek().is_some_and(is_first) {
            return None;
        }
        let len = self
            .rest()
            .find(|c| !is_name(c))
            .unwrap_or(self.rest().len());
        let name = self.rest()[..len].to_owned();
        self.at += len;
        Some(name)
    }

    /// A parser of a text that lies within this one.
    fn inner<'t>(&self, script: &'t str) -> Parsed<Parser<'t>> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(GiveUp);
        }
        Ok(Parser {
            script,
            at: 0,
            depth,
            documents: BTreeMap::new(),
            plain_braces: BTreeSet::new(),
        })
    }

    /// Passes over bytes, unless a here-document begins among them.
    fn pass(&mut self, len: usize) -> Parsed<()> {
        let end = self.at + len;
        if self.documents.range(self.at..end).next().is_some() {
            return Err(GiveUp);
        }
        self.at = end;
        Ok(())
    }
}

/// The beginning of a part of a script, for messages.
fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim_end();
    line.chars().take(MAX_TEXT).collect()
}
