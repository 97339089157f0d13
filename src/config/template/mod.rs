//! `{{ variables }}` in text.
//!
//! The language is Jinja, as implemented by the minijinja crate, without macros, inclusion of
//! other files, and values that grow. A template only sees its variables; using any other is an error.
//!
//! - [`bounds`]: what a template may look like, so that none takes long.
//!
//! A text that is exactly `{{ expression }}` keeps the kind of the expression's value: a number, true
//! or false, a list, a table. Within a longer text, values are written as in TOML.

mod bounds;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, ErrorKind, Output, State, UndefinedBehavior};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::Setting;
use bounds::{too_long, with_room};

use super::decode::{self, Rendered, Table, Value};
use super::variables::Variables;
use super::{Diagnostic, Source};

/// The most steps that one template may take, so that nested loops end.
const FUEL: u64 = 1_000_000;

/// The most bytes that come of one template.
const LONGEST_OUTPUT: u64 = 64 << 20;

/// Whether a text has anything to be filled in.
fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|open| text.contains(open))
}

/// The names of the variables that a text uses; `None` if it is no template that can be read.
fn variables_of(text: &str) -> Option<BTreeSet<String>> {
    if too_long(text).is_some() {
        return None;
    }
    with_room(text, || {
        let environment = environment();
        let template = environment.template_from_str(text).ok()?;
        Some(template.undeclared_variables(false).into_iter().collect())
    })
}

/// The names of the variables that the templates and the guards in a table use.
pub fn used(table: &Table<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, value) in table {
        collect_used(value.get_ref(), &mut names);
    }
    names
}

/// The names of the variables that the templates and the guards in a value use.
pub fn used_in(value: &Value<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect_used(value.get_ref(), &mut names);
    names
}

fn collect_used(value: &DeValue<'_>, names: &mut BTreeSet<String>) {
    match value {
        DeValue::String(text) => {
            if is_template(text) {
                names.extend(variables_of(text).unwrap_or_default());
            }
        }
        DeValue::Array(values) => {
            for value in values {
                collect_used(value.get_ref(), names);
            }
        }
        DeValue::Table(table) => {
            for (key, value) in table {
                collect_used(value.get_ref(), names);
                if key.get_ref() == "when" {
                    collect_tested(value.get_ref(), names);
                }
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// A guard names variables without a template.
fn collect_tested(guard: &DeValue<'_>, names: &mut BTreeSet<String>) {
    let DeValue::Table(guard) = guard else {
        return;
    };
    if let Some(DeValue::Table(variables)) = guard.get("variables").map(Spanned::get_ref) {
        names.extend(variables.keys().map(|name| name.get_ref().to_string()));
    }
    if let Some(not) = guard.get("not") {
        collect_tested(not.get_ref(), names);
    }
}

/// Makes sure that sensitive variables only stand by themselves in the templates of a value, as
/// `{{ name }}`: what a template makes of one would not be known as sensitive.
///
/// # Errors
/// If one is used in another way, with the place.
pub fn check_sensitive(
    source: &Source,
    value: &Value<'_>,
    variables: &Variables,
) -> Result<(), Diagnostic> {
    if variables.sensitive().next().is_none() {
        return Ok(());
    }
    match value.get_ref() {
        DeValue::String(text) => check_text(source, value.span(), text, variables),
        DeValue::Array(values) => values
            .iter()
            .try_for_each(|value| check_sensitive(source, value, variables)),
        DeValue::Table(table) => table
            .iter()
            .try_for_each(|(_, value)| check_sensitive(source, value, variables)),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            Ok(())
        }
    }
}

fn check_text(
    source: &Source,
    span: Range<usize>,
    text: &str,
    variables: &Variables,
) -> Result<(), Diagnostic> {
    if !is_template(text) {
        return Ok(());
    }
    let rest = without_plain(text, |name| variables.is_sensitive(name));
    let used = variables_of(&rest).or_else(|| variables_of(text));
    let used = used.unwrap_or_default();
    let Some(name) = used.iter().find(|name| variables.is_sensitive(name)) else {
        return Ok(());
    };
    let message = format!(
        "`{name}` is sensitive, and stands here as a part of an expression: what comes of it would be \
         shown"
    );
    let hint = format!(
        "only `{{{{ {name} }}}}` is hidden; a variable of the overlay can have another value as its own"
    );
    Err(source.error(span, message).with_hint(hint))
}

/// A text without the expressions that are just the name of such a variable.
fn without_plain(text: &str, is_such: impl Fn(&str) -> bool) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        kept.push_str(before);
        let plain = after.split_once("}}").filter(|(inner, _)| {
            let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
            let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
            is_such(inner.trim())
        });
        rest = plain.map_or(after, |(_, behind)| behind);
        if plain.is_none() {
            kept.push_str("{{");
        }
    }
    kept.push_str(rest);
    kept
}

/// The values, written as in TOML, of the strings that are exactly `{{ expression }}` and whose
/// value is not a string; by the offset of the string in its source.
pub type Literals = BTreeMap<usize, String>;

/// The [`Literals`] within a value.
pub fn literals(value: &Value<'_>, variables: &Variables) -> Literals {
    let mut found = Literals::new();
    collect_literals(value, variables, &mut found);
    found
}

fn collect_literals(value: &Value<'_>, variables: &Variables, found: &mut Literals) {
    match value.get_ref() {
        DeValue::String(text) => {
            if let Some(setting) = evaluate(text, variables) {
                found.insert(value.span().start, setting.to_string());
            }
        }
        DeValue::Array(values) => {
            for value in values {
                collect_literals(value, variables, found);
            }
        }
        DeValue::Table(table) => {
            for (_, value) in table {
                collect_literals(value, variables, found);
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// The value of a string that is exactly `{{ expression }}`. `None` for anything else, for a value
/// that is a string, and for an expression with an error, which rendering will report.
fn evaluate(text: &str, variables: &Variables) -> Option<Setting> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let is_one = !["{{", "}}", "{%", "{#"]
        .iter()
        .any(|mark| inner.contains(mark));
    // These signs remove white space around the expression, and are not operators.
    let is_plain = !inner.starts_with(['-', '+']) && !inner.ends_with(['-', '+']);
    if !is_one || !is_plain {
        return None;
    }
    if too_long(text).is_some() {
        return None;
    }
    with_room(text, || {
        let environment = environment();
        let expression = environment.compile_expression(inner).ok()?;
        let value = expression.eval(variables.context()).ok()?;
        match Setting::deserialize(value).ok()? {
            Setting::Text(_) => None,
            found => Some(found),
        }
    })
}

/// Renders every string within a value. Those that are in `literals` become those values.
pub fn render_all<'v>(
    source: &Source,
    mut value: Value<'v>,
    variables: &Variables,
    literals: &'v Literals,
) -> Result<Rendered<'v>, Diagnostic> {
    let mut typed = Vec::new();
    render_in_place(source, &mut value, variables, literals, &mut typed)?;
    Ok(Rendered { value, typed })
}

fn render_in_place<'v>(
    source: &Source,
    value: &mut Value<'v>,
    variables: &Variables,
    literals: &'v Literals,
    typed: &mut Vec<Range<usize>>,
) -> Result<(), Diagnostic> {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) => {
            let literal = literals.get(&span.start);
            if let Some(Ok(parsed)) = literal.map(|literal| DeValue::parse(literal)) {
                *value = placed(parsed.into_inner(), &span);
                typed.push(span);
                return Ok(());
            }
            let rendered = render_at(source, span, text, variables)?;
            if let Cow::Owned(rendered) = rendered {
                *text = DeString::Owned(rendered);
            }
        }
        DeValue::Array(values) => {
            for value in values.iter_mut() {
                render_in_place(source, value, variables, literals, typed)?;
            }
        }
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                render_in_place(source, value, variables, literals, typed)?;
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
    Ok(())
}

/// A value all of whose parts have the same place in the source.
fn placed<'v>(value: DeValue<'v>, span: &Range<usize>) -> Value<'v> {
    let value = match value {
        DeValue::Array(values) => {
            let values = values.into_iter();
            DeValue::Array(values.map(|v| placed(v.into_inner(), span)).collect())
        }
        DeValue::Table(table) => {
            let entries = table.into_iter().map(|(name, value)| {
                let name = Spanned::new(span.clone(), name.into_inner());
                (name, placed(value.into_inner(), span))
            });
            DeValue::Table(entries.collect())
        }
        value => value,
    };
    Spanned::new(span.clone(), value)
}

/// Fills in the templates of a value and reads it.
///
/// # Errors
/// What is wrong with it, with the place.
pub fn read<T: serde::de::DeserializeOwned>(
    source: &Source,
    value: Value<'_>,
    variables: &Variables,
) -> Result<T, Diagnostic> {
    let literals = literals(&value, variables);
    let rendered = render_all(source, value, variables, &literals)?;
    decode::decode_rendered(source, rendered)
}

/// Renders a whole file.
pub fn render_file(source: &Source, variables: &Variables) -> Result<String, Diagnostic> {
    let text = source.text();
    check_text(source, 0..text.len(), text, variables)?;
    render_at(source, 0..text.len(), text, variables).map(Cow::into_owned)
}

/// Renders `text`, which is at `span` in the source; there it has quotes and escapes if it is a
/// value of TOML.
fn render_at<'t>(
    source: &Source,
    span: Range<usize>,
    text: &'t str,
    variables: &Variables,
) -> Result<Cow<'t, str>, Diagnostic> {
    if !is_template(text) {
        return Ok(Cow::Borrowed(text));
    }
    if let Some(problem) = too_long(text) {
        return Err(source.error(span, problem));
    }
    match with_room(text, || environment().render_str(text, variables.context())) {
        Ok(rendered) => Ok(Cow::Owned(rendered)),
        Err(error) => Err(explain(source, span, text, variables, &error)),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    let written = AtomicU64::new(0);
    environment.set_formatter(move |out, state, value| format_value(&written, out, state, value));
    // What it makes can be changed, and so can be made to hold anything again and again.
    environment.add_function("namespace", |_: Rest<minijinja::Value>| {
        let problem = "there is no `namespace` in these templates";
        Err::<(), _>(minijinja::Error::new(ErrorKind::InvalidOperation, problem))
    });
    environment.set_syntax(syntax());
    environment.set_fuel(Some(FUEL));
    environment.set_debug(true);
    environment
}

/// Writes a value within a text. Jinja has Python's words for true and false, which no
/// configuration file knows.
fn format_value(
    written: &AtomicU64,
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    let is_ours = matches!(
        value.kind(),
        ValueKind::Bool | ValueKind::Seq | ValueKind::Map
    );
    let too_long = || minijinja::Error::new(ErrorKind::WriteFailure, "the text is too long");
    let mut write = |text: &str| {
        let len = text.len() as u64;
        if written.fetch_add(len, Ordering::Relaxed) + len > LONGEST_OUTPUT {
            return Err(too_long());
        }
        out.write_str(text).map_err(|_| too_long())
    };
    match (Setting::deserialize(value.clone()), value.as_str()) {
        (Ok(setting), _) if is_ours => write(&setting.to_string()),
        (_, Some(text)) => write(text),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Jinja's own syntax; the newline at the end of a file stays.
fn syntax() -> SyntaxConfig {
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true);
    syntax.build().expect("the delimiters are the default ones")
}

fn explain(
    source: &Source,
    span: Range<usize>,
    text: &str,
    variables: &Variables,
    error: &minijinja::Error,
) -> Diagnostic {
    // If the value has no escapes, the source contains its text as it is.
    let (written, place) = source.at(span.clone());
    let inner = written.text().get(place).and_then(|raw| raw.find(text));
    let place = match (inner, error.range()) {
        (Some(start), Some(range)) => {
            let start = span.start + start;
            start + range.start..start + range.end
        }
        _ => span,
    };
    if error.kind() == ErrorKind::UndefinedError {
        let shown = error
            .range()
            .and_then(|range| text.get(range))
            .unwrap_or(text);
        let name = shown.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
        let error = source.error(place, format!("the variable `{name}` is not defined"));
        return error.with_hint(variables.suggest(name));
    }
    let detail = error.detail().map(ToOwned::to_owned);
    let detail = detail.unwrap_or_else(|| error.kind().to_string());
    source.error(place, format!("the template cannot be rendered: {detail}"))
}
