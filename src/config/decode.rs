//! TOML to values, with messages that name the place and what was expected.

use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use super::{Diagnostic, Setting, Source};

/// A table whose values remember their places.
pub type Table<'s> = DeTable<'s>;

/// A value with its place.
pub type Value<'s> = Spanned<DeValue<'s>>;

/// Reads the source as TOML.
pub fn parse(source: &Source) -> Result<Table<'_>, Diagnostic> {
    match DeTable::parse(source.text()) {
        Ok(table) => Ok(table.into_inner()),
        Err(error) => Err(explain(source, &error, 0..0)),
    }
}

/// Decodes a value.
pub fn decode<T: DeserializeOwned>(source: &Source, value: Value<'_>) -> Result<T, Diagnostic> {
    let span = value.span();
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| explain(source, &error, span))
}

/// A value whose templates have been rendered.
#[derive(Debug, Clone)]
pub struct Rendered<'v> {
    /// The value.
    pub value: Value<'v>,
    /// The places at which a template gave something other than text. If text is expected there,
    /// the value is written as text.
    pub typed: Vec<Range<usize>>,
}

/// Like [`decode`], for a value whose templates have been rendered.
pub fn decode_rendered<T: DeserializeOwned>(
    source: &Source,
    rendered: Rendered<'_>,
) -> Result<T, Diagnostic> {
    let Rendered {
        mut value,
        mut typed,
    } = rendered;
    let whole = value.span();
    let mut first: Option<toml::de::Error> = None;
    loop {
        if typed.is_empty() && first.is_none() {
            return decode(source, value);
        }
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(decoded) => return Ok(decoded),
            Err(error) => error,
        };
        let place = error.span().unwrap_or(whole.clone());
        // The first error at a place is the one about the value that the template gave.
        let error = match first {
            Some(first) if first.span() == error.span() => first,
            _ => error,
        };
        let is_within = |span: &Range<usize>| place.start <= span.start && span.end <= place.end;
        let (again, rest) = typed.into_iter().partition::<Vec<_>, _>(is_within);
        if again.is_empty() {
            return Err(explain(source, &error, whole));
        }
        to_text(&mut value, &again);
        typed = rest;
        first = Some(error);
    }
}

/// Turns the values at these places into text.
fn to_text(value: &mut Value<'_>, places: &[Range<usize>]) {
    if places.contains(&value.span()) {
        let setting = Setting::deserialize(ValueDeserializer::from(value.clone()));
        if let Ok(setting) = setting {
            *value.get_mut() = DeValue::String(DeString::Owned(setting.to_string()));
        }
        return;
    }
    match value.get_mut() {
        DeValue::Array(values) => values.iter_mut().for_each(|value| to_text(value, places)),
        DeValue::Table(table) => {
            table
                .iter_mut()
                .for_each(|(_, value)| to_text(value, places));
        }
        _ => {}
    }
}

/// A deserializer's error, in words for the author of a recipe.
fn explain(source: &Source, error: &toml::de::Error, whole: Range<usize>) -> Diagnostic {
    let span = error.span().unwrap_or(whole);
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    let first = quoted.next().unwrap_or_default();
    let message = error.message();
    if message.starts_with("unknown field") {
        let keys: Vec<_> = quoted.collect();
        let error = source.error(span, format!("unknown key `{first}`"));
        error.with_hint(alternatives("key", "keys", first, &keys))
    } else if message.starts_with("unknown variant") {
        let values: Vec<_> = quoted.collect();
        let error = source.error(span, format!("`{first}` is not known here"));
        error.with_hint(alternatives("value", "values", first, &values))
    } else if message.starts_with("missing field") {
        source.error(span, format!("the key `{first}` is missing"))
    } else {
        source.error(span, plain(message))
    }
}

/// What a message expected, in the words of TOML instead of Rust's.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 9] = [
        ("struct ", "a table"),
        (
            "enum ",
            "the name of one of the known kinds, or a table with it",
        ),
        ("map", "a table"),
        ("a map", "a table"),
        ("sequence", "a list"),
        ("a sequence", "a list"),
        ("unit", "nothing"),
        ("f64", "a number"),
        ("path string", "a path"),
    ];
    let Some((found, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let found = found
        .replace(": map", ": a table")
        .replace(": sequence", ": a list");
    let is_integer = |bits: &str| ["8", "16", "32", "64", "size"].contains(&bits);
    let expected = if expected.strip_prefix('i').is_some_and(is_integer) {
        "a whole number"
    } else if expected.strip_prefix('u').is_some_and(is_integer) {
        "a whole number that is not negative, and not too large"
    } else {
        let is_meant = |(word, _): &&(&str, &str)| {
            expected == *word || (word.ends_with(' ') && expected.starts_with(word))
        };
        WORDS
            .iter()
            .find(is_meant)
            .map_or(expected, |(_, plain)| plain)
    };
    format!("{found}, expected {expected}")
}

/// Names the one in `known` that was probably meant, or all of them.
pub fn alternatives(one: &str, many: &str, given: &str, known: &[&str]) -> String {
    let quote = |name: &&str| format!("`{name}`");
    match (nearest(given, known), known) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, []) => format!("there are no {many} here"),
        (None, [name]) => format!("the only {one} here is `{name}`"),
        (None, _) => {
            let names: Vec<_> = known.iter().map(quote).collect();
            format!("the {many} here are {}", names.join(", "))
        }
    }
}

/// The one in `known` that was probably meant by `given`.
pub fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(given, name);
    let nearest = known.iter().copied().min_by_key(distance)?;
    (distance(&nearest) <= 1 + given.chars().count() / 4).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_is_expected_is_said_in_plain_words() {
        for (message, said) in [
            (
                "invalid type: string \"x\", expected struct RawBase",
                "invalid type: string \"x\", expected a table",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                "invalid value: integer `-1`, expected a whole number that is not negative, and not too large",
            ),
            (
                "invalid type: map, expected a string",
                "invalid type: a table, expected a string",
            ),
            (
                "invalid type: boolean `true`, expected i64",
                "invalid type: boolean `true`, expected a whole number",
            ),
            (
                "invalid type: sequence, expected a map",
                "invalid type: a list, expected a table",
            ),
            ("anything else", "anything else"),
        ] {
            assert_eq!(plain(message), said);
        }
    }
}
