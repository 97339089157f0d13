//! Schemas as JSON Schema, draft 7: what taplo and the extensions of editors know.

use serde_json::{Map, Value, json};

use super::{Schema, Table};

/// A text that is a template may give any kind of value.
const TEMPLATE: &str = r"\{\{";

/// A schema as a document of its own.
pub fn document(title: &str, schema: &Schema) -> Value {
    let mut document = Map::new();
    document.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    document.insert("title".to_owned(), json!(title));
    if let Value::Object(members) = value(schema) {
        document.extend(members);
    }
    Value::Object(document)
}

fn value(schema: &Schema) -> Value {
    let mut kinds = Vec::new();
    let has_template = match &schema.text {
        Some(choices) if choices.is_empty() => {
            kinds.push(json!({ "type": "string" }));
            false
        }
        Some(choices) => {
            kinds.push(json!({ "enum": choices }));
            true
        }
        None => true,
    };
    if schema.is_number {
        kinds.push(json!({ "type": "number" }));
    } else if schema.is_integer {
        kinds.push(json!({ "type": "integer" }));
    }
    if schema.is_boolean {
        kinds.push(json!({ "type": "boolean" }));
    }
    if let Some(item) = &schema.list {
        kinds.push(json!({ "type": "array", "items": value(item) }));
    }
    if let Some(table) = &schema.table {
        kinds.push(of_table(table));
    } else if schema.anything() {
        kinds.push(json!({ "type": "object" }));
    }
    let is_table = schema.table.is_some() && kinds.len() == 1;
    if has_template && !is_table && !kinds.is_empty() {
        kinds.push(json!({ "type": "string", "pattern": TEMPLATE }));
    }
    let mut members = Map::new();
    if let Some(meaning) = &schema.meaning {
        members.insert("description".to_owned(), json!(meaning));
    }
    match <[Value; 1]>::try_from(kinds) {
        Ok([Value::Object(only)]) => members.extend(only),
        Ok(_) => {}
        Err(kinds) if kinds.is_empty() => {}
        Err(kinds) => {
            members.insert("anyOf".to_owned(), Value::Array(kinds));
        }
    }
    Value::Object(members)
}

fn of_table(table: &Table) -> Value {
    let mut members = Map::new();
    members.insert("type".to_owned(), json!("object"));
    if !table.keys.is_empty() {
        let keys = table.keys.iter();
        let properties: Map<_, _> = keys.map(|(key, of)| (key.clone(), value(of))).collect();
        members.insert("properties".to_owned(), Value::Object(properties));
    }
    if !table.required.is_empty() {
        members.insert("required".to_owned(), json!(table.required));
    }
    let others = table.others.as_deref().map_or(json!(false), value);
    members.insert("additionalProperties".to_owned(), others);
    if table.is_choice {
        members.insert("minProperties".to_owned(), json!(1));
        members.insert("maxProperties".to_owned(), json!(1));
    }
    Value::Object(members)
}
