//! Files of `key = value` lines under `[section]` lines.

use super::{Error, Value, plain, push_line};

pub(super) fn set(text: &str, names: &[&str], value: &Value) -> Result<String, Error> {
    let (section, key) = match *names {
        [key] => (None, key),
        [section, key] => (Some(section), key),
        _ => {
            return Err(Error::Key {
                key: format!("{names:?}"),
                problem: "has more than a section and a name",
            });
        }
    };
    let value = plain("an ini file", value)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();

    let Some((start, end)) = section_lines(&lines, section) else {
        let mut text = text.to_owned();
        if !text.is_empty() {
            push_line(&mut text, "");
        }
        let section = section.unwrap_or_default();
        push_line(&mut text, &format!("[{section}]"));
        push_line(&mut text, &format!("{key}{}{value}", separator(&lines)));
        return Ok(text);
    };

    // Most readers use the last of several.
    let found = (start..end)
        .rev()
        .find(|&i| split(lines[i]).is_some_and(|(k, _, _)| k == key));
    if let Some(at) = found {
        let (_, before, old) = split(lines[at]).unwrap_or_default();
        if old == value {
            return Ok(text.to_owned());
        }
        let line_end = &lines[at][lines[at].trim_end_matches(['\n', '\r']).len()..];
        let before_lines = lines[..at].concat();
        let after_lines = lines[at + 1..].concat();
        return Ok(format!(
            "{before_lines}{before}{value}{line_end}{after_lines}"
        ));
    }

    let is_content = |line: &str| !line.trim().is_empty();
    let last = (start..end).rev().find(|&i| is_content(lines[i]));
    let at = last.map_or(start, |i| i + 1);
    let mut text = lines[..at].concat();
    push_line(&mut text, &format!("{key}{}{value}", separator(&lines)));
    Ok(text + &lines[at..].concat())
}

/// The lines that belong to a section, or those before the first section.
fn section_lines(lines: &[&str], section: Option<&str>) -> Option<(usize, usize)> {
    let headers = || (0..lines.len()).filter_map(|i| Some((i, header(lines[i])?)));
    let start = match section {
        None => 0,
        Some(section) => headers().find(|(_, name)| *name == section)?.0 + 1,
    };
    let next = headers().find(|(i, _)| *i >= start);
    Some((start, next.map_or(lines.len(), |(i, _)| i)))
}

fn header(line: &str) -> Option<&str> {
    let inner = line.trim().strip_prefix('[')?;
    Some(inner.split_once(']')?.0.trim())
}

/// A line split into the key, everything up to the value, and the value.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let line = line.trim_end();
    let body = line.trim_start();
    if body.starts_with(['#', ';', '[']) {
        return None;
    }
    let at = line.find(['=', ':'])?;
    let value = line[at + 1..].trim_start();
    let before = &line[..line.len() - value.len()];
    Some((line[..at].trim(), before, value))
}

/// The text between key and value in the first line that has both.
fn separator<'l>(lines: &[&'l str]) -> &'l str {
    let line = lines.iter().find_map(|line| {
        let (key, before, value) = split(line)?;
        let separator = before.trim_start().strip_prefix(key)?;
        (!value.is_empty()).then_some(separator)
    });
    line.unwrap_or(" = ")
}
