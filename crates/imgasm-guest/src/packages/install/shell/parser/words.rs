//! Words: quotes, expansions and what stands between them.

use super::super::ast::{Action, Part, Word};
use super::{BREAKS, GiveUp, MAX_DEPTH, Parsed, Parser};

/// The longest sequence that braces may stand for.
const MAX_SEQUENCE: i64 = 1000;

impl Parser<'_> {
    /// A word, up to what ends it.
    pub(super) fn word(&mut self) -> Parsed<Word> {
        let word = self.word_until("")?;
        if word.is_empty() {
            Err(GiveUp)
        } else {
            Ok(word)
        }
    }

    /// A word that one of these characters ends too, which may have nothing in it.
    fn word_until(&mut self, ends: &str) -> Parsed<Word> {
        let mut word = Vec::new();
        if self.peek() == Some('~') && ends.is_empty() {
            self.at += 1;
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            let len = self
                .rest()
                .find(|c| !is_name(c))
                .unwrap_or(self.rest().len());
            let name = self.rest()[..len].to_owned();
            self.at += len;
            word.push(match self.peek() {
                Some(c) if c != '/' && !BREAKS.contains(c) => Part::Opaque,
                _ => Part::Home(name),
            });
        }
        while let Some(c) = self.peek() {
            if BREAKS.contains(c) || ends.contains(c) {
                break;
            }
            self.at += c.len_utf8();
            match c {
                '\'' => {
                    let len = self.rest().find('\'').ok_or(GiveUp)?;
                    let text = self.rest()[..len].to_owned();
                    self.pass(len + 1)?;
                    word.push(quoted(text));
                }
                '"' => {
                    word.push(quoted(String::new()));
                    word.extend(self.quoted(Some('"'))?);
                }
                '\\' => match self.next() {
                    Some('\n') => {}
                    Some(c) => word.push(quoted(c.to_string())),
                    None => return Err(GiveUp),
                },
                '$' => word.push(self.dollar(false)?),
                '`' => word.push(self.backquotes(false)?),
                '{' => match self.braces()? {
                    Some(braces) => word.push(braces),
                    None => push_text(&mut word, '{', false),
                },
                c => push_text(&mut word, c, false),
            }
        }
        Ok(word)
    }

    /// What follows a brace, if that makes several words of one in bash.
    fn braces(&mut self) -> Parsed<Option<Part>> {
        if self.plain_braces.contains(&self.at) {
            return Ok(None);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(GiveUp);
        }
        let start = self.at;
        let mut words = Vec::new();
        let found = loop {
            words.push(self.word_until(",}")?);
            if self.take(",") {
                continue;
            }
            break if self.take("}") && words.len() > 1 {
                Some(Part::Braces(words))
            } else {
                sequence(&words)
            };
        };
        self.depth -= 1;
        if found.is_none() {
            self.at = start;
            self.plain_braces.insert(start);
        }
        Ok(found)
    }

    /// What stands in double quotes, up to and with the closing one; or all, as in a here-document.
    pub(super) fn quoted(&mut self, end: Option<char>) -> Parsed<Word> {
        let mut word = Vec::new();
        loop {
            let c = match self.peek() {
                Some(c) => c,
                None if end.is_none() => return Ok(word),
                None => return Err(GiveUp),
            };
            self.pass(c.len_utf8())?;
            match c {
                c if Some(c) == end => return Ok(word),
                '\\' => match self.peek() {
                    Some('\n') => self.at += 1,
                    Some(c @ ('$' | '`' | '\\')) => {
                        self.at += 1;
                        push_text(&mut word, c, true);
                    }
                    Some('"') if end.is_some() => {
                        self.at += 1;
                        push_text(&mut word, '"', true);
                    }
                    _ => push_text(&mut word, '\\', true),
                },
                '$' => word.push(self.dollar(true)?),
                '`' => word.push(self.backquotes(true)?),
                c => push_text(&mut word, c, true),
            }
        }
    }

    fn backquotes(&mut self, is_quoted: bool) -> Parsed<Part> {
        let mut inside = String::new();
        loop {
            match self.next().ok_or(GiveUp)? {
                '`' => break,
                '\\' => match self.next().ok_or(GiveUp)? {
                    c @ ('`' | '\\' | '$') => inside.push(c),
                    '"' if is_quoted => inside.push('"'),
                    c => inside.extend(['\\', c]),
                },
                c => inside.push(c),
            }
        }
        let mut parser = self.inner(&inside)?;
        let list = parser.list(&[])?;
        Ok(Part::Output { list, is_quoted })
    }

    /// What follows a dollar sign.
    fn dollar(&mut self, is_quoted: bool) -> Parsed<Part> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(GiveUp);
        }
        let part = self.expansion(is_quoted)?;
        self.depth -= 1;
        Ok(part)
    }

    fn expansion(&mut self, is_quoted: bool) -> Parsed<Part> {
        if self.rest().starts_with("((") {
            return self.arithmetic();
        }
        if self.take("(") {
            let list = self.list(&[")"])?;
            return if self.take(")") {
                Ok(Part::Output { list, is_quoted })
            } else {
                Err(GiveUp)
            };
        }
        if self.take("{") {
            return self.braced(is_quoted);
        }
        if let Some(name) = self.parameter_name(false) {
            return Ok(Part::Parameter {
                name,
                action: Action::Value,
                is_quoted,
            });
        }
        // `$'…'` is bash's alone.
        if !is_quoted && matches!(self.peek(), Some('\'' | '"')) {
            return Ok(Part::Opaque);
        }
        Ok(Part::Text {
            text: "$".to_owned(),
            is_quoted: true,
        })
    }

    fn parameter_name(&mut self, is_braced: bool) -> Option<String> {
        if let Some(name) = self.name() {
            return Some(name);
        }
        match self.peek()? {
            c if c.is_ascii_digit() => {
                let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
                let len = if is_braced { digits } else { 1 };
                let name = self.rest()[..len].to_owned();
                self.at += len;
                Some(name)
            }
            c if "?#@*$!-".contains(c) => {
                self.at += 1;
                Some(c.to_string())
            }
            _ => None,
        }
    }

    /// `${…}` behind its brace.
    fn braced(&mut self, is_quoted: bool) -> Parsed<Part> {
        if self.rest().starts_with('#') && !self.rest().starts_with("#}") {
            self.at += 1;
            let name = self.parameter_name(true).ok_or(GiveUp)?;
            return self.closed(Part::Parameter {
                name,
                action: Action::Length,
                is_quoted,
            });
        }
        let Some(name) = self.parameter_name(true) else {
            return self.unknown_braces();
        };
        let is_colon = self.take(":");
        let operator = match self.peek() {
            Some('}') if !is_colon => {
                self.at += 1;
                return Ok(Part::Parameter {
                    name,
                    action: Action::Value,
                    is_quoted,
                });
            }
            Some(c @ ('-' | '=' | '+' | '?')) => c,
            Some(c @ ('#' | '%')) if !is_colon => c,
            _ => return self.unknown_braces(),
        };
        self.at += 1;
        let is_longest = "#%".contains(operator) && self.take(&operator.to_string());
        let word = self.until_brace(is_quoted && !"#%".contains(operator))?;
        let action = match operator {
            '#' | '%' => Action::Trim {
                is_end: operator == '%',
                is_longest,
                pattern: word,
            },
            sign => Action::Unset(sign, is_colon, word),
        };
        Ok(Part::Parameter {
            name,
            action,
            is_quoted,
        })
    }

    fn closed(&mut self, part: Part) -> Parsed<Part> {
        if self.take("}") {
            Ok(part)
        } else {
            self.unknown_braces()
        }
    }

    /// The rest of what stands in braces and is not known.
    fn unknown_braces(&mut self) -> Parsed<Part> {
        let len = self.rest().find('}').ok_or(GiveUp)?;
        if self.rest()[..len].contains(['\n', '\'', '"', '`', '$', '\\']) {
            return Err(GiveUp);
        }
        self.at += len + 1;
        Ok(Part::Opaque)
    }

    /// A word up to the closing brace.
    fn until_brace(&mut self, is_quoted: bool) -> Parsed<Word> {
        let mut word = Vec::new();
        loop {
            match self.next().ok_or(GiveUp)? {
                '}' => return Ok(word),
                '\'' if !is_quoted => {
                    let len = self.rest().find('\'').ok_or(GiveUp)?;
                    word.push(quoted(self.rest()[..len].to_owned()));
                    self.pass(len + 1)?;
                }
                '"' if !is_quoted => {
                    word.push(quoted(String::new()));
                    word.extend(self.quoted(Some('"'))?);
                }
                '"' | '\'' => return Err(GiveUp),
                '\\' => match self.next().ok_or(GiveUp)? {
                    '\n' => {}
                    c => word.push(quoted(c.to_string())),
                },
                '$' => word.push(self.dollar(is_quoted)?),
                '`' => word.push(self.backquotes(is_quoted)?),
                c => push_text(&mut word, c, is_quoted),
            }
        }
    }

    /// `$((…))`
    fn arithmetic(&mut self) -> Parsed<Part> {
        let mut depth = 0_usize;
        let end = self.rest().char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        let (end, _) = end.ok_or(GiveUp)?;
        let inside = self.rest()[..end]
            .strip_prefix("((")
            .and_then(|inside| inside.strip_suffix(')'));
        let inside = inside.ok_or(GiveUp)?.to_owned();
        self.pass(end + 1)?;
        Ok(Part::Arithmetic(self.inner(&inside)?.quoted(None)?))
    }
}

/// `{1..5}` and `{a..c}`; what counts in other steps, or with zeros in front, is not known.
fn sequence(words: &[Word]) -> Option<Part> {
    let [word] = words else { return None };
    let [
        Part::Text {
            text,
            is_quoted: false,
        },
    ] = word.as_slice()
    else {
        return word_has_dots(word).then_some(Part::Opaque);
    };
    let (first, last) = text.split_once("..")?;
    let plain = |text: String| {
        vec![Part::Text {
            text,
            is_quoted: false,
        }]
    };
    let number = |text: &str| {
        let number: Option<i64> = text.parse().ok();
        number.filter(|number| number.to_string() == text)
    };
    if let (Some(first), Some(last)) = (number(first), number(last)) {
        if first.abs_diff(last) > MAX_SEQUENCE.unsigned_abs() {
            return Some(Part::Opaque);
        }
        let mut numbers: Vec<_> = (first.min(last)..=first.max(last)).collect();
        if first > last {
            numbers.reverse();
        }
        let words = numbers.into_iter().map(|number| plain(number.to_string()));
        return Some(Part::Braces(words.collect()));
    }
    let is_letter = |text: &str| text.len() == 1 && text.as_bytes()[0].is_ascii_lowercase();
    if is_letter(first) && is_letter(last) && first <= last {
        let letters = first.as_bytes()[0]..=last.as_bytes()[0];
        let words = letters.map(|letter| plain(char::from(letter).to_string()));
        return Some(Part::Braces(words.collect()));
    }
    Some(Part::Opaque)
}

fn word_has_dots(word: &Word) -> bool {
    word.iter()
        .any(|part| matches!(part, Part::Text { text, .. } if text.contains("..")))
}

pub(super) fn quoted(text: String) -> Part {
    Part::Text {
        text,
        is_quoted: true,
    }
}

fn push_text(word: &mut Word, c: char, is_quoted: bool) {
    match word.last_mut() {
        Some(Part::Text {
            text,
            is_quoted: quoted,
        }) if *quoted == is_quoted => text.push(c),
        _ => word.push(Part::Text {
            text: c.to_string(),
            is_quoted,
        }),
    }
}
