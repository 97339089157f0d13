//! Variables: what may be set from outside, with defaults and help.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::decode::{self, Value, alternatives};
use super::given::{FEWEST_SENSITIVE, Given, PREFIX};
use super::rules::{Bound, Kind, Pattern, Rules};
use super::{Diagnostic, Error, Setting, Source};
use crate::schema::{Schema, ask};

/// The values that templates see, by name.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Variables {
    values: BTreeMap<String, Setting>,
    /// The names of those that nobody else may see.
    #[serde(skip)]
    sensitive: BTreeSet<String>,
    /// What those that are declared may hold.
    #[serde(skip)]
    rules: BTreeMap<String, Rules>,
}

/// Without those that nobody else may see.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.plain()).finish_non_exhaustive()
    }
}

impl Variables {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.values.get(name)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: Setting) {
        self.values.insert(name.to_owned(), value);
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Whether nobody else may see the value of a variable.
    pub fn is_sensitive(&self, name: &str) -> bool {
        self.sensitive.contains(name)
    }

    /// Makes sure that a variable could have this value, which is of its kind.
    ///
    /// # Errors
    /// What the value must be, to follow it in a sentence.
    pub(crate) fn allows(&self, name: &str, value: &Setting) -> Result<(), String> {
        let rules = self.rules.get(name);
        rules.map_or(Ok(()), |rules| rules.check(value))
    }

    /// The value of a variable, for one of another name or place.
    pub fn given(&self, name: &str) -> Option<Given> {
        Some(Given {
            value: self.get(name)?.clone(),
            is_sensitive: self.is_sensitive(name),
        })
    }

    /// Those that everybody may see.
    pub fn plain(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.iter().filter(|(name, _)| !self.is_sensitive(name))
    }

    /// Those that nobody else may see.
    pub fn sensitive(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.iter().filter(|(name, _)| self.is_sensitive(name))
    }

    /// The names that could have been meant by `name`.
    pub(crate) fn suggest(&self, name: &str) -> String {
        let names: Vec<_> = self.values.keys().map(String::as_str).collect();
        alternatives("variable", "variables", name, &names)
    }

    pub(super) fn context(&self) -> minijinja::Value {
        minijinja::Value::from(minijinja::value::Serde(self))
    }
}

/// A variable that a recipe or an overlay declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// What it holds unless it is set; a variable without a default must be set.
    pub default: Option<Setting>,
    /// What it is for.
    pub help: Option<String>,
    /// Whether nobody else may see its value.
    pub is_sensitive: bool,
    /// What it holds unless it is set, or a value of the same kind.
    example: Option<Setting>,
    rules: Rules,
    place: Range<usize>,
}

impl Declaration {
    /// The values that it can have, if they are few and everybody may see them.
    pub fn choices(&self) -> Vec<Setting> {
        match (&self.rules.choices, &self.example) {
            _ if self.is_sensitive => Vec::new(),
            (Some(choices), _) => choices.clone(),
            (None, Some(Setting::Boolean(_))) => [false, true].map(Setting::Boolean).to_vec(),
            (None, _) => Vec::new(),
        }
    }

    /// A value from outside, as one of the variable's kind that keeps its rules.
    fn fit(&self, given: Given) -> Result<Setting, String> {
        let Given {
            value,
            is_sensitive,
        } = given;
        if (is_sensitive || self.is_sensitive) && value.to_string().len() < FEWEST_SENSITIVE {
            return Err(format!(
                "a sensitive value has {FEWEST_SENSITIVE} bytes at least: fewer are found by trying"
            ));
        }
        let shown = match &value {
            _ if is_sensitive || self.is_sensitive => "its value, which is not shown,".to_owned(),
            Setting::Text(text) => format!("{text:?}"),
            value => value.to_string(),
        };
        let value = match &self.example {
            None => value,
            Some(example) => {
                let fitting = value.like(example);
                fitting.ok_or_else(|| format!("{shown} is not {}", example.kind()))?
            }
        };
        let kept = self.rules.check(&value);
        kept.map_err(|problem| format!("{shown} {problem}"))?;
        Ok(value)
    }
}

/// What the table `[variables]` takes, for editors.
pub fn schema() -> Schema {
    let mut variable = ask::<Setting>();
    variable.table = ask::<Described>().table;
    Schema::of_names(variable)
}

/// The `[variables]` of a recipe or an overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declarations {
    variables: BTreeMap<String, Declaration>,
}

/// `name = "default"`, or `name = { default = …, help = …, … }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    default: Option<Setting>,
    help: Option<String>,
    #[serde(default)]
    sensitive: bool,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    required: Option<bool>,
    choices: Option<Vec<Setting>>,
    pattern: Option<Pattern>,
    min: Option<Bound>,
    max: Option<Bound>,
}

impl Described {
    /// The declaration, or what is wrong with it.
    fn check(self, place: Range<usize>) -> Result<Declaration, String> {
        if self
            .required
            .is_some_and(|required| required == self.default.is_some())
        {
            return Err(match self.default {
                Some(_) => "is required, so its default is never used",
                None => "is not required, so it needs a default",
            }
            .to_owned());
        }
        let example = match (self.kind, &self.default) {
            (Some(kind), _) => Some(kind.example()),
            (None, default) => default.clone(),
        };
        let example = example.or_else(|| self.choices.as_ref()?.first().cloned());
        let mut declaration = Declaration {
            default: None,
            help: self.help,
            is_sensitive: self.sensitive,
            example,
            rules: Rules::default(),
            place,
        };
        let own = |declaration: &Declaration, value: Setting| declaration.fit(value.into());
        let choices = self.choices.map(|choices| {
            let choices = choices.into_iter();
            choices
                .map(|choice| own(&declaration, choice))
                .collect::<Result<Vec<_>, _>>()
        });
        let choices = choices.transpose();
        let choices =
            choices.map_err(|problem| format!("has a choice that is wrong: {problem}"))?;
        declaration.rules = Rules {
            choices,
            pattern: self.pattern,
            min: self.min,
            max: self.max,
        };
        let default = self.default.map(|default| own(&declaration, default));
        declaration.default = default
            .transpose()
            .map_err(|problem| format!("has a default that is wrong: {problem}"))?;
        Ok(declaration)
    }
}

/// The most variables of a recipe or an overlay: each template is given all of them.
const MOST: usize = 1000;

impl Declarations {
    /// Reads the value of the key `variables`. Defaults are used as they are: they are not
    /// templates, so that none can depend on another.
    pub fn decode(source: &Source, value: Option<Value<'_>>) -> Result<Self, Diagnostic> {
        let Some(value) = value else {
            return Ok(Self::default());
        };
        let span = value.span();
        let toml::de::DeValue::Table(table) = value.into_inner() else {
            return Err(source.error(span, "`variables` must be a table"));
        };
        if table.len() > MOST {
            return Err(source.error(span, format!("there are at most {MOST} variables")));
        }
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
                if described.sensitive && described.default.is_some() {
                    let message = format!("`{name}` is sensitive, so it has no default");
                    let hint = "everybody who can read this file would know it";
                    return Err(source.error(place, message).with_hint(hint));
                }
                let declaration = described.check(place.clone());
                declaration.map_err(|problem| source.error(place, format!("`{name}` {problem}")))?
            } else {
                let default: Setting = decode::decode(source, value)?;
                Declaration {
                    example: Some(default.clone()),
                    default: Some(default),
                    help: None,
                    is_sensitive: false,
                    rules: Rules::default(),
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

    /// The declaration of a variable.
    pub fn get(&self, name: &str) -> Option<&Declaration> {
        self.variables.get(name)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Declaration)> {
        let variables = self.variables.iter();
        variables.map(|(name, declaration)| (name.as_str(), declaration))
    }

    /// The value that `text` stands for in the variable `name`: of the kind of its default.
    pub fn parse(&self, name: &str, text: &str) -> Result<Setting, Error> {
        let error = |problem| Error::Variable {
            name: name.to_owned(),
            problem,
        };
        let Some(declaration) = self.variables.get(name) else {
            let names: Vec<_> = self.variables.keys().map(String::as_str).collect();
            let hint = alternatives("variable", "variables", name, &names);
            return Err(error(format!("not declared; {hint}")));
        };
        let given = Given {
            value: Setting::Text(text.to_owned()),
            is_sensitive: declaration.is_sensitive,
        };
        declaration.fit(given).map_err(error)
    }

    /// The value that a recipe or another overlay gives to the variable `name`, as one of the kind of
    /// its default.
    ///
    /// # Errors
    /// If it is of another kind, in words without the variable's name.
    pub fn fit(&self, name: &str, given: Given) -> Result<Setting, String> {
        match self.variables.get(name) {
            Some(declaration) => declaration.fit(given),
            None => Ok(given.value),
        }
    }

    /// A warning for each variable that nothing uses; `used` are the names that are used.
    pub fn unused(&self, source: &Source, used: &BTreeSet<String>) -> Vec<Diagnostic> {
        let unused = self.iter().filter(|(name, _)| !used.contains(*name));
        // A name that is used but not declared may be the one that was mistyped here.
        let others = used.iter().map(String::as_str);
        let others: Vec<_> = others.filter(|name| !self.contains(name)).collect();
        let warnings = unused.map(|(name, declaration)| {
            let message = format!("nothing uses the variable `{name}`");
            let warning = source.error(declaration.place.clone(), message);
            match decode::nearest(name, &others) {
                Some(meant) => warning.with_hint(format!("did you mean `{meant}`?")),
                None => warning,
            }
        });
        warnings.collect()
    }

    /// Gives each variable its value: the one that `given` has for it, or its default.
    pub fn resolve(
        &self,
        source: &Source,
        given: impl Fn(&str) -> Option<Given>,
    ) -> Result<Variables, Diagnostic> {
        let mut values = BTreeMap::new();
        let mut sensitive = BTreeSet::new();
        for (name, declaration) in &self.variables {
            if let Some(given) = given(name) {
                if declaration.is_sensitive || given.is_sensitive {
                    sensitive.insert(name.clone());
                }
                let value = declaration.fit(given).map_err(|problem| {
                    let message = format!("the variable `{name}`: {problem}");
                    source.error(declaration.place.clone(), message)
                })?;
                values.insert(name.clone(), value);
                continue;
            }
            let Some(value) = declaration.default.clone() else {
                let message = format!("the variable `{name}` has no default and is not set");
                let error = source.error(declaration.place.clone(), message);
                let way = format!("give it by `--set-file {name}=FILE`, or as {PREFIX}{name}");
                let way = declaration.is_sensitive.then_some(way);
                let what = declaration.help.as_ref();
                let what = what.map(|help| format!("`{name}` is {help}"));
                let hints: Vec<_> = what.into_iter().chain(way).collect();
                return Err(if hints.is_empty() {
                    error
                } else {
                    error.with_hint(hints.join("; "))
                });
            };
            values.insert(name.clone(), value);
        }
        let rules = self.variables.iter();
        let rules = rules.map(|(name, declaration)| (name.clone(), declaration.rules.clone()));
        Ok(Variables {
            values,
            sensitive,
            rules: rules.collect(),
        })
    }
}

/// Whether a template can use this name.
fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
