//! Assignments as a shell reads them: `/etc/sysconfig/*`, `/etc/default/*`, os-release.
//!
//! Quoting as in POSIX, "Shell Command Language", 2.2.

use std::ops::Range;

use super::{Error, Value, line_of, plain, push_line};

pub(super) fn set_value(text: &str, names: &[&str], value: &Value) -> Result<String, Error> {
    let [name] = *names else {
        return Err(Error::Key {
            key: format!("{names:?}"),
            problem: "has several names, and a shell variable has one",
        });
    };
    set(
        text,
        name,
        &plain("a file of shell variables", value)?,
        false,
    )
}

/// Sets a variable; `always_quote` puts double quotes around a value that does not need them.
pub fn set(text: &str, name: &str, value: &str, always_quote: bool) -> Result<String, Error> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::Key {
            key: format!("{name:?}"),
            problem: "is not the name of a shell variable",
        });
    }
    // The last assignment is the one that is used.
    let Some(place) = assignments(text, name)?.pop() else {
        let mut text = text.to_owned();
        push_line(&mut text, &format!("{name}={}", quote(value, always_quote)));
        return Ok(text);
    };
    let old = &text[place.clone()];
    if unquote(old).as_deref() == Some(value) {
        return Ok(text.to_owned());
    }
    let new = match old.chars().next() {
        Some('\'') if !value.contains('\'') => format!("'{value}'"),
        Some('"') => quote(value, true),
        _ => quote(value, always_quote),
    };
    Ok(format!(
        "{}{new}{}",
        &text[..place.start],
        &text[place.end..]
    ))
}

/// What a variable is set to; `None` if it is not set, or only a shell could tell.
///
/// # Errors
/// [`Error::Syntax`] if a quote is not closed.
pub fn value(text: &str, name: &str) -> Result<Option<String>, Error> {
    let place = assignments(text, name)?.pop();
    Ok(place.and_then(|place| unquote(&text[place])))
}

/// The places of the values that are assigned to `name` at the beginning of a line.
fn assignments(text: &str, name: &str) -> Result<Vec<Range<usize>>, Error> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let line = text[at..].split_inclusive('\n').next().unwrap_or_default();
        let body = line.trim_start();
        let body = match body.strip_prefix("export ") {
            Some(body) => body.trim_start(),
            None => body,
        };
        let start = at + (line.len() - body.len());
        let assigned = body.split_once('=').filter(|(key, _)| {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        at += line.len();
        if let Some((key, _)) = assigned {
            let value = start + key.len() + 1;
            let end = word_end(text, value)?;
            if key == name {
                places.push(value..end);
            }
            at = at.max(end);
        }
    }
    Ok(places)
}

/// Where the word that begins at `start` ends.
fn word_end(text: &str, start: usize) -> Result<usize, Error> {
    let mut quote = None;
    let mut characters = text[start..].char_indices();
    while let Some((i, c)) = characters.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => drop(characters.next()),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ' ' | '\t' | '\n' | '\r' | ';' | '&' | '|') => return Ok(start + i),
            _ => {}
        }
    }
    match quote {
        None => Ok(text.len()),
        Some(_) => Err(Error::Syntax {
            line: line_of(text, start),
            problem: "the quote is not closed".to_owned(),
        }),
    }
}

/// The value of a word; `None` if only a shell could know it.
fn unquote(word: &str) -> Option<String> {
    let mut value = String::new();
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None | Some('"'), '$' | '`') => return None,
            (None, '\\') => value.extend(characters.next()),
            (Some('"'), '\\') => match characters.next()? {
                c @ ('"' | '\\' | '$' | '`') => value.push(c),
                c => value.extend(['\\', c]),
            },
            (_, c) => value.push(c),
        }
    }
    Some(value)
}

fn quote(value: &str, always: bool) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-=".contains(c);
    if !always && !value.is_empty() && value.chars().all(is_safe) {
        return value.to_owned();
    }
    let mut quoted = String::from('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
