//! YAML, edited by its lines: block mappings in one document, as in configuration files.
//!
//! A key's value begins behind its colon and ends before the next line that is indented no deeper
//! (YAML 1.2, "Block Style Productions"). It is replaced as a whole, so that the kind of the old
//! value does not matter.

use super::yaml_value::has_only;
use super::{Error, Value};

/// Spaces by which an appended mapping is indented.
const INDENT: usize = 2;

/// One line of the text.
struct Line<'t> {
    /// All of it, with its end.
    whole: &'t str,
    /// What is left without the indentation and the line end.
    body: &'t str,
    indent: usize,
}

impl Line<'_> {
    fn is_blank_or_comment(&self) -> bool {
        self.body.is_empty() || self.body.starts_with('#')
    }

    fn is_item(&self) -> bool {
        self.body == "-" || self.body.starts_with("- ")
    }
}

pub(super) fn set(text: &str, names: &[&str], value: &Value) -> Result<String, Error> {
    let lines: Vec<Line<'_>> = text.split_inclusive('\n').map(line).collect();
    let (mut start, mut end) = document(&lines)?;
    let mut indent = 0;
    for (depth, name) in names.iter().enumerate() {
        check_mapping(&lines, start, end)?;
        let found = (start..end).find(|&i| lines[i].indent == indent && has_key(&lines[i], name));
        let Some(at) = found else {
            let end = if depth == 0 {
                end
            } else {
                last_content(&lines, start, end)
            };
            return Ok(insert(&lines, end, indent, &names[depth..], value));
        };
        let node_end = node_end(&lines, at, end);
        if depth + 1 == names.len() {
            return Ok(replace(&lines, at, node_end, name, value));
        }
        let (_, inline, _) = split_line(lines[at].body, name);
        if !inline.is_empty() {
            return Err(syntax(at, format!("`{name}` is not a block mapping")));
        }
        let children = &lines[at + 1..node_end];
        let child = children.iter().find(|line| !line.is_blank_or_comment());
        let child_indent = child.map_or(indent + INDENT, |line| line.indent);
        if child_indent <= indent {
            return Err(syntax(at, format!("`{name}` is not a block mapping")));
        }
        indent = child_indent;
        (start, end) = (at + 1, node_end);
    }
    Ok(text.to_owned())
}

fn line(whole: &str) -> Line<'_> {
    let without_end = whole.trim_end_matches(['\n', '\r']);
    let body = without_end.trim_start_matches(' ');
    Line {
        whole,
        body: body.trim_end(),
        indent: without_end.len() - body.len(),
    }
}

/// The lines of the only document: after `---`, before `...`.
fn document(lines: &[Line<'_>]) -> Result<(usize, usize), Error> {
    let mut start = 0;
    for (i, line) in lines.iter().enumerate() {
        let is_top = line.indent == 0;
        if is_top && (line.body == "---" || line.body.starts_with("--- ")) {
            let before = &lines[start..i];
            let mut content = before.iter().filter(|line| !line.body.starts_with('%'));
            if start > 0 || content.any(|line| !line.is_blank_or_comment()) {
                return Err(syntax(i, "a second document begins".to_owned()));
            }
            start = i + 1;
        } else if is_top && line.body == "..." {
            return Ok((start, i));
        }
    }
    Ok((start, lines.len()))
}

fn check_mapping(lines: &[Line<'_>], start: usize, end: usize) -> Result<(), Error> {
    let mut content = (start..end).filter(|&i| !lines[i].is_blank_or_comment());
    match content.next() {
        Some(i) if lines[i].is_item() || lines[i].body.starts_with(['[', '{']) => {
            Err(syntax(i, "this is not a block mapping".to_owned()))
        }
        Some(i) if lines[i].body.starts_with('\t') => {
            Err(syntax(i, "the line is indented by a tab".to_owned()))
        }
        _ => Ok(()),
    }
}

/// What follows `name` and its colon, if the line begins with them.
fn after_key<'l>(body: &'l str, name: &str) -> Option<&'l str> {
    let rest = [
        body.strip_prefix(name),
        body.strip_prefix('"')
            .and_then(|b| b.strip_prefix(name)?.strip_prefix('"')),
        body.strip_prefix('\'')
            .and_then(|b| b.strip_prefix(name)?.strip_prefix('\'')),
    ];
    let rest = rest.into_iter().flatten().next()?;
    let rest = rest.trim_start_matches(' ').strip_prefix(':')?;
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then_some(rest)
}

fn has_key(line: &Line<'_>, name: &str) -> bool {
    after_key(line.body, name).is_some()
}

/// A line with a key, split into the part up to the colon, the value on the line, and the comment
/// with the space before it.
fn split_line<'l>(body: &'l str, name: &str) -> (&'l str, &'l str, &'l str) {
    let rest = after_key(body, name).unwrap_or_default();
    let key = &body[..body.len() - rest.len()];
    let value = rest.trim_start();
    let value_len = match value.chars().next() {
        Some('#') => 0,
        Some(quote @ ('"' | '\'')) => {
            let len = quoted_len(value, quote);
            let behind = &value[len..];
            let comment = behind.trim_start();
            if comment.is_empty() || (comment.starts_with('#') && comment.len() < behind.len()) {
                len
            } else {
                value.len()
            }
        }
        _ => value
            .find(" #")
            .or_else(|| value.find("\t#"))
            .unwrap_or(value.len()),
    };
    let text = value[..value_len].trim_end();
    let comment_at = match text.len() {
        0 => 0,
        len => rest.len() - value.len() + len,
    };
    let comment = &rest[comment_at..];
    (
        key,
        text,
        if comment.trim().is_empty() {
            ""
        } else {
            comment
        },
    )
}

/// Bytes of a quoted scalar including its closing quote.
fn quoted_len(value: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in value.char_indices().skip(1) {
        if c == quote && !escaped {
            return i + 1;
        }
        escaped = c == '\\' && quote == '"' && !escaped;
    }
    value.len()
}

/// The line after the last one that belongs to the key at line `at`.
fn node_end(lines: &[Line<'_>], at: usize, end: usize) -> usize {
    let key_indent = lines[at].indent;
    let is_scalar = lines[at]
        .body
        .split_once(": ")
        .is_some_and(|(_, value)| value.trim_start().starts_with(['|', '>']));
    let mut node_end = at + 1;
    for (i, line) in lines.iter().enumerate().take(end).skip(at + 1) {
        let is_deeper = line.indent > key_indent;
        if line.body.is_empty() || (line.body.starts_with('#') && !(is_scalar && is_deeper)) {
            continue;
        }
        let closes = line.body.starts_with([']', '}']);
        if is_deeper || (line.indent == key_indent && (line.is_item() || closes)) {
            node_end = i + 1;
        } else {
            break;
        }
    }
    node_end
}

/// The line after the last one with content.
fn last_content(lines: &[Line<'_>], start: usize, end: usize) -> usize {
    let last = (start..end)
        .rev()
        .find(|&i| !lines[i].is_blank_or_comment());
    last.map_or(start, |i| i + 1)
}

fn insert(lines: &[Line<'_>], at: usize, indent: usize, names: &[&str], value: &Value) -> String {
    let mut text = whole(&lines[..at]);
    let last = names.len() - 1;
    for (i, name) in names.iter().enumerate() {
        let margin = " ".repeat(indent + i * INDENT);
        let name = scalar(name);
        let line = if i == last {
            format!("{margin}{name}: {}", flow(value))
        } else {
            format!("{margin}{name}:")
        };
        super::push_line(&mut text, &line);
    }
    text + &whole(&lines[at..])
}

fn replace(lines: &[Line<'_>], at: usize, node_end: usize, name: &str, value: &Value) -> String {
    let line = &lines[at];
    let (key, old, comment) = split_line(line.body, name);
    if has_only(&whole(&lines[at..node_end]), value) {
        return whole(lines);
    }
    let value = flow(value);
    if old == value && node_end == at + 1 {
        return whole(lines);
    }
    let rest = &line.body[key.len()..];
    let space = &rest[..rest.len() - rest.trim_start().len()];
    let space = if space.is_empty() || old.is_empty() {
        " "
    } else {
        space
    };
    let margin = " ".repeat(line.indent);
    let line_end = &line.whole[line.whole.trim_end_matches(['\n', '\r']).len()..];
    let before = whole(&lines[..at]);
    let after = whole(&lines[node_end..]);
    format!("{before}{margin}{key}{space}{value}{comment}{line_end}{after}")
}

fn whole(lines: &[Line<'_>]) -> String {
    lines.iter().map(|line| line.whole).collect()
}

/// A value in flow style, which fits behind a colon.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => ".nan".to_owned(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 { ".inf" } else { "-.inf" }.to_owned()
        }
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => scalar(&time.to_string()),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(flow).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Table(table) => {
            let pairs = table.iter();
            let pairs: Vec<_> = pairs
                .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// Words that some reader of YAML does not read as text.
pub(super) const TYPED: [&str; 10] = [
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "~",
];

/// A text, quoted if a reader could read it as something else.
fn scalar(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./@-+".contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(is_safe)
        && !TYPED.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        text.to_owned()
    } else {
        // A JSON string is a YAML string (YAML 1.2, "Relation to JSON").
        serde_json::Value::from(text).to_string()
    }
}

fn syntax(line_index: usize, problem: String) -> Error {
    Error::Syntax {
        line: line_index + 1,
        problem,
    }
}
