//! Printed text is inert: it commands neither a terminal nor a build service that reads the log.
//!
//! Terminals obey escape sequences, invisible characters mislead readers, and build services take
//! some lines for commands: GitHub's begin with `::`, after any white space, or contain `##[`,
//! Azure's contain `##vso[`, TeamCity's `##teamcity[`. All text goes through here on its way to
//! stdout and stderr, and loses the values of sensitive variables there; only `cat` prints a file's bytes as they are.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use crate::config::given::forms;
use imgasm_fs::text::{is_hidden, shown_lines};

/// The texts that are not shown.
static HIDDEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What is shown instead.
const INSTEAD: &str = "(hidden)";

/// Has these values not shown from here on, in none of their forms, and those that were hidden before
/// again.
pub(super) fn hide<'a>(values: impl Iterator<Item = &'a str>) {
    let mut hidden: Vec<String> = values.flat_map(forms).collect();
    // What contains another goes first.
    hidden.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    hidden.dedup();
    *HIDDEN.lock().unwrap_or_else(PoisonError::into_inner) = hidden;
}

/// Whether anything is not to be shown.
pub(super) fn is_hiding() -> bool {
    let hidden = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner);
    !hidden.is_empty()
}

/// A text without what is not to be shown.
pub(super) fn hidden(text: &str) -> Cow<'_, str> {
    let hidden = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut shown = Cow::Borrowed(text);
    for value in hidden.iter().filter(|value| !value.is_empty()) {
        if shown.contains(value.as_str()) {
            shown = Cow::Owned(shown.replace(value.as_str(), INSTEAD));
        }
    }
    shown
}

/// What begins a command anywhere in a line.
const MARKS: [&str; 3] = ["##[", "##vso[", "##teamcity["];

/// A text of one or several lines in which no line is a command. The escape sequences in it are
/// ours.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    match hidden(text) {
        Cow::Borrowed(text) => inert(text),
        Cow::Owned(text) => Cow::Owned(inert(&text).into_owned()),
    }
}

fn inert(text: &str) -> Cow<'_, str> {
    let is_command = |line: &str| line.trim_start().starts_with("::");
    let is_marked = || MARKS.iter().any(|mark| text.contains(mark));
    if !text.split(['\n', '\r']).any(is_command) && !is_marked() {
        return Cow::Borrowed(text);
    }
    let mut inert = String::with_capacity(text.len() + 8);
    for line in text.split_inclusive(['\n', '\r']) {
        let rest = line.trim_start();
        if let Some(command) = rest.strip_prefix("::") {
            inert.push_str(&line[..line.len() - rest.len()]);
            inert.push_str(r"\x3a:");
            inert.push_str(command);
        } else {
            inert.push_str(line);
        }
    }
    for mark in MARKS {
        if inert.contains(mark) {
            inert = inert.replace(mark, &format!(r"\x23{}", &mark[1..]));
        }
    }
    Cow::Owned(inert)
}

/// A text of one or several lines, none of whose characters is hidden and none of whose lines is a
/// command.
pub(super) fn visible_lines(text: &str) -> String {
    lines(&shown_lines(text)).into_owned()
}

/// A writer of JSON that writes invisible characters as `\uNNNN`: they only occur in strings, which
/// may contain such escapes.
pub(super) struct Json<W>(pub(super) W);

impl<W: Write> Write for Json<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // The serializer writes whole pieces of text.
        let Ok(text) = std::str::from_utf8(buf) else {
            self.0.write_all(buf)?;
            return Ok(buf.len());
        };
        let is_written_out = |c: char| is_hidden(c) && (!c.is_ascii() || c == '\x7f');
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| is_written_out(c) || c == '#') {
            self.0.write_all(&rest.as_bytes()[..at])?;
            let c = rest[at..].chars().next().unwrap_or_default();
            let is_marked = MARKS.iter().any(|mark| rest[at..].starts_with(mark));
            if c != '#' || is_marked {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(self.0, "\\u{unit:04x}")?;
                }
            } else {
                self.0.write_all(b"#")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_all(rest.as_bytes())?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The destination of logs: one write is one event.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buf);
        io::stderr().write_all(visible_lines(&text).as_bytes())?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_a_command() {
        for (text, expected) in [
            (
                "plain: text ::not a command::\n",
                "plain: text ::not a command::\n",
            ),
            (
                "::error::x\nok\n  \t::warning::y",
                "\\x3a:error::x\nok\n  \t\\x3a:warning::y",
            ),
            ("a\r::debug::z", "a\r\\x3a:debug::z"),
            (
                "a ##[add-mask]b ##vso[task]c",
                r"a \x23#[add-mask]b \x23#vso[task]c",
            ),
        ] {
            assert_eq!(lines(text), expected);
            assert_eq!(lines(&lines(text)), expected, "nothing is done twice");
        }
        assert_eq!(
            visible_lines("\x1b[31m\u{202e}x\r::y"),
            "\\x1b[31m\\u{202e}x\\x0d::y"
        );
    }

    #[test]
    fn json_says_the_same() {
        let text = "größe \u{202e}\u{2028}\u{200b}\u{e0041}\x7f # ## ##[x] ##vso[y]";
        let mut written = Vec::new();
        serde_json::to_writer(Json(&mut written), &[text]).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert!(!written.contains(is_hidden), "{written:?}");
        assert!(
            !written.contains("##[") && !written.contains("##vso["),
            "{written}"
        );
        let read: Vec<String> = serde_json::from_str(&written).unwrap();
        assert_eq!(read, [text]);
    }
}
