//! TOML to values, with messages that say where and what instead.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{Diagnostic, Source};

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

/// Turns a value into what it means.
pub fn decode<T: DeserializeOwned>(source: &Source, value: Value<'_>) -> Result<T, Diagnostic> {
    let span = value.span();
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| explain(source, &error, span))
}

/// A deserializer's error, in the words of someone who writes a recipe.
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
        source.error(span, message)
    }
}

/// Names the one of `known` that was probably meant, or all of them.
pub fn alternatives(one: &str, many: &str, given: &str, known: &[&str]) -> String {
    let distance = |name: &&&str| strsim::damerau_levenshtein(given, name);
    let nearest = known.iter().min_by_key(distance);
    let quote = |name: &&str| format!("`{name}`");
    match nearest {
        Some(name) if distance(&name) <= 1 + given.chars().count() / 4 => {
            format!("did you mean `{name}`?")
        }
        Some(name) if known.len() == 1 => format!("the only {one} here is `{name}`"),
        Some(_) => {
            let names: Vec<_> = known.iter().map(quote).collect();
            format!("the {many} here are {}", names.join(", "))
        }
        None => format!("there are no {many} here"),
    }
}
