//! `{{ variables }}` in text.
//!
//! The language is Jinja's, as the minijinja crate has it, without macros and inclusion of other
//! files. A template knows nothing but its variables, and uses of others are errors.

use std::borrow::Cow;
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use toml::de::{DeString, DeValue};

use super::decode::Value;
use super::variables::Variables;
use super::{Diagnostic, Source};

/// The steps that one template may take; loops over loops end here.
const FUEL: u64 = 1_000_000;

/// Renders every text within a value, in place.
pub fn render_all(
    source: &Source,
    value: &mut Value<'_>,
    variables: &Variables,
) -> Result<(), Diagnostic> {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) => {
            let rendered = render_at(source, span, text, variables)?;
            if let Cow::Owned(rendered) = rendered {
                *text = DeString::Owned(rendered);
            }
        }
        DeValue::Array(values) => {
            for value in values.iter_mut() {
                render_all(source, value, variables)?;
            }
        }
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                render_all(source, value, variables)?;
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
    Ok(())
}

/// Renders a whole file.
pub fn render_file(source: &Source, variables: &Variables) -> Result<String, Diagnostic> {
    let text = source.text();
    render_at(source, 0..text.len(), text, variables).map(Cow::into_owned)
}

/// Renders `text`, which stands at `span` of the source, with quotes around it and escapes in it
/// where it is a value of TOML.
fn render_at<'t>(
    source: &Source,
    span: Range<usize>,
    text: &'t str,
    variables: &Variables,
) -> Result<Cow<'t, str>, Diagnostic> {
    if !["{{", "{%", "{#"].iter().any(|open| text.contains(open)) {
        return Ok(Cow::Borrowed(text));
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_syntax(syntax());
    environment.set_fuel(Some(FUEL));
    environment.set_debug(true);
    match environment.render_str(text, variables.context()) {
        Ok(rendered) => Ok(Cow::Owned(rendered)),
        Err(error) => Err(explain(source, span, text, variables, &error)),
    }
}

/// Jinja's own, and the newline at the end of a file stays.
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
    // Where the value has no escapes, its text stands in the source as it is.
    let inner = source
        .text()
        .get(span.clone())
        .and_then(|raw| raw.find(text));
    let place = match (inner, error.range()) {
        (Some(start), Some(range)) => {
            let start = span.start + start;
            start + range.start..start + range.end
        }
        _ => span,
    };
    if error.kind() == minijinja::ErrorKind::UndefinedError {
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
