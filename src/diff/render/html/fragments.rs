//! The pieces of the page: templates, which escape what is put into them.

use std::borrow::Cow;

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, escape_formatter};
use serde::Serialize;

use super::super::units;
use imgasm_fs::text::{shown, shown_lines};

/// By their names.
const TEMPLATES: [(&str, &str); 9] = [
    ("head", include_str!("head.html")),
    ("summary", include_str!("summary.html")),
    ("map", include_str!("map.html")),
    ("filters", include_str!("filters.html")),
    ("fields", include_str!("fields.html")),
    ("files", include_str!("files.html")),
    ("open", include_str!("open.html")),
    ("raw", include_str!("raw.html")),
    ("foot", include_str!("foot.html")),
];

/// The templates, ready to be filled in.
pub(super) struct Fragments(Environment<'static>);

impl Fragments {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        // The one place where text gets into the page.
        environment.set_formatter(|out, state, value| {
            if value.kind() == ValueKind::String
                && !value.is_safe()
                && let Some(text) = value.as_str()
                && let Cow::Owned(visible) = visible(text)
            {
                return escape_formatter(out, state, &Value::from(visible));
            }
            escape_formatter(out, state, value)
        });
        environment.add_filter("size", units::bytes);
        environment.add_filter("exact", units::exact);
        for (name, source) in TEMPLATES {
            let added = environment.add_template(name, source);
            added.expect("the templates are constants of this program");
        }
        Self(environment)
    }

    /// A template filled in.
    pub(super) fn fill(&self, name: &str, values: impl Serialize) -> String {
        let template = self.0.get_template(name);
        let template = template.expect("the names are constants of this program");
        let filled = template.render(Value::from(Serde(values)));
        filled.expect("the values are those that the template names")
    }
}

/// Text in which everything can be seen; in a line of a file tabs stay.
fn visible(text: &str) -> Cow<'_, str> {
    if text.contains('\n') {
        shown(text)
    } else {
        shown_lines(text)
    }
}
