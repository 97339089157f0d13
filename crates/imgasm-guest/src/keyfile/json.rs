//! JSON, edited by the places of its values.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Error, Value};

/// The members of an object by name, each with its own text.
type Members<'t> = BTreeMap<String, &'t RawValue>;

pub(super) fn set(text: &str, names: &[&str], value: &Value) -> Result<String, Error> {
    let value = convert(value)?;
    if text.trim().is_empty() {
        return Ok(format!("{:#}\n", nest(names, value)));
    }
    let document: &RawValue = serde_json::from_str(text).map_err(|e| syntax(&e))?;
    let mut object = document.get();
    for (depth, name) in names.iter().enumerate() {
        let members: Members<'_> = serde_json::from_str(object).map_err(|e| {
            let message = format!("the parent of {name:?} is not an object: {e}");
            Error::Syntax {
                line: super::line_of(text, offset(text, object)),
                problem: message,
            }
        })?;
        let Some(member) = members.get(*name) else {
            return Ok(insert(
                text,
                object,
                &members,
                name,
                &nest(&names[depth + 1..], value),
            ));
        };
        object = member.get();
    }
    let old: serde_json::Value = serde_json::from_str(object).map_err(|e| syntax(&e))?;
    if old == value {
        return Ok(text.to_owned());
    }
    let start = offset(text, object);
    let new = indented(&value, margin(text, start));
    Ok(format!(
        "{}{new}{}",
        &text[..start],
        &text[start + object.len()..]
    ))
}

/// Where `part`, which was borrowed from `text`, begins in it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

fn insert(
    text: &str,
    object: &str,
    members: &Members<'_>,
    name: &str,
    value: &serde_json::Value,
) -> String {
    let start = offset(text, object);
    let key = serde_json::Value::from(name);
    let last = members
        .values()
        .max_by_key(|member| offset(text, member.get()));
    let Some(last) = last else {
        let outer = margin(text, start);
        let inner = format!("{outer}  ");
        let value = indented(value, &inner);
        let rest = &text[start + object.len()..];
        return format!(
            "{}{{\n{inner}{key}: {value}\n{outer}}}{rest}",
            &text[..start]
        );
    };
    let last_start = offset(text, last.get());
    let last_end = last_start + last.get().len();
    let between = if text[start..last_start].contains('\n') {
        format!("\n{}", margin(text, last_start))
    } else {
        " ".to_owned()
    };
    let value = indented(value, margin(text, last_start));
    format!(
        "{},{between}{key}: {value}{}",
        &text[..last_end],
        &text[last_end..]
    )
}

/// The white space at the beginning of the line that holds the byte at `at`.
fn margin(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &text[start..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// A value over several lines that begins on a line with this margin.
fn indented(value: &serde_json::Value, margin: &str) -> String {
    format!("{value:#}").replace('\n', &format!("\n{margin}"))
}

/// The value, wrapped in the objects that lead to it.
fn nest(names: &[&str], value: serde_json::Value) -> serde_json::Value {
    names.iter().rev().fold(value, |value, name| {
        serde_json::Value::Object([((*name).to_owned(), value)].into_iter().collect())
    })
}

fn convert(value: &Value) -> Result<serde_json::Value, Error> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Float(_) => {
            return Err(Error::Value {
                format: "JSON",
                value: "a number that is not finite",
            });
        }
        Value::Boolean(flag) => (*flag).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(values) => values
            .iter()
            .map(convert)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Value::Table(table) => {
            let members = table
                .iter()
                .map(|(key, value)| Ok((key.clone(), convert(value)?)));
            serde_json::Value::Object(members.collect::<Result<_, Error>>()?)
        }
    })
}

fn syntax(error: &serde_json::Error) -> Error {
    Error::Syntax {
        line: error.line(),
        problem: error.to_string(),
    }
}
