//! The values of variables.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// What a variable can hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "the value of a variable is text, a number, true or false, or a list or table of these"
)]
pub enum Setting {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Another number, neither infinite nor "not a number".
    #[serde(deserialize_with = "finite")]
    Float(f64),
    /// Text.
    Text(String),
    /// A list of values.
    List(Vec<Setting>),
    /// Values by name.
    Table(BTreeMap<String, Setting>),
}

/// Every [`Setting::Float`] equals itself, because none is "not a number".
impl Eq for Setting {}

fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_finite() {
        return Ok(number);
    }
    Err(serde::de::Error::custom(
        "a variable cannot hold such a number",
    ))
}

impl Setting {
    /// This value as one of the kind of `example`: a text is parsed, a whole number is accepted as
    /// any number, and a number, true or false is accepted as text. `None` if that is not possible.
    pub(crate) fn like(self, example: &Self) -> Option<Self> {
        match (example, self) {
            (Self::Text(_), Self::Boolean(value)) => Some(Self::Text(value.to_string())),
            (Self::Text(_), value @ (Self::Integer(_) | Self::Float(_))) => {
                Some(Self::Text(value.to_string()))
            }
            (Self::Boolean(_), Self::Text(text)) => text.parse().ok().map(Self::Boolean),
            (Self::Integer(_), Self::Text(text)) => text.parse().ok().map(Self::Integer),
            (Self::Float(_), Self::Text(text)) => {
                let number = text.parse().ok().filter(|number: &f64| number.is_finite());
                number.map(Self::Float)
            }
            #[allow(
                clippy::cast_precision_loss,
                reason = "a number that a person wrote in the place of a fraction"
            )]
            (Self::Float(_), Self::Integer(number)) => Some(Self::Float(number as f64)),
            (Self::List(_) | Self::Table(_), Self::Text(text)) => {
                let value = toml::de::ValueDeserializer::parse(&text).ok()?;
                Self::deserialize(value).ok()?.like(example)
            }
            (example, value) => {
                let is_alike = std::mem::discriminant(example) == std::mem::discriminant(&value);
                is_alike.then_some(value)
            }
        }
    }

    /// The word for values of this kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list, as [1, 2]",
            Self::Table(_) => "a table, as { a = 1 }",
        }
    }
}

/// Text as it is, everything else as in TOML.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// JSON's escapes are also TOML's.
        fn quoted(text: &str) -> String {
            serde_json::Value::from(text).to_string()
        }
        /// Within a list or table, text has quotes around it.
        fn nested(value: &Setting) -> String {
            match value {
                Setting::Text(text) => quoted(text),
                value => value.to_string(),
            }
        }
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            // With a decimal point, so that it is read as a float again.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => value.fmt(f),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(nested).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Table(values) => {
                let values = values.iter();
                let values: Vec<_> = values
                    .map(|(name, value)| format!("{} = {}", quoted(name), nested(value)))
                    .collect();
                write!(f, "{{ {} }}", values.join(", "))
            }
        }
    }
}
