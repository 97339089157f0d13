//! Finding the tables in a recipe or an overlay.

use toml::de::{DeArray, DeValue};

use super::Live;
use crate::config::{Diagnostic, Source, Variables, decode, template};
use crate::schema::{Schema, ask};

/// Reads the tables `[[expect.live]]` of a recipe or an overlay, and takes them out.
///
/// # Errors
/// If one is wrong, with its place.
pub fn read(
    source: &Source,
    table: &mut decode::Table<'_>,
    variables: &Variables,
) -> Result<Vec<Live>, Diagnostic> {
    let live = take_all(table).into_iter();
    live.map(|value| template::read(source, value, variables))
        .collect()
}

/// Adds the tables to what a recipe or an overlay takes: each belongs to the `[[expect]]` before it, as
/// TOML sees it, or to a table `expect` of its own.
pub fn add_to(schema: &mut Schema) {
    let live = Schema::of_list(ask::<Live>());
    if let Some(expect) = schema.at(&["expect"]) {
        expect.insert("live", live.clone());
    }
    if let Some(expect) = schema.key("expect") {
        expect.insert("live", live);
    }
}

/// Takes them out. TOML puts those that follow an `[[expect]]`
/// into that one, and makes `expect` a table if there is none.
fn take_all<'t>(table: &mut decode::Table<'t>) -> Vec<decode::Value<'t>> {
    fn take<'t>(expect: &mut decode::Table<'t>, live: &mut Vec<decode::Value<'t>>) {
        match expect.remove("live") {
            Some(value) if matches!(value.get_ref(), DeValue::Array(_)) => {
                if let DeValue::Array(values) = value.into_inner() {
                    live.extend(values);
                }
            }
            other => live.extend(other),
        }
    }
    let mut live = Vec::new();
    let Some(expect) = table.get_mut("expect") else {
        return live;
    };
    match expect.get_mut() {
        DeValue::Table(expect) => {
            take(expect, &mut live);
            if expect.is_empty() {
                table.remove("expect");
            }
        }
        DeValue::Array(all) => {
            // Of what was laid over an `[[expect]]`, a member may have nothing else.
            let mut is_used = |expect: &mut DeValue<'t>| match expect {
                DeValue::Table(expect) if expect.contains_key("live") => {
                    take(expect, &mut live);
                    !expect.is_empty()
                }
                _ => true,
            };
            *all = std::mem::replace(all, DeArray::new())
                .into_iter()
                .filter_map(|mut expect| is_used(expect.get_mut()).then_some(expect))
                .collect();
        }
        _ => {}
    }
    live
}
