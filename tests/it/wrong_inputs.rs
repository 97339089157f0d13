//! Every key of every table of a recipe and of an overlay, mistyped, missing, of a wrong kind, out of
//! range: what is said has a place, and a hint where there is a better word.
//!
//! The keys are those of the schemas, so that a new one is tried as soon as there is one.

use std::fmt::Write as _;
use std::fs;

use crate::support::example::imgasm;
use crate::support::overlay::{folder, load};
use imgasm::config::Source;
use imgasm::recipe::{Options, Recipe};
use imgasm::schema::{Schema, Table};
use insta::assert_snapshot;

/// A value put where it does not belong.
struct Wrong {
    /// Which key, and what is wrong with it.
    what: String,
    /// The text with it.
    text: String,
    /// What a hint must name.
    meant: Option<String>,
}

/// A table somewhere in a file: what comes before and after its members.
#[derive(Clone)]
struct Place {
    path: String,
    before: String,
    after: String,
    /// Whether the members stand on lines of their own.
    is_top: bool,
}

impl Place {
    fn text(&self, members: &[String]) -> String {
        let between = if self.is_top { "\n" } else { ", " };
        format!("{}{}{}", self.before, members.join(between), self.after)
    }

    fn inside(&self, key: &str, others: &[String], is_list: bool) -> Self {
        let open = if is_list { "[{ " } else { "{ " };
        let close = if is_list { " }]" } else { " }" };
        let (before, after) = self
            .text(&[String::from("\u{0}")])
            .split_once('\u{0}')
            .map_or_else(
                || (String::new(), String::new()),
                |(before, after)| (before.to_owned(), after.to_owned()),
            );
        let between = if self.is_top { "\n" } else { ", " };
        let mut known = others.join(between);
        if !others.is_empty() {
            known += between;
        }
        Self {
            path: if self.path.is_empty() {
                key.to_owned()
            } else {
                format!("{}.{key}", self.path)
            },
            before: format!("{before}{known}{key} = {open}"),
            after: format!("{close}{after}"),
            is_top: false,
        }
    }
}

/// A value of a kind that is not taken there.
fn misfit(schema: &Schema) -> Option<&'static str> {
    let kinds = [
        (schema.table.is_none(), "{ a = 1 }"),
        (schema.list.is_none(), "[[]]"),
        (!schema.is_boolean, "true"),
        (!schema.is_number, "0.5"),
    ];
    let mut kinds = kinds.into_iter();
    kinds
        .find(|(is_wrong, _)| *is_wrong)
        .map(|(_, value)| value)
}

/// All that can be wrong in a table.
fn all_wrong(place: &Place, table: &Table, found: &mut Vec<Wrong>) {
    let member = |(key, schema): &(String, Schema)| format!("{key} = {}", schema.example);
    for (key, schema) in &table.keys {
        let others: Vec<_> = table
            .keys
            .iter()
            .filter(|(other, _)| other != key && table.required.contains(other))
            .map(member)
            .collect();
        let with = |member: String| {
            let mut members = others.clone();
            members.push(member);
            place.text(&members)
        };
        let mut add = |fault: &str, text: String, meant: Option<String>| {
            let what = format!("{}.{key} {fault}", place.path);
            let what = what.trim_start_matches('.').to_owned();
            found.push(Wrong { what, text, meant });
        };
        if !table.is_choice {
            let mistyped = format!("{key}s");
            if table.keys.iter().all(|(other, _)| *other != mistyped) {
                add(
                    "mistyped",
                    with(format!("{mistyped} = {}", schema.example)),
                    Some(key.clone()),
                );
            }
            if table.required.contains(key) {
                add("missing", place.text(&others), None);
            }
        }
        if let Some(value) = misfit(schema).filter(|_| !schema.anything()) {
            add("of a wrong kind", with(format!("{key} = {value}")), None);
        }
        if schema
            .text
            .as_ref()
            .is_some_and(|choices| !choices.is_empty())
        {
            add("unheard of", with(format!("{key} = \"nonsense\"")), None);
        }
        // A parameter of the kernel may be any number.
        let is_any = place.path == "step.sysctl";
        if schema.is_integer && !schema.anything() && !is_any {
            add("out of range", with(format!("{key} = -9000000000")), None);
        }
        if schema.anything() {
            continue;
        }
        if let Some(table) = &schema.table {
            all_wrong(&place.inside(key, &others, false), table, found);
        } else if let Some(table) = schema.list.as_ref().and_then(|list| list.table.as_ref()) {
            all_wrong(&place.inside(key, &others, true), table, found);
        }
    }
}

/// A line for each: the place, what is said, and the hint.
fn said(wrong: &[Wrong], load: impl Fn(&str) -> Result<(), String>) -> String {
    let mut lines = String::new();
    for Wrong { what, text, meant } in wrong {
        let Err(message) = load(text) else {
            panic!("nothing is said about {what}:\n{text}");
        };
        let place = message
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("--> "));
        let place = place.unwrap_or_else(|| panic!("{what} has no place:\n{text}\n{message}"));
        assert!(message.contains('^'), "{what}: {message}");
        let hint = message
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("= help: "));
        if let Some(meant) = meant {
            let hint = hint.unwrap_or_else(|| panic!("{what} has no hint: {message}"));
            assert!(hint.contains(&format!("`{meant}`")), "{what}: {message}");
        }
        for word in ["struct ", "enum ", "variant", "Raw", "u64", "usize"] {
            assert!(!message.contains(word), "{what}: {message}");
        }
        let column = place.rsplit_once(':').map_or("", |(_, column)| column);
        let first = message.lines().next().unwrap_or_default();
        write!(lines, "{what}: {column}: {first}").unwrap();
        if let Some(hint) = hint.filter(|hint| hint.len() < 120) {
            write!(lines, " ({hint})").unwrap();
        }
        lines.push('\n');
    }
    lines
}

const TOP: Place = Place {
    path: String::new(),
    before: String::new(),
    after: String::new(),
    is_top: true,
};

#[test]
fn recipes() {
    let schema = imgasm::recipe::schema::schema();
    let mut table = schema.table.expect("a recipe is a table");
    // What a recipe extends may bring them; this one extends none.
    table.required = vec!["name".to_owned(), "base".to_owned()];
    for (key, schema) in &mut table.keys {
        match key.as_str() {
            "name" => schema.example = "\"web\"".to_owned(),
            "base" => schema.example = "{ file = \"base.raw\" }".to_owned(),
            // A table of its own holds `live` alone.
            "expect" => schema.table = None,
            _ => {}
        }
    }
    // An image takes what a recipe takes, and `extends` is a file.
    table
        .keys
        .retain(|(key, _)| key != "image" && key != "extends");
    let mut wrong = Vec::new();
    all_wrong(&TOP, &table, &mut wrong);
    assert!(wrong.len() > 300, "{}", wrong.len());
    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let source = Source::new("imgasm.toml", text);
        let recipe = Recipe::from_source(source, folder.path(), &Options::default());
        let recipe = recipe.map_err(|error| error.to_string())?;
        recipe.any_ami().map_err(|error| error.to_string())?;
        Ok(())
    };
    assert_snapshot!(said(&wrong, load));
    // The tool says the same, and writes nothing.
    for Wrong { what, text, .. } in wrong.iter().step_by(20) {
        if load(text).is_ok() {
            continue;
        }
        fs::write(folder.path().join("imgasm.toml"), text).unwrap();
        let output = imgasm()
            .args(["build", "-o", "out"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        assert!(said.contains("--> imgasm.toml:"), "{what}: {said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{what}");
    }
}

#[test]
fn overlays() {
    let schema = imgasm::overlay::schema::schema();
    let mut table = schema.table.expect("an overlay is a table");
    // These are those of recipes.
    table
        .keys
        .retain(|(key, _)| key != "variables" && key != "expect");
    let mut wrong = Vec::new();
    all_wrong(&TOP, &table, &mut wrong);
    assert!(wrong.len() > 200, "{}", wrong.len());
    let load = |text: &str| {
        let folder = folder(text, &[]);
        load(folder.path(), &[]).map(drop)
    };
    assert_snapshot!(said(&wrong, load));
}

/// The tables whose keys the manual has in a table of its own.
const DOCUMENTED: [&[&str]; 10] = [
    &[],
    &["base"],
    &["disk", "partition"],
    &["volume"],
    &["expect"],
    &["expect", "live"],
    &["ami"],
    &["packages"],
    &["repository"],
    &["package"],
];

#[test]
fn the_manual_has_every_key() {
    let mut recipe = imgasm::recipe::schema::schema();
    let mut missing = Vec::new();
    for path in DOCUMENTED {
        let schema = recipe
            .at(path)
            .unwrap_or_else(|| panic!("there is no {path:?}"));
        let table = schema
            .table
            .as_ref()
            .unwrap_or_else(|| panic!("{path:?} is no table"));
        let keys = table
            .keys
            .iter()
            .filter(|(_, schema)| schema.meaning.is_none());
        missing.extend(keys.map(|(key, _)| [path, &[key.as_str()]].concat().join(".")));
    }
    // It has a page of its own; the others are refused, with what to do instead.
    let known = ["expect.live", "ami.fast_launch", "ami.ami_product_codes"];
    missing.retain(|key| !known.contains(&key.as_str()));
    assert!(missing.is_empty(), "{missing:?}");
    let mut overlay = imgasm::overlay::schema::schema();
    let step = overlay
        .at(&["step"])
        .and_then(|step| step.table.clone())
        .unwrap();
    let undocumented = step
        .keys
        .iter()
        .filter(|(_, schema)| schema.meaning.is_none());
    let undocumented: Vec<_> = undocumented.map(|(key, _)| key.as_str()).collect();
    // Its name says what it does; `when` has a section.
    assert_eq!(undocumented, ["chmod", "when"]);
}
