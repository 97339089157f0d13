//! Redirections and here-documents.

use super::super::ast::{Part, Redirection, RedirectionKind, Word};
use super::words::quoted;
use super::{GiveUp, Parsed, Parser};

impl Parser<'_> {
    pub(super) fn redirection(&mut self) -> Parsed<Option<Redirection>> {
        self.skip_spaces();
        let start = self.at;
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let number = self.rest()[..digits].parse().ok();
        self.at += digits;
        if !matches!(self.peek(), Some('<' | '>' | '&')) {
            self.at = start;
            return Ok(None);
        }
        let operators = [
            "&>>", "&>", "<<<", "<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">",
        ];
        let Some(operator) = operators.into_iter().find(|operator| self.take(operator)) else {
            self.at = start;
            return Ok(None);
        };
        let kind = match operator {
            "<" => RedirectionKind::Read,
            ">" | ">|" | "&>" => RedirectionKind::Write,
            ">>" | "&>>" => RedirectionKind::Append,
            "<&" | ">&" => RedirectionKind::Duplicate,
            "<<" | "<<-" | "<<<" => RedirectionKind::Content,
            _ => return Err(GiveUp),
        };
        self.skip_spaces();
        let target = match operator {
            "<<" | "<<-" => self.here_document(operator == "<<-")?,
            "<<<" => {
                let mut word = self.word()?;
                for part in &mut word {
                    quote(part);
                }
                word.push(quoted("\n".to_owned()));
                word
            }
            _ => self.word()?,
        };
        let default = u32::from(!operator.starts_with('<'));
        let descriptor = if operator.starts_with('&') {
            None
        } else {
            Some(number.unwrap_or(default))
        };
        Ok(Some(Redirection {
            descriptor,
            kind,
            target,
        }))
    }

    /// The content of a here-document, which begins on the next line and ends before the line that
    /// holds the delimiter alone.
    fn here_document(&mut self, drops_tabs: bool) -> Parsed<Word> {
        let (mut delimiter, mut is_plain) = (String::new(), false);
        for part in self.word()? {
            let Part::Text { text, is_quoted } = part else {
                return Err(GiveUp);
            };
            is_plain |= is_quoted;
            delimiter.push_str(&text);
        }
        let line_end = self.at + self.rest().find('\n').ok_or(GiveUp)?;
        let mut at = *self.documents.get(&line_end).unwrap_or(&(line_end + 1));
        let mut content = String::new();
        loop {
            let line = self.script[at..]
                .split_inclusive('\n')
                .next()
                .ok_or(GiveUp)?;
            at += line.len();
            let line = if drops_tabs {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if line.strip_suffix('\n').unwrap_or(line) == delimiter {
                break;
            }
            content.push_str(line);
        }
        self.documents.insert(line_end, at);
        if is_plain {
            return Ok(vec![quoted(content)]);
        }
        self.inner(&content)?.quoted(None)
    }
}

/// Keeps a part from being split into words.
fn quote(part: &mut Part) {
    match part {
        Part::Text { is_quoted, .. }
        | Part::Parameter { is_quoted, .. }
        | Part::Output { is_quoted, .. } => *is_quoted = true,
        Part::Home(_) | Part::Braces(_) | Part::Arithmetic(_) | Part::Opaque => {}
    }
}
