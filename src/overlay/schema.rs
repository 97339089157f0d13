//! What an `overlay.toml` takes, for editors.

use super::files::Rule;
use super::steps::{Action, package};
use super::when::When;
use crate::config::variables;
use crate::schema::{Manual, Schema, Table, ask, explain};
use crate::verify::expect::Expectation;
use crate::verify::live;

/// What an `overlay.toml` takes.
pub fn schema() -> Schema {
    let mut overlay = Schema::of_table(Table::default());
    overlay.insert("description", Schema::of_text());
    overlay.insert("variables", variables::schema());
    overlay.insert("files", Schema::of_names(ask::<Rule>()));
    overlay.insert("step", Schema::of_list(step()));
    overlay.insert("expect", Schema::of_list(ask::<Expectation>()));
    live::add_to(&mut overlay);
    explain(
        &mut overlay,
        &["variables", "*"],
        Manual::RECIPE,
        "## Variables",
    );
    explain(&mut overlay, &["expect"], Manual::RECIPE, "## `[[expect]]`");
    explain(&mut overlay, &["expect", "live"], Manual::BOOT, "| keys |");
    overlay
}

/// What a step takes.
pub(crate) fn step() -> Schema {
    let mut step = ask::<Action>();
    if let Some(table) = &mut step.table {
        table.is_choice = false;
    }
    // A list by itself, or a table with more.
    let mut package = ask::<package::Keys>();
    package.list = Some(Box::new(ask::<package::Item>()));
    step.insert("package", package);
    explain(&mut step, &[], Manual::OVERLAYS, "## Steps");
    step.insert("when", ask::<When>());
    explain(&mut step, &["when"], Manual::OVERLAYS, "## `when`");
    step
}
