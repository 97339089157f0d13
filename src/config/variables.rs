//! Variables: what may be set from outside, with defaults and help.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::decode::{self, Value, alternatives};
use super::{Diagnostic, Error, Source};

/// What a variable can hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "the value of a variable is text, a whole number, true or false"
)]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
}

impl Scalar {
    /// Reads `text` as a value of the same kind as this one; `None` where it is not one.
    fn parse_alike(&self, text: &str) -> Option<Self> {
        match self {
            Self::Boolean(_) => text.parse().ok().map(Self::Boolean),
            Self::Integer(_) => text.parse().ok().map(Self::Integer),
            Self::Text(_) => Some(Self::Text(text.to_owned())),
        }
    }

    /// The word for values of this kind.
    fn kind(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Text(_) => "text",
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// The values that templates see, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Variables {
    values: BTreeMap<String, Scalar>,
}

impl Variables {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Scalar> {
        self.values.get(name)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: Scalar) {
        self.values.insert(name.to_owned(), value);
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Scalar)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// The names that could have been meant by `name`.
    pub(super) fn suggest(&self, name: &str) -> String {
        let names: Vec<_> = self.values.keys().map(String::as_str).collect();
        alternatives("variable", "variables", name, &names)
    }

    pub(super) fn context(&self) -> minijinja::Value {
        let values = self.values.iter();
        minijinja::Value::from_pairs(values.map(|(name, value)| {
            let value = match value {
                Scalar::Boolean(value) => minijinja::Value::from(*value),
                Scalar::Integer(value) => minijinja::Value::from(*value),
                Scalar::Text(value) => minijinja::Value::from(value.as_str()),
            };
            (name.as_str(), value)
        }))
    }
}

/// A variable that a recipe or an overlay declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// What it holds unless it is set; a variable without a default must be set.
    pub default: Option<Scalar>,
    /// What it is for.
    pub help: Option<String>,
    place: Range<usize>,
}

/// The `[variables]` of a recipe or an overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declarations {
    variables: BTreeMap<String, Declaration>,
}

/// `name = "default"` or `name = { default = …, help = … }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    default: Option<Scalar>,
    help: Option<String>,
}

impl Declarations {
    /// Reads the value of the key `variables`. Defaults are taken as they stand: they are no
    /// templates, so that none can depend on another.
    pub fn decode(source: &Source, value: Option<Value<'_>>) -> Result<Self, Diagnostic> {
        let Some(value) = value else {
            return Ok(Self::default());
        };
        let span = value.span();
        let toml::de::DeValue::Table(table) = value.into_inner() else {
            return Err(source.error(span, "`variables` must be a table"));
        };
        let mut variables = BTreeMap::new();
        for (name, value) in table {
            let place = name.span();
            let name = name.into_inner().into_owned();
            if !is_name(&name) {
                let message = format!("`{name}` cannot be the name of a variable");
                let hint = "a name has letters, digits and `_`, and does not begin with a digit";
                return Err(source.error(place, message).with_hint(hint));
            }
            let declaration = if value.get_ref().is_table() {
                let described: Described = decode::decode(source, value)?;
                Declaration {
                    default: described.default,
                    help: described.help,
                    place,
                }
            } else {
                Declaration {
                    default: Some(decode::decode(source, value)?),
                    help: None,
                    place,
                }
            };
            variables.insert(name, declaration);
        }
        Ok(Self { variables })
    }

    /// Whether a variable is declared.
    pub fn contains(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Declaration)> {
        let variables = self.variables.iter();
        variables.map(|(name, declaration)| (name.as_str(), declaration))
    }

    /// The value that `text` stands for in the variable `name`: of the kind of its default.
    pub fn parse(&self, name: &str, text: &str) -> Result<Scalar, Error> {
        let error = |problem| Error::Variable {
            name: name.to_owned(),
            problem,
        };
        let Some(declaration) = self.variables.get(name) else {
            let names: Vec<_> = self.variables.keys().map(String::as_str).collect();
            let hint = alternatives("variable", "variables", name, &names);
            return Err(error(format!("not declared; {hint}")));
        };
        let Some(default) = &declaration.default else {
            return Ok(Scalar::Text(text.to_owned()));
        };
        let parsed = default.parse_alike(text);
        parsed.ok_or_else(|| error(format!("{text:?} is not {}", default.kind())))
    }

    /// Gives each variable its value: the one that `given` has for it, or its default.
    pub fn resolve(
        &self,
        source: &Source,
        given: impl Fn(&str) -> Option<Scalar>,
    ) -> Result<Variables, Diagnostic> {
        let mut values = BTreeMap::new();
        for (name, declaration) in &self.variables {
            let Some(value) = given(name).or_else(|| declaration.default.clone()) else {
                let message = format!("the variable `{name}` has no default and is not set");
                let error = source.error(declaration.place.clone(), message);
                return Err(match &declaration.help {
                    Some(help) => error.with_hint(format!("`{name}` is {help}")),
                    None => error,
                });
            };
            values.insert(name.clone(), value);
        }
        Ok(Variables { values })
    }
}

/// Whether a template can name it.
fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
