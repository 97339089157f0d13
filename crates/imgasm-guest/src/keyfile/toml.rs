//! TOML through `toml_edit`, which keeps layout and comments.

use toml_edit::{DocumentMut, Item, Table};

use super::{Error, Value, line_of};

pub(super) fn set(text: &str, names: &[&str], value: &Value) -> Result<String, Error> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let at = error.span().map_or(0, |span| span.start);
        Error::Syntax {
            line: line_of(text, at),
            problem: error.message().to_owned(),
        }
    })?;
    let (last, parents) = names.split_last().expect("a key has a name");
    let mut table: &mut dyn toml_edit::TableLike = document.as_table_mut();
    for name in parents {
        if !table.contains_key(name) {
            let mut new = Table::new();
            new.set_implicit(true);
            table.insert(name, Item::Table(new));
        }
        let item = table.get_mut(name).and_then(Item::as_table_like_mut);
        table = item.ok_or_else(|| Error::Key {
            key: format!("{names:?}"),
            problem: "leads through something that is not a table",
        })?;
    }
    let new = convert(value);
    match table.get_mut(last) {
        Some(item) => match item.as_value_mut() {
            Some(old) if same(old, &new) => return Ok(text.to_owned()),
            Some(old) => {
                let decor = old.decor().clone();
                *old = new;
                *old.decor_mut() = decor;
            }
            None => *item = Item::Value(new),
        },
        None => {
            table.insert(last, Item::Value(new));
        }
    }
    Ok(document.to_string())
}

/// Whether two values are the same except for their layout.
fn same(old: &toml_edit::Value, new: &toml_edit::Value) -> bool {
    let parse = |value: &toml_edit::Value| {
        let text = format!("v = {}", value.to_string().trim());
        text.parse::<toml::Table>().ok()
    };
    let old = parse(old);
    old.is_some() && old == parse(new)
}

fn convert(value: &Value) -> toml_edit::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Datetime(time) => (*time).into(),
        Value::Array(values) => {
            let values = values.iter().map(convert);
            toml_edit::Value::Array(values.collect())
        }
        Value::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| (key.as_str(), convert(value)));
            toml_edit::Value::InlineTable(pairs.collect())
        }
    }
}
